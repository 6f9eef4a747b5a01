package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
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
	done := make(chan struct{})
	var res *instance.Result
	var err error
	run := func() { res, err = a.serve(ev, sink, done) }
	if ctx.Done() == nil {
		run()
		return res, err
	}
	answered := make(chan struct{})
	go func() { run(); close(answered) }()
	select {
	case <-answered:
		return res, err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// serve runs one event. It holds a turn, which is given back when all is settled.
func (a *Agent) serve(ev *instance.Event, sink instance.Sink, settled chan struct{}) (*instance.Result, error) {
	release := func() { <-a.turns }
	env, initTime, f, deadline, err := a.environmentFor(ev)
	if err != nil {
		release()
		return nil, err
	}
	var t *tail
	if ev.Tail {
		t = new(tail)
	}
	a.out.begin(ev.RequestID, t)
	a.sup.ResetMemory()
	began := time.Now()
	if deadline.IsZero() {
		deadline = began.Add(ev.Timeout)
	}
	a.out.platformStart(began, a, ev)
	var ans *answer
	if f == nil {
		ans, f = env.exchange(ev, deadline, sink)
	}
	took := time.Since(began)

	res := &instance.Result{ContentType: "application/json"}
	status := "success"
	switch {
	case f != nil:
		res.FunctionError, res.ErrorType, res.Payload = instance.Unhandled, f.Type, f.Payload
		status = f.Status
		if f.Status == "timeout" {
			took = max(took, ev.Timeout)
			message := fmt.Sprintf("RequestId: %s Error: Task timed out after %.2f seconds", ev.RequestID, ev.Timeout.Seconds())
			res.Payload = errorJSON("Sandbox.Timedout", message)
		}
		if ans != nil && ans.streamed {
			res.ErrorMessage = string(res.Payload)
		}
	case ans.errorType != "":
		res.FunctionError, res.ErrorType, res.Payload = instance.Unhandled, ans.errorType, ans.payload
		status = "error"
		if ans.streamed {
			res.ErrorMessage = string(ans.message)
		}
	default:
		res.ContentType, res.Payload = ans.contentType, ans.payload
	}
	report := instance.Report{
		RequestID: ev.RequestID, Duration: took, InitDuration: initTime,
		BilledDuration: ceilMS(took + initTime), MemorySize: a.spec.MemoryMB, Status: status,
	}
	if f != nil {
		report.ErrorType = f.Type
	} else if status == "error" {
		report.ErrorType = ans.errorType
	}
	// What the caller need not wait for: the log's last lines, the memory
	// figure, the end of a broken environment.
	settle := func() {
		env.drain()
		if f != nil && f.Status == "timeout" {
			a.out.platformTimeout(ev)
		}
		if f != nil {
			env.reset()
		}
		report.MaxMemoryUsed = int((a.sup.Memory() + 1<<20 - 1) >> 20)
		if f != nil && f.Type == "Runtime.OutOfMemory" {
			report.MaxMemoryUsed = max(report.MaxMemoryUsed, a.spec.MemoryMB)
		}
		a.out.platformEnd(a, ev, &report)
		if t != nil {
			res.LogTail = t.bytes()
		}
		a.out.begin("", nil)
		res.Report = report
		release()
	}
	if ev.Tail || f != nil {
		settle()
		return res, nil
	}
	res.Settled = settled
	a.bg.Go(func() {
		settle()
		close(settled)
	})
	return res, nil
}

func ceilMS(d time.Duration) time.Duration {
	return (d + time.Millisecond - 1) / time.Millisecond * time.Millisecond
}

// environmentFor returns an environment whose INIT is over, and the INIT's time
// if this event is the first after it. If the environment was broken, or its INIT had failed, INIT runs
// again as part of this event, within the function's timeout; f then says why it failed again.
func (a *Agent) environmentFor(ev *instance.Event) (env *environment, initTime time.Duration, f *failure, deadline time.Time, err error) {
	a.mu.Lock()
	env = a.env
	stopping := a.stopping
	a.mu.Unlock()
	if stopping {
		return nil, 0, nil, deadline, instance.ErrNotHandedOver
	}
	select {
	case <-env.over:
	case <-a.ended:
		return nil, 0, nil, deadline, instance.ErrNotHandedOver
	}
	fresh := env.served.CompareAndSwap(false, true)
	select {
	case <-env.broken:
	case <-env.runtime.Done():
		env.reset()
	default:
		if fresh {
			initTime = env.initTime
		}
		return env, initTime, nil, deadline, nil
	}
	a.mu.Lock()
	env = a.newEnvironmentLocked()
	a.mu.Unlock()
	env.served.Store(true)
	deadline = time.Now().Add(ev.Timeout)
	f = env.init(phaseInvoke, deadline, ev.RequestID)
	return env, 0, f, deadline, nil
}

// exchange gives ev to the runtime by whichever way it speaks.
func (e *environment) exchange(ev *instance.Event, deadline time.Time, sink instance.Sink) (*answer, *failure) {
	var ans *answer
	var err error
	if e.framed.ready {
		ans, err = e.framed.exchange(ev, deadline, sink)
	} else {
		ans, err = e.http.exchange(ev, deadline, sink)
	}
	if err == nil {
		if len(ans.payload) > instance.MaxResponseSize && !ans.streamed {
			return ans, &failure{Type: "Function.ResponseSizeTooLarge", Status: "error", Payload: errorJSON("Function.ResponseSizeTooLarge",
				fmt.Sprintf("Response payload size exceeded maximum allowed payload size (%d bytes).", instance.MaxResponseSize))}
		}
		return ans, nil
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return ans, &failure{Type: "Sandbox.Timedout", Status: "timeout"}
	}
	if errors.Is(err, errBadFrame) {
		return ans, &failure{Type: "Runtime.Unknown", Status: "error", Payload: errorJSON("Runtime.Unknown", "RequestId: "+ev.RequestID+" Error: "+err.Error())}
	}
	if last := (*lastWords)(nil); errors.As(err, &last) {
		return ans, &last.failure
	}
	// The connection is gone: the runtime is exiting.
	timer := time.NewTimer(max(0, time.Until(deadline)))
	defer timer.Stop()
	select {
	case <-e.runtime.Done():
		return ans, exitFailure(e.runtime.Exit(), ev.RequestID)
	case <-timer.C:
		return ans, &failure{Type: "Sandbox.Timedout", Status: "timeout"}
	}
}

// Shutdown implements instance.Agent.
func (a *Agent) Shutdown(ctx context.Context) error {
	a.mu.Lock()
	a.stopping = true
	env := a.env
	a.mu.Unlock()
	if env != nil {
		env.reset()
	}
	a.end(instance.EndReason{Kind: instance.EndShutdown})
	err := a.sup.Close()
	return err
}

// end declares the instance ended, once.
func (a *Agent) end(r instance.EndReason) {
	a.mu.Lock()
	defer a.mu.Unlock()
	select {
	case <-a.ended:
		return
	default:
	}
	a.stopping = true
	a.reason = r
	close(a.ended)
	a.api.close()
}
