// Package confine starts the processes of an execution environment and keeps
// hold of them: in namespaces and control groups where the machine allows,
// and in any case so that none is left when the environment ends.
//
// A server starts one supervisor process for each local instance:
//
//	server ── socket ── supervisor ── runtime, extensions ── whatever they start
//
// The supervisor is the reaper of all of them, those that left their session
// too. When its socket closes, because the server asked or because the server
// is gone, it ends them all and itself.
package confine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"github.com/hearth-run/hearth/internal/agent"
)

// Setup says what an environment looks like to its processes. Paths are the machine's.
type Setup struct {
	TaskRoot   string // to be seen at /var/task, read-only; "" for none
	Opt        string // to be seen at /opt, read-only; "" for an empty one
	RuntimeDir string // to be seen at /var/runtime, read-only; "" for none
	Tmp        string // to be seen at /tmp; an existing folder
	// MaxFiles bounds open files of each process. 0 leaves it.
	MaxFiles int
	// MemoryLimit and MaxProcesses bound the environment where control groups
	// allow it. In bytes and processes; 0 means no bound.
	MemoryLimit  int64
	MaxProcesses int
	// CPUs bounds CPU time, in processors, where control groups allow it. 0 means no bound.
	CPUs float64
	// CgroupName names the environment's control group.
	CgroupName string
}

// Config says how to start a supervisor.
type Config struct {
	// Program and Args start the supervisor: hearth-agent supervise.
	Program string
	Args    []string
	// Plain asks for no namespaces.
	Plain bool
	Setup Setup
}

// Supervisor is the server's handle of a supervisor process. It implements
// agent.Supervisor.
type Supervisor struct {
	cmd      *exec.Cmd
	w        *wire
	setup    Setup
	isolated bool
	group    *group
	lost     chan struct{}
	waited   chan struct{}

	mu      sync.Mutex // guards what follows
	nextID  int
	procs   map[int]*process
	answers map[int]chan reply
	closed  bool
}

var _ agent.Supervisor = (*Supervisor)(nil)

// Start starts a supervisor and sets up its environment. Namespaces are tried
// for and given up where the machine refuses them: Isolated tells. ctx bounds
// the start. On error nothing is left.
func Start(ctx context.Context, cfg Config) (*Supervisor, error) {
	var refused error
	if !cfg.Plain {
		for _, attr := range isolations() {
			s, err := start(ctx, cfg, attr)
			if err == nil {
				return s, nil
			}
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			refused = err
		}
	}
	s, err := start(ctx, cfg, nil)
	if err != nil {
		return nil, errors.Join(err, refused)
	}
	return s, nil
}

func start(ctx context.Context, cfg Config, isolation *syscall.SysProcAttr) (_ *Supervisor, err error) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err != nil {
		return nil, fmt.Errorf("supervisor: socketpair: %w", err)
	}
	syscall.CloseOnExec(fds[0])
	syscall.CloseOnExec(fds[1])
	ours, theirs := os.NewFile(uintptr(fds[0]), "supervisor"), os.NewFile(uintptr(fds[1]), "server")
	defer theirs.Close()
	w, err := newWire(ours)
	if err != nil {
		return nil, fmt.Errorf("supervisor: %w", err)
	}
	defer func() {
		if err != nil {
			w.c.Close()
		}
	}()
	cmd := exec.Command(cfg.Program, cfg.Args...)
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.Stderr = os.Stderr
	cmd.Env = []string{"GOMAXPROCS=1", "GOGC=400"}
	if isolation != nil {
		attr := *isolation
		cmd.SysProcAttr = &attr
		cmd.Env = append(cmd.Env, "HEARTH_ISOLATED=1")
	} else {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setsid = true // a terminal's Ctrl-C is for the server alone
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start supervisor %s: %w", cfg.Program, err)
	}
	theirs.Close()
	s := &Supervisor{
		cmd: cmd, w: w, setup: cfg.Setup, isolated: isolation != nil,
		lost: make(chan struct{}), waited: make(chan struct{}),
		procs: map[int]*process{}, answers: map[int]chan reply{},
	}
	go func() {
		cmd.Wait()
		close(s.waited)
	}()
	s.group = newGroup(cfg.Setup, cmd.Process.Pid)
	ready := make(chan reply, 1)
	s.answers[0] = ready
	go s.listen()
	if err := w.send(request{Op: "setup", Setup: &cfg.Setup}); err == nil {
		select {
		case r := <-ready:
			if err = r.err(); err == nil {
				return s, nil
			}
		case <-s.lost:
			err = errors.New("it exited")
		case <-ctx.Done():
			err = ctx.Err()
		}
		s.Close()
		return nil, fmt.Errorf("set up supervisor: %w", err)
	} else {
		s.Close()
		return nil, fmt.Errorf("set up supervisor: %w", err)
	}
}

// Isolated says whether the environment has its own paths (/var/task, /opt, /tmp).
func (s *Supervisor) Isolated() bool { return s.isolated }

// PID is the supervisor's process ID.
func (s *Supervisor) PID() int { return s.cmd.Process.Pid }

// Limited says whether the memory limit is enforced.
func (s *Supervisor) Limited() bool { return s.group.limited() }

// listen takes the supervisor's messages until it is gone.
func (s *Supervisor) listen() {
	for {
		var r reply
		if _, err := s.w.receive(&r); err != nil {
			break
		}
		s.mu.Lock()
		if r.Op == "exited" {
			if p := s.procs[r.ID]; p != nil {
				delete(s.procs, r.ID)
				p.exit = r.Exit
				if r.Exit.Signal == "killed" && s.group.oomKills() > p.ooms {
					p.exit.OOM = true
				}
				close(p.done)
			}
		} else if c := s.answers[r.ID]; c != nil {
			delete(s.answers, r.ID)
			c <- r
		}
		s.mu.Unlock()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, p := range s.procs {
		p.exit = agent.ExitStatus{Code: -1, Signal: "killed"}
		close(p.done)
		delete(s.procs, id)
	}
	s.closed = true
	close(s.lost)
}

// ask sends a request and waits for its answer.
func (s *Supervisor) ask(ctx context.Context, r request, files ...*os.File) (reply, error) {
	c := make(chan reply, 1)
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return reply{}, errors.New("the supervisor is gone")
	}
	if r.ID == 0 {
		s.nextID++
		r.ID = s.nextID
	}
	s.answers[r.ID] = c
	s.mu.Unlock()
	r.Files = len(files)
	if err := s.w.send(r, files...); err != nil {
		return reply{}, err
	}
	select {
	case a := <-c:
		return a, a.err()
	case <-s.lost:
		return reply{}, errors.New("the supervisor is gone")
	case <-ctx.Done():
		return reply{}, ctx.Err()
	}
}

// Start implements agent.Supervisor.
func (s *Supervisor) Start(ctx context.Context, c agent.Command) (agent.Process, error) {
	s.mu.Lock()
	s.nextID++
	p := &process{s: s, id: s.nextID, done: make(chan struct{}), ooms: s.group.oomKills()}
	s.procs[p.id] = p
	s.mu.Unlock()
	files := append([]*os.File{c.Stdout, c.Stderr}, c.Extra...)
	c.Stdout, c.Stderr, c.Extra = nil, nil, nil
	if _, err := s.ask(ctx, request{Op: "start", ID: p.id, Command: &c}, files...); err != nil {
		s.mu.Lock()
		delete(s.procs, p.id)
		s.mu.Unlock()
		return nil, fmt.Errorf("start %s: %w", c.Path, err)
	}
	return p, nil
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
func (s *Supervisor) Memory() int64 {
	if n := s.group.memory(); n > 0 {
		return n
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	r, err := s.ask(ctx, request{Op: "memory"})
	if err != nil {
		return 0
	}
	return r.Number
}

// ResetMemory implements agent.Supervisor.
func (s *Supervisor) ResetMemory() { s.group.resetMemory() }

// OOMKills implements agent.Supervisor.
func (s *Supervisor) OOMKills() int64 { return s.group.oomKills() }

// Pause implements agent.Supervisor.
func (s *Supervisor) Pause() error {
	_, err := s.ask(context.Background(), request{Op: "pause"})
	return err
}

// Resume implements agent.Supervisor.
func (s *Supervisor) Resume() error {
	_, err := s.ask(context.Background(), request{Op: "resume"})
	return err
}

// Lost implements agent.Supervisor.
func (s *Supervisor) Lost() <-chan struct{} { return s.lost }

// Close ends all processes, the supervisor last, and returns when it is gone.
// It may be called more than once.
func (s *Supervisor) Close() error {
	s.w.c.Close()
	select {
	case <-s.waited:
	case <-time.After(10 * time.Second):
		s.cmd.Process.Kill()
		<-s.waited
	}
	s.group.remove()
	return nil
}

// process is a process that the supervisor started.
type process struct {
	s    *Supervisor
	id   int
	ooms int64 // kills for memory before it began
	done chan struct{}
	exit agent.ExitStatus
}

func (p *process) Done() <-chan struct{}  { return p.done }
func (p *process) Exit() agent.ExitStatus { return p.exit }

func (p *process) Signal(sig os.Signal) error {
	n, ok := sig.(syscall.Signal)
	if !ok {
		return fmt.Errorf("signal %v is none that can be sent", sig)
	}
	select {
	case <-p.done:
		return nil
	default:
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	s := p.s
	s.mu.Lock()
	s.nextID++
	id := s.nextID
	c := make(chan reply, 1)
	s.answers[id] = c
	s.mu.Unlock()
	if err := s.w.send(request{Op: "signal", ID: id, Files: 0, Signal: int(n), Command: &agent.Command{Name: fmt.Sprint(p.id)}}); err != nil {
		return err
	}
	select {
	case <-c:
		return nil
	case <-s.lost:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
