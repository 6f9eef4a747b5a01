// Package backend is the contract of whatever can run instances of functions:
// local processes, sandboxes, container engines, clusters.
//
// A backend knows nothing of versions, aliases, queues or HTTP APIs. Every
// implementation passes the suite of package backendtest.
package backend

import (
	"context"
	"errors"
	"fmt"

	"github.com/hearth-run/hearth/internal/instance"
)

// A Backend launches and ends instances. Its methods may be called
// concurrently, for equal deployments too.
//
//	New ─▶ ReapStale ─▶ CanRun ─▶ Launch ─▶ (events through Instance.Agent) ─▶ Terminate ─▶ Close
type Backend interface {
	// Name is "process", "docker", "podman", … for logs, metrics and introspection.
	Name() string

	// CanRun says whether this backend could run d here and now, else why not:
	// an error of one of this package's classes whose text tells what to do.
	// It is quick and starts nothing. A *Warning means yes, with something that
	// the user should see.
	CanRun(d Deployment) error

	// Launch starts a fresh instance of d and returns once its agent answers;
	// INIT may still be running. ctx bounds the launch, not the instance, which
	// lives until Terminate. On error, also when ctx ends midway, nothing is left
	// behind. out takes what the instance prints until it has ended.
	Launch(ctx context.Context, d Deployment, out Output) (*Instance, error)

	// Terminate ends one instance, through its SHUTDOWN phase if its agent still
	// answers. It is idempotent: an instance that is already gone, or that
	// another caller or process is ending, is success. Nothing of the instance
	// is left when it returns nil: no container, pod, process, directory, port or
	// mount. When ctx ends first, it returns its error and may be called again.
	Terminate(ctx context.Context, h Handle) error

	// ReapStale ends what dead servers left, and touches no instance of a live
	// one, this server's or another's. It may be called at any time.
	ReapStale(ctx context.Context) error

	// Close ends all instances that this backend launched and releases its
	// owner's sign of life. No method may be called after it.
	Close() error
}

// Handle names an instance: a value that can be logged, stored and compared,
// and that suffices to terminate it from another process.
type Handle struct {
	Backend string
	Owner   string // server ID
	ID      string // unique in the backend
}

func (h Handle) String() string { return fmt.Sprintf("%s/%s/%s", h.Backend, h.Owner, h.ID) }

// Output is where an instance's log goes.
type Output struct {
	Stream string // the log stream's name, which the function sees, too
	Logs   instance.LogWriter
}

// Instance is a launched instance. The caller owns it until Terminate.
type Instance struct {
	Handle Handle
	Agent  instance.Agent
	// Warning is what the user should see about how it runs, or "".
	Warning string
}

// Warning is returned by CanRun for a deployment that runs, but not quite as
// asked, for instance under another version of its language.
type Warning struct{ Text string }

func (w *Warning) Error() string { return w.Text }

// Error classes of CanRun and Launch. Errors wrap exactly one of them.
var (
	ErrNoCode             = errors.New("code not found")
	ErrBadCode            = errors.New("bad code archive")
	ErrUnsupportedRuntime = errors.New("unsupported runtime")
	ErrImageNotFound      = errors.New("image not found")
	ErrImagePull          = errors.New("image cannot be pulled")
	ErrStartFailed        = errors.New("start failed") // with the tail of what the instance printed
	ErrUnreachable        = errors.New("engine unreachable")
	ErrNoCapacity         = errors.New("out of capacity")
)

// Optional abilities, found by type assertion.

// A Preparer keeps instances without a function ready, so that a launch only
// claims one. Without it every launch starts from nothing.
type Preparer interface {
	// Prepare asks for n waiting instances of d's shape; 0 ends those there are.
	Prepare(ctx context.Context, d Deployment, n int) error
}

// A Puller fetches a deployment's image ahead of its first launch. Without it
// the first launch pulls.
type Puller interface {
	// Pull returns the image's resolved digest reference, e.g. "repo@sha256:…".
	Pull(ctx context.Context, d Deployment) (string, error)
}
