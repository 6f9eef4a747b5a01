package confine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hearth-run/hearth/internal/agent"
)

// Config says how to start a supervisor.
type Config struct {
	// Program and Args start the supervisor: hearth-agent supervise.
	Program string
	Args    []string
	// Name names the environment on the machine: its control groups, and the
	// supervisor's last argument, for whoever looks at a list of processes. "" means no control groups.
	Name string
	// Folder is the environment's own folder. It exists; the supervisor removes
	// it when it ends. "" means none.
	Folder string
	// Plain asks for no namespaces.
	Plain bool
}

// Supervisor is the server's handle of a supervisor process. It implements
// agent.Supervisor.
//
//	Start ─▶ Setup ─▶ Start processes, KillAll, … ─▶ Close
type Supervisor struct {
	cmd     *exec.Cmd
	w       *wire
	group   *group
	plain   bool  // has no namespaces
	refused error // why not
	lost    chan struct{}
	asked   chan struct{}
	waited  chan struct{}
	stderr  tail

	mu      sync.Mutex // guards what follows
	meter   *meter
	nextID  int
	procs   map[int]*process
	answers map[int]chan reply
	closed  bool
}

var _ agent.Supervisor = (*Supervisor)(nil)

// refusal remembers that this machine refuses namespaces, and in which words.
var refusal atomic.Pointer[error]

// Start starts a supervisor, which waits for Setup. Namespaces are tried for,
// and given up where the machine refuses them. ctx bounds the start. On error
// nothing is left but Config.Folder.
func Start(ctx context.Context, cfg Config) (*Supervisor, error) {
	var refused error
	if !cfg.Plain {
		if r := refusal.Load(); r != nil {
			refused = *r
		} else if attr := isolation(); attr != nil {
			s, err := start(ctx, cfg, attr)
			if err == nil || ctx.Err() != nil {
				return s, err
			}
			refused = err
			if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EACCES) || errors.Is(err, syscall.ENOSYS) || errors.Is(err, syscall.EINVAL) {
				refusal.Store(&err)
			}
		}
	}
	s, err := start(ctx, cfg, nil)
	if err != nil {
		return nil, err
	}
	s.refused = refused
	return s, nil
}

func start(ctx context.Context, cfg Config, isolation *syscall.SysProcAttr) (_ *Supervisor, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	ours, theirs, err := socketPair()
	if err != nil {
		return nil, fmt.Errorf("start a supervisor: %w", err)
	}
	defer theirs.Close()
	w, err := newWire(ours)
	if err != nil {
		return nil, fmt.Errorf("start a supervisor: %w", err)
	}
	s := &Supervisor{
		w: w, plain: isolation == nil,
		lost: make(chan struct{}), asked: make(chan struct{}), waited: make(chan struct{}),
		procs: map[int]*process{}, answers: map[int]chan reply{},
	}
	s.cmd = exec.Command(cfg.Program, cfg.Args...)
	if cfg.Name != "" {
		s.cmd.Args = append(s.cmd.Args, cfg.Name)
	}
	s.cmd.ExtraFiles = []*os.File{theirs}
	s.cmd.Stderr = &s.stderr
	s.cmd.Env = []string{"GOMAXPROCS=1", "GOGC=400", folderVariable + "=" + cfg.Folder}
	if cfg.Name != "" {
		s.cmd.Env = append(s.cmd.Env, groupsVariable+"="+groupPlaces(cfg.Name))
	}
	s.cmd.SysProcAttr = &syscall.SysProcAttr{}
	if isolation != nil {
		s.cmd.SysProcAttr = isolation
		s.cmd.Env = append(s.cmd.Env, isolateVariable+"=1")
	}
	s.cmd.SysProcAttr.Setpgid = true // a terminal's Ctrl-C is for the server alone
	if err := s.cmd.Start(); err != nil {
		w.c.Close()
		return nil, fmt.Errorf("start supervisor %s: %w", cfg.Program, err)
	}
	theirs.Close()
	go func() {
		s.cmd.Wait()
		close(s.waited)
	}()
	s.group = newGroup(cfg.Name, s.cmd.Process.Pid)
	s.meter = newMeter(s.cmd.Process.Pid, s.group.memory, s.group.v2)
	hello := make(chan reply, 1)
	s.answers[0] = hello
	go s.listen()
	select {
	case r := <-hello:
		err = r.err()
	case <-s.lost:
		<-s.waited
		err = fmt.Errorf("it exited: %s %s", s.cmd.ProcessState, s.stderr.text())
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		s.Close()
		return nil, fmt.Errorf("start supervisor %s: %w", cfg.Program, err)
	}
	return s, nil
}

// Setup sets up the environment, once.
func (s *Supervisor) Setup(ctx context.Context, c Setup) (Layout, error) {
	limited := s.group.limit(c.MemoryLimit, c.MaxProcesses)
	s.group.limitCPU(c.CPUs)
	if limited {
		c.TmpSize = 0 // files in memory would count
	}
	r, err := s.ask(ctx, request{Op: "setup", Setup: &c, Memory: s.group.memory, V2: s.group.v2})
	if err != nil {
		return Layout{}, fmt.Errorf("set up the environment: %w", err)
	}
	l := *r.Layout
	l.MemoryLimited = limited
	if s.refused != nil {
		l.Notes = append(l.Notes, "no private namespaces, so functions see their files at the machine's paths: "+s.refused.Error())
	}
	if !limited && c.MemoryLimit > 0 {
		l.Notes = append(l.Notes, "no control group for memory may be made here, so the memory limits of functions are not enforced")
	}
	return l, nil
}

// PID is the supervisor's process ID.
func (s *Supervisor) PID() int { return s.cmd.Process.Pid }

// Groups lists the environment's control groups, for RemoveGroups.
func (s *Supervisor) Groups() []string { return s.group.dirs }

// Asked is closed when another process asked the supervisor to end the
// environment (by SIGTERM). It does so by itself after a few seconds.
func (s *Supervisor) Asked() <-chan struct{} { return s.asked }

// listen takes the supervisor's messages until it is gone.
func (s *Supervisor) listen() {
	for {
		var r reply
		fds, err := s.w.receive(&r)
		closeAll(fds)
		if err != nil {
			break
		}
		s.mu.Lock()
		switch c := s.answers[r.ID]; {
		case r.Op == "asked":
			select {
			case <-s.asked:
			default:
				close(s.asked)
			}
		case r.Op == "exited":
			if p := s.procs[r.ID]; p != nil {
				delete(s.procs, r.ID)
				p.exit = r.Exit
				close(p.done)
			}
		case c != nil:
			delete(s.answers, r.ID)
			c <- r
		}
		s.mu.Unlock()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, p := range s.procs {
		p.exit = agent.ExitStatus{Code: -1, Signal: syscall.SIGKILL.String()}
		close(p.done)
		delete(s.procs, id)
	}
	s.closed = true
	close(s.lost)
}

var errGone = errors.New("the supervisor is gone")

// ask sends a request and waits for its answer.
func (s *Supervisor) ask(ctx context.Context, r request, files ...*os.File) (reply, error) {
	if err := ctx.Err(); err != nil {
		return reply{}, err
	}
	c := make(chan reply, 1)
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return reply{}, errGone
	}
	if r.ID == 0 {
		s.nextID++
		r.ID = s.nextID
	}
	s.answers[r.ID] = c
	s.mu.Unlock()
	r.Files = len(files)
	err := s.w.send(r, files...)
	if err == nil {
		select {
		case a := <-c:
			return a, a.err()
		case <-s.lost:
			return reply{}, errGone
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	s.mu.Lock()
	delete(s.answers, r.ID)
	s.mu.Unlock()
	return reply{}, err
}

// Start implements agent.Supervisor.
func (s *Supervisor) Start(ctx context.Context, c agent.Command) (agent.Process, error) {
	p := &process{s: s, done: make(chan struct{})}
	s.mu.Lock()
	s.nextID++
	p.id = s.nextID
	s.procs[p.id] = p
	s.mu.Unlock()
	files := append([]*os.File{c.Stdout, c.Stderr}, c.Extra...)
	c.Stdout, c.Stderr, c.Extra = nil, nil, nil
	if _, err := s.ask(ctx, request{Op: "start", ID: p.id, Command: &c}, files...); err != nil {
		s.mu.Lock()
		delete(s.procs, p.id)
		s.mu.Unlock()
		if ctx.Err() != nil { // it may have been started
			s.send(request{Op: "signal", Process: p.id, Signal: syscall.SIGKILL})
		}
		return nil, err
	}
	return p, nil
}

// send sends a request whose answer nobody waits for.
func (s *Supervisor) send(r request) error {
	s.mu.Lock()
	s.nextID++
	r.ID = s.nextID
	s.mu.Unlock()
	return s.w.send(r)
}

// KillAll implements agent.Supervisor.
func (s *Supervisor) KillAll(ctx context.Context) error {
	_, err := s.ask(ctx, request{Op: "killAll"})
	select {
	case <-s.lost:
		return nil // nothing outlives the supervisor
	default:
		return err
	}
}

// Memory implements agent.Supervisor.
func (s *Supervisor) Memory() int64 { return s.meter.memory() }

// ResetMemory implements agent.Supervisor.
func (s *Supervisor) ResetMemory() { s.meter.reset() }

// OOMKills implements agent.Supervisor.
func (s *Supervisor) OOMKills() int64 { return s.meter.oomKills() }

// Pause implements agent.Supervisor.
func (s *Supervisor) Pause() error { return s.pause("pause") }

// Resume implements agent.Supervisor.
func (s *Supervisor) Resume() error { return s.pause("resume") }

func (s *Supervisor) pause(op string) error {
	ctx, cancel := context.WithTimeout(context.Background(), killLimit)
	defer cancel()
	_, err := s.ask(ctx, request{Op: op})
	return err
}

// Lost implements agent.Supervisor.
func (s *Supervisor) Lost() <-chan struct{} { return s.lost }

// Close ends all processes, the supervisor last, and returns when it is gone
// and nothing is left. It may be called more than once.
func (s *Supervisor) Close() error {
	s.w.c.Close()
	select {
	case <-s.waited:
	case <-time.After(killLimit + time.Second):
		s.cmd.Process.Kill()
		<-s.waited
	}
	s.meter.close()
	s.group.remove()
	return nil
}

// process is a process that the supervisor started.
type process struct {
	s    *Supervisor
	id   int
	done chan struct{}
	exit agent.ExitStatus
}

func (p *process) Done() <-chan struct{}  { return p.done }
func (p *process) Exit() agent.ExitStatus { return p.exit }

// Signal implements agent.Process.
func (p *process) Signal(sig os.Signal) error {
	n, ok := sig.(syscall.Signal)
	if !ok {
		return fmt.Errorf("signal %v can't be sent", sig)
	}
	select {
	case <-p.done:
		return nil
	case <-p.s.lost:
		return nil
	default:
		return p.s.send(request{Op: "signal", Process: p.id, Signal: n})
	}
}

// tail keeps the end of what is written to it.
type tail struct {
	mu  sync.Mutex // guards buf
	buf []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p...)
	if n := len(t.buf) - 2048; n > 0 {
		t.buf = append(t.buf[:0], t.buf[n:]...)
	}
	return len(p), nil
}

func (t *tail) text() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.buf)
}
