// Package process runs instances as processes of this machine, with its own
// interpreters. It is no security boundary between functions.
package process

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"

	"github.com/hearth-run/hearth/internal/agent"
	"github.com/hearth-run/hearth/internal/agent/confine"
	"github.com/hearth-run/hearth/internal/backend"
	"github.com/hearth-run/hearth/internal/code"
	"github.com/hearth-run/hearth/internal/instance"
	"github.com/hearth-run/hearth/internal/runtimes"
)

// Name is what Backend.Name returns.
const Name = "process"

// Code unpacks archives; *code.Store does.
type Code interface {
	Tree(ctx context.Context, hash string) (dir string, release func(), err error)
	Layers(ctx context.Context, hashes []string) (dir string, release func(), err error)
}

// Config is what a Backend needs.
type Config struct {
	// Dir holds the instances' folders, each below its server's. Servers that
	// share it reap what dead ones among them left. Required.
	Dir string
	// Cache is where bootstraps are installed. "" means Dir's sibling "cache".
	Cache string
	// Owner is this server's ID. Required.
	Owner string
	Code  Code
	// Supervisor returns the program and arguments that start a supervisor.
	// Nil means what Agent finds, with "supervise".
	Supervisor func(ctx context.Context) (program string, args []string, err error)
	// Access returns what d's function gets to reach AWS's APIs.
	Access func(d backend.Deployment) backend.Access
	// PauseIdle stops an instance's processes between events.
	PauseIdle bool
	// CPUShare gives instances CPU in proportion to their memory where control
	// groups allow it: 1,769 MB are one, as on AWS.
	CPUShare bool
	// Plain leaves out namespaces.
	Plain  bool
	Logger *slog.Logger // nil discards
}

// Backend runs instances as processes. See backend.Backend.
type Backend struct {
	cfg  Config
	log  *slog.Logger
	mark *mark

	mu        sync.Mutex // guards what follows
	instances map[string]*local
	noted     map[string]bool // what the log has been told once
	closed    bool
	launches  sync.WaitGroup
}

var _ backend.Backend = (*Backend)(nil)

// local is an instance of this server.
type local struct {
	agent   *agent.Agent
	sup     *confine.Supervisor
	dir     string
	release []func()
	ending  sync.Mutex
}

// New returns a backend, whose owner's mark is set.
func New(cfg Config) (*Backend, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Cache == "" {
		cfg.Cache = filepath.Join(filepath.Dir(cfg.Dir), "cache")
	}
	if cfg.Access == nil {
		cfg.Access = func(backend.Deployment) backend.Access { return backend.Access{} }
	}
	if cfg.Supervisor == nil {
		cfg.Supervisor = func(ctx context.Context) (string, []string, error) {
			program, args, err := Agent(ctx)
			return program, append(args, "supervise"), err
		}
	}
	m, err := setMark(filepath.Join(cfg.Dir, cfg.Owner))
	if err != nil {
		return nil, fmt.Errorf("process backend: %w", err)
	}
	return &Backend{cfg: cfg, log: cfg.Logger, mark: m, instances: map[string]*local{}, noted: map[string]bool{}}, nil
}

// Name implements backend.Backend.
func (b *Backend) Name() string { return Name }

// CanRun implements backend.Backend.
func (b *Backend) CanRun(d backend.Deployment) error {
	if d.Image != "" {
		return fmt.Errorf("%w: image functions need a container engine", backend.ErrUnsupportedRuntime)
	}
	i, err := find(context.Background(), d)
	if err != nil {
		return err
	}
	var warnings []string
	if i.Warning != "" {
		warnings = append(warnings, i.Warning)
	}
	if native := architecture(); d.Architecture != "" && d.Architecture != native && i.Language != "provided" {
		warnings = append(warnings, fmt.Sprintf("the function is for %s; running on %s", d.Architecture, native))
	}
	if len(warnings) > 0 {
		return &backend.Warning{Text: strings.Join(warnings, "; ")}
	}
	return nil
}

func find(ctx context.Context, d backend.Deployment) (*runtimes.Interpreter, error) {
	i, err := runtimes.Find(ctx, d.Runtime)
	if err != nil {
		return nil, fmt.Errorf("%w: %s", backend.ErrUnsupportedRuntime, strings.TrimPrefix(err.Error(), runtimes.ErrUnsupported.Error()+": "))
	}
	if native := architecture(); i.Language == "provided" && d.Architecture != "" && d.Architecture != native {
		return nil, fmt.Errorf("%w: the function's executable is for %s, and this machine is %s", backend.ErrUnsupportedRuntime, d.Architecture, native)
	}
	return i, nil
}

func architecture() string {
	if runtime.GOARCH == "arm64" {
		return "arm64"
	}
	return "x86_64"
}

// Launch implements backend.Backend.
func (b *Backend) Launch(ctx context.Context, d backend.Deployment, out backend.Output) (_ *backend.Instance, err error) {
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return nil, fmt.Errorf("%w: the server is closing", backend.ErrNoCapacity)
	}
	b.launches.Add(1)
	b.mu.Unlock()
	defer b.launches.Done()

	interp, err := find(ctx, d)
	if err != nil {
		return nil, err
	}
	boot, err := interp.Install(ctx, b.cfg.Cache)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", backend.ErrStartFailed, err)
	}
	l := &local{}
	defer func() {
		if err != nil {
			b.end(l)
		}
	}()
	task, opt, err := b.code(ctx, d, l)
	if err != nil {
		return nil, err
	}
	id := newID()
	l.dir = b.mark.path(id)
	tmp := filepath.Join(l.dir, "tmp")
	if err := os.MkdirAll(tmp, 0o777); err != nil {
		return nil, fmt.Errorf("%w: %w", backend.ErrStartFailed, err)
	}
	os.Chmod(tmp, 0o1777)
	program, args, err := b.cfg.Supervisor(ctx)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", backend.ErrStartFailed, err)
	}
	cpus := 0.0
	if b.cfg.CPUShare {
		cpus = float64(d.MemoryMB) / 1769
	}
	l.sup, err = confine.Start(ctx, confine.Config{
		Program: program, Args: args, Plain: b.cfg.Plain || hidden(interp.Path) || hidden(interp.Home),
		Setup: confine.Setup{
			TaskRoot: task, RuntimeDir: boot, Opt: opt, Tmp: tmp, MaxFiles: 1024,
			MemoryLimit: int64(d.MemoryMB) << 20, CPUs: cpus, MaxProcesses: 1024 + 16,
			CgroupName: groupName(b.cfg.Owner, id),
		},
	})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", backend.ErrStartFailed, err)
	}
	if err := b.mark.note(id, l.sup.PID()); err != nil {
		return nil, fmt.Errorf("%w: %w", backend.ErrStartFailed, err)
	}
	p := backend.Paths{TaskRoot: "/var/task", RuntimeDir: "/var/runtime", Opt: "/opt", System: systemPath(interp)}
	if l.sup.Isolated() {
		boot = p.RuntimeDir
	} else {
		p.TaskRoot, p.Opt = task, opt
		if boot != "" {
			p.RuntimeDir = boot
		}
		if opt == "" {
			p.Opt = filepath.Join(l.dir, "opt")
		}
	}
	b.noteOnce(l.sup)

	env := maps.Clone(d.Environment)
	layout := runtimes.Layout{Bootstrap: boot, TaskRoot: p.TaskRoot, Opt: p.Opt, Env: env, MemoryMB: d.MemoryMB, Has: func(path string) bool {
		for seen, real := range map[string]string{p.TaskRoot: task, p.Opt: opt} {
			if rest, ok := strings.CutPrefix(path, seen); ok && real != "" {
				path = real + rest
				break
			}
		}
		_, err := os.Stat(path)
		return err == nil
	}}
	cmd := interp.Command(layout)
	if !l.sup.Isolated() {
		if cmd.Env == nil {
			cmd.Env = map[string]string{}
		}
		cmd.Env["TMPDIR"] = tmp
	}
	environ := backend.Environ(d, out.Stream, p, b.cfg.Access(d), cmd.Env)
	spec := instance.Spec{
		FunctionName: d.Function, FunctionVersion: d.Version, FunctionARN: d.ARN(), AccountID: d.AccountID, Region: d.Region,
		Runtime: d.Runtime, RuntimeVersionARN: d.Other["RuntimeVersionArn"], Handler: d.Handler, MemoryMB: d.MemoryMB, EphemeralMB: d.EphemeralMB, Timeout: d.Timeout,
		InitType: d.InitType, MaxConcurrency: d.MaxConcurrency,
		Command: cmd.Args, WorkDir: p.TaskRoot, Environment: environ, ExtensionEnvironment: backend.ExtensionEnviron(environ),
		LogGroup: d.LogGroup, LogStream: out.Stream, LogFormat: d.LogFormat, AppLogLevel: d.AppLogLevel, SysLogLevel: d.SysLogLevel, Tracing: d.Tracing,
		PauseIdle: b.cfg.PauseIdle,
	}
	if opt != "" {
		spec.ExtensionsDir = filepath.Join(p.Opt, "extensions")
	}
	l.agent, err = agent.New(agent.Config{Spec: spec, Supervisor: l.sup, Logs: out.Logs, Logger: b.log})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", backend.ErrStartFailed, err)
	}
	if err := l.agent.Start(ctx); err != nil {
		return nil, fmt.Errorf("%w: %w", backend.ErrStartFailed, err)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	b.mu.Lock()
	b.instances[id] = l
	b.mu.Unlock()
	return &backend.Instance{
		Handle:  backend.Handle{Backend: Name, Owner: b.cfg.Owner, ID: id},
		Agent:   l.agent,
		Warning: interp.Warning,
	}, nil
}

// code makes d's code and layers ready, to be released with l.
func (b *Backend) code(ctx context.Context, d backend.Deployment, l *local) (task, opt string, err error) {
	task = d.CodeDir
	if task == "" {
		dir, release, err := b.cfg.Code.Tree(ctx, d.CodeHash)
		if err != nil {
			return "", "", codeError(ctx, err)
		}
		task = dir
		l.release = append(l.release, release)
	}
	hashes := make([]string, len(d.Layers))
	for i, layer := range d.Layers {
		hashes[i] = layer.CodeHash
	}
	if len(hashes) > 0 {
		dir, release, err := b.cfg.Code.Layers(ctx, hashes)
		if err != nil {
			return "", "", codeError(ctx, err)
		}
		opt = dir
		l.release = append(l.release, release)
	}
	return task, opt, nil
}

func codeError(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, code.ErrNotFound):
		return fmt.Errorf("%w: %w", backend.ErrNoCode, err)
	}
	return fmt.Errorf("%w: %w", backend.ErrBadCode, err)
}

// hidden says whether Lambda's paths would hide what lies at path.
func hidden(path string) bool {
	for _, dir := range []string{"/opt/", "/tmp/", "/var/task/", "/var/runtime/"} {
		if strings.HasPrefix(path, dir) {
			return true
		}
	}
	return false
}

func systemPath(i *runtimes.Interpreter) string {
	system := "/usr/local/bin:/usr/bin/:/bin"
	if i.Path != "" {
		if dir := filepath.Dir(i.Path); dir != "/usr/bin" && dir != "/usr/local/bin" && dir != "/bin" {
			system = dir + ":" + system
		}
	}
	return system
}

// noteOnce tells the log what this machine does not allow.
func (b *Backend) noteOnce(s *confine.Supervisor) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !s.Isolated() && !b.noted["isolated"] {
		b.noted["isolated"] = true
		b.log.Info("no private namespaces here: functions see their code at the machine's paths, not at /var/task")
	}
	if !s.Limited() && !b.noted["limited"] {
		b.noted["limited"] = true
		b.log.Info("no control groups here: memory limits of functions are not enforced")
	}
}

func newID() string {
	var b [8]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// groupName names an instance's control group.
func groupName(owner, id string) string { return "hearth-" + owner + "-" + id }

// Terminate implements backend.Backend.
func (b *Backend) Terminate(ctx context.Context, h backend.Handle) error {
	if h.Owner != b.cfg.Owner {
		owner, id := filepath.Base(h.Owner), filepath.Base(h.ID) // never outside the folder
		if err := endForeign(ctx, filepath.Join(b.cfg.Dir, owner, id)); err != nil {
			return fmt.Errorf("terminate %s: %w", h, err)
		}
		removeGroups(groupName(owner, id))
		return nil
	}
	b.mu.Lock()
	l := b.instances[h.ID]
	b.mu.Unlock()
	if l == nil {
		return nil
	}
	done := make(chan error, 1)
	go func() {
		l.ending.Lock()
		defer l.ending.Unlock()
		shutdownErr := l.agent.Shutdown(ctx)
		if err := ctx.Err(); err != nil && shutdownErr != nil {
			done <- err
			return
		}
		err := b.end(l)
		if err == nil {
			b.mu.Lock()
			delete(b.instances, h.ID)
			b.mu.Unlock()
		}
		done <- err
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// end releases all that l holds. It may be called more than once.
func (b *Backend) end(l *local) error {
	if l.sup != nil {
		l.sup.Close()
	}
	if l.dir != "" {
		if err := removeAll(l.dir); err != nil {
			return fmt.Errorf("remove the instance's folder: %w", err)
		}
	}
	for _, release := range l.release {
		release()
	}
	l.release = nil
	return nil
}

// removeAll removes dir although a function took permissions from folders in it.
func removeAll(dir string) error {
	if err := os.RemoveAll(dir); err == nil {
		return nil
	}
	filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
		if d != nil && d.IsDir() {
			os.Chmod(p, 0o700)
		}
		return nil
	})
	return os.RemoveAll(dir)
}

// Close implements backend.Backend.
func (b *Backend) Close() error {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	b.launches.Wait()
	b.mu.Lock()
	ids := make([]string, 0, len(b.instances))
	for id := range b.instances {
		ids = append(ids, id)
	}
	b.mu.Unlock()
	var wg sync.WaitGroup
	errs := make([]error, len(ids))
	for i, id := range ids {
		wg.Go(func() {
			errs[i] = b.Terminate(context.Background(), backend.Handle{Backend: Name, Owner: b.cfg.Owner, ID: id})
		})
	}
	wg.Wait()
	return errors.Join(errors.Join(errs...), b.mark.remove())
}
