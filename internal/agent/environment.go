package agent

import (
	"context"
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

// phase is where an INIT happens: of its own, or as part of an event.
type phase string

const (
	phaseInit   phase = "init"
	phaseInvoke phase = "invoke"
)

// Reasons of a shutdown, as extensions are told them.
const (
	reasonSpindown = "spindown"
	reasonTimeout  = "timeout"
	reasonFailure  = "failure"
)

// environment is one generation of the function's processes, from INIT to the
// crash, timeout or shutdown that ends it.
type environment struct {
	a      *Agent
	n      int // from 1
	phase  phase
	over   chan struct{} // closed when INIT is over
	failed chan struct{} // closed when the generation must not be used any more
	served atomic.Bool   // an event has been given to it
	oom    int64         // processes killed for memory before it
	gone   sync.Once
	procs  sync.WaitGroup // watchers of processes

	// Valid once over is closed.
	initFailure *failure
	initTime    time.Duration
	restoreTime time.Duration

	framed *framed
	pipes  []*pipe
	starts sync.Mutex // held while processes are started; taken before mu

	mu         sync.Mutex // guards what follows
	fault      *failure   // why failed is closed
	closing    bool       // its processes are being ended: exits are no failures
	runtime    Process
	state      runtimeState
	exts       []*extension
	regOver    bool          // no extension can register any more
	registered chan struct{} // closed when all external extensions have registered
	complete   chan struct{} // closed when the runtime and all extensions are ready for the first time
	waiting    []*httpConn   // runtime connections that wait for an event
	queue      []*call       // events that wait for a runtime connection
	calls      map[string]*call
	current    *call // the last call that was handed over, when only one is at a time
	round      *round
	initDone   bool // platform.initRuntimeDone has been said
	restored   time.Time
}

// round is an event whose end needs more than the runtime's answer: that the
// runtime asks for the next one, and that extensions are done with it.
type round struct {
	runtime bool // the runtime is still to come
	exts    int  // so many extensions are
	done    chan struct{}
}

func (r *round) checkLocked() {
	if r != nil && !r.runtime && r.exts == 0 {
		select {
		case <-r.done:
		default:
			close(r.done)
		}
	}
}

func (a *Agent) newEnvironmentLocked(p phase) *environment {
	a.inits++
	e := &environment{
		a: a, n: a.inits, phase: p,
		over: make(chan struct{}), failed: make(chan struct{}),
		registered: make(chan struct{}), complete: make(chan struct{}),
		calls: make(map[string]*call),
		state: stateStarted,
	}
	a.env = e
	return e
}

// fail ends the use of the generation; the first reason counts. Whoever waits
// for one of its processes goes on.
func (e *environment) fail(f *failure) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.fault != nil || e.closing && f != errGone {
		return
	}
	e.fault = f
	close(e.failed)
	if e.framed != nil {
		e.framed.closeRead()
	}
}

// fault returns why the generation failed, once failed is closed.
func (e *environment) failure() *failure {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.fault
}

// init runs INIT until deadline. It returns why it failed, or nil.
func (e *environment) init(deadline time.Time) *failure {
	began := time.Now()
	e.oom = e.a.sup.OOMKills()
	e.a.out.initStart(e)
	f := e.initPhases(deadline)
	e.mu.Lock()
	e.regOver = true
	if f != nil && !e.initDone {
		e.initDone = true
		e.mu.Unlock()
		e.a.out.initRuntimeDone(e, f)
		e.mu.Lock()
	}
	e.mu.Unlock()
	e.initTime = time.Since(began)
	if !e.restored.IsZero() {
		e.restoreTime = time.Since(e.restored)
		e.initTime -= e.restoreTime
	}
	e.initFailure = f
	e.drain()
	e.a.out.extensions(e)
	if f != errGone {
		e.a.out.initReport(e, f)
	}
	if !e.restored.IsZero() && f == nil {
		e.a.out.restoreReport(e)
	}
	close(e.over)
	if f != nil && f != errGone {
		e.fail(f)
		reason := reasonFailure
		if f.Status == statusTimeout {
			reason = reasonTimeout
		}
		e.reset(context.Background(), reason)
	}
	return f
}

func (e *environment) initPhases(deadline time.Time) *failure {
	timer := time.NewTimer(time.Until(deadline))
	defer timer.Stop()
	await := func(c <-chan struct{}) *failure {
		select {
		case <-c:
			return nil
		case <-e.failed:
			return e.failure()
		case <-timer.C:
			return timedOut
		}
	}
	if f := e.startExtensions(); f != nil {
		return f
	}
	if f := await(e.registered); f != nil {
		return f
	}
	if f := e.startRuntime(); f != nil {
		return f
	}
	return await(e.complete)
}

// checkLocked closes what has become true.
func (e *environment) checkLocked() {
	registered, ready := true, true
	for _, x := range e.exts {
		if x.external && x.state == extStarted {
			registered = false
		}
		if x.state == extStarted || x.state == extRegistered {
			ready = false
		}
	}
	shut := func(c chan struct{}) {
		select {
		case <-c:
		default:
			close(c)
		}
	}
	if registered {
		shut(e.registered)
	}
	if registered && ready && e.state >= stateReady {
		shut(e.complete)
	}
}

// begin says whether processes may still be started. If so, reset waits until
// the caller has unlocked e.starts.
func (e *environment) begin() bool {
	e.starts.Lock()
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closing {
		e.starts.Unlock()
	}
	return !e.closing
}

// startRuntime starts the runtime's process.
func (e *environment) startRuntime() *failure {
	if !e.begin() {
		return errGone
	}
	defer e.starts.Unlock()
	a := e.a
	fail := func(err error) *failure {
		a.log.Warn("runtime not started", "function", a.spec.FunctionName, "err", err)
		return a.notStarted(err)
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
	e.pipes = append(e.pipes, stdout, telemetry)
	conn, child, err := socketPair()
	if err != nil {
		return fail(err)
	}
	defer child.Close()
	e.mu.Lock()
	e.framed = newFramed(conn)
	e.mu.Unlock()

	env := make([]string, 0, len(a.spec.Environment)+6)
	for k, v := range a.spec.Environment {
		env = append(env, k+"="+v)
	}
	sort.Strings(env)
	env = append(env, "AWS_LAMBDA_RUNTIME_API="+a.Addr(), "_HEARTH_RUNTIME_API="+a.Addr(), "_HEARTH_FD=3", "_LAMBDA_TELEMETRY_LOG_FD=4",
		"AWS_LAMBDA_INITIALIZATION_TYPE="+a.spec.InitType)
	if a.spec.MaxConcurrency > 1 {
		env = append(env, "AWS_LAMBDA_MAX_CONCURRENCY="+strconv.Itoa(a.spec.MaxConcurrency))
	}
	p, err := e.start(Command{
		Name: "runtime", Path: a.spec.Command[0], Args: a.spec.Command[1:], Env: env, Dir: a.spec.WorkDir,
		Stdout: w, Stderr: w, Extra: []*os.File{child, tw},
	})
	if err != nil {
		return fail(err)
	}
	e.mu.Lock()
	e.runtime = p
	e.mu.Unlock()
	greeted := make(chan struct{})
	e.procs.Go(func() {
		e.framed.greet(e)
		close(greeted)
	})
	e.procs.Go(func() {
		<-p.Done()
		// What it has written counts, also when a child of it holds the socket open.
		e.framed.closeRead()
		<-greeted
		exit := p.Exit()
		exit.OOM = exit.OOM || exit.Signal == "killed" && e.a.sup.OOMKills() > e.oom
		e.fail(runtimeExit(exit))
	})
	return nil
}

func (e *environment) start(c Command) (Process, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	return e.a.sup.Start(ctx, c)
}

// socketPair returns a connected pair: the agent's end, and the child's.
func socketPair() (*net.UnixConn, *os.File, error) {
	syscall.ForkLock.RLock()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err == nil {
		syscall.CloseOnExec(fds[0])
		syscall.CloseOnExec(fds[1])
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return nil, nil, fmt.Errorf("socketpair: %w", err)
	}
	ours := os.NewFile(uintptr(fds[0]), "runtime")
	defer ours.Close()
	conn, err := net.FileConn(ours)
	if err != nil {
		syscall.Close(fds[1])
		return nil, nil, fmt.Errorf("socketpair: %w", err)
	}
	return conn.(*net.UnixConn), os.NewFile(uintptr(fds[1]), "agent"), nil
}

// runtimeReady notes that the runtime wants its first event.
func (e *environment) runtimeReady() {
	e.mu.Lock()
	first := !e.initDone && e.fault == nil
	e.initDone = e.initDone || first
	restoring := e.state == stateRestoring
	e.mu.Unlock()
	if !first {
		return
	}
	if restoring {
		e.a.out.restoreRuntimeDone(e, nil)
	} else {
		e.a.out.initRuntimeDone(e, nil)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.regOver = true
	e.state = stateReady
	e.checkLocked()
}

// drain writes all that the environment's processes have printed so far.
func (e *environment) drain() {
	for _, p := range e.pipes {
		p.drain()
	}
}

// AWS's windows of the SHUTDOWN phase.
const (
	shutdownInternal = 500 * time.Millisecond  // of the runtime, with internal extensions only
	shutdownRuntime  = 300 * time.Millisecond  // of the runtime, with external extensions
	shutdownExternal = 2000 * time.Millisecond // of all together
)

// reset ends the generation and all its processes, through the SHUTDOWN phase.
// It returns when nothing is left, to every caller.
func (e *environment) reset(ctx context.Context, reason string) {
	e.gone.Do(func() {
		e.mu.Lock()
		healthy := e.fault == nil
		e.closing = true
		e.regOver = true
		e.mu.Unlock()
		e.starts.Lock()
		//lint:ignore SA2001 whoever starts processes is waited for; no other begins
		e.starts.Unlock()
		e.mu.Lock()
		runtime := e.runtime
		exts := append([]*extension(nil), e.exts...)
		e.mu.Unlock()
		e.shutdown(ctx, reason, healthy, runtime, exts)
		kill, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := e.a.sup.KillAll(kill); err != nil {
			e.a.log.Error("processes could not be ended", "function", e.a.spec.FunctionName, "err", err)
		}
		e.fail(errGone)
		e.mu.Lock()
		waiting := e.waiting
		e.waiting = nil
		framed := e.framed
		e.mu.Unlock()
		for _, h := range waiting {
			h.c.Close()
		}
		for _, x := range exts {
			x.close(e)
		}
		if framed != nil {
			framed.conn.Close()
		}
		for _, p := range e.pipes {
			p.close()
		}
		e.procs.Wait()
		e.a.tel.end(ctx, e)
	})
}

// shutdown gives the processes their windows.
func (e *environment) shutdown(ctx context.Context, reason string, healthy bool, runtime Process, exts []*extension) {
	internal, external := false, false
	for _, x := range exts {
		external = external || x.external && x.alive()
		internal = internal || !x.external
	}
	if !internal && !external {
		return
	}
	began := time.Now()
	within := func(d time.Duration, done <-chan struct{}) {
		t := time.NewTimer(time.Until(began.Add(d)))
		defer t.Stop()
		select {
		case <-done:
		case <-t.C:
		case <-ctx.Done():
		}
	}
	window := shutdownInternal
	if external {
		window = shutdownRuntime
	}
	if runtime != nil {
		if healthy {
			runtime.Signal(syscall.SIGTERM)
			within(window, runtime.Done())
		}
		runtime.Signal(syscall.SIGKILL)
	}
	if !external {
		return
	}
	deadline := began.Add(shutdownExternal)
	for _, x := range exts {
		if x.external && x.alive() && x.wants("SHUTDOWN") {
			e.tell(x, shutdownEvent(reason, deadline))
		}
	}
	for _, x := range exts {
		if x.external && x.alive() && x.wants("SHUTDOWN") {
			within(shutdownExternal, x.proc.Done())
		}
	}
}
