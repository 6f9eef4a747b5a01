package hearth

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/hearth-run/hearth/internal/backend"
	"github.com/hearth-run/hearth/internal/code"
	"github.com/hearth-run/hearth/internal/instance"
	"github.com/hearth-run/hearth/internal/invoke"
	"github.com/hearth-run/hearth/internal/logs"
	"github.com/hearth-run/hearth/internal/pool"
)

// MaxEventSize is how large an event may be, in bytes.
const MaxEventSize = instance.MaxEventSize

// Function is a function for a Runner: what lies in a folder or archive.
type Function struct {
	Name        string // "" means "function"
	Path        string // a folder, used in place, or an archive
	Runtime     string // "python3.13", …
	Handler     string
	Environment map[string]string
	Timeout     time.Duration // 0 means 3 s
	MemoryMB    int           // 0 means 128
	Layers      []string      // archives or folders, in attach order
}

// Event is an event for a function.
type Event struct {
	RequestID     string // "" makes one
	Payload       []byte // JSON; empty means {}
	ClientContext string // JSON, or ""
}

// Result is a function's answer.
type Result struct {
	Payload       []byte
	FunctionError string // "", "Handled" or "Unhandled"
}

// BadEventError says that an event is no JSON, in AWS's words.
type BadEventError struct{ Message string }

func (e *BadEventError) Error() string { return e.Message }

// RunnerConfig says how a Runner works.
type RunnerConfig struct {
	Backends []string // as in Config
	// Log takes the functions' log lines. Nil discards.
	Log    io.Writer
	Logger *slog.Logger // nil discards
}

// Runner runs functions without a server's resources: no names, no state. Its
// methods may be called concurrently.
type Runner struct {
	dir      string
	code     *code.Store
	backends *selection
	pool     *pool.Pool
}

// NewRunner returns a Runner. The caller closes it.
func NewRunner(ctx context.Context, cfg RunnerConfig) (_ *Runner, err error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	r := &Runner{}
	if r.dir, err = os.MkdirTemp("", "hearth-run-"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			r.Close()
		}
	}()
	cache, err := cacheFolder()
	if err != nil {
		return nil, err
	}
	if r.code, err = code.Open(filepath.Join(cache, "code"), code.Config{Logger: cfg.Logger}); err != nil {
		return nil, err
	}
	r.backends, err = openBackends(ctx, backendConfig{
		names: cfg.Backends, dir: filepath.Join(cache, "instances"), cache: cache, owner: uuid.NewString(), code: r.code, spare: -1, log: cfg.Logger,
	})
	if err != nil {
		return nil, err
	}
	var out instance.LogWriter
	if cfg.Log != nil {
		out = logs.Printer(cfg.Log)
	}
	r.pool = pool.New(pool.Config{
		Select:  r.backends.pick,
		Instead: r.backends.instead,
		Output: func(backend.Deployment) backend.Output {
			return backend.Output{Stream: logStream("$LATEST"), Logs: out}
		},
		Memory: memoryPressure,
		Logger: cfg.Logger,
	})
	return r, nil
}

// cacheFolder returns hearth's folder in the user's cache folder.
func cacheFolder() (string, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("no cache folder: %w", err)
	}
	return filepath.Join(dir, "hearth"), nil
}

// logStream names a new log stream as AWS does: 2026/11/24/[$LATEST]….
func logStream(version string) string {
	return time.Now().UTC().Format("2006/01/02/[") + version + "]" + strings.ReplaceAll(uuid.NewString(), "-", "")
}

// Invoke runs one event. Failures of the function are results. ctx bounds the
// wait for an instance.
func (r *Runner) Invoke(ctx context.Context, fn Function, e Event) (*Result, error) {
	if problem := invoke.CheckEvent(e.Payload); problem != "" {
		return nil, &BadEventError{problem}
	}
	if len(e.Payload) == 0 {
		e.Payload = []byte("{}")
	}
	if len(e.Payload) > MaxEventSize {
		return nil, &BadEventError{fmt.Sprintf("Request must be smaller than %d bytes for the InvokeFunction operation", MaxEventSize)}
	}
	d, err := r.deployment(ctx, fn)
	if err != nil {
		return nil, err
	}
	if e.RequestID == "" {
		e.RequestID = uuid.NewString()
	}
	res, err := r.pool.Do(ctx, d, d.ID(), nil, &instance.Event{
		RequestID: e.RequestID, Payload: e.Payload, Timeout: d.Timeout, FunctionARN: d.ARN(), ClientContext: e.ClientContext,
		TraceID: invoke.TraceID(""),
	}, nil)
	if err != nil {
		return nil, err
	}
	return &Result{Payload: res.Payload, FunctionError: string(res.FunctionError)}, nil
}

// deployment makes what the pool runs of a Function.
func (r *Runner) deployment(ctx context.Context, fn Function) (*backend.Deployment, error) {
	if fn.Name == "" {
		fn.Name = "function"
	}
	if fn.Timeout == 0 {
		fn.Timeout = 3 * time.Second
	}
	if fn.MemoryMB == 0 {
		fn.MemoryMB = 128
	}
	architecture := "x86_64"
	if runtime.GOARCH == "arm64" {
		architecture = "arm64"
	}
	d := &backend.Deployment{
		Partition: "aws", AccountID: "000000000000", Region: "us-east-1", Function: fn.Name, FunctionID: "run", Version: "$LATEST",
		Runtime: fn.Runtime, Handler: fn.Handler, Architecture: architecture, Environment: fn.Environment,
		MemoryMB: fn.MemoryMB, EphemeralMB: 512, Timeout: fn.Timeout, Tracing: "PassThrough",
		LogGroup: "/aws/lambda/" + fn.Name, LogFormat: "Text",
	}
	info, err := os.Stat(fn.Path)
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		if d.CodeDir, err = filepath.Abs(fn.Path); err != nil {
			return nil, err
		}
	} else if d.CodeHash, err = r.put(ctx, fn.Path); err != nil {
		return nil, err
	}
	for _, l := range fn.Layers {
		hash, err := r.put(ctx, l)
		if err != nil {
			return nil, fmt.Errorf("layer %s: %w", l, err)
		}
		d.Layers = append(d.Layers, backend.Layer{ARN: l, CodeHash: hash})
	}
	return d, nil
}

// put keeps an archive or a folder as one.
func (r *Runner) put(ctx context.Context, path string) (hash string, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	if info.IsDir() {
		put, err := r.code.PutTree(ctx, path, code.Limits{})
		return put.Hash, err
	}
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	put, err := r.code.Put(ctx, f, code.Limits{})
	return put.Hash, err
}

// Drain refuses new events and waits until those in flight are over, with the
// last lines of their log, or ctx ends.
func (r *Runner) Drain(ctx context.Context) error { return r.pool.Drain(ctx) }

// Close ends all instances, whatever they do.
func (r *Runner) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	var errs []error
	if r.pool != nil {
		errs = append(errs, r.pool.Close(ctx))
	}
	if r.backends != nil {
		errs = append(errs, r.backends.Close())
	}
	if r.code != nil {
		errs = append(errs, r.code.Close())
	}
	return errors.Join(append(errs, os.RemoveAll(r.dir))...)
}

// What still runs when a server or runner closes has this long.
const closeTimeout = 10 * time.Second
