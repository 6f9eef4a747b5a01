package invoke

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/hearth-run/hearth/internal/arn"
	"github.com/hearth-run/hearth/internal/awsapi"
	"github.com/hearth-run/hearth/internal/instance"
	"github.com/hearth-run/hearth/internal/metrics"
	"github.com/hearth-run/hearth/internal/pool"
	"github.com/hearth-run/hearth/internal/queue"
)

// How AWS handles asynchronous events of functions that say nothing else.
// https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html
const (
	maxAge     = 6 * time.Hour
	maxRetries = 2
)

// queued is an event in the queue.
type queued struct {
	RequestID     string
	Partition     string
	Account       string
	Region        string
	Name          string
	Qualifier     string
	Payload       []byte
	ClientContext string `json:",omitempty"`
	TraceID       string `json:",omitempty"`
	TenantID      string `json:",omitempty"`
}

// enqueue makes r durable, and answers for it.
func (s *Service) enqueue(ctx context.Context, name arn.Function, fn *function, r *Request) (*Response, error) {
	req := awsapi.RequestFrom(ctx)
	q := queued{
		RequestID: req.ID, Partition: name.Partition, Account: name.AccountID, Region: name.Region, Name: name.Name, Qualifier: name.Qualifier,
		Payload: r.Payload, ClientContext: r.ClientContext, TraceID: TraceID(r.TraceID), TenantID: r.TenantID,
	}
	body, err := json.Marshal(q)
	if err != nil {
		return nil, unavailable(err)
	}
	if err := s.cfg.Queue.Put(ctx, queue.Item{ID: q.RequestID, Key: name.Unqualified(), Body: body}); err != nil {
		return nil, unavailable(fmt.Errorf("queue event: %w", err))
	}
	fn.metrics.Async()
	return &Response{Status: 202, TraceID: q.TraceID}, nil
}

// worker runs queued events.
type worker struct {
	s      *Service
	ctx    context.Context // ends leasing
	cancel context.CancelFunc
	slots  chan struct{}
	wg     sync.WaitGroup
}

func newWorker(s *Service) *worker {
	ctx, cancel := context.WithCancel(context.Background())
	return &worker{s: s, ctx: ctx, cancel: cancel, slots: make(chan struct{}, s.cfg.Workers)}
}

func (w *worker) start() { w.wg.Go(w.lease) }

func (w *worker) stop(ctx context.Context) error {
	w.cancel()
	done := make(chan struct{})
	go func() {
		w.wg.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("asynchronous events are still running: %w", ctx.Err())
	}
}

// visibility is how long a lease lasts; it is extended while the event runs.
const visibility = time.Minute

// lease takes items as long as there are slots for them.
func (w *worker) lease() {
	for {
		select {
		case w.slots <- struct{}{}:
		case <-w.ctx.Done():
			return
		}
		free := 1
		for free < 16 {
			select {
			case w.slots <- struct{}{}:
				free++
				continue
			default:
			}
			break
		}
		items, err := w.s.cfg.Queue.Lease(w.ctx, free, visibility)
		for range free - len(items) {
			<-w.slots
		}
		if err != nil {
			if w.ctx.Err() != nil || errors.Is(err, queue.ErrClosed) {
				return
			}
			w.s.log.Error("queued events cannot be read", "err", err)
			select {
			case <-time.After(time.Second):
			case <-w.ctx.Done():
			}
			continue
		}
		for i := range items {
			w.wg.Go(func() {
				defer func() { <-w.slots }()
				w.work(&items[i])
			})
		}
	}
}

// work runs one item, and removes it or gives it back.
func (w *worker) work(it *queue.Item) {
	s := w.s
	ctx := context.Background()
	var q queued
	if err := json.Unmarshal(it.Body, &q); err != nil {
		s.log.Error("queued event is unreadable and dropped", "request", it.ID, "err", err)
		w.finish(s.cfg.Queue.Done(ctx, it), it)
		return
	}
	stop := w.keep(it)
	next, reason := w.try(ctx, it, &q)
	stop()
	switch {
	case reason == "":
		w.finish(s.cfg.Queue.Done(ctx, it), it)
	case next.IsZero():
		s.cfg.Metrics.Function(metrics.Key{Account: q.Account, Region: q.Region, Name: q.Name}).AsyncDropped()
		s.log.Warn("asynchronous event given up", "function", q.Name, "request", q.RequestID, "attempts", it.Attempts+1, "reason", reason)
		w.finish(s.cfg.Queue.Done(ctx, it), it)
	default:
		w.finish(s.cfg.Queue.Retry(ctx, it, next, reason != throttled, reason), it)
	}
}

func (w *worker) finish(err error, it *queue.Item) {
	if err != nil {
		w.s.log.Error("queued event could not be settled", "request", it.ID, "err", err)
	}
}

// keep extends the item's lease until stop is called.
func (w *worker) keep(it *queue.Item) (stop func()) {
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(visibility / 3)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				if err := w.s.cfg.Queue.Extend(context.Background(), it, time.Now().Add(visibility)); err != nil {
					w.s.log.Warn("lease of a queued event not extended", "request", it.ID, "err", err)
				}
			case <-done:
				return
			}
		}
	})
	return func() {
		close(done)
		wg.Wait()
	}
}

const throttled = "throttled"

// try runs q once. reason is "" when it is done with; else next is when to
// try again, or zero to give up.
func (w *worker) try(ctx context.Context, it *queue.Item, q *queued) (next time.Time, reason string) {
	s := w.s
	now := time.Now()
	if now.Sub(it.Created) > maxAge {
		return time.Time{}, "EventAgeExceeded"
	}
	name := arn.Function{Partition: q.Partition, AccountID: q.Account, Region: q.Region, Name: q.Name, Qualifier: q.Qualifier}
	fn, v, err := s.cache.resolve(ctx, name)
	if err != nil {
		var e *awsapi.Error
		if errors.As(err, &e) && e.Status == 404 {
			return time.Time{}, "the function is gone"
		}
		return now.Add(backoff(it.Deliveries)), throttled
	}
	e := &instance.Event{
		RequestID: q.RequestID, Payload: q.Payload, Timeout: v.deployment.Timeout, FunctionARN: name.ARN(),
		TraceID: q.TraceID, ClientContext: q.ClientContext, TenantID: q.TenantID,
	}
	fn.metrics.AsyncAge(now.Sub(it.Created))
	res, err := s.run(ctx, fn, v, e, nil)
	var lost *pool.LostError
	switch {
	case errors.Is(err, pool.ErrDraining):
		return now, throttled // for the next server
	case err != nil && !errors.As(err, &lost):
		// It did not run: throttled, or no instance could be had. AWS tries
		// such events for as long as they may live, less and less often.
		s.log.Debug("asynchronous event not run", "function", q.Name, "request", q.RequestID, "err", err)
		return now.Add(backoff(it.Deliveries)), throttled
	case err != nil:
		reason = err.Error()
	case res.FunctionError == instance.NoError:
		return time.Time{}, ""
	default:
		reason = res.ErrorType
	}
	if it.Attempts >= maxRetries {
		return time.Time{}, reason
	}
	// A minute before the first retry, two before the second.
	return time.Now().Add(time.Duration(it.Attempts+1) * time.Minute), reason
}

// backoff grows from a second to five minutes, as AWS's does.
func backoff(deliveries int) time.Duration {
	d := time.Second << min(deliveries, 9)
	return min(d, 5*time.Minute)/2 + time.Duration(rand.Int64N(int64(time.Second)))
}
