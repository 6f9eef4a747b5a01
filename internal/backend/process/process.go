// Package process runs instances as processes of this machine, with its own
// interpreters. It is no security boundary between functions.
package process

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

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
	Plain bool
	// Spare is how many supervisors wait for a function, so that launches don't
	// wait for theirs. 0 means one, from the first launch on; negative none.
	Spare  int
	Logger *slog.Logger // nil discards
}

// Backend runs instances as processes. See backend.Backend.
type Backend struct {
	cfg  Config
	log  *slog.Logger
	mark *mark

	mu        sync.Mutex // guards what follows
	instances map[string]*local
	spares    []*shell
	refilling bool
	noted     map[string]bool // what the log has been told once
	closed    bool
	tasks     sync.WaitGroup // launches, and what they leave to be done

	life   context.Context // of what is done in the background
	cancel context.CancelFunc
}

var _ backend.Backend = (*Backend)(nil)

// local is an instance of this server.
type local struct {
	shell   *shell
	agent   *agent.Agent
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
	b := &Backend{cfg: cfg, log: cfg.Logger, mark: m, instances: map[string]*local{}, noted: map[string]bool{}}
	b.life, b.cancel = context.WithCancel(context.Background())
	return b, nil
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
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return nil, fmt.Errorf("%w: the server is closing", backend.ErrNoCapacity)
	}
	b.tasks.Add(1)
	b.mu.Unlock()
	defer b.tasks.Done()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(b.life, cancel)() // Close ends launches

	interp, err := find(ctx, d)
	if err != nil {
		return nil, err
	}
	l := &local{}
	defer func() {
		if err != nil {
			b.end(l)
			if ctx.Err() != nil && !errors.Is(err, ctx.Err()) {
				err = fmt.Errorf("%w: %w", ctx.Err(), err)
			}
		}
	}()
	// The supervisor starts while code and bootstrap are made ready.
	started := make(chan error, 1)
	go func() {
		var err error
		l.shell, err = b.takeShell(ctx)
		started <- err
	}()
	boot, err := interp.Install(ctx, b.cfg.Cache)
	if err != nil {
		err = fmt.Errorf("%w: %w", backend.ErrStartFailed, err)
	}
	var task, opt string
	if err == nil {
		task, opt, err = b.code(ctx, d, l)
	}
	if startErr := <-started; err == nil && startErr != nil {
		err = fmt.Errorf("%w: %w", backend.ErrStartFailed, startErr)
	}
	if err != nil {
		return nil, err
	}
	sh := l.shell
	setup := confine.Setup{
		TaskRoot: task, RuntimeDir: boot, Opt: opt, Tmp: sh.tmp(), TmpSize: int64(max(512, d.EphemeralMB)) << 20,
		MaxFiles: 1024, MemoryLimit: int64(d.MemoryMB) << 20, MaxProcesses: 1024,
	}
	if b.cfg.CPUShare {
		setup.CPUs = float64(d.MemoryMB) / 1769
	}
	if interp.Path != "" {
		setup.Keep = []string{interp.Home, filepath.Dir(filepath.Dir(interp.Path)), boot}
	}
	seen, err := sh.sup.Setup(ctx, setup)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", backend.ErrStartFailed, err)
	}
	if seen.Opt == "" {
		seen.Opt = sh.opt()
	}
	b.note(seen.Notes)

	p := backend.Paths{TaskRoot: seen.TaskRoot, RuntimeDir: "/var/runtime", Opt: seen.Opt, System: systemPath(interp)}
	installed := boot
	if seen.RuntimeDir != "" {
		boot, p.RuntimeDir = seen.RuntimeDir, seen.RuntimeDir
	}
	layout := runtimes.Layout{Bootstrap: boot, Installed: installed, TaskRoot: p.TaskRoot, Opt: p.Opt, Env: maps.Clone(d.Environment), MemoryMB: d.MemoryMB, Has: func(path string) bool {
		for at, real := range map[string]string{p.TaskRoot: task, p.Opt: opt, p.RuntimeDir: installed} {
			if rest, ok := strings.CutPrefix(path, at); ok && real != "" {
				path = real + rest
				break
			}
		}
		_, err := os.Stat(path)
		return err == nil
	}}
	cmd := interp.Command(layout)
	if !seen.Isolated {
		cmd.Env["TMPDIR"] = seen.Tmp
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
	cfg := agent.Config{Supervisor: sh.sup, Logs: out.Logs, Logger: b.log}
	if opt != "" {
		spec.ExtensionsDir = filepath.Join(p.Opt, "extensions")
		cfg.ExtensionsDir = filepath.Join(opt, "extensions")
	}
	cfg.Spec = spec
	if l.agent, err = agent.New(cfg); err != nil {
		return nil, fmt.Errorf("%w: %w", backend.ErrStartFailed, err)
	}
	if err := l.agent.Start(ctx); err != nil {
		return nil, fmt.Errorf("%w: %w", backend.ErrStartFailed, err)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	h := backend.Handle{Backend: Name, Owner: b.cfg.Owner, ID: sh.id}
	b.mu.Lock()
	b.instances[sh.id] = l
	b.mu.Unlock()
	b.tasks.Go(func() { b.watch(h, l) })
	return &backend.Instance{Handle: h, Agent: l.agent, Warning: interp.Warning}, nil
}

// watch refills the spares once l's INIT is over, and ends l when another
// process asks its supervisor to.
func (b *Backend) watch(h backend.Handle, l *local) {
	ready := l.agent.Ready()
	for {
		select {
		case <-ready:
			ready = nil
			b.refill()
		case <-l.shell.sup.Asked():
			if err := b.Terminate(b.life, h); err != nil {
				b.log.Warn("instance could not be ended for another server", "instance", h, "err", err)
			}
			return
		case <-l.shell.sup.Lost():
			if ready != nil {
				b.refill()
			}
			return
		}
	}
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

func systemPath(i *runtimes.Interpreter) string {
	system := "/usr/local/bin:/usr/bin/:/bin"
	if i.Path != "" {
		if dir := filepath.Dir(i.Path); dir != "/usr/bin" && dir != "/usr/local/bin" && dir != "/bin" {
			system = dir + ":" + system
		}
	}
	return system
}

// note tells the log what this machine does not allow, once.
func (b *Backend) note(notes []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, n := range notes {
		if !b.noted[n] {
			b.noted[n] = true
			b.log.Info("functions run with less than on Lambda", "backend", Name, "why", n)
		}
	}
}

// Terminate implements backend.Backend.
func (b *Backend) Terminate(ctx context.Context, h backend.Handle) error {
	if h.Owner != b.cfg.Owner {
		owner, id := filepath.Base(h.Owner), filepath.Base(h.ID) // never outside the folder
		if err := endForeign(ctx, filepath.Join(b.cfg.Dir, owner, id)); err != nil {
			return fmt.Errorf("terminate %s: %w", h, err)
		}
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
	if l.shell != nil {
		if err := l.shell.end(); err != nil {
			return err
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
	if b.closed {
		b.mu.Unlock()
		return nil
	}
	b.closed = true
	b.mu.Unlock()
	b.cancel() // of launches, too
	var errs []error
	// What a launch that was under way still brings is ended in the next round.
	for over := false; !over; {
		done := make(chan struct{})
		go func() {
			b.tasks.Wait()
			close(done)
		}()
		b.mu.Lock()
		doomed, spares := slices.Collect(maps.Keys(b.instances)), b.spares
		b.spares = nil
		b.mu.Unlock()
		var wg sync.WaitGroup
		ends := make([]error, len(doomed)+len(spares))
		for i, id := range doomed {
			wg.Go(func() {
				ends[i] = b.Terminate(context.Background(), backend.Handle{Backend: Name, Owner: b.cfg.Owner, ID: id})
			})
		}
		for i, sh := range spares {
			wg.Go(func() { ends[len(doomed)+i] = sh.end() })
		}
		wg.Wait()
		if err := errors.Join(ends...); err != nil {
			errs = append(errs, err)
			break
		}
		select {
		case <-done:
			b.mu.Lock()
			over = len(b.instances) == 0 && len(b.spares) == 0
			b.mu.Unlock()
		case <-time.After(10 * time.Millisecond):
		}
	}
	return errors.Join(errors.Join(errs...), b.mark.remove())
}
