// Package api is Hearth's HTTP door for AWS clients: it finds out which
// operation of which API a request means, decodes it, hands it to the service,
// and encodes the answer as AWS would. It knows the wire and nothing of Lambda.
package api

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"github.com/hearth-run/hearth/internal/awsapi"
	"github.com/hearth-run/hearth/internal/awsapi/lambda"
	"github.com/hearth-run/hearth/internal/awsapi/logs"
	"github.com/hearth-run/hearth/internal/invoke"
)

// Config is what a Handler needs.
type Config struct {
	Lambda  lambda.Service // required
	Invoker invoke.Invoker // required
	Logs    logs.Service   // nil answers 501

	// Mounts are further doors, by path prefix ("/_hearth/code/", "/metrics"):
	// what lies under one goes to its handler, once the request has passed the
	// checks against other web sites. No path of AWS's APIs may begin with one.
	Mounts map[string]http.Handler

	// Health says whether the server is ready; nil means that it always is.
	// The error is shown to whoever asks.
	Health func(context.Context) error

	// AccountID is the account of requests whose access key ID is not twelve
	// digits. "" means 000000000000.
	AccountID string
	// Region is the region of requests that are not signed for one. "" means us-east-1.
	Region string

	// Hosts are names under which clients reach the server, beside localhost,
	// names that end in .localhost, and IP addresses.
	Hosts []string

	// BodyBudget is how many bytes of request bodies are held at once while
	// they are read; further requests wait. 0 means 512 MB.
	BodyBudget int64

	Logger *slog.Logger // nil discards
}

// Handler serves AWS's APIs, GET /health, and the mounts.
type Handler struct {
	cfg    Config
	log    *slog.Logger
	hosts  map[string]bool
	budget *budget
	grace  time.Duration // bodyGrace, less in tests

	lambda router[lambda.Service]
	logs   map[string]*logsOperation // by X-Amz-Target
}

// New returns a Handler of cfg. It starts nothing.
func New(cfg Config) *Handler {
	if cfg.AccountID == "" {
		cfg.AccountID = "000000000000"
	}
	if cfg.Region == "" {
		cfg.Region = "us-east-1"
	}
	if cfg.Logs == nil {
		cfg.Logs = logs.Unimplemented{}
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.BodyBudget == 0 {
		cfg.BodyBudget = 512 << 20
	}
	h := &Handler{
		cfg:    cfg,
		log:    cfg.Logger,
		hosts:  map[string]bool{},
		budget: newBudget(cfg.BodyBudget),
		grace:  bodyGrace,
		lambda: newRouter(lambda.Operations),
		logs:   logsOperations(),
	}
	for _, name := range cfg.Hosts {
		h.hosts[strings.ToLower(name)] = true
	}
	return h
}

func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := &exchange{Handler: h, w: w, r: r, protocol: restJSON}
	defer func() {
		p := recover()
		if p == nil {
			return
		}
		if p == http.ErrAbortHandler {
			panic(p)
		}
		h.log.Error("request panicked", "request", x.facts.ID, "operation", x.operation, "panic", p, "stack", string(debug.Stack()))
		if x.began {
			panic(http.ErrAbortHandler) // break the connection: the answer is not whole
		}
		x.fail(&awsapi.Error{Code: "ServiceException", Status: 500, Fault: "Server", Message: internalError})
	}()

	if err := h.checkSite(r); err != nil {
		x.fail(err)
		return
	}
	if r.URL.Path == "/health" && (r.Method == "GET" || r.Method == "HEAD") {
		x.health()
		return
	}
	for prefix, door := range h.cfg.Mounts {
		if strings.HasPrefix(r.URL.Path, prefix) {
			x.began = true // the door's answer is its own
			door.ServeHTTP(w, r)
			return
		}
	}
	x.facts, x.service = h.facts(r)
	if target := r.Header.Get("X-Amz-Target"); target != "" || x.service == "logs" {
		x.protocol = jsonRPC
		x.serveLogs(target)
		return
	}
	x.serveLambda()
}

// exchange is one request and its answer.
type exchange struct {
	*Handler
	w         http.ResponseWriter
	r         *http.Request
	facts     awsapi.Request
	service   string // of the signature: "lambda", "logs", or ""
	operation string // for the log
	protocol  protocol
	began     bool // the answer's status is written
}

const internalError = "An error occurred and the request cannot be processed."

// context returns the request's context with its facts.
func (x *exchange) context() context.Context {
	return awsapi.WithRequest(x.r.Context(), &x.facts)
}

// error makes err what the client sees. What is no AWS exception is a fault of the server, and logged.
func (x *exchange) error(err error) *awsapi.Error {
	var e *awsapi.Error
	if errors.As(err, &e) {
		if e.Status >= 500 && e.Status != http.StatusNotImplemented {
			x.log.Error("request failed", "request", x.facts.ID, "operation", x.operation, "err", err)
		}
		return e
	}
	if x.r.Context().Err() == nil {
		x.log.Error("request failed", "request", x.facts.ID, "operation", x.operation, "err", err)
	}
	return &awsapi.Error{Code: "ServiceException", Status: 500, Fault: "Server", Message: internalError, Cause: err}
}

// health answers GET /health.
func (x *exchange) health() {
	status, text := http.StatusOK, `{"status":"ready"}`
	if x.cfg.Health != nil {
		if err := x.cfg.Health(x.r.Context()); err != nil {
			status, text = http.StatusServiceUnavailable, healthError(err)
		}
	}
	x.w.Header()["Content-Type"] = jsonType
	x.w.WriteHeader(status)
	x.began = true
	_, _ = x.w.Write([]byte(text + "\n")) // the client may be gone
}
