//go:build linux || darwin

package confine

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/hearth-run/hearth/internal/agent"
)

// controlFD is where a supervisor finds its server's socket.
const controlFD = 3

// Supervise is the main function of a supervisor process. It returns when the
// server's socket has closed and every process of the environment is gone.
func Supervise() error {
	signal.Ignore(syscall.SIGINT, syscall.SIGHUP, syscall.SIGPIPE)
	syscall.CloseOnExec(controlFD)
	w, err := newWire(os.NewFile(controlFD, "server"))
	if err != nil {
		return fmt.Errorf("supervise: descriptor %d: %w", controlFD, err)
	}
	s := &supervised{w: w, isolated: os.Getenv("HEARTH_ISOLATED") != "", ids: map[int]int{}, pids: map[int]int{}}
	if err := becomeReaper(); err != nil {
		return fmt.Errorf("supervise: %w", err)
	}
	children := make(chan os.Signal, 1)
	signal.Notify(children, syscall.SIGCHLD)
	go func() {
		for range children {
			s.reap()
		}
	}()
	// Another server's way to end an environment whose handle it has.
	terminate := make(chan os.Signal, 1)
	signal.Notify(terminate, syscall.SIGTERM)
	go func() {
		<-terminate
		w.c.Close()
	}()
	for {
		var r request
		fds, err := w.receive(&r)
		if err != nil {
			break // the server closed the socket or is gone
		}
		s.serve(&r, fds)
	}
	return s.killAll()
}

// supervised is the supervisor's side of an environment.
type supervised struct {
	w        *wire
	isolated bool

	mu   sync.Mutex  // guards what follows, and is held from fork to registration
	ids  map[int]int // of processes, by PID
	pids map[int]int
}

func (s *supervised) serve(r *request, fds []int) {
	a := reply{Op: "done", ID: r.ID}
	var err error
	switch r.Op {
	case "setup":
		err = s.setup(r.Setup)
	case "start":
		err = s.start(r, fds)
		fds = nil
	case "signal":
		id, _ := strconv.Atoi(r.Command.Name)
		s.mu.Lock()
		if pid := s.pids[id]; pid > 0 {
			if syscall.Kill(-pid, syscall.Signal(r.Signal)) != nil {
				syscall.Kill(pid, syscall.Signal(r.Signal))
			}
		}
		s.mu.Unlock()
	case "killAll":
		err = s.killAll()
	case "memory":
		a.Number = peakMemory()
	case "pause":
		signalAll(syscall.SIGSTOP)
	case "resume":
		signalAll(syscall.SIGCONT)
	default:
		err = fmt.Errorf("unknown request %q", r.Op)
	}
	for _, fd := range fds {
		syscall.Close(fd)
	}
	if err != nil {
		a.Error = err.Error()
		var errno syscall.Errno
		if errors.As(err, &errno) {
			a.Errno = int(errno) // Error ends with its text
			a.Error = strings.TrimSuffix(strings.TrimSuffix(a.Error, errno.Error()), ": ")
		}
	}
	s.w.send(a)
}

func (s *supervised) setup(c *Setup) error {
	if c.MaxFiles > 0 {
		var lim syscall.Rlimit
		if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &lim); err != nil {
			return fmt.Errorf("open files: %w", err)
		}
		n := uint64(c.MaxFiles)
		lim.Cur, lim.Max = min(lim.Max, n), min(lim.Max, n)
		// Once it is set here, children inherit it.
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &lim); err != nil {
			return fmt.Errorf("open files: %w", err)
		}
	}
	if s.isolated {
		return isolate(c)
	}
	return nil
}

func (s *supervised) start(r *request, fds []int) error {
	defer func() {
		for _, fd := range fds {
			syscall.Close(fd)
		}
	}()
	c := r.Command
	if len(fds) != r.Files || len(fds) < 2 {
		return fmt.Errorf("%d descriptors came for %d files", len(fds), r.Files)
	}
	null, err := syscall.Open(os.DevNull, syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", os.DevNull, err)
	}
	defer syscall.Close(null)
	files := []uintptr{uintptr(null)}
	for _, fd := range fds {
		files = append(files, uintptr(fd))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	pid, err := syscall.ForkExec(c.Path, append([]string{c.Path}, c.Args...), &syscall.ProcAttr{
		Dir: c.Dir, Env: c.Env, Files: files, Sys: &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return err
	}
	s.ids[pid], s.pids[r.ID] = r.ID, pid
	return nil
}

// reap collects every child that has ended, and tells the server of those it knows.
func (s *supervised) reap() {
	for {
		var ws syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &ws, syscall.WNOHANG, nil)
		if err == syscall.EINTR {
			continue
		}
		if err != nil || pid <= 0 {
			return
		}
		s.mu.Lock()
		id, known := s.ids[pid]
		if known {
			delete(s.ids, pid)
			delete(s.pids, id)
		}
		s.mu.Unlock()
		if !known {
			continue
		}
		exit := agent.ExitStatus{Code: ws.ExitStatus()}
		if ws.Signaled() {
			exit = agent.ExitStatus{Code: -1, Signal: ws.Signal().String()}
		}
		s.w.send(reply{Op: "exited", ID: id, Exit: exit})
	}
}
