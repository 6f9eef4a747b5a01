package invoke

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/hearth-run/hearth/internal/arn"
	"github.com/hearth-run/hearth/internal/awsapi"
	"github.com/hearth-run/hearth/internal/backend"
	"github.com/hearth-run/hearth/internal/instance"
	"github.com/hearth-run/hearth/internal/metrics"
	"github.com/hearth-run/hearth/internal/policy"
	"github.com/hearth-run/hearth/internal/pool"
	"github.com/hearth-run/hearth/internal/queue"
	"github.com/hearth-run/hearth/internal/store"
	"github.com/hearth-run/hearth/internal/trace"
)

// Config is what a Service needs. All fields are required unless said otherwise.
type Config struct {
	Store *store.Store
	Pool  *pool.Pool
	Queue *queue.Queue
	// AccountConcurrency is how many events an account may have in flight in a
	// region. 0 means 1,000, as on AWS.
	AccountConcurrency int
	Metrics            *metrics.Metrics // nil counts nothing
	Tracer             *trace.Tracer    // nil traces nothing
	// Workers is how many asynchronous events run at once. 0 means 256.
	Workers int
	Logger  *slog.Logger // nil discards
}

// Service answers invocations.
type Service struct {
	cfg   Config
	log   *slog.Logger
	cache *directory
	async *worker
}

var _ Invoker = (*Service)(nil)

// New returns a Service that does nothing asynchronous until Start.
func New(cfg Config) *Service {
	if cfg.AccountConcurrency == 0 {
		cfg.AccountConcurrency = 1000
	}
	if cfg.Workers == 0 {
		cfg.Workers = 256
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Service{cfg: cfg, log: cfg.Logger}
	s.cache = newDirectory(cfg.Store, cfg.Metrics, func(arn string, key metrics.Key) {
		cfg.Pool.Forget(arn)
		cfg.Metrics.Forget(key)
	})
	s.async = newWorker(s)
	return s
}

// Start begins to run queued events. It may be called once.
func (s *Service) Start() { s.async.start() }

// Stop ends the asynchronous worker: events that it has begun are waited for
// until ctx ends; the others stay queued. It may be called more than once.
func (s *Service) Stop(ctx context.Context) error { return s.async.stop(ctx) }

// Invoke takes r's event to its answer, or to the queue.
func (s *Service) Invoke(ctx context.Context, r Request) (*Response, error) {
	req := awsapi.RequestFrom(ctx)
	name, err := arn.ParseFunction(r.Function, r.Qualifier, req)
	if err != nil {
		return nil, err
	}
	fn, v, err := s.cache.resolve(ctx, name)
	if err != nil {
		return nil, err
	}
	if err := checkPolicy(req, name, fn); err != nil {
		return nil, err
	}
	if err := checkState(v); err != nil {
		return nil, err
	}
	if err := checkTenant(v, r.TenantID); err != nil {
		return nil, err
	}
	limit, operation := instance.MaxEventSize, "InvokeFunction"
	if r.Type == "Event" {
		limit = instance.MaxAsyncSize
	}
	if r.Stream {
		operation = "InvokeWithResponseStream"
	}
	if len(r.Payload) > limit {
		return nil, &awsapi.Error{Code: "RequestEntityTooLargeException", Status: 413, Fault: "User",
			Message: fmt.Sprintf("Request must be smaller than %d bytes for the %s operation", limit, operation)}
	}
	if problem := CheckEvent(r.Payload); problem != "" {
		return nil, &awsapi.Error{Code: "InvalidRequestContentException", Status: 400, Fault: "User", Message: problem}
	}
	if len(r.Payload) == 0 {
		r.Payload = emptyEvent
	}
	switch r.Type {
	case "DryRun":
		return &Response{Status: 204, ExecutedVersion: v.version}, nil
	case "Event":
		return s.enqueue(ctx, name, fn, &r)
	}

	e := &instance.Event{
		RequestID:     req.ID,
		Payload:       r.Payload,
		Timeout:       v.deployment.Timeout,
		FunctionARN:   name.ARN(),
		TraceID:       TraceID(r.TraceID),
		ClientContext: r.ClientContext,
		TenantID:      r.TenantID,
		Stream:        r.Stream,
		Tail:          r.LogTail,
	}
	if sink, ok := r.Sink.(interface{ ExecutedVersion(string) }); ok {
		sink.ExecutedVersion(v.version) // before the stream's first byte
	}
	res, err := s.run(ctx, fn, v, e, r.Sink)
	if err != nil {
		return nil, exception(err)
	}
	return &Response{
		Status:          200,
		ExecutedVersion: v.version,
		Payload:         res.Payload,
		ContentType:     res.ContentType,
		FunctionError:   res.FunctionError,
		ErrorType:       res.ErrorType,
		ErrorMessage:    res.ErrorMessage,
		LogTail:         res.LogTail,
		TraceID:         e.TraceID,
	}, nil
}

var emptyEvent = []byte("{}")

// run gives e to the pool.
func (s *Service) run(ctx context.Context, fn *function, v *version, e *instance.Event, sink instance.Sink) (*instance.Result, error) {
	d, id := &v.deployment, v.id
	if e.TenantID != "" {
		tenant := v.deployment
		tenant.TenantID = e.TenantID
		d, id = &tenant, tenant.ID()
	}
	ctx, span := s.cfg.Tracer.Start(ctx, "invoke", slog.String("faas.invoked_name", d.Function), slog.String("faas.version", d.Version), slog.String("faas.invocation_id", e.RequestID))
	if header := s.cfg.Tracer.Header(ctx); header != "" {
		e.TraceID = header
	}
	began := time.Now()
	fn.metrics.Began()
	res, err := s.cfg.Pool.Do(ctx, d, id, s.limits(fn), e, sink)
	span.End(err)
	var lost *pool.LostError
	if errors.As(err, &lost) && lost.Reason.Kind == instance.EndOutOfMemory {
		// The environment was killed as a whole; for the caller it is the function that failed.
		res, err = &instance.Result{
			ContentType:   "application/json",
			FunctionError: instance.Unhandled,
			ErrorType:     "Runtime.OutOfMemory",
			Payload:       []byte(`{"errorType":"Runtime.OutOfMemory","errorMessage":"RequestId: ` + e.RequestID + ` Error: Runtime exited with error: signal: killed"}`),
		}, nil
	}
	var throttled *pool.ThrottleError
	switch {
	case err == nil:
		fn.metrics.Ended(res.FunctionError != instance.NoError, time.Since(began), 0)
	case errors.As(err, &throttled):
		fn.metrics.Lost()
		fn.metrics.Throttled()
	default:
		fn.metrics.Lost()
	}
	return res, err
}

// limits returns the bounds on fn's concurrency: its own reserved part, or
// what the account has not reserved.
func (s *Service) limits(fn *function) []pool.Limit {
	if fn.reserved >= 0 {
		return []pool.Limit{{Key: fn.arn, Max: fn.reserved, Reason: pool.FunctionConcurrency}}
	}
	return []pool.Limit{{Key: fn.key.AccountID + "/" + fn.key.Region, Max: s.cfg.AccountConcurrency - s.cache.reservedIn(fn), Reason: pool.AccountConcurrency}}
}

// checkPolicy asks the function's resource policy whether the caller may
// invoke it. Within an account silence allows; from another it does not.
func checkPolicy(req *awsapi.Request, name arn.Function, fn *function) error {
	same := name.AccountID == req.AccountID
	if same && fn.policies == nil {
		return nil
	}
	const action = "lambda:InvokeFunction"
	d := policy.Evaluate(fn.policies[name.Qualifier], policy.Request{Action: action, Resource: name.ARN(), AccountID: req.AccountID})
	if d == policy.Allowed || same && d == policy.Silent {
		return nil
	}
	return arn.Denied(req, action, name.ARN())
}

// checkState refuses functions that are not there yet, or never will be.
func checkState(v *version) error {
	if v.durable {
		return &awsapi.Error{Code: "InvalidParameterValueException", Status: 400, Fault: "User",
			Message: "Hearth keeps a function's DurableConfig and does not run durable executions yet. Update the function without it to invoke it."}
	}
	if v.state == "" || v.state == "Active" || v.state == "Inactive" {
		return nil
	}
	return &awsapi.Error{Code: "ResourceConflictException", Status: 409, Fault: "User",
		Message: "The operation cannot be performed at this time. The function is currently in the following state: " + v.state}
}

// checkTenant compares the event's tenant with the function's isolation mode.
func checkTenant(v *version, tenant string) error {
	switch {
	case v.tenancy && tenant == "":
		return &awsapi.Error{Code: "InvalidParameterValueException", Status: 400, Fault: "User",
			Message: "The invoked function is enabled with tenancy configuration. Add a valid tenant ID in your request and try again."}
	case !v.tenancy && tenant != "":
		return &awsapi.Error{Code: "InvalidParameterValueException", Status: 400, Fault: "User",
			Message: "The invoked function is not enabled with tenancy configuration. Remove the tenant ID from your request and try again."}
	}
	return nil
}

// exception maps why the function did not run to what AWS's clients expect.
func exception(err error) error {
	out := &awsapi.Error{Status: 502, Fault: "User", Cause: err}
	var throttled *pool.ThrottleError
	switch {
	case errors.As(err, &throttled):
		out.Code, out.Status, out.Message = "TooManyRequestsException", 429, "Rate Exceeded."
		out.Fields = map[string]any{"Reason": string(throttled.Limit.Reason)}
		return out
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		out.Code, out.Status, out.Message = "ServiceException", 500, "The client went away before an instance was ready."
		out.Fault = "Server"
		return out
	case errors.Is(err, pool.ErrFull), errors.Is(err, backend.ErrNoCapacity):
		out.Code, out.Status, out.Message = "TooManyRequestsException", 429, "Rate Exceeded."
		out.Fields = map[string]any{"Reason": string(pool.AccountConcurrency)}
	case errors.Is(err, backend.ErrUnsupportedRuntime):
		out.Code, out.Message = "InvalidRuntimeException", err.Error()
	case errors.Is(err, backend.ErrBadCode), errors.Is(err, backend.ErrNoCode):
		out.Code, out.Message = "InvalidZipFileException", err.Error()
	case errors.Is(err, backend.ErrImageNotFound), errors.Is(err, backend.ErrImagePull):
		out.Code, out.Message = "ResourceNotReadyException", err.Error()
		out.Fault = "Server"
	default:
		out.Code, out.Status, out.Message = "ServiceException", 500, "The function could not be run; the server's log says why, under this request's ID."
		out.Fault = "Server"
	}
	return out
}

// pick returns the version that an alias routes this event to.
func (a *alias) pick() string {
	if len(a.weights) == 0 {
		return a.version
	}
	r := rand.Float64()
	for _, w := range a.weights {
		if r < w.weight {
			return w.version
		}
		r -= w.weight
	}
	return a.version
}

// TraceID returns the X-Ray header that the function sees: the caller's, or a
// new one that is not sampled.
func TraceID(header string) string {
	if header != "" {
		return header
	}
	b := make([]byte, 0, 96)
	b = append(b, "Root=1-"...)
	b = strconv.AppendInt(b, time.Now().Unix(), 16)
	b = append(b, '-')
	b = appendHex(b, rand.Uint64(), 16)
	b = appendHex(b, rand.Uint64(), 8)
	b = append(b, ";Parent="...)
	b = appendHex(b, rand.Uint64(), 16)
	return string(append(b, ";Sampled=0"...))
}

func appendHex(b []byte, v uint64, digits int) []byte {
	for i := digits - 1; i >= 0; i-- {
		b = append(b, "0123456789abcdef"[v>>(4*i)&15])
	}
	return b
}
