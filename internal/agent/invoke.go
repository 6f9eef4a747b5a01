package agent

import (
	"context"
	"errors"
	"io"
	"os"
	"sync"
	"time"

	"github.com/hearth-run/hearth/internal/instance"
)

// Invoke implements instance.Agent.
func (a *Agent) Invoke(ctx context.Context, ev *instance.Event, sink instance.Sink) (*instance.Result, error) {
	select {
	case a.turns <- struct{}{}:
	case <-ctx.Done():
		return nil, errors.Join(instance.ErrNotHandedOver, ctx.Err())
	case <-a.ended:
		return nil, instance.ErrNotHandedOver
	}
	if ctx.Done() == nil {
		return a.serve(ev, sink)
	}
	var res *instance.Result
	var err error
	answered := make(chan struct{})
	var guard *guardedSink
	if sink != nil {
		guard = &guardedSink{sink: sink}
		sink = guard
	}
	go func() {
		defer close(answered)
		res, err = a.serve(ev, sink)
	}()
	select {
	case <-answered:
		return res, err
	case <-ctx.Done():
		if guard != nil {
			guard.close()
		}
		return nil, ctx.Err()
	}
}

// invocation is one event on its way.
type invocation struct {
	a      *Agent
	ev     *instance.Event
	env    *environment
	clock  clock
	init   time.Duration // of the INIT that came just before it
	round  *round        // what has to happen besides the runtime's answer, or nil
	tail   *tail
	ans    *answer
	fail   *failure
	took   time.Duration // to the runtime's answer
	report instance.Report
}

// serve runs one event. It holds a turn, which is given back when all is settled.
func (a *Agent) serve(ev *instance.Event, sink instance.Sink) (*instance.Result, error) {
	v := &invocation{a: a, ev: ev}
	if ev.Tail {
		v.tail = new(tail)
	}
	a.resume()
	if err := v.prepare(); err != nil {
		<-a.turns
		return nil, err
	}
	if a.spec.DebugPauseClock {
		v.clock.debug = watchDebugger(a.Addr())
		defer v.clock.debug.close()
	}
	if v.fail == nil {
		v.begin()
		v.exchange(sink)
	}
	v.took = time.Since(v.clock.began)
	res := v.result()
	if v.fail == errGone {
		<-a.turns
		return nil, instance.ErrEnded
	}
	// What the caller need not wait for: extensions, the log's last lines, the
	// memory figure, the end of a broken environment. Where that is next to
	// nothing it is done at once, so that the instance is free with its answer.
	peak, known := a.mem.known(time.Now())
	quick := v.fail == nil && v.round == nil && !a.spec.PauseIdle && (!v.ans.exits) &&
		(known && v.took < fresh || ev.Tail)
	if quick || ev.Tail {
		if !quick {
			v.await()
		}
		v.finish(peak, quick && !ev.Tail)
		if v.tail != nil {
			res.LogTail = v.tail.bytes()
		}
		res.Report = v.report
		if quick {
			<-a.turns
			return res, nil
		}
	}
	settled := make(chan struct{})
	res.Settled = settled
	a.bg.Go(func() {
		if !ev.Tail {
			v.await()
			v.finish(0, false)
			res.Report = v.report
		}
		v.settle()
		<-a.turns
		close(settled)
	})
	return res, nil
}

// prepare finds an environment whose INIT is over, and has INIT run again, within
// the function's timeout, where it failed or where the environment broke.
func (v *invocation) prepare() error {
	a := v.a
	a.mu.Lock()
	env, stopping := a.env, a.stopping
	a.mu.Unlock()
	if stopping {
		return instance.ErrNotHandedOver
	}
	select {
	case <-env.over:
	case <-a.ended:
		return instance.ErrNotHandedOver
	}
	select {
	case <-env.failed:
		return v.renew()
	default:
	}
	v.env = env
	if env.phase == phaseInit && env.served.CompareAndSwap(false, true) {
		v.init = env.initTime
	}
	v.start()
	return nil
}

// renew replaces a broken environment.
func (v *invocation) renew() error {
	a := v.a
	a.renew.Lock()
	defer a.renew.Unlock()
	a.mu.Lock()
	env := a.env
	a.mu.Unlock()
	select {
	case <-env.failed:
	default: // another event has renewed it
		v.env = env
		v.start()
		return nil
	}
	env.reset(context.Background(), reasonFailure)
	a.mu.Lock()
	if a.stopping {
		a.mu.Unlock()
		return instance.ErrNotHandedOver
	}
	v.env = a.newEnvironmentLocked(phaseInvoke)
	a.mu.Unlock()
	v.start()
	v.fail = v.env.init(v.clock.deadline())
	return nil
}

// start starts the event's clock.
func (v *invocation) start() {
	a := v.a
	a.out.begin(v.ev.RequestID, v.tail, a.spec.MaxConcurrency)
	v.clock = clock{began: time.Now(), limit: v.ev.Timeout}
	a.out.start(v)
}

// begin tells the extensions of the event.
func (v *invocation) begin() {
	e := v.env
	if e.framed.ready && len(e.exts) == 0 || e.a.spec.MaxConcurrency > 1 {
		return
	}
	r := &round{runtime: !e.framed.ready, done: make(chan struct{})}
	var event []byte
	if len(e.exts) > 0 {
		event = invokeEvent(v.ev, v.clock.deadline())
	}
	e.mu.Lock()
	e.round = r
	var told []*httpConn
	for _, x := range e.exts {
		if !x.wants("INVOKE") {
			continue
		}
		x.busy = true
		r.exts++
		if h := x.waiting; h != nil {
			x.waiting, x.state = nil, extRunning
			told = append(told, h)
		} else {
			x.pending = event
		}
	}
	e.mu.Unlock()
	if r.runtime || r.exts > 0 {
		v.round = r
	}
	for _, h := range told {
		h.unparked()
		h.extensionEvent(event)
	}
}

// exchange gives the event to the runtime by whichever way it speaks.
func (v *invocation) exchange(sink instance.Sink) {
	e := v.env
	var err error
	if e.framed.ready {
		v.ans, err = e.framed.exchange(v.ev, &v.clock, sink, v.a.spec.StreamRate)
	} else {
		v.ans, err = e.call(v.ev, &v.clock, sink)
	}
	switch {
	case err == nil:
		if !v.ans.streamed && len(v.ans.payload) > instance.MaxResponseSize {
			v.ans = &answer{errorType: typeTooLarge, payload: tooLarge(instance.MaxResponseSize)}
		}
	case errors.Is(err, os.ErrDeadlineExceeded):
		v.fail = timedOut
	case err == errBadFrame:
		v.fail = garbage(err.Error())
	default:
		// The connection is gone: so is the runtime, or it soon will be.
		v.fail = v.brokenness(err)
	}
}

// brokenness waits for why the environment broke.
func (v *invocation) brokenness(err error) *failure {
	for {
		timer := time.NewTimer(max(0, v.clock.left()))
		select {
		case <-v.env.failed:
			timer.Stop()
			return v.env.failure()
		case <-timer.C:
			if v.clock.left() <= 0 {
				return timedOut
			}
		}
	}
}

// result words the answer.
func (v *invocation) result() *instance.Result {
	res := &instance.Result{ContentType: "application/json"}
	f, ans := v.fail, v.ans
	switch {
	case f != nil:
		res.FunctionError, res.ErrorType = instance.Unhandled, f.Type
		if f.Status == statusTimeout {
			res.Payload = errorJSON(typeTimeout, "RequestId: "+v.ev.RequestID+" Error: "+timeoutText(v.ev.Timeout))
		} else {
			res.Payload = f.payload(v.ev.RequestID)
		}
		if ans != nil && ans.streamed {
			res.ErrorMessage, res.Payload = string(res.Payload), nil
		}
	case ans.errorType != "":
		res.FunctionError, res.ErrorType, res.Payload = instance.Unhandled, ans.errorType, ans.payload
		if ans.streamed {
			res.ContentType, res.ErrorMessage = ans.contentType, string(ans.message)
		}
	default:
		res.ContentType, res.Payload = ans.contentType, ans.payload
	}
	return res
}

// await waits until the runtime wants its next event and the extensions are
// done with this one.
func (v *invocation) await() {
	if v.fail != nil || v.round == nil {
		return
	}
	for {
		timer := time.NewTimer(max(0, v.clock.left()))
		select {
		case <-v.round.done:
			timer.Stop()
			return
		case <-v.env.failed:
			timer.Stop()
			v.fail = v.env.failure()
			return
		case <-timer.C:
			if v.clock.left() <= 0 {
				v.fail = timedOut
				return
			}
		}
	}
}

// finish writes the event's last lines and its report.
func (v *invocation) finish(peak int, cached bool) {
	a, f := v.a, v.fail
	status, errorType := statusSuccess, ""
	switch {
	case f != nil:
		status, errorType = f.Status, reportType(f.Type)
	case v.ans.errorType != "":
		status, errorType = statusError, reportType(v.ans.errorType)
	}
	took := v.took
	if v.round != nil && f != errGone {
		took = time.Since(v.clock.began)
	}
	if status == statusTimeout {
		took = v.ev.Timeout // as AWS reports it
	}
	v.env.drain()
	if !cached {
		peak = a.mem.measure(a.sup)
	}
	if errorType == "Runtime.OutOfMemory" {
		peak = max(peak, a.spec.MemoryMB)
	}
	v.report = instance.Report{
		RequestID: v.ev.RequestID, Duration: took, InitDuration: v.init, RestoreDuration: v.env.restoreTime,
		BilledDuration: ceilMS(took), MemorySize: a.spec.MemoryMB, MaxMemoryUsed: peak, Status: status, ErrorType: errorType,
	}
	if v.init == 0 {
		v.report.RestoreDuration = 0
	}
	if a.spec.InitType == initOnDemand {
		v.report.BilledDuration = ceilMS(took + v.init)
	}
	a.out.end(v)
	if a.spec.MaxConcurrency > 1 || v.env.framed == nil || !v.env.framed.ready {
		v.env.forget(v.ev.RequestID)
	}
}

func ceilMS(d time.Duration) time.Duration {
	return (d + time.Millisecond - 1) / time.Millisecond * time.Millisecond
}

// settle makes the environment ready for its next event.
func (v *invocation) settle() {
	f := v.fail
	switch {
	case f != nil && f.Status == statusTimeout && v.a.spec.MaxConcurrency > 1 && v.env.initFailure == nil:
		return // the other events of the environment go on
	case f != nil:
		v.env.fail(f)
		reason := reasonFailure
		if f.Status == statusTimeout {
			reason = reasonTimeout
		}
		v.env.reset(context.Background(), reason)
	case v.ans.exits:
		select {
		case <-v.env.failed:
		case <-time.After(max(0, v.clock.left())):
		}
		v.env.fail(&failure{Type: "Runtime.ExitError", Status: statusError})
		v.env.reset(context.Background(), reasonFailure)
	default:
		v.a.pause()
	}
}

// guardedSink keeps a response from a caller who is gone.
type guardedSink struct {
	mu   sync.Mutex
	sink instance.Sink
}

func (g *guardedSink) Begin(contentType string) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.sink == nil {
		return io.ErrClosedPipe
	}
	return g.sink.Begin(contentType)
}

func (g *guardedSink) Write(b []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.sink == nil {
		return 0, io.ErrClosedPipe
	}
	return g.sink.Write(b)
}

func (g *guardedSink) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.sink = nil
}
