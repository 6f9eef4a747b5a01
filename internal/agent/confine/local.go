package confine

import (
	"context"
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

// local starts, reaps and ends processes inside the calling process, of which
// every child belongs to the environment. There can be one local in a process.
type local struct {
	forks chan func() // run by one thread, the parent of all processes

	reaping sync.Mutex // one reaper at a time, so that exits are told in order; guards what follows
	meter   *meter
	ooms    int64 // kills for memory that were told so far

	mu    sync.Mutex // guards what follows, and is held from fork to registration
	procs map[int]*localProcess
}

// newLocal makes the calling process the reaper of whatever its descendants
// leave behind, as PID 1 is anyway.
func newLocal() (*local, error) {
	if err := becomeReaper(); err != nil {
		return nil, err
	}
	l := &local{meter: newMeter(os.Getpid(), "", false), forks: make(chan func()), procs: map[int]*localProcess{}}
	go func() {
		// The children die with the thread that forks them, should this process
		// be killed; this one lives as long as the process.
		runtime.LockOSThread()
		for f := range l.forks {
			f()
		}
	}()
	children := make(chan os.Signal, 1)
	signal.Notify(children, syscall.SIGCHLD)
	go func() {
		for range children {
			l.reap()
		}
	}()
	return l, nil
}

// count makes m tell which processes were killed for memory.
func (l *local) count(m *meter) {
	l.reaping.Lock()
	defer l.reaping.Unlock()
	l.meter, l.ooms = m, m.oomKills()
}

// localProcess is a process that a local started.
type localProcess struct {
	l    *local
	pid  int
	told func(agent.ExitStatus) // called at the end, in order
}

// signal sends a signal to the process and its group, unless it is gone.
func (p *localProcess) signal(sig syscall.Signal) {
	p.l.mu.Lock()
	defer p.l.mu.Unlock()
	if p.l.procs[p.pid] == p { // not reaped, so the PID is still its own
		syscall.Kill(-p.pid, sig)
	}
}

// start starts a process with files as its descriptors 1, 2, …. registered is
// called when it runs, before told is when it has ended.
func (l *local) start(c *agent.Command, files []uintptr, registered func(), told func(agent.ExitStatus)) (*localProcess, error) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	attr := &syscall.ProcAttr{Dir: c.Dir, Env: c.Env, Files: append([]uintptr{null.Fd()}, files...), Sys: childAttr()}
	p := &localProcess{l: l, told: told}
	l.mu.Lock()
	defer l.mu.Unlock()
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
	registered()
	return p, nil
}

// reap collects every child that has ended, and reports whether none is left.
func (l *local) reap() (none bool) {
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
		exit := agent.ExitStatus{Code: ws.ExitStatus()}
		if ws.Signaled() {
			exit = agent.ExitStatus{Code: -1, Signal: ws.Signal().String()}
			if ws.Signal() == syscall.SIGKILL {
				if n := l.meter.oomKills(); n > l.ooms {
					l.ooms, exit.OOM = n, true
				}
			}
		}
		p.told(exit)
	}
}

// killAll ends every process of the environment, and returns when none is left.
func (l *local) killAll(ctx context.Context) error {
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

// pause stops all processes.
func (l *local) pause() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.signalAll(syscall.SIGSTOP)
}

// resume continues them.
func (l *local) resume() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.signalAll(syscall.SIGCONT)
}

// preferForOOM makes the kernel kill a process of the environment rather than
// its supervisor when memory runs out.
func preferForOOM(pid int) {
	if runtime.GOOS == "linux" {
		os.WriteFile("/proc/"+strconv.Itoa(pid)+"/oom_score_adj", []byte("500"), 0)
	}
}
