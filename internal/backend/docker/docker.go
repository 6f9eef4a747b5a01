// Package docker runs instances in containers of an engine that serves the
// Docker Engine API: Docker, or Podman.
//
// The agent is the first process of every container. Code and layers are
// mounted read-only from the unpacked trees that all instances of this machine
// share; where the engine does not see this machine's files (it is on another
// one, or the server is in a container itself), from volumes that are filled
// once and named by their content.
package docker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"runtime"
	"strings"
	"sync"

	"github.com/moby/moby/client"

	"github.com/hearth-run/hearth/internal/backend"
	"github.com/hearth-run/hearth/internal/instance"
)

// Code unpacks archives; *code.Store does.
type Code interface {
	Tree(ctx context.Context, hash string) (dir string, release func(), err error)
	Layers(ctx context.Context, hashes []string) (dir string, release func(), err error)
}

// PullPolicy says when images are pulled.
type PullPolicy string

const (
	PullMissing PullPolicy = "missing" // when the engine has none
	PullAlways  PullPolicy = "always"  // before the first launch of each deployment
	PullNever   PullPolicy = "never"
)

// Config is what a Backend needs. The zero value of each field has a meaning
// unless said otherwise.
type Config struct {
	// Engine is the engine's API. Required; Find finds one. The Backend closes it.
	Engine *Engine
	// Dir holds the instances' folders, each below its server's. Required.
	Dir string
	// Owner is this server's ID. Required.
	Owner string
	Code  Code
	// Agent returns a static hearth-agent for linux and an architecture. Required.
	Agent func(ctx context.Context, goarch string) (path string, err error)
	// Access returns what d's function gets to reach AWS's APIs.
	Access func(d backend.Deployment) backend.Access
	// Image is the pattern of zip functions' images, with {runtime} and
	// {version}. "" means public.ecr.aws/lambda/{runtime}:{version}.
	Image string
	// Pull says when images are pulled. "" means PullMissing.
	Pull PullPolicy
	// Network is the network that containers join. "" means the engine's default.
	Network string
	// Mounts are further binds, HOST:CONTAINER[:ro].
	Mounts []string
	// Hosts are further host names, NAME:ADDRESS.
	Hosts []string
	// DNS are name servers' addresses.
	DNS []string
	// Name is the pattern of containers' names, with {function} and {id}. ""
	// means hearth-{function}-{id}.
	Name string
	// CPU limits containers to a share of a CPU in proportion to memory, as on AWS
	// (1,769 MB are one). Without, they take what there is, and such shares of it
	// when there is not enough.
	CPU bool
	// PauseIdle stops functions' processes between events.
	PauseIdle bool
	// Prepared is how many containers of each shape that was launched once wait
	// for a function. 0 means none; on a machine of less than 4 GB there are none either.
	Prepared int
	// Remote makes the engine one that does not see this machine's files. By
	// default that is found out.
	Remote bool
	Logger *slog.Logger // nil discards
}

// DefaultImage is where AWS publishes its base images.
const DefaultImage = "public.ecr.aws/lambda/{runtime}:{version}"

// Backend runs instances in containers. See backend.Backend.
type Backend struct {
	cfg    Config
	engine *Engine
	log    *slog.Logger
	mark   *mark
	images *images

	volumes *volumes
	owner   *owner
	ctx     context.Context // ends with Close
	stop    context.CancelFunc
	tasks   sync.WaitGroup // launches, and what runs in the background

	mu        sync.Mutex            // guards what follows
	instances map[string]*container // by the engine's ID
	ours      map[string]bool       // labelID of all that this backend knows and will remove
	prepared  map[string]*waiting   // by shape
	agents    map[string]string     // the agent's file, by architecture
	host      string                // what containers call this machine, once known
	remote    bool                  // the engine does not see this machine's files
	doomed    []*container          // could not be removed yet
	sweeping  bool                  // a task is at it
	closed    bool
}

var (
	_ backend.Backend  = (*Backend)(nil)
	_ backend.Preparer = (*Backend)(nil)
	_ backend.Puller   = (*Backend)(nil)
)

// New returns a backend, whose owner's mark is set.
func New(cfg Config) (*Backend, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Image == "" {
		cfg.Image = DefaultImage
	}
	if cfg.Pull == "" {
		cfg.Pull = PullMissing
	}
	switch cfg.Pull {
	case PullMissing, PullAlways, PullNever:
	default:
		return nil, fmt.Errorf("pull policy %q is none of always, missing, never", cfg.Pull)
	}
	if cfg.Name == "" {
		cfg.Name = "hearth-{function}-{id}"
	}
	if cfg.Access == nil {
		cfg.Access = func(backend.Deployment) backend.Access { return backend.Access{} }
	}
	m, err := setMark(filepath.Join(cfg.Dir, cfg.Owner))
	if err != nil {
		return nil, fmt.Errorf("%s backend: %w", cfg.Engine.Name, err)
	}
	b := &Backend{
		cfg: cfg, engine: cfg.Engine, log: cfg.Logger, mark: m, images: newImages(cfg.Engine, cfg.Pull, cfg.Logger),
		instances: map[string]*container{}, ours: map[string]bool{}, agents: map[string]string{}, prepared: map[string]*waiting{}, remote: cfg.Remote,
	}
	b.volumes = &volumes{b: b, all: map[string]*volume{}}
	b.owner = &owner{b: b}
	b.ctx, b.stop = context.WithCancel(context.Background())
	return b, nil
}

// Name implements backend.Backend.
func (b *Backend) Name() string { return b.engine.Name }

// CanRun implements backend.Backend.
func (b *Backend) CanRun(d backend.Deployment) error {
	if d.Image == "" {
		if _, err := b.imageOf(d); err != nil {
			return err
		}
	}
	if native := b.engine.Architecture; d.Architecture != "" && d.Architecture != native {
		return &backend.Warning{Text: fmt.Sprintf("the function is for %s and the engine for %s: it runs only if the engine emulates it", d.Architecture, native)}
	}
	return nil
}

// imageOf returns the image that d runs in.
func (b *Backend) imageOf(d backend.Deployment) (string, error) {
	if d.Image != "" {
		return d.Image, nil
	}
	name, version, ok := splitRuntime(d.Runtime)
	if !ok {
		return "", fmt.Errorf("%w: %q has no image", backend.ErrUnsupportedRuntime, d.Runtime)
	}
	return strings.NewReplacer("{runtime}", name, "{version}", version).Replace(b.cfg.Image), nil
}

// splitRuntime returns a runtime's repository and tag: python, 3.12.
func splitRuntime(r string) (name, version string, ok bool) {
	switch {
	case strings.HasPrefix(r, "provided."):
		return "provided", strings.TrimPrefix(r, "provided."), true
	case strings.HasPrefix(r, "dotnet"):
		return "dotnet", strings.TrimPrefix(r, "dotnet"), r != "dotnet"
	}
	for _, lang := range []string{"python", "nodejs", "ruby", "java"} {
		if v, found := strings.CutPrefix(r, lang); found && v != "" {
			return lang, strings.TrimSuffix(v, ".x"), true
		}
	}
	return "", "", false
}

func goarch(architecture string) string {
	switch architecture {
	case "arm64":
		return "arm64"
	case "x86_64":
		return "amd64"
	}
	return runtime.GOARCH
}

// gateway returns what containers' hosts files call the engine's machine.
func (b *Backend) gateway(ctx context.Context) string {
	b.mu.Lock()
	host := b.host
	b.mu.Unlock()
	if host == "" {
		host = b.engine.gateway(ctx, b.cfg.Network)
		b.mu.Lock()
		b.host = host
		b.mu.Unlock()
	}
	return host
}

// agent returns the agent for an architecture, which is looked for once.
func (b *Backend) agent(ctx context.Context, goarch string) (string, error) {
	b.mu.Lock()
	file := b.agents[goarch]
	b.mu.Unlock()
	if file != "" {
		return file, nil
	}
	file, err := b.cfg.Agent(ctx, goarch)
	if err != nil {
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		return "", fmt.Errorf("%w: %w", backend.ErrStartFailed, err)
	}
	b.mu.Lock()
	b.agents[goarch] = file
	b.mu.Unlock()
	return file, nil
}

// classify gives an engine's error its class, unless the caller gave up.
func classify(class error, err error) error {
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	if client.IsErrConnectionFailed(err) {
		class = backend.ErrUnreachable
	}
	return fmt.Errorf("%w: %w", class, err)
}

var _ instance.Agent = (*instance.Client)(nil)
