package confine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/hearth-run/hearth/internal/agent"
)

// Local is a supervisor inside the calling process, of which every child
// belongs to the environment: it reaps all of them, so the process must start
// none in another way. There can be one Local in a process.
type Local struct {
	meter *meter
	forks chan func() // run by one thread, the parent of all processes
	lost  chan struct{}

	reaping sync.Mutex // one reaper at a time, so that exits are told in order

	mu     sync.Mutex // guards what follows, and is held from fork to registration
	procs  map[int]*localProcess
	ooms   int64 // kills for memory that were told so far
	closed bool
}

var _ agent.Supervisor = (*Local)(nil)

// NewLocal makes the calling process a supervisor: PID 1 as it may be, or the
// reaper of whatever its descendants leave behind.
func NewLocal() (*Local, error) { return newLocal(ownMeter()) }

func newLocal(m *meter) (*Local, error) {
	if err := becomeReaper(); err != nil {
		return nil, err
	}
	l := &Local{meter: m, forks: make(chan func()), lost: make(chan struct{}), procs: map[int]*localProcess{}}
	l.ooms = l.meter.oomKills()
	go func() {
		// The children die with the thread that forks them, should this process
		// be killed; this one lives as long as the process.
		runtime.LockOSThread()
		for f := range l.forks {
			f()
		}
		runtime.UnlockOSThread()
	}()
	children := make(chan os.Signal, 1)
	signal.Notify(children, syscall.SIGCHLD)
	go func() {
		defer signal.Stop(children)
		for {
			select {
			case <-children:
				l.reap()
			case <-l.lost:
				return
			}
		}
	}()
	return l, nil
}

// localProcess is a process that a Local started.
type localProcess struct {
	l    *Local
	pid  int
	done chan struct{}
	exit agent.ExitStatus
	told func(agent.ExitStatus) // if not nil, called at the end, in order
}

func (p *localProcess) Done() <-chan struct{}  { return p.done }
func (p *localProcess) Exit() agent.ExitStatus { return p.exit }

// Signal implements agent.Process.
func (p *localProcess) Signal(s os.Signal) error {
	sig, ok := s.(syscall.Signal)
	if !ok {
		return fmt.Errorf("signal %v can't be sent", s)
	}
	p.l.mu.Lock()
	defer p.l.mu.Unlock()
	if p.l.procs[p.pid] == p { // not reaped, so the PID is still its own
		syscall.Kill(-p.pid, sig)
	}
	return nil
}

// Start implements agent.Supervisor.
func (l *Local) Start(ctx context.Context, c agent.Command) (agent.Process, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	files := []uintptr{}
	for _, f := range append([]*os.File{c.Stdout, c.Stderr}, c.Extra...) {
		if f == nil {
			return nil, fmt.Errorf("start %s: a file is missing: %w", c.Path, os.ErrInvalid)
		}
		files = append(files, f.Fd())
	}
	p, err := l.start(&c, files, nil, nil)
	if err != nil {
		return nil, err
	}
	return p, nil
}

// start starts a process with files as its descriptors 1, 2, …. registered, if
// not nil, is called before told can be.
func (l *Local) start(c *agent.Command, files []uintptr, registered func(), told func(agent.ExitStatus)) (*localProcess, error) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	attr := &syscall.ProcAttr{Dir: c.Dir, Env: c.Env, Files: append([]uintptr{null.Fd()}, files...), Sys: childAttr()}
	p := &localProcess{l: l, done: make(chan struct{}), told: told}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, errors.New("the supervisor is closed")
	}
	forked := make(chan struct{})
	l.forks <- func() {
		p.pid, err = syscall.ForkExec(c.Path, append([]string{c.Path}, c.Args...), attr)
		close(forked)
	}
	<-forked
	if err != nil {
		return nil, &os.PathError{Op: "fork/exec", Path: c.Path, Err: err}
	}
	preferForOOM(p.pid)
	l.procs[p.pid] = p
	if registered != nil {
		registered()
	}
	return p, nil
}

// reap collects every child that has ended, and reports whether none is left.
func (l *Local) reap() (none bool) {
	l.reaping.Lock()
	defer l.reaping.Unlock()
	for {
		l.mu.Lock()
		var ws syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &ws, syscall.WNOHANG, nil)
		p := l.procs[pid]
		if err == nil && p != nil {
			delete(l.procs, pid)
		}
		l.mu.Unlock()
		switch {
		case err == syscall.EINTR:
			continue
		case err != nil:
			return true
		case pid <= 0:
			return false
		case p == nil:
			continue // an orphan
		}
		p.exit = agent.ExitStatus{Code: ws.ExitStatus()}
		if ws.Signaled() {
			p.exit = agent.ExitStatus{Code: -1, Signal: ws.Signal().String()}
			if ws.Signal() == syscall.SIGKILL {
				if n := l.meter.oomKills(); n > l.ooms {
					l.ooms, p.exit.OOM = n, true
				}
			}
		}
		if p.told != nil {
			p.told(p.exit)
		}
		close(p.done)
	}
}

// KillAll implements agent.Supervisor.
func (l *Local) KillAll(ctx context.Context) error {
	for wait := 50 * time.Microsecond; ; wait = min(2*wait, 10*time.Millisecond) {
		l.mu.Lock() // nothing starts meanwhile
		found := l.killSome()
		l.mu.Unlock()
		if none := l.reap(); none || !found {
			return nil
		}
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return fmt.Errorf("processes are left that have not ended: %w", ctx.Err())
		case <-t.C:
		}
	}
}

// pidsLocked lists the processes that this Local started and has not reaped.
func (l *Local) pidsLocked() []int {
	var pids []int
	for pid := range l.procs {
		pids = append(pids, pid)
	}
	return pids
}

// Memory implements agent.Supervisor.
func (l *Local) Memory() int64 { return l.meter.memory() }

// ResetMemory implements agent.Supervisor.
func (l *Local) ResetMemory() { l.meter.reset() }

// OOMKills implements agent.Supervisor.
func (l *Local) OOMKills() int64 { return l.meter.oomKills() }

// Pause implements agent.Supervisor.
func (l *Local) Pause() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.signalAll(syscall.SIGSTOP)
	return nil
}

// Resume implements agent.Supervisor.
func (l *Local) Resume() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.signalAll(syscall.SIGCONT)
	return nil
}

// Lost implements agent.Supervisor. The calling process can't outlive itself:
// Lost is closed by Close alone.
func (l *Local) Lost() <-chan struct{} { return l.lost }

// Close implements agent.Supervisor.
func (l *Local) Close() error {
	l.mu.Lock()
	first := !l.closed
	l.closed = true
	l.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	err := l.KillAll(ctx)
	if first {
		close(l.forks)
		close(l.lost)
		l.meter.close()
	}
	return err
}

// preferForOOM makes the kernel kill a process of the environment rather than
// its supervisor when memory runs out.
func preferForOOM(pid int) {
	if runtime.GOOS == "linux" {
		os.WriteFile("/proc/"+strconv.Itoa(pid)+"/oom_score_adj", []byte("500"), 0)
	}
}
