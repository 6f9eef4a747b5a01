package pool

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hearth-run/hearth/internal/backend"
	"github.com/hearth-run/hearth/internal/instance"
)

// engine is a backend whose instances answer after a while of simulated time.
type engine struct {
	launch, init, work time.Duration
	fail               func(n int) error // of the nth launch, from 1
	settle             time.Duration     // after the answer, until the instance is free

	mu         sync.Mutex
	launches   int
	live       map[string]*box
	terminated map[string]int
}

type box struct {
	e     *engine
	id    string
	ready chan struct{}
	ended chan struct{}
	once  sync.Once
	busy  atomic.Int32
	most  atomic.Int32
	count atomic.Int32
}

func (e *engine) Name() string                    { return "test" }
func (e *engine) CanRun(backend.Deployment) error { return nil }
func (e *engine) ReapStale(context.Context) error { return nil }
func (e *engine) Close() error                    { return nil }

func (e *engine) Launch(ctx context.Context, d backend.Deployment, out backend.Output) (*backend.Instance, error) {
	e.mu.Lock()
	e.launches++
	n := e.launches
	e.mu.Unlock()
	select {
	case <-time.After(e.launch):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if e.fail != nil {
		if err := e.fail(n); err != nil {
			return nil, err
		}
	}
	b := &box{e: e, id: fmt.Sprint(n), ready: make(chan struct{}), ended: make(chan struct{})}
	time.AfterFunc(e.init, func() { close(b.ready) })
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.live == nil {
		e.live, e.terminated = map[string]*box{}, map[string]int{}
	}
	e.live[b.id] = b
	return &backend.Instance{Handle: backend.Handle{Backend: "test", ID: b.id}, Agent: b}, nil
}

func (e *engine) Terminate(_ context.Context, h backend.Handle) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if b := e.live[h.ID]; b != nil {
		b.end()
		delete(e.live, h.ID)
	}
	e.terminated[h.ID]++
	return nil
}

// boxes returns the live instances.
func (e *engine) boxes() map[string]*box {
	e.mu.Lock()
	defer e.mu.Unlock()
	return maps.Clone(e.live)
}

func (b *box) end() { b.once.Do(func() { close(b.ended) }) }

func (b *box) Invoke(_ context.Context, ev *instance.Event, _ instance.Sink) (*instance.Result, error) {
	select {
	case <-b.ended:
		return nil, instance.ErrNotHandedOver
	default:
	}
	if n := b.busy.Add(1); n > b.most.Load() {
		b.most.Store(n)
	}
	b.count.Add(1)
	select {
	case <-time.After(b.e.work):
	case <-b.ended:
		return nil, instance.ErrEnded
	}
	res := &instance.Result{Payload: []byte(b.id)}
	if b.e.settle == 0 {
		b.busy.Add(-1)
		return res, nil
	}
	settled := make(chan struct{})
	res.Settled = settled
	time.AfterFunc(b.e.settle, func() { b.busy.Add(-1); close(settled) })
	return res, nil
}

func (b *box) Ready() <-chan struct{}         { return b.ready }
func (b *box) Ended() <-chan struct{}         { return b.ended }
func (b *box) Reason() instance.EndReason     { return instance.EndReason{Kind: instance.EndCrash} }
func (b *box) Shutdown(context.Context) error { b.end(); return nil }

// test runs f under simulated time with a pool over e, and checks that nothing
// is left once the pool is closed.
func test(t *testing.T, e *engine, cfg Config, f func(t *testing.T, p *Pool)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		cfg.Select = func(backend.Deployment) (backend.Backend, string, error) { return e, "", nil }
		cfg.Output = func(backend.Deployment) backend.Output { return backend.Output{} }
		p := New(cfg)
		f(t, p)
		if err := p.Close(t.Context()); err != nil {
			t.Errorf("Close() = %v", err)
		}
		if len(e.boxes()) != 0 {
			t.Errorf("%d instances are left after Close", len(e.boxes()))
		}
		if s := p.Stats(); s.Instances != 0 {
			t.Errorf("after Close, the pool counts %d instances", s.Instances)
		}
	})
}

func do(p *Pool, d backend.Deployment, limits ...Limit) (string, error) {
	res, err := p.Do(context.Background(), &d, d.ID(), limits, &instance.Event{}, nil)
	if err != nil {
		return "", err
	}
	return string(res.Payload), nil
}

func fn(name string) backend.Deployment {
	return backend.Deployment{Partition: "aws", AccountID: "1", Region: "r", Function: name, Version: "$LATEST"}
}

// An idle instance serves the next event.
func TestReuse(t *testing.T) {
	e := &engine{launch: time.Second, work: time.Second}
	test(t, e, Config{}, func(t *testing.T, p *Pool) {
		for range 3 {
			if got, err := do(p, fn("f")); got != "1" || err != nil {
				t.Errorf("Do() = %q, %v, want instance 1", got, err)
			}
		}
	})
}

// A waiter takes whichever comes first; the loser goes idle.
func TestWaitOrStart(t *testing.T) {
	e := &engine{launch: 10 * time.Second, work: 2 * time.Second}
	test(t, e, Config{}, func(t *testing.T, p *Pool) {
		do(p, fn("f")) // now one instance is idle
		first := make(chan struct{})
		go func() { do(p, fn("f")); close(first) }()
		synctest.Wait()
		began := time.Now()
		got, err := do(p, fn("f")) // waits: instance 1 is free before a new one is up
		if got != "1" || err != nil || time.Since(began) != 4*time.Second {
			t.Errorf("Do() = %q, %v after %v, want instance 1 after 4s", got, err, time.Since(began))
		}
		<-first
		time.Sleep(10 * time.Second)
		if s := p.Stats(); s.Idle != 2 || s.Starting != 0 {
			t.Errorf("Stats() = %+v, want the loser of the race idle", s)
		}
	})
}

// N cold events cost one cold start.
func TestBurst(t *testing.T) {
	e := &engine{launch: time.Second, init: time.Second, work: 5 * time.Second}
	test(t, e, Config{}, func(t *testing.T, p *Pool) {
		began := time.Now()
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				if _, err := do(p, fn("f")); err != nil {
					t.Errorf("Do() = %v", err)
				}
			})
		}
		wg.Wait()
		if d := time.Since(began); d != 7*time.Second || e.launches != 50 {
			t.Errorf("50 events took %v and %d launches, want 7s and 50", d, e.launches)
		}
	})
}

// An instance is ended when it was idle for the keep-alive, and not before.
func TestKeepAlive(t *testing.T) {
	e := &engine{}
	test(t, e, Config{KeepAlive: time.Minute}, func(t *testing.T, p *Pool) {
		do(p, fn("f"))
		time.Sleep(59 * time.Second)
		do(p, fn("f"))
		time.Sleep(59 * time.Second)
		synctest.Wait()
		if s := p.Stats(); s.Idle != 1 {
			t.Errorf("before the keep-alive is over: %+v, want one idle", s)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if s := p.Stats(); s.Instances != 0 || len(e.boxes()) != 0 {
			t.Errorf("after the keep-alive: %+v, want none", s)
		}
	})
}

// With a negative keep-alive each event has an instance of its own.
func TestNoKeepAlive(t *testing.T) {
	e := &engine{work: time.Second, launch: time.Second}
	test(t, e, Config{KeepAlive: -1}, func(t *testing.T, p *Pool) {
		var wg sync.WaitGroup
		for range 5 {
			wg.Go(func() { do(p, fn("f")) })
		}
		wg.Wait()
		synctest.Wait()
		if e.launches != 5 || len(e.boxes()) != 0 {
			t.Errorf("5 events made %d launches, %d live, want 5 and 0", e.launches, len(e.boxes()))
		}
	})
}

// A new deployment of a function version never serves from an old instance;
// old ones finish what they run and end.
func TestRetire(t *testing.T) {
	e := &engine{work: 10 * time.Second}
	test(t, e, Config{}, func(t *testing.T, p *Pool) {
		old, next := fn("f"), fn("f")
		next.CodeHash = "new"
		do(p, old) // instance 1, idle
		var wg sync.WaitGroup
		wg.Go(func() { // instance 1 again, busy
			if got, err := do(p, old); got != "1" || err != nil {
				t.Errorf("event of the old deployment = %q, %v", got, err)
			}
		})
		synctest.Wait()
		if got, _ := do(p, next); got != "2" {
			t.Errorf("event of the new deployment ran on instance %s", got)
		}
		wg.Wait()
		synctest.Wait()
		if len(e.boxes()) != 1 || e.boxes()["2"] == nil {
			t.Errorf("live instances: %v, want the new one alone", e.boxes())
		}
	})
}

// Forget ends the idle instances of a function.
func TestForget(t *testing.T) {
	e := &engine{}
	test(t, e, Config{}, func(t *testing.T, p *Pool) {
		do(p, fn("f"))
		do(p, fn("g"))
		d := fn("f")
		p.Forget(d.ARN())
		synctest.Wait()
		if len(e.boxes()) != 1 || e.boxes()["2"] == nil {
			t.Errorf("live instances: %v, want g's alone", e.boxes())
		}
		if got, err := do(p, fn("f")); got != "3" || err != nil {
			t.Errorf("Do() = %q, %v, want a new instance", got, err)
		}
	})
}

// Over a limit the answer comes at once, and names it; what left makes room.
func TestAdmission(t *testing.T) {
	e := &engine{work: 10 * time.Second, settle: time.Second}
	test(t, e, Config{}, func(t *testing.T, p *Pool) {
		limit := Limit{Key: "f", Max: 2, Reason: FunctionConcurrency}
		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() { do(p, fn("f"), limit) })
		}
		synctest.Wait()
		began := time.Now()
		_, err := do(p, fn("f"), limit)
		var throttled *ThrottleError
		if !errors.As(err, &throttled) || throttled.Limit.Reason != FunctionConcurrency || time.Since(began) != 0 {
			t.Errorf("third event: %v after %v, want a ThrottleError at once", err, time.Since(began))
		}
		wg.Wait()
		if _, err := do(p, fn("f"), limit); err == nil {
			t.Error("an event was admitted before the others were settled")
		}
		time.Sleep(2 * time.Second)
		if _, err := do(p, fn("f"), limit); err != nil {
			t.Errorf("after the others were settled: %v", err)
		}
		if _, err := do(p, fn("g"), Limit{Key: "g", Max: 0, Reason: FunctionConcurrency}); !errors.As(err, &throttled) {
			t.Errorf("with no concurrency reserved: %v, want a ThrottleError", err)
		}
	})
}

// A failed start fails the event that has no other start coming, and no other.
func TestStartFails(t *testing.T) {
	boom := errors.New("boom")
	e := &engine{launch: time.Second, work: time.Second, fail: func(n int) error {
		if n == 2 {
			return boom
		}
		return nil
	}}
	test(t, e, Config{}, func(t *testing.T, p *Pool) {
		var failed atomic.Int32
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				if _, err := do(p, fn("f")); errors.Is(err, boom) {
					failed.Add(1)
				} else if err != nil {
					t.Errorf("Do() = %v", err)
				}
			})
		}
		wg.Wait()
		if failed.Load() != 1 {
			t.Errorf("%d events failed, want 1", failed.Load())
		}
	})
}

// An event that surely was not handed over goes to another instance.
func TestNotHandedOver(t *testing.T) {
	e := &engine{}
	test(t, e, Config{}, func(t *testing.T, p *Pool) {
		do(p, fn("f"))
		for _, b := range e.boxes() {
			b.end()
		}
		if got, err := do(p, fn("f")); got != "2" || err != nil {
			t.Errorf("Do() = %q, %v, want instance 2", got, err)
		}
	})
}

// An instance that is lost with an event is an error for that event alone.
func TestLost(t *testing.T) {
	e := &engine{work: 10 * time.Second}
	test(t, e, Config{}, func(t *testing.T, p *Pool) {
		done := make(chan error)
		go func() { _, err := do(p, fn("f")); done <- err }()
		time.Sleep(time.Second)
		for _, b := range e.boxes() {
			b.end()
		}
		if err := <-done; !errors.Is(err, instance.ErrEnded) {
			t.Errorf("Do() = %v, want ErrEnded", err)
		}
		if _, err := do(p, fn("f")); err != nil || e.launches != 2 {
			t.Errorf("next event: %v after %d launches, want a second instance", err, e.launches)
		}
	})
}

// The caller's context ends the wait for an instance, and nothing else.
func TestContext(t *testing.T) {
	e := &engine{launch: 5 * time.Second, work: 5 * time.Second}
	test(t, e, Config{}, func(t *testing.T, p *Pool) {
		d := fn("f")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := p.Do(ctx, &d, d.ID(), nil, &instance.Event{}, nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Do() while waiting = %v", err)
		}
		time.Sleep(time.Minute)
		if s := p.Stats(); s.Idle != 1 || s.Waiting != 0 || s.Events != 0 {
			t.Errorf("Stats() = %+v, want the started instance idle", s)
		}
		ctx, cancel = context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := p.Do(ctx, &d, d.ID(), nil, &instance.Event{}, nil); err != nil {
			t.Errorf("Do() of an event that was handed over = %v", err)
		}
	})
}

// When there is no room, the instance that was idle for longest makes it.
func TestEvict(t *testing.T) {
	e := &engine{}
	test(t, e, Config{MaxInstances: 2}, func(t *testing.T, p *Pool) {
		do(p, fn("a"))
		time.Sleep(time.Second)
		do(p, fn("b"))
		time.Sleep(time.Second)
		if _, err := do(p, fn("c")); err != nil {
			t.Errorf("Do() = %v", err)
		}
		synctest.Wait()
		if e.boxes()["1"] != nil || len(e.boxes()) != 2 {
			t.Errorf("live: %v, want the first to be gone", e.boxes())
		}
		e.work = time.Minute
		go do(p, fn("b"))
		go do(p, fn("c"))
		synctest.Wait()
		if _, err := do(p, fn("d")); !errors.Is(err, ErrFull) {
			t.Errorf("with two busy instances: %v, want ErrFull", err)
		}
	})
}

// Drain lets events in flight finish, and admits no more.
func TestDrain(t *testing.T) {
	e := &engine{work: 10 * time.Second}
	test(t, e, Config{}, func(t *testing.T, p *Pool) {
		done := make(chan error, 1)
		go func() { _, err := do(p, fn("f")); done <- err }()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := p.Drain(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Drain() = %v before the event is over", err)
		}
		if _, err := do(p, fn("f")); !errors.Is(err, ErrDraining) {
			t.Errorf("Do() while draining = %v", err)
		}
		if err := p.Drain(t.Context()); err != nil {
			t.Errorf("Drain() = %v", err)
		}
		if err := <-done; err != nil {
			t.Errorf("the event in flight: %v", err)
		}
	})
}

// A function with several events in one environment fills it before another starts.
func TestMultiConcurrency(t *testing.T) {
	e := &engine{launch: time.Second, work: 5 * time.Second}
	test(t, e, Config{}, func(t *testing.T, p *Pool) {
		d := fn("f")
		d.MaxConcurrency = 4
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				if _, err := do(p, d); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if e.launches != 2 {
			t.Errorf("8 events made %d launches, want 2", e.launches)
		}
		for _, b := range e.boxes() {
			if b.most.Load() != 4 {
				t.Errorf("an instance had %d events at once, want 4", b.most.Load())
			}
		}
	})
}

// A crowd of events, updates and ends from many goroutines leaves the counts right.
func TestStress(t *testing.T) {
	e := &engine{launch: 3 * time.Millisecond, init: time.Millisecond, work: 2 * time.Millisecond, settle: time.Millisecond}
	test(t, e, Config{KeepAlive: 20 * time.Millisecond, MaxStarts: 3, MaxInstances: 12}, func(t *testing.T, p *Pool) {
		var wg sync.WaitGroup
		for i := range 20 {
			wg.Go(func() {
				for j := range 50 {
					d := fn(fmt.Sprint("f", i%5))
					d.CodeHash = fmt.Sprint(j / 10)
					ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i+j%7)*time.Millisecond)
					_, err := p.Do(ctx, &d, d.ID(), []Limit{{Key: "a", Max: 15}}, &instance.Event{}, nil)
					cancel()
					var throttled *ThrottleError
					if err != nil && !errors.As(err, &throttled) && !errors.Is(err, context.DeadlineExceeded) &&
						!errors.Is(err, ErrFull) && !errors.Is(err, instance.ErrEnded) && !errors.Is(err, instance.ErrNotHandedOver) {
						t.Errorf("Do() = %v", err)
					}
					if j%17 == 0 {
						p.Forget(d.ARN())
					}
					time.Sleep(time.Millisecond)
				}
			})
		}
		wg.Wait()
		time.Sleep(time.Second)
		synctest.Wait()
		if s := p.Stats(); s != (Stats{}) {
			t.Errorf("after all is over, Stats() = %+v", s)
		}
		if n := p.InFlight("a"); n != 0 {
			t.Errorf("InFlight = %d, want 0", n)
		}
	})
}

// A failed start fails every event that no other start will serve.
func TestStartFailsForMany(t *testing.T) {
	e := &engine{launch: time.Second, fail: func(int) error { return errors.New("boom") }}
	test(t, e, Config{}, func(t *testing.T, p *Pool) {
		d := fn("f")
		d.MaxConcurrency = 10
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() {
				if _, err := do(p, d); err == nil {
					t.Error("an event was answered without an instance")
				}
			})
		}
		wg.Wait()
	})
}

// A function that goes back to an earlier deployment uses it as any other.
func TestRevive(t *testing.T) {
	e := &engine{work: 10 * time.Second}
	test(t, e, Config{}, func(t *testing.T, p *Pool) {
		a, b := fn("f"), fn("f")
		b.CodeHash = "b"
		go do(p, a) // keeps the first deployment's group alive
		synctest.Wait()
		do(p, b)
		for range 5 {
			if _, err := do(p, a); err != nil {
				t.Error(err)
			}
		}
		if e.launches > 3 {
			t.Errorf("%d launches, want the earlier deployment's instance to be reused", e.launches)
		}
	})
}
