package confine

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/hearth-run/hearth/internal/agent"
)

const (
	// controlFD is where a supervisor finds its server's socket.
	controlFD = 3
	// A supervisor that is asked to stop by somebody else gives its server so
	// long to end the environment in order.
	stopGrace = 5 * time.Second
	// What can't be killed within killLimit hangs in the kernel.
	killLimit = 10 * time.Second
)

// Names of what a server tells its supervisor by its environment.
const (
	isolateVariable = "HEARTH_ISOLATE"
	folderVariable  = "HEARTH_FOLDER"
	groupsVariable  = "HEARTH_CGROUPS"
)

// Supervise is the main function of a supervisor process ("hearth-agent
// supervise"). It returns when the server's socket has closed and every process
// of the environment is gone.
func Supervise() error {
	signal.Ignore(syscall.SIGINT, syscall.SIGHUP, syscall.SIGPIPE)
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGTERM)
	syscall.CloseOnExec(controlFD)
	w, err := newWire(os.NewFile(controlFD, "server"))
	if err != nil {
		return fmt.Errorf("supervise: descriptor %d: %w", controlFD, err)
	}
	s := &supervised{w: w, procs: map[int]*localProcess{}}
	if s.left, err = openLeftovers(os.Getenv(folderVariable), os.Getenv(groupsVariable)); err != nil {
		return fmt.Errorf("supervise: %w", err)
	}
	hello := reply{Op: "hello"}
	if os.Getenv(isolateVariable) != "" {
		if err := isolate(); err != nil {
			hello.fail(err)
			w.send(hello)
			return nil
		}
		s.isolated = true
	}
	if s.l, err = newLocal(); err != nil {
		return fmt.Errorf("supervise: %w", err)
	}
	if err := w.send(hello); err != nil {
		return s.end()
	}
	go func() {
		<-asked
		if w.send(reply{Op: "asked"}) == nil {
			time.Sleep(stopGrace)
		}
		w.c.Close()
	}()
	for {
		var r request
		fds, err := w.receive(&r)
		if err != nil {
			return s.end() // the server closed the socket or is gone
		}
		s.serve(&r, fds)
	}
}

// supervised is the supervisor's side of an environment. One goroutine serves.
type supervised struct {
	w        *wire
	l        *local
	left     *leftovers
	isolated bool

	mu    sync.Mutex // guards procs
	procs map[int]*localProcess
}

// end ends all processes and removes what the environment leaves.
func (s *supervised) end() error {
	ctx, cancel := context.WithTimeout(context.Background(), killLimit)
	defer cancel()
	err := s.l.killAll(ctx)
	if s.isolated {
		detachTmp()
	}
	s.left.remove()
	return err
}

func (s *supervised) serve(r *request, fds []int) {
	defer closeAll(fds)
	a := reply{Op: "done", ID: r.ID}
	var err error
	switch r.Op {
	case "setup":
		if r.Memory != "" {
			s.l.count(newMeter(os.Getpid(), r.Memory, r.V2))
		} else {
			s.l.count(ownMeter())
		}
		a.Layout, err = s.setup(r.Setup)
	case "start":
		if err = s.start(r, fds, a); err == nil {
			return // it has answered
		}
	case "signal":
		s.mu.Lock()
		p := s.procs[r.Process]
		s.mu.Unlock()
		if p != nil {
			p.signal(r.Signal)
		}
	case "killAll":
		ctx, cancel := context.WithTimeout(context.Background(), killLimit)
		err = s.l.killAll(ctx)
		cancel()
	case "pause":
		s.l.pause()
	case "resume":
		s.l.resume()
	default:
		err = fmt.Errorf("unknown request %q", r.Op)
	}
	if err != nil {
		a.fail(err)
	}
	s.w.send(a)
}

func (s *supervised) setup(c *Setup) (*Layout, error) {
	l := plainLayout(c)
	if s.isolated {
		if err := arrange(c, &l); err != nil {
			return nil, err
		}
	}
	if c.MaxFiles > 0 {
		// Once it is set here, children inherit it.
		if err := lowerLimit(syscall.RLIMIT_NOFILE, uint64(c.MaxFiles)); err != nil {
			return nil, fmt.Errorf("limit open files: %w", err)
		}
	}
	if c.MaxProcesses > 0 && s.isolated {
		limitProcesses(c.MaxProcesses)
	}
	return &l, nil
}

func lowerLimit(which int, n uint64) error {
	var lim syscall.Rlimit
	if err := syscall.Getrlimit(which, &lim); err != nil {
		return err
	}
	lim.Max = min(lim.Max, n)
	lim.Cur = lim.Max
	return syscall.Setrlimit(which, &lim)
}

// start starts r's process and answers with ok before its exit can be told.
func (s *supervised) start(r *request, fds []int, ok reply) error {
	if len(fds) != r.Files || len(fds) < 2 {
		return fmt.Errorf("%d descriptors came for %d files", len(fds), r.Files)
	}
	files := make([]uintptr, len(fds))
	for i, fd := range fds {
		files[i] = uintptr(fd)
	}
	id := r.ID
	s.mu.Lock()
	defer s.mu.Unlock()
	p, err := s.l.start(r.Command, files, func() { s.w.send(ok) }, func(exit agent.ExitStatus) {
		s.mu.Lock()
		delete(s.procs, id)
		s.mu.Unlock()
		s.w.send(reply{Op: "exited", ID: id, Exit: exit})
	})
	if err == nil {
		s.procs[id] = p
	}
	return err
}
