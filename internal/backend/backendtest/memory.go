package backendtest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hearth-run/hearth/internal/backend"
	"github.com/hearth-run/hearth/internal/instance"
)

// Script says what the instances of a Memory do. The zero value starts at once
// and echoes every event. All waiting is by the time package and by contexts,
// so that a Memory lives under testing/synctest.
type Script struct {
	// CanRun, if not nil, answers CanRun.
	CanRun func(d backend.Deployment) error
	// LaunchTime is how long Launch takes; InitTime how long INIT takes after it.
	LaunchTime time.Duration
	InitTime   time.Duration
	// Launch, if not nil, is called after LaunchTime of the n-th launch (from 1,
	// over all servers of the engine); its error is that launch's. It may block,
	// as long as it returns when ctx ends.
	Launch func(ctx context.Context, n int, d backend.Deployment) error
	// Handle, if not nil, answers events. It should return soon after
	// c.Context ends; the caller has got its timeout by then.
	Handle func(c Call) Answer
	// SettleTime is how long an instance is busy after its answer.
	SettleTime time.Duration
	// Terminate, if not nil, is called by each Terminate of an instance that is
	// there, before it ends; an error leaves it running.
	Terminate func(ctx context.Context, h backend.Handle) error
}

// Call is an event that a Script handles.
type Call struct {
	Context    context.Context // ends with the event's timeout, and with the instance
	Deployment backend.Deployment
	Instance   string // ID of its handle
	Generation int    // INITs of the instance so far, from 1
	N          int    // events of the instance so far, with this one
	Event      *instance.Event
}

// Answer is what a Script does with an event. Exactly one of the endings that
// follow Payload applies; with none, Payload is the response.
type Answer struct {
	ContentType string // "" means application/json
	Payload     []byte
	Chunks      [][]byte // sent to the sink before Payload when the caller takes a stream
	Print       []string // lines for the log, before the rest

	ErrorType string              // the function failed; Payload is the error's JSON
	Crash     bool                // the runtime exits: Runtime.ExitError, and INIT runs again before the next event
	Status    int                 // that it exits with
	End       *instance.EndReason // the instance ends, with the event: instance.ErrEnded
	Err       error               // Invoke returns it, for instance instance.ErrNotHandedOver
}

// Memory is a backend without processes: its instances are values that follow a
// Script. Its counts are those of its whole engine.
type Memory struct {
	engine *engine
	owner  string
}

// engine is what several servers share.
type engine struct {
	script Script

	mu         sync.Mutex // guards what follows
	owners     map[string]bool
	live       map[string]*memoryInstance
	launches   int
	terminates map[string]int // calls by instance ID
	peak       int
	nextOwner  int
}

var _ backend.Backend = (*Memory)(nil)

// NewMemory returns a backend on an engine of its own.
func NewMemory(s Script) *Memory {
	e := &engine{script: s, owners: map[string]bool{}, live: map[string]*memoryInstance{}, terminates: map[string]int{}}
	return e.join()
}

func (e *engine) join() *Memory {
	e.mu.Lock()
	e.nextOwner++
	owner := "server-" + strconv.Itoa(e.nextOwner)
	e.mu.Unlock()
	return e.joinAs(owner)
}

func (e *engine) joinAs(owner string) *Memory {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.owners[owner] = true
	return &Memory{engine: e, owner: owner}
}

// Peer returns another server's backend on the same engine.
func (m *Memory) Peer() *Memory { return m.engine.join() }

// Die ends the server's sign of life, as kill -9 does. Its instances stay until
// somebody reaps them.
func (m *Memory) Die() {
	m.engine.mu.Lock()
	defer m.engine.mu.Unlock()
	delete(m.engine.owners, m.owner)
}

// Launches returns how many launches were begun.
func (m *Memory) Launches() int {
	m.engine.mu.Lock()
	defer m.engine.mu.Unlock()
	return m.engine.launches
}

// Live returns the handles of the instances there are, the oldest first.
func (m *Memory) Live() []backend.Handle {
	m.engine.mu.Lock()
	defer m.engine.mu.Unlock()
	all := slices.Collect(maps.Values(m.engine.live))
	slices.SortFunc(all, func(a, b *memoryInstance) int { return a.n - b.n })
	var hs []backend.Handle
	for _, in := range all {
		hs = append(hs, in.handle)
	}
	return hs
}

// Peak returns the most instances that there were at once.
func (m *Memory) Peak() int {
	m.engine.mu.Lock()
	defer m.engine.mu.Unlock()
	return m.engine.peak
}

// Terminates returns how often Terminate was called for each instance.
func (m *Memory) Terminates() map[backend.Handle]int {
	m.engine.mu.Lock()
	defer m.engine.mu.Unlock()
	counts := map[backend.Handle]int{}
	for id, n := range m.engine.terminates {
		owner := id[:strings.LastIndexByte(id, '/')]
		counts[backend.Handle{Backend: m.Name(), Owner: owner, ID: id}] = n
	}
	return counts
}

// End ends an instance from inside, as a crash of its agent does. It is still
// to be terminated.
func (m *Memory) End(h backend.Handle, r instance.EndReason) {
	m.engine.mu.Lock()
	in := m.engine.live[h.ID]
	m.engine.mu.Unlock()
	if in != nil {
		in.end(r)
	}
}

// Name implements backend.Backend.
func (m *Memory) Name() string { return "memory" }

// CanRun implements backend.Backend.
func (m *Memory) CanRun(d backend.Deployment) error {
	if f := m.engine.script.CanRun; f != nil {
		return f(d)
	}
	return nil
}

// Launch implements backend.Backend.
func (m *Memory) Launch(ctx context.Context, d backend.Deployment, out backend.Output) (*backend.Instance, error) {
	e := m.engine
	e.mu.Lock()
	if !e.owners[m.owner] {
		e.mu.Unlock()
		return nil, errors.New("launch on a closed backend")
	}
	e.launches++
	n := e.launches
	e.mu.Unlock()
	if err := wait(ctx, e.script.LaunchTime); err != nil {
		return nil, err
	}
	if f := e.script.Launch; f != nil {
		if err := f(ctx, n, d); err != nil {
			return nil, err
		}
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	id := m.owner + "/" + strconv.Itoa(n)
	in := &memoryInstance{
		script: &e.script, n: n, d: d, out: out,
		handle: backend.Handle{Backend: m.Name(), Owner: m.owner, ID: id},
		ready:  make(chan struct{}), ended: make(chan struct{}),
	}
	in.ctx, in.cancel = context.WithCancel(context.Background())
	e.mu.Lock()
	e.live[id] = in
	e.peak = max(e.peak, len(e.live))
	e.mu.Unlock()
	in.init()
	return &backend.Instance{Handle: in.handle, Agent: in}, nil
}

// Terminate implements backend.Backend.
func (m *Memory) Terminate(ctx context.Context, h backend.Handle) error {
	e := m.engine
	e.mu.Lock()
	e.terminates[h.ID]++
	in := e.live[h.ID]
	e.mu.Unlock()
	if in == nil {
		return nil
	}
	if f := e.script.Terminate; f != nil {
		if err := f(ctx, h); err != nil {
			return err
		}
	}
	if err := in.Shutdown(ctx); err != nil {
		return err
	}
	e.mu.Lock()
	delete(e.live, h.ID)
	e.mu.Unlock()
	return nil
}

// ReapStale implements backend.Backend.
func (m *Memory) ReapStale(ctx context.Context) error {
	return m.terminateIf(ctx, func(owner string) bool { return !m.engine.owners[owner] })
}

// Close implements backend.Backend.
func (m *Memory) Close() error {
	err := m.terminateIf(context.Background(), func(owner string) bool { return owner == m.owner })
	m.Die()
	return err
}

// terminateIf ends the instances of some owners; f is called with mu held.
func (m *Memory) terminateIf(ctx context.Context, f func(owner string) bool) error {
	m.engine.mu.Lock()
	var doomed []backend.Handle
	for _, in := range m.engine.live {
		if f(in.handle.Owner) {
			doomed = append(doomed, in.handle)
		}
	}
	m.engine.mu.Unlock()
	var errs []error
	for _, h := range doomed {
		errs = append(errs, m.Terminate(ctx, h))
	}
	return errors.Join(errs...)
}

// memoryInstance is an instance of a Memory, and its agent.
type memoryInstance struct {
	script *Script
	n      int
	d      backend.Deployment
	out    backend.Output
	handle backend.Handle
	ctx    context.Context // ends with the instance
	cancel context.CancelFunc
	ready  chan struct{}
	ended  chan struct{}
	tasks  sync.WaitGroup

	mu          sync.Mutex // guards what follows
	generation  int
	events      int
	initPending bool // a crash or timeout has ended the environment
	fresh       bool // no event since the last INIT
	gone        bool
	reason      instance.EndReason
}

var _ instance.Agent = (*memoryInstance)(nil)

func (in *memoryInstance) init() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.generation, in.fresh = 1, true
	in.tasks.Go(func() {
		wait(in.ctx, in.script.InitTime)
		close(in.ready)
	})
}

func (in *memoryInstance) print(kind instance.LogKind, request, text string) {
	if in.out.Logs != nil {
		in.out.Logs.WriteLog(instance.LogRecord{Time: time.Now(), Kind: kind, RequestID: request, Message: []byte(text)})
	}
}

// Invoke implements instance.Agent.
func (in *memoryInstance) Invoke(ctx context.Context, ev *instance.Event, sink instance.Sink) (*instance.Result, error) {
	select {
	case <-in.ready:
	case <-in.ended:
	case <-ctx.Done():
		return nil, errors.Join(instance.ErrNotHandedOver, ctx.Err())
	}
	in.mu.Lock()
	if in.gone {
		in.mu.Unlock()
		return nil, fmt.Errorf("%s: %w", in.handle, instance.ErrNotHandedOver)
	}
	type outcome struct {
		res *instance.Result
		err error
	}
	answered := make(chan outcome, 1)
	in.tasks.Go(func() {
		res, err := in.serve(ev, sink)
		answered <- outcome{res, err}
	})
	in.mu.Unlock()
	select {
	case o := <-answered:
		return o.res, o.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// serve runs one event to its end.
func (in *memoryInstance) serve(ev *instance.Event, sink instance.Sink) (*instance.Result, error) {
	in.mu.Lock()
	again := in.initPending
	if again {
		in.generation++
		in.initPending = false
	}
	var initTime time.Duration
	if in.fresh {
		initTime, in.fresh = in.script.InitTime, false
	}
	in.events++
	call := Call{Deployment: in.d, Instance: in.handle.ID, Generation: in.generation, N: in.events, Event: ev}
	in.mu.Unlock()

	in.print(instance.LogPlatform, ev.RequestID, "START RequestId: "+ev.RequestID+" Version: "+in.d.Version)
	began := time.Now()
	var cancel context.CancelFunc
	call.Context, cancel = context.WithCancel(in.ctx)
	if ev.Timeout > 0 {
		cancel()
		call.Context, cancel = context.WithTimeout(in.ctx, ev.Timeout)
	}
	answered := make(chan Answer, 1)
	in.tasks.Go(func() {
		defer cancel()
		if again && wait(call.Context, in.script.InitTime) != nil {
			return
		}
		if f := in.script.Handle; f != nil {
			answered <- f(call)
			return
		}
		answered <- Answer{Payload: ev.Payload}
	})
	res := &instance.Result{ContentType: "application/json"}
	status := "success"
	var a Answer
	late := false
	select {
	case a = <-answered:
	case <-call.Context.Done():
		select {
		case a = <-answered: // the end of Context is the answer's own doing
		default:
			late = true
		}
	}
	switch {
	case errors.Is(call.Context.Err(), context.DeadlineExceeded):
		status = "timeout"
		in.print(instance.LogPlatform, ev.RequestID, fmt.Sprintf("%s Task timed out after %.2f seconds", ev.RequestID, ev.Timeout.Seconds()))
		a = Answer{ErrorType: "Sandbox.Timedout", Payload: fmt.Appendf(nil,
			`{"errorType":"Sandbox.Timedout","errorMessage":"RequestId: %s Error: Task timed out after %.2f seconds"}`, ev.RequestID, ev.Timeout.Seconds())}
		in.mu.Lock()
		in.initPending = true
		in.mu.Unlock()
	case late: // the instance has ended
		return nil, fmt.Errorf("%s: %w", in.handle, instance.ErrEnded)
	}
	for _, line := range a.Print {
		in.print(instance.LogFunction, ev.RequestID, line)
	}
	switch {
	case a.Err != nil:
		return nil, a.Err
	case a.End != nil:
		in.end(*a.End)
		return nil, fmt.Errorf("%s: %w", in.handle, instance.ErrEnded)
	case a.Crash:
		a.ErrorType = "Runtime.ExitError"
		reason := "Runtime exited without providing a reason"
		if a.Status != 0 {
			reason = "Runtime exited with error: exit status " + strconv.Itoa(a.Status)
		}
		a.Payload = []byte(`{"errorType":"Runtime.ExitError","errorMessage":"RequestId: ` + ev.RequestID + ` Error: ` + reason + `"}`)
		in.mu.Lock()
		in.initPending = true
		in.mu.Unlock()
	}
	if a.ContentType != "" {
		res.ContentType = a.ContentType
	}
	if a.ErrorType != "" {
		res.FunctionError, res.ErrorType = instance.Unhandled, a.ErrorType
		if status == "success" {
			status = "error"
		}
	}
	streamed := ev.Stream && sink != nil && (a.ErrorType == "" || len(a.Chunks) > 0)
	if streamed {
		chunks := a.Chunks
		if a.ErrorType == "" {
			chunks = append(chunks[:len(chunks):len(chunks)], a.Payload)
		}
		err := sink.Begin(res.ContentType)
		for i := 0; err == nil && i < len(chunks); i++ {
			_, err = sink.Write(chunks[i])
		}
		if a.ErrorType != "" {
			res.ErrorMessage = string(a.Payload)
		}
	} else {
		res.Payload = a.Payload
	}
	took := time.Since(began)
	res.Report = instance.Report{
		RequestID: ev.RequestID, Duration: took, InitDuration: initTime, MemorySize: in.d.MemoryMB, MaxMemoryUsed: 1,
		BilledDuration: (took + initTime + time.Millisecond - 1).Truncate(time.Millisecond), Status: status, ErrorType: res.ErrorType,
	}
	finish := func() {
		in.print(instance.LogPlatform, ev.RequestID, "END RequestId: "+ev.RequestID)
		in.print(instance.LogPlatform, ev.RequestID, fmt.Sprintf("REPORT RequestId: %s\tDuration: %.2f ms", ev.RequestID, took.Seconds()*1000))
	}
	if ev.Tail {
		wait(in.ctx, in.script.SettleTime)
		finish()
		for _, line := range a.Print {
			res.LogTail = append(append(res.LogTail, line...), '\n')
		}
		return res, nil
	}
	if in.script.SettleTime == 0 {
		finish()
		return res, nil
	}
	settled := make(chan struct{})
	res.Settled = settled
	in.tasks.Go(func() {
		wait(in.ctx, in.script.SettleTime)
		finish()
		close(settled)
	})
	return res, nil
}

// Ready implements instance.Agent.
func (in *memoryInstance) Ready() <-chan struct{} { return in.ready }

// Ended implements instance.Agent.
func (in *memoryInstance) Ended() <-chan struct{} { return in.ended }

// Reason implements instance.Agent.
func (in *memoryInstance) Reason() instance.EndReason {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.reason
}

// Shutdown implements instance.Agent.
func (in *memoryInstance) Shutdown(ctx context.Context) error {
	in.end(instance.EndReason{Kind: instance.EndShutdown, ExitCode: -1})
	over := make(chan struct{})
	go func() {
		in.tasks.Wait()
		close(over)
	}()
	select {
	case <-over:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (in *memoryInstance) end(r instance.EndReason) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.gone {
		return
	}
	in.gone, in.reason = true, r
	in.cancel()
	close(in.ended)
}

// wait waits for d or ctx.
func wait(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
