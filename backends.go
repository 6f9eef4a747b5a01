package hearth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hearth-run/hearth/internal/arn"
	"github.com/hearth-run/hearth/internal/backend"
	"github.com/hearth-run/hearth/internal/backend/docker"
	"github.com/hearth-run/hearth/internal/backend/process"
	"github.com/hearth-run/hearth/internal/code"
	"github.com/hearth-run/hearth/internal/invoke"
	"github.com/hearth-run/hearth/internal/pool"
	"github.com/hearth-run/hearth/internal/store"
)

// backendConfig is what opening the backends takes.
type backendConfig struct {
	names  []string // in order of preference; "auto" for all, as fits
	dir    string   // for instances
	cache  string
	owner  string
	code   *code.Store
	access func(backend.Deployment) backend.Access
	docker docker.Config // of container engines; what is common is filled in
	// pauseIdle stops instances between events; cpuShare gives them CPU in
	// proportion to memory.
	pauseIdle, cpuShare bool
	spare               int // supervisors that wait, see process.Config
	log                 *slog.Logger
}

// selection is a server's backends, in order of preference.
type selection struct {
	all []*choice
}

// choice is a backend that is opened when it is first needed, so that a start
// waits for no engine.
type choice struct {
	name string
	auto bool // nobody asked for it by name
	open func() (backend.Backend, error)
	once sync.Once
	b    backend.Backend
	err  error
}

func (c *choice) get() (backend.Backend, error) {
	c.once.Do(func() { c.b, c.err = c.open() })
	return c.b, c.err
}

// openBackends opens the backends that are asked for by name, and prepares the others.
func openBackends(ctx context.Context, cfg backendConfig) (_ *selection, err error) {
	s := &selection{}
	defer func() {
		if err != nil {
			s.Close()
		}
	}()
	names := cfg.names
	if len(names) == 0 {
		names = []string{"auto"}
	}
	add := func(name string, auto bool) error {
		c := &choice{name: name, auto: auto}
		switch name {
		case process.Name:
			c.open = func() (backend.Backend, error) {
				return process.New(process.Config{Dir: filepath.Join(cfg.dir, process.Name), Cache: cfg.cache, Owner: cfg.owner, Code: cfg.code, Access: cfg.access, PauseIdle: cfg.pauseIdle, CPUShare: cfg.cpuShare, Spare: cfg.spare, Logger: cfg.log})
			}
		case "docker", "podman", "engine":
			c.open = func() (backend.Backend, error) { return openEngine(cfg, name) }
		default:
			return fmt.Errorf("there is no backend %q; there are auto, process, docker and podman", name)
		}
		s.all = append(s.all, c)
		if !auto || name == process.Name {
			_, err := c.get()
			return err
		}
		return nil
	}
	for _, name := range names {
		if name = strings.TrimSpace(name); name != "auto" {
			err = add(name, false)
		} else if err = add(process.Name, true); err == nil {
			err = add("engine", true)
		}
		if err != nil {
			return nil, err
		}
	}
	return s, nil
}

// openEngine opens the backend of the container engine that is found: the one
// named want, or whichever answers first.
func openEngine(cfg backendConfig, want string) (backend.Backend, error) {
	if want == "engine" {
		want = ""
	}
	engine, err := docker.Find(context.Background(), want)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", backend.ErrUnreachable, err)
	}
	c := cfg.docker
	c.Engine, c.Dir, c.Owner, c.Code, c.Access, c.Logger = engine, filepath.Join(cfg.dir, engine.Name), cfg.owner, cfg.code, cfg.access, cfg.log
	c.CPU, c.PauseIdle = cfg.cpuShare, cfg.pauseIdle
	c.Agent = func(ctx context.Context, goarch string) (string, error) {
		return process.AgentFor(ctx, "linux", goarch)
	}
	cfg.log.Info("container engine found", "engine", engine.Name, "version", engine.Version, "host", engine.Host, "why", engine.Why)
	b, err := docker.New(c)
	if err != nil {
		engine.Client.Close()
		return nil, err
	}
	return b, nil
}

// pick returns the first backend that runs d as asked, else the first that
// runs it with a warning, else why none does.
func (s *selection) pick(d backend.Deployment) (backend.Backend, string, error) {
	var second backend.Backend
	var warning string
	var errs []error
	for _, c := range s.all {
		b, err := c.get()
		if err == nil {
			err = b.CanRun(d)
		}
		var w *backend.Warning
		switch {
		case err == nil:
			return b, "", nil
		case errors.As(err, &w):
			if second == nil {
				second, warning = b, w.Text
			}
		default:
			errs = append(errs, err)
		}
	}
	if second != nil {
		return second, warning, nil
	}
	return nil, "", errors.Join(errs...)
}

// instead returns the process backend for a function that was meant for a
// container since its exact language version is not here, when the engine
// can't get the image: the nearest version, with a warning, is better than nothing.
func (s *selection) instead(d backend.Deployment, failed backend.Backend, err error) (backend.Backend, string) {
	if d.Image != "" || !errors.Is(err, backend.ErrImageNotFound) && !errors.Is(err, backend.ErrImagePull) && !errors.Is(err, backend.ErrUnreachable) {
		return nil, ""
	}
	for _, c := range s.all {
		if b, openErr := c.get(); openErr == nil && c.auto && b != failed {
			var w *backend.Warning
			if err := b.CanRun(d); err == nil {
				return b, ""
			} else if errors.As(err, &w) {
				return b, w.Text
			}
		}
	}
	return nil, ""
}

// warm makes the first launch of a local process faster.
func (s *selection) warm() {
	for _, c := range s.all {
		if c.name == process.Name {
			if b, err := c.get(); err == nil {
				b.(*process.Backend).Warm()
			}
		}
	}
}

// names returns the names of the backends that can be used.
func (s *selection) names() []string {
	var names []string
	for _, c := range s.all {
		if b, err := c.get(); err == nil {
			names = append(names, b.Name())
		}
	}
	return names
}

// reap ends what dead servers left on every backend.
func (s *selection) reap(ctx context.Context) error {
	var errs []error
	for _, c := range s.all {
		b, err := c.get()
		if err != nil {
			continue // nothing of ours can be on an engine that is not there
		}
		if err := b.ReapStale(ctx); err != nil {
			errs = append(errs, fmt.Errorf("backend %s: %w", b.Name(), err))
		}
	}
	return errors.Join(errs...)
}

// Close closes all backends that were opened.
func (s *selection) Close() error {
	var errs []error
	for _, c := range s.all {
		c.once.Do(func() { c.err = errors.New("closed") })
		if c.b != nil {
			errs = append(errs, c.b.Close())
		}
	}
	return errors.Join(errs...)
}

// activator makes function versions ready to be launched.
type activator struct{ *selection }

// Activate implements lambda.Activator: it pulls the image of a version that has one.
func (a activator) Activate(ctx context.Context, f *store.Function, v *store.Version) (image string, err error) {
	if v.PackageType != "Image" {
		return "", nil
	}
	name := arn.Function{Partition: arn.PartitionOf(f.Region), AccountID: f.AccountID, Region: f.Region, Name: f.Name}
	d := invoke.Deployment(name, f.ID, v)
	b, _, err := a.pick(d)
	if err != nil {
		return "", err
	}
	p, ok := b.(backend.Puller)
	if !ok {
		return "", nil
	}
	return p.Pull(ctx, d)
}

var memory struct {
	sync.Mutex
	read time.Time
	is   pool.Memory
}

// memoryPressure says how short of memory this machine is, as of the last 100 ms.
func memoryPressure() pool.Memory {
	memory.Lock()
	defer memory.Unlock()
	if time.Since(memory.read) < 100*time.Millisecond {
		return memory.is
	}
	memory.read, memory.is = time.Now(), pool.MemoryPlenty
	b, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return memory.is
	}
	value := func(name string) int64 {
		_, rest, _ := strings.Cut(string(b), name+":")
		kb, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
		n, _ := strconv.ParseInt(kb, 10, 64)
		return n
	}
	switch total, available := value("MemTotal"), value("MemAvailable"); {
	case total == 0:
	case available < total/50:
		memory.is = pool.MemoryFull
	case available < total/10:
		memory.is = pool.MemoryLow
	}
	return memory.is
}
