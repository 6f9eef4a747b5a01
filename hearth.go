// Package hearth is a Lambda in a process: the server behind cmd/hearth, for
// Go programs and tests that want one of their own.
//
//	s, err := hearth.New(hearth.Config{Listen: "127.0.0.1:0", Data: dir})
//	err = s.Start(ctx)
//	defer s.Close()
//	// any AWS client with s.URL() as its endpoint
package hearth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/hearth-run/hearth/internal/awsclient"
	"github.com/hearth-run/hearth/internal/code"
	"github.com/hearth-run/hearth/internal/invoke"
	"github.com/hearth-run/hearth/internal/lambda"
	"github.com/hearth-run/hearth/internal/logs"
	"github.com/hearth-run/hearth/internal/pool"
	"github.com/hearth-run/hearth/internal/queue"
	"github.com/hearth-run/hearth/internal/runtimes"
	"github.com/hearth-run/hearth/internal/store"
)

// Config says how a Server works. The zero value of each field but Data has a meaning.
type Config struct {
	// Listen is the address to listen on, HOST:PORT. "" means 127.0.0.1:9001;
	// port 0 takes a free one. Nobody is authenticated: whoever reaches the
	// address can run code.
	Listen string
	// Data is the folder for everything that is kept. One server uses it at a
	// time. Required.
	Data string
	// PostgresURL is the database of a state that several servers share. ""
	// means SQLite in Data.
	PostgresURL string
	// Bucket holds the code of functions and layers for several servers:
	// s3://NAME/PREFIX, at the SDKs' AWS_ENDPOINT_URL[_S3]. "" means a folder in
	// Data, which is this server's alone.
	Bucket string
	// Backends are where functions run, in order of preference: "process",
	// "docker", "podman", or "auto" for what fits each function best. Nil means auto.
	Backends []string
	// AccountID is the account of requests whose access key is no account ID.
	// "" means 000000000000.
	AccountID string
	// Region is that of requests that are not signed for one. "" means us-east-1.
	Region string
	// KeepAlive is how long an idle instance is kept. 0 means 10 minutes.
	KeepAlive time.Duration
	// Credentials are what functions get. The zero value means static ones,
	// whose key is the account ID.
	Credentials Credentials
	// Concurrency is how many events an account may have in flight. 0 means 1,000.
	Concurrency int
	// MaxInstances bounds instances at once. 0 means no bound but memory.
	MaxInstances int
	// PauseIdle stops an instance's processes between events, as AWS does.
	PauseIdle bool
	// Containers says how functions run in containers.
	Containers Containers
	// CPUShare gives functions CPU in proportion to their memory, as AWS does
	// (1,769 MB are one), where the machine allows it.
	CPUShare bool
	Logger   *slog.Logger // nil discards
}

// Credentials are AWS credentials.
type Credentials struct {
	AccessKeyID     string
	SecretAccessKey string
	SessionToken    string
}

// Server is a Lambda. Its methods may be called concurrently.
type Server struct {
	cfg Config
	id  string // this server's, random
	log *slog.Logger

	others   *awsclient.Client
	listener net.Listener
	http     *http.Server
	store    *store.Store
	code     *code.Store
	logs     *logs.Store
	queue    *queue.Queue
	pool     *pool.Pool
	invoke   *invoke.Service
	lambda   *lambda.Service
	backends *selection
	failed   chan error

	closing sync.Once
	closed  error
	cleanup []func() error // in the order of opening
}

// New returns a server that has opened and started nothing.
func New(cfg Config) (*Server, error) {
	if cfg.Data == "" {
		return nil, errors.New("hearth: Config.Data is empty")
	}
	if cfg.Listen == "" {
		cfg.Listen = "127.0.0.1:9001"
	}
	if cfg.AccountID == "" {
		cfg.AccountID = "000000000000"
	}
	if len(cfg.AccountID) != 12 || strings.Trim(cfg.AccountID, "0123456789") != "" {
		return nil, fmt.Errorf("account ID %q is not 12 digits", cfg.AccountID)
	}
	if cfg.Region == "" {
		cfg.Region = "us-east-1"
	}
	if len(cfg.Backends) == 0 {
		cfg.Backends = []string{"auto"}
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	data, err := filepath.Abs(cfg.Data)
	if err != nil {
		return nil, fmt.Errorf("data folder: %w", err)
	}
	cfg.Data = data
	return &Server{cfg: cfg, id: uuid.NewString(), others: awsclient.New(awsclient.Config{}), log: cfg.Logger, failed: make(chan error, 1)}, nil
}

// URL is how clients on this machine reach the server. Only valid after Start.
func (s *Server) URL() string {
	addr := s.listener.Addr().(*net.TCPAddr)
	host := addr.IP.String()
	if addr.IP.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, strconv.Itoa(addr.Port))
}

// Backends names the backends that functions may run on, in order of
// preference. It waits for engines that are asked whether they are there.
func (s *Server) Backends() []string {
	return s.backends.names()
}

// Runtimes names the runtimes that this machine's interpreters run, with
// their versions.
func (s *Server) Runtimes(ctx context.Context) []string {
	found, err := runtimes.All(ctx)
	if err != nil {
		s.log.Warn("interpreters could not be found", "err", err)
	}
	names := make([]string, len(found))
	for i, f := range found {
		names[i] = f.Runtime + " (" + f.Version + ")"
	}
	return names
}

// Failed gives the error that ended the server's listener, if one did.
func (s *Server) Failed() <-chan error { return s.failed }

// Drain refuses new events and waits until those in flight are over or ctx
// ends. Queued asynchronous events stay queued.
func (s *Server) Drain(ctx context.Context) error {
	return errors.Join(s.invoke.Stop(ctx), s.pool.Drain(ctx))
}

// Close ends everything that the server runs, and releases its data folder.
// It may be called more than once.
func (s *Server) Close() error {
	s.closing.Do(func() {
		var errs []error
		for i := len(s.cleanup) - 1; i >= 0; i-- {
			errs = append(errs, s.cleanup[i]())
		}
		s.closed = errors.Join(errs...)
	})
	return s.closed
}

// onClose adds to what Close does, before what was added earlier.
func (s *Server) onClose(f func() error) { s.cleanup = append(s.cleanup, f) }

// withTimeout makes f a step of Close.
func withTimeout(f func(context.Context) error) func() error {
	return func() error {
		ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
		defer cancel()
		return f(ctx)
	}
}
