package hearth

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the queue's PostgreSQL driver

	"github.com/hearth-run/hearth/internal/api"
	"github.com/hearth-run/hearth/internal/backend"
	"github.com/hearth-run/hearth/internal/code"
	"github.com/hearth-run/hearth/internal/code/bucket"
	"github.com/hearth-run/hearth/internal/invoke"
	"github.com/hearth-run/hearth/internal/lambda"
	"github.com/hearth-run/hearth/internal/logs"
	"github.com/hearth-run/hearth/internal/logs/cloudwatch"
	"github.com/hearth-run/hearth/internal/metrics"
	"github.com/hearth-run/hearth/internal/pool"
	"github.com/hearth-run/hearth/internal/queue"
	"github.com/hearth-run/hearth/internal/store"
	"github.com/hearth-run/hearth/internal/trace"
)

// Start opens everything and begins to serve. ctx bounds the start. On error
// Close still must be called.
func (s *Server) Start(ctx context.Context) error {
	if err := os.MkdirAll(s.cfg.Data, 0o700); err != nil {
		return fmt.Errorf("data folder: %w", err)
	}
	if err := s.lockData(); err != nil {
		return err
	}
	// The port first: a second server on it fails before it touches anything.
	if err := s.listen(ctx); err != nil {
		return err
	}
	if err := s.openState(ctx); err != nil {
		return err
	}
	var err error
	s.backends, err = openBackends(ctx, backendConfig{
		names: s.cfg.Backends, dir: filepath.Join(s.cfg.Data, "instances"), cache: filepath.Join(s.cfg.Data, "cache"),
		owner: s.id, code: s.code, access: s.access, pauseIdle: s.cfg.PauseIdle, cpuShare: s.cfg.CPUShare, docker: s.cfg.Containers.config(), log: s.log,
	})
	if err != nil {
		return err
	}
	s.onClose(s.backends.Close)

	counters := metrics.New()
	spans, err := trace.FromEnvironment(os.Getenv)
	if err != nil {
		return fmt.Errorf("OpenTelemetry: %w", err)
	}
	spans.Logger = s.log
	tracer := trace.New(spans)
	s.onClose(withTimeout(tracer.Close))

	s.pool = pool.New(pool.Config{
		Select:  s.backends.pick,
		Instead: s.backends.instead,
		Output: func(d backend.Deployment) backend.Output {
			stream := logStream(d.Version)
			return backend.Output{Stream: stream, Logs: s.logs.Writer(logs.Scope{Account: d.AccountID, Region: d.Region}, d.LogGroup, stream)}
		},
		KeepAlive:    s.cfg.KeepAlive,
		MaxInstances: s.cfg.MaxInstances,
		Memory:       memoryPressure,
		Observe:      func(l pool.Start) { counters.Launched(l.Backend, l.Ready, l.Err) },
		Logger:       s.log,
	})
	s.onClose(withTimeout(s.pool.Close))
	counters.Gauge("hearth_instances", "Instances, idle and busy.", func() float64 { return float64(s.pool.Stats().Instances) })
	counters.Gauge("hearth_instances_idle", "Instances that wait for an event.", func() float64 { return float64(s.pool.Stats().Idle) })
	s.invoke = invoke.New(invoke.Config{
		Store: s.store, Pool: s.pool, Queue: s.queue, AccountConcurrency: s.cfg.Concurrency,
		Metrics: counters, Tracer: tracer, Logger: s.log,
	})
	s.invoke.Start()
	s.onClose(withTimeout(s.invoke.Stop))

	s.lambda = lambda.New(lambda.Config{
		Store:     s.store,
		Code:      s.code,
		Activator: activator{s.backends},
		Objects:   s.others,
		Checker:   s.others,
		Quotas:    lambda.Quotas{ConcurrentExecutions: int64(s.cfg.Concurrency)},
		Logger:    s.log,
	})
	s.lambda.Start()
	s.onClose(withTimeout(s.lambda.Stop))

	handler := api.New(api.Config{
		Lambda:    s.lambda,
		Invoker:   s.invoke,
		Logs:      cloudwatch.New(s.logs),
		Mounts:    map[string]http.Handler{lambda.CodePath: s.lambda.Downloads(), "/metrics": counters.Handler()},
		AccountID: s.cfg.AccountID,
		Region:    s.cfg.Region,
		Logger:    s.log,
	})
	s.http = &http.Server{Handler: handler, ReadHeaderTimeout: 30 * time.Second, IdleTimeout: 10 * time.Minute}
	s.onClose(s.http.Close)
	go func() {
		if err := s.http.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
			s.failed <- fmt.Errorf("serve %s: %w", s.cfg.Listen, err)
		}
	}()
	go s.backends.warm()
	// What dead servers left is no reason to let clients wait.
	// It is looked for again later: an engine may learn of a death late.
	s.onClose(s.background(func(ctx context.Context) {
		for wait := 10 * time.Second; ; wait = 5 * time.Minute {
			if err := s.backends.reap(ctx); err != nil && ctx.Err() == nil {
				s.log.Error("what dead servers left could not all be removed", "err", err)
			}
			select {
			case <-time.After(wait):
			case <-ctx.Done():
				return
			}
		}
	}))
	return nil
}

// background runs f until it returns, or until the function that background
// returns is called, which ends f's context and waits for it.
func (s *Server) background(f func(context.Context)) (stop func() error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		f(ctx)
	}()
	return func() error {
		cancel()
		<-done
		return nil
	}
}

// lockData makes sure that no other server uses the data folder.
func (s *Server) lockData() error {
	path := filepath.Join(s.cfg.Data, "server.lock")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("lock data folder: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		defer f.Close()
		pid := make([]byte, 20)
		n, _ := f.ReadAt(pid, 0)
		return fmt.Errorf("data folder %s is in use by the server with process ID %s; stop it, or give this one another --data", s.cfg.Data, strings.TrimSpace(string(pid[:n])))
	}
	f.Truncate(0)
	f.WriteAt(fmt.Appendf(nil, "%d\n", os.Getpid()), 0)
	s.onClose(f.Close)
	return nil
}

func (s *Server) listen(ctx context.Context) error {
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", s.cfg.Listen)
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("%s is taken%s; stop that, or listen on another port (0 takes a free one)", s.cfg.Listen, holder(s.cfg.Listen))
	}
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	s.listener = ln
	s.onClose(func() error {
		if err := ln.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			return err
		}
		return nil
	})
	return nil
}

// openState opens what outlives the server.
func (s *Server) openState(ctx context.Context) (err error) {
	stateConfig := store.Config{PostgresURL: s.cfg.PostgresURL, Logger: s.log}
	if s.cfg.PostgresURL == "" {
		stateConfig.Dir = s.cfg.Data
	}
	if s.store, err = store.Open(ctx, stateConfig); err != nil {
		return fmt.Errorf("open state: %w", err)
	}
	s.onClose(s.store.Close)

	var db *sql.DB
	if s.cfg.PostgresURL != "" {
		db, err = sql.Open("pgx", s.cfg.PostgresURL)
	} else {
		db, err = queue.OpenSQLite(filepath.Join(s.cfg.Data, "queue.db"))
	}
	if err != nil {
		return fmt.Errorf("open queue: %w", err)
	}
	s.onClose(db.Close)
	s.queue, err = queue.Open(ctx, queue.Config{DB: db, Postgres: s.cfg.PostgresURL != "", Owner: s.id, Alone: s.cfg.PostgresURL == "", Logger: s.log})
	if err != nil {
		return fmt.Errorf("open queue: %w", err)
	}
	s.onClose(s.queue.Close)

	codeConfig := code.Config{Logger: s.log}
	if s.cfg.Bucket != "" {
		client, err := s.others.S3(s.cfg.Region)
		if err != nil {
			return fmt.Errorf("bucket %s: %w", s.cfg.Bucket, err)
		}
		name, prefix, _ := strings.Cut(strings.TrimPrefix(s.cfg.Bucket, "s3://"), "/")
		if prefix = strings.Trim(prefix, "/"); prefix != "" {
			prefix += "/"
		}
		codeConfig.Blobs = bucket.New(client, name, prefix+"code/")
	}
	if s.code, err = code.Open(filepath.Join(s.cfg.Data, "code"), codeConfig); err != nil {
		return err
	}
	s.onClose(s.code.Close)
	if s.logs, err = logs.Open(filepath.Join(s.cfg.Data, "logs"), logs.Config{Logger: s.log}); err != nil {
		return err
	}
	s.onClose(s.logs.Close)
	return nil
}

// access is what d's function gets to reach AWS's APIs: configured
// credentials, this server for Lambda and its logs, and the endpoints that this
// server itself was told.
func (s *Server) access(d backend.Deployment) backend.Access {
	c := s.cfg.Credentials
	a := backend.Access{AccessKeyID: c.AccessKeyID, SecretAccessKey: c.SecretAccessKey, SessionToken: c.SessionToken, Endpoints: map[string]string{}}
	if a.AccessKeyID == "" {
		a.AccessKeyID, a.SecretAccessKey, a.SessionToken = d.AccountID, "hearth", "hearth"
	}
	for _, e := range os.Environ() {
		if k, v, _ := strings.Cut(e, "="); strings.HasPrefix(k, "AWS_ENDPOINT_URL") && v != "" {
			a.Endpoints[k] = v
		}
	}
	for _, service := range []string{"LAMBDA", "CLOUDWATCH_LOGS"} {
		a.Endpoints["AWS_ENDPOINT_URL_"+service] = s.URL()
	}
	return a
}
