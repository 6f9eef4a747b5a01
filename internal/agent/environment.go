package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"sort"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hearth-run/hearth/internal/instance"
)

type phase string

const (
	phaseInit   phase = "init"
	phaseInvoke phase = "invoke"
)

// failure is how an INIT or an event failed.
type failure struct {
	Type    string
	Payload []byte // JSON
	Status  string // "error", "timeout"
	Exit    bool   // the runtime is gone
}

// environment is one generation of the function's processes, from INIT to the
// crash, timeout or shutdown that ends it.
type environment struct {
	a       *Agent
	n       int           // from 1
	over    chan struct{} // closed when INIT is over
	broken  chan struct{} // closed when the generation must not be used any more
	once    sync.Once
	brkOnce sync.Once
	served  atomic.Bool // an event has been given to it

	// Valid once over is closed.
	initFailure *failure
	initTime    time.Duration

	runtime Process
	framed  *framed
	http    *httpRuntime
	pipes   []*pipe
	first   chan *failure // the runtime's first word: nil means it is ready
}

func (a *Agent) newEnvironmentLocked() *environment {
	a.inits++
	e := &environment{a: a, n: a.inits, over: make(chan struct{}), broken: make(chan struct{}), first: make(chan *failure, 1)}
	e.http = newHTTPRuntime(e)
	a.env = e
	return e
}

// word takes the runtime's first word; only the first counts.
func (e *environment) word(f *failure) {
	select {
	case e.first <- f:
	default:
	}
}

// init runs INIT until deadline. It returns why it failed, or nil.
func (e *environment) init(p phase, deadline time.Time, request string) *failure {
	began := time.Now()
	a := e.a
	a.out.platformInitStart(began, a, p)
	f := e.start()
	if f == nil {
		timer := time.NewTimer(time.Until(deadline))
		select {
		case f = <-e.first:
		case <-e.runtime.Done():
			select {
			case f = <-e.first: // it reported before it exited
			default:
			}
			if f == nil {
				f = exitFailure(e.runtime.Exit(), request)
			}
		case <-timer.C:
			f = &failure{Type: "Sandbox.Timedout", Status: "timeout"}
		}
		timer.Stop()
	}
	e.initTime = time.Since(began)
	e.initFailure = f
	e.drain()
	if f != nil {
		a.out.platformInitReport(e.initTime, p, f)
	}
	e.once.Do(func() { close(e.over) })
	if f != nil {
		e.reset()
	}
	return f
}

// start starts the runtime process.
func (e *environment) start() *failure {
	a := e.a
	fail := func(err error) *failure {
		a.log.Error("runtime not started", "function", a.spec.FunctionName, "err", err)
		return &failure{Type: "Runtime.InvalidEntrypoint", Status: "error", Exit: true,
			Payload: errorJSON("Runtime.InvalidEntrypoint", "Error: "+err.Error())}
	}
	stdout, w, err := newPipe(a.out, instance.LogFunction, false)
	if err != nil {
		return fail(err)
	}
	defer w.Close()
	telemetry, tw, err := newPipe(a.out, instance.LogFunction, true)
	if err != nil {
		stdout.close()
		return fail(err)
	}
	defer tw.Close()
	e.pipes = []*pipe{stdout, telemetry}
	conn, child, err := socketPair()
	if err != nil {
		return fail(err)
	}
	defer child.Close()
	e.framed = newFramed(conn)

	api := a.Addr()
	env := make([]string, 0, len(a.spec.Environment)+6)
	for k, v := range a.spec.Environment {
		env = append(env, k+"="+v)
	}
	sort.Strings(env)
	env = append(env, "AWS_LAMBDA_RUNTIME_API="+api, "_HEARTH_RUNTIME_API="+api, "_HEARTH_FD=3", "_LAMBDA_TELEMETRY_LOG_FD=4",
		"AWS_LAMBDA_INITIALIZATION_TYPE="+a.spec.InitType)
	if a.spec.MaxConcurrency > 1 {
		env = append(env, "AWS_LAMBDA_MAX_CONCURRENCY="+strconv.Itoa(a.spec.MaxConcurrency))
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	e.runtime, err = a.sup.Start(ctx, Command{
		Name: "runtime", Path: a.spec.Command[0], Args: a.spec.Command[1:], Env: env, Dir: a.spec.WorkDir,
		Stdout: w, Stderr: w, Extra: []*os.File{child, tw},
	})
	if err != nil {
		return fail(err)
	}
	go e.framed.greet(e)
	return nil
}

// socketPair returns a connected pair: the agent's end, and the child's.
func socketPair() (net.Conn, *os.File, error) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC|syscall.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("socketpair: %w", err)
	}
	// The child's end must block: it is shared with the runtime.
	syscall.SetNonblock(fds[1], false)
	ours := os.NewFile(uintptr(fds[0]), "runtime")
	defer ours.Close()
	conn, err := net.FileConn(ours)
	if err != nil {
		syscall.Close(fds[1])
		return nil, nil, err
	}
	return conn, os.NewFile(uintptr(fds[1]), "agent"), nil
}

// drain writes all that the environment's processes have printed so far.
func (e *environment) drain() {
	for _, p := range e.pipes {
		p.drain()
	}
}

// reset ends the generation and all its processes.
func (e *environment) reset() {
	e.brkOnce.Do(func() {
		close(e.broken)
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := e.a.sup.KillAll(ctx); err != nil {
			e.a.log.Error("processes could not be ended", "function", e.a.spec.FunctionName, "err", err)
		}
		if e.framed != nil {
			e.framed.conn.Close()
		}
		e.http.closeAll()
		for _, p := range e.pipes {
			p.close()
		}
	})
}

func errorJSON(errorType, message string) []byte {
	b, _ := json.Marshal(struct {
		T string `json:"errorType"`
		M string `json:"errorMessage"`
	}{errorType, message})
	return b
}

// exitFailure words the exit of a runtime as AWS does.
func exitFailure(s ExitStatus, request string) *failure {
	f := &failure{Type: "Runtime.ExitError", Status: "error", Exit: true}
	reason := "Runtime exited without providing a reason"
	switch {
	case s.OOM:
		f.Type, reason = "Runtime.OutOfMemory", "Runtime exited with error: signal: killed"
	case s.Signal != "":
		reason = "Runtime exited with error: signal: " + s.Signal
	case s.Code != 0:
		reason = fmt.Sprintf("Runtime exited with error: exit status %d", s.Code)
	}
	f.Payload = errorJSON(f.Type, "RequestId: "+request+" Error: "+reason)
	return f
}
