// Package lambda owns the resources of the Lambda API: functions, versions,
// aliases, layers, policies and all the configurations that belong to them. It
// answers every operation but the invocations, which package invoke answers.
//
// Service checks what the model cannot say, keeps records in a store.Store,
// and does in the background what AWS does asynchronously: a new function
// is Pending until it has been activated, a changed one InProgress. What is to
// be done in the background is a row of the database, so that it is done after a restart, too.
package lambda

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/hearth-run/hearth/internal/arn"
	"github.com/hearth-run/hearth/internal/awsapi"
	api "github.com/hearth-run/hearth/internal/awsapi/lambda"
	"github.com/hearth-run/hearth/internal/awsclient"
	"github.com/hearth-run/hearth/internal/code"
	"github.com/hearth-run/hearth/internal/store"
)

// Code keeps archives. *code.Store is one.
type Code interface {
	Put(ctx context.Context, r io.Reader, lim code.Limits) (code.Info, error)
	Reader(ctx context.Context, hash string) (io.ReadCloser, int64, error)
}

// Activator makes versions ready to be invoked, where that needs something:
// pulling an image, say.
type Activator interface {
	// Activate returns once instances of v, a version of f, can be launched. image
	// is v's image by its digest, "repo@sha256:…", if it has one and the digest is known. An error of one of
	// package backend's classes becomes the reason why the function failed. It may be called again
	// for the same version, also after a success.
	Activate(ctx context.Context, f *store.Function, v *store.Version) (image string, err error)
}

// Objects fetches code from S3. *awsclient.Client is one.
type Objects interface {
	// GetObject opens an object, in one of its versions if version is not "". An
	// *awsclient.Error says what S3 itself answered.
	GetObject(ctx context.Context, region, bucket, key, version string) (io.ReadCloser, error)
}

// Checker asks other AWS services whether what a request names is there. Its
// methods return nil for what exists and for services that are not
// configured, awsclient.ErrNotFound for what is not there, and other errors
// when the service could not be asked. *awsclient.Client is one.
type Checker interface {
	Role(ctx context.Context, region, arn string) error
	Queue(ctx context.Context, region, arn string) error  // SQS
	Stream(ctx context.Context, region, arn string) error // Kinesis or DynamoDB
}

var (
	_ Objects = (*awsclient.Client)(nil)
	_ Checker = (*awsclient.Client)(nil)
)

// Config is what a Service needs.
type Config struct {
	Store *store.Store // required
	Code  Code         // required
	// Activator, if nil, takes every version as ready at once.
	Activator Activator
	// Objects, if nil, means that no code can come from S3.
	Objects Objects
	// Checker, if nil, takes everything as existing.
	Checker Checker
	Quotas  Quotas       // zero members mean AWS's
	Logger  *slog.Logger // nil discards
}

// Service answers the operations of the Lambda API that concern resources.
type Service struct {
	api.Unimplemented // of operations that are added to the model later

	cfg    Config
	log    *slog.Logger
	quotas Quotas
	tasks  tasks
	links  links
}

var _ api.Service = (*Service)(nil)

// New returns a Service that leaves what was begun before a restart alone until Start.
func New(cfg Config) *Service {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Service{cfg: cfg, log: cfg.Logger, quotas: cfg.Quotas.withDefaults()}
	s.tasks.init()
	return s
}

// Start finishes what an earlier server, or a dead one beside this, left
// undone, and removes code that nothing uses. It may be called once.
func (s *Service) Start() {
	s.tasks.wg.Go(s.resume)
	s.tasks.wg.Go(s.collect)
}

// Stop interrupts what is being done in the background, which is done after
// the next start, and waits until that has ended or ctx ends. It may be called more than once.
func (s *Service) Stop(ctx context.Context) error { return s.tasks.stop(ctx) }

// view and update run transactions, and make their failures AWS's.
func (s *Service) view(ctx context.Context, fn func(*store.Tx) error) error {
	return s.failure(s.cfg.Store.View(ctx, fn))
}

func (s *Service) update(ctx context.Context, fn func(*store.Tx) error) error {
	return s.failure(s.cfg.Store.Update(ctx, fn))
}

// failure returns err as it is if it is for the client, and an answer that hides it otherwise.
func (s *Service) failure(err error) error {
	var e *awsapi.Error
	if err == nil || errors.As(err, &e) {
		return err
	}
	return &awsapi.Error{Code: "ServiceException", Status: 500, Fault: "Server", Message: "An error occurred and the request cannot be processed.", Cause: err}
}

// function reads the name of a function as a request gives it. A function of
// another account is refused: only invocations cross accounts.
func (s *Service) function(ctx context.Context, name, qualifier *string, action string) (arn.Function, store.Key, error) {
	req := awsapi.RequestFrom(ctx)
	f, err := arn.ParseFunction(awsapi.Val(name), awsapi.Val(qualifier), req)
	if err != nil {
		return arn.Function{}, store.Key{}, err
	}
	if f.AccountID != req.AccountID {
		if err := s.crossAccount(ctx, f, "lambda:"+action); err != nil {
			return arn.Function{}, store.Key{}, err
		}
	}
	return f, key(f), nil
}

func key(f arn.Function) store.Key {
	return store.Key{AccountID: f.AccountID, Region: f.Region, Name: f.Name}
}

// scope returns the account and region that a request is for.
func scope(ctx context.Context) store.Scope {
	req := awsapi.RequestFrom(ctx)
	return store.Scope{AccountID: req.AccountID, Region: req.Region}
}

// resource returns the key of something of this request's account and region.
func resource(ctx context.Context, name string) store.Key {
	req := awsapi.RequestFrom(ctx)
	return store.Key{AccountID: req.AccountID, Region: req.Region, Name: name}
}

// now returns the time as records keep it: AWS shows milliseconds.
func now() time.Time { return time.Now().UTC().Truncate(time.Millisecond) }

// tasks are the goroutines of a Service.
type tasks struct {
	ctx    context.Context // ends with Stop
	cancel context.CancelFunc
	wg     sync.WaitGroup
	slots  chan struct{} // a token for each task that may run

	mu      sync.Mutex
	stopped bool // guarded by mu; no task is begun any more
}

func (t *tasks) init() {
	t.ctx, t.cancel = context.WithCancel(context.Background())
	t.slots = make(chan struct{}, 64)
}

func (t *tasks) stop(ctx context.Context) error {
	t.mu.Lock()
	t.stopped = true
	t.mu.Unlock()
	t.cancel()
	done := make(chan struct{})
	go func() { t.wg.Wait(); close(done) }()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
