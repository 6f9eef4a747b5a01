// Package pool keeps all instances of a server: it admits events, gives each to
// an idle instance of its deployment or to a new one, whichever is ready first,
// and ends instances that are idle for too long, outdated or in the way.
//
// An event's way through the pool:
//
//	Do ─▶ admit ─▶ idle instance? ──yes──▶ Agent.Invoke ─▶ release
//	                 │ no                       ▲
//	                 ▼                          │ whichever comes first
//	              wait in line ─▶ start ────────┤
//	                 └───────────── released ───┘
//
// The instance that loses the race goes idle, or to the next in line.
package pool

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"time"

	"github.com/hearth-run/hearth/internal/backend"
	"github.com/hearth-run/hearth/internal/instance"
)

// Config says how a Pool works. The zero value of each field has a meaning.
type Config struct {
	// Select returns the backend that runs d, or why none can. A warning is for
	// the function's log. Required.
	Select func(d backend.Deployment) (b backend.Backend, warning string, err error)

	// Instead returns another backend for d after b's launch failed with err, or
	// nil if there is none. Nil means that there never is one.
	Instead func(d backend.Deployment, b backend.Backend, err error) (other backend.Backend, warning string)

	// Output returns where a new instance of d logs. Required.
	Output func(d backend.Deployment) backend.Output

	// KeepAlive is how long an instance may be idle before it is ended.
	// 0 means 10 minutes; negative means not at all: one event, one instance.
	KeepAlive time.Duration

	// MaxStarts bounds the starts under way at once, so that a burst does not
	// push every INIT over its limit. 0 means 32 for each CPU.
	MaxStarts int

	// MaxInstances bounds all instances. 0 means no bound but memory.
	MaxInstances int

	// Memory says how short of memory the machine is. Nil means never.
	Memory func() Memory

	// Observe, if not nil, is told of every start that has ended, for metrics.
	Observe func(Start)

	Logger *slog.Logger // nil discards
}

// Memory is how short of memory a machine is.
type Memory int

const (
	MemoryPlenty Memory = iota
	MemoryLow           // idle instances of other deployments are ended before a start
	MemoryFull          // and if there is none, nothing is started
)

// Start says how one start of an instance went.
type Start struct {
	Deployment backend.Deployment
	Backend    string        // "" if none could be selected
	Launch     time.Duration // until the agent answered
	Ready      time.Duration // until INIT was over
	Err        error
}

// Errors of Do, besides those of the backend and instance packages.
var (
	// ErrDraining: the pool takes no more events.
	ErrDraining = errors.New("server is shutting down")
	// ErrFull: there is no room for another instance, and none could be freed.
	ErrFull = errors.New("no room for another instance")
)

// Pool holds instances. Its methods may be called concurrently.
type Pool struct {
	cfg    Config
	log    *slog.Logger
	slots  chan struct{} // one for each start under way
	ctx    context.Context
	cancel context.CancelFunc // ends waits and starts when Close runs

	mu        sync.Mutex // guards what follows, and the fields of groups and members
	groups    map[string]*group
	lineages  map[string]*group // the newest group of each function version
	inFlight  map[string]int    // events by admission key
	instances int               // launched or being launched, not yet terminated
	events    int               // admitted and not yet settled
	draining  bool
	closed    bool
	settled   chan struct{} // closed and renewed when events reaches 0
	sweeper   *time.Timer
	sweepAt   time.Time
	tasks     sync.WaitGroup // starts, watchers, terminations
}

// group is what the pool knows of one deployment.
type group struct {
	id       string
	d        backend.Deployment
	free     []*member // with room for another event; the last was used last
	members  int       // launched, not yet ended
	starting int       // starts under way that will bring a member
	line     []*want   // events without an instance, oldest first
	outdated bool      // a newer deployment of the same version has been seen
}

// member is one launched instance.
type member struct {
	g         *group
	b         backend.Backend
	in        *backend.Instance
	events    int // at the moment
	idleSince time.Time
	gone      bool // ended or being terminated; never free again
}

func (m *member) room() int { return max(1, m.g.d.MaxConcurrency) - m.events }

// New returns a pool that starts nothing until its first event.
func New(cfg Config) *Pool {
	if cfg.KeepAlive == 0 {
		cfg.KeepAlive = 10 * time.Minute
	}
	if cfg.MaxStarts <= 0 {
		cfg.MaxStarts = 32 * runtime.NumCPU()
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	ctx, cancel := context.WithCancel(context.Background())
	return &Pool{
		cfg:      cfg,
		log:      cfg.Logger,
		slots:    make(chan struct{}, cfg.MaxStarts),
		ctx:      ctx,
		cancel:   cancel,
		groups:   make(map[string]*group),
		lineages: make(map[string]*group),
		inFlight: make(map[string]int),
		settled:  make(chan struct{}),
	}
}

// Do admits e, hands it to an instance of d and returns the function's answer;
// sink takes a streamed one. id is d.ID(), which callers keep.
//
// ctx bounds the wait for an instance. Once an instance has the event, Do
// returns with its answer and not before, whatever becomes of ctx: the function
// runs on to its end or timeout, as on AWS.
//
// Errors: *ThrottleError when a limit of limits is reached; ErrDraining; ErrFull;
// a class of package backend when no instance could be started; ctx's error;
// a *LostError when the instance was lost with the event. After any other
// than the last, the function has surely not seen the event.
func (p *Pool) Do(ctx context.Context, d *backend.Deployment, id string, limits []Limit, e *instance.Event, sink instance.Sink) (*instance.Result, error) {
	if err := p.admit(limits); err != nil {
		return nil, err
	}
	for try := 0; ; try++ {
		m, err := p.acquire(ctx, d, id)
		if err != nil {
			p.leave(limits)
			return nil, err
		}
		// Whoever handed over the event must see it settled.
		res, err := m.in.Agent.Invoke(context.WithoutCancel(ctx), e, sink)
		switch {
		case err == nil:
			p.settle(m, limits, res)
			return res, nil
		case errors.Is(err, instance.ErrNotHandedOver) && try < 3:
			p.discard(m)
		default:
			p.discard(m)
			p.leave(limits)
			if !errors.Is(err, instance.ErrNotHandedOver) { // the function may have seen it
				return nil, &LostError{Handle: m.in.Handle, Reason: reason(m), Err: err}
			}
			return nil, fmt.Errorf("instance %s: %w", m.in.Handle, err)
		}
	}
}

// LostError says that an instance ended with an event, before the function's
// answer. It wraps instance.ErrEnded.
type LostError struct {
	Handle backend.Handle
	Reason instance.EndReason // empty where it can't be told
	Err    error
}

func (e *LostError) Error() string {
	return fmt.Sprintf("instance %s: %v (%s) %s", e.Handle, e.Err, e.Reason.Kind, e.Reason.Detail)
}

func (e *LostError) Unwrap() error { return e.Err }

func reason(m *member) (r instance.EndReason) {
	if ended(m) {
		r = m.in.Agent.Reason()
	}
	return r
}

// settle releases m and the event's admission once the instance is free again.
func (p *Pool) settle(m *member, limits []Limit, res *instance.Result) {
	if res.Settled == nil {
		p.release(m)
		p.leave(limits)
		return
	}
	p.tasks.Go(func() {
		<-res.Settled
		p.release(m)
		p.leave(limits)
	})
}

// Stats is a snapshot of the pool.
type Stats struct {
	Instances int
	Idle      int
	Starting  int
	Waiting   int
	Events    int
}

// Stats returns what the pool holds now.
func (p *Pool) Stats() Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := Stats{Instances: p.instances, Events: p.events}
	for _, g := range p.groups {
		s.Starting += g.starting
		s.Waiting += len(g.line)
		for _, m := range g.free {
			if m.events == 0 {
				s.Idle++
			}
		}
	}
	return s
}

// Drain refuses new events and waits until those in flight are settled or ctx ends.
func (p *Pool) Drain(ctx context.Context) error {
	p.mu.Lock()
	p.draining = true
	for p.events > 0 {
		settled := p.settled
		p.mu.Unlock()
		select {
		case <-settled:
		case <-ctx.Done():
			return ctx.Err()
		}
		p.mu.Lock()
	}
	p.mu.Unlock()
	return nil
}

// Close ends all instances, those with events too, and returns when all is
// over or ctx ends. It may be called more than once.
func (p *Pool) Close(ctx context.Context) error {
	p.mu.Lock()
	p.draining, p.closed = true, true
	if p.sweeper != nil {
		p.sweeper.Stop()
	}
	for _, g := range p.groups {
		g.outdated = true
		for _, m := range g.free {
			p.endLocked(m)
		}
		g.free = nil
	}
	p.mu.Unlock()
	p.cancel()

	done := make(chan struct{})
	go func() {
		p.tasks.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
