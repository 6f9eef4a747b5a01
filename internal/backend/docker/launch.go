package docker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"

	"github.com/hearth-run/hearth/internal/backend"
	"github.com/hearth-run/hearth/internal/code"
	"github.com/hearth-run/hearth/internal/instance"
)

func (b *Backend) isRemote() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.remote
}

// Launch implements backend.Backend.
func (b *Backend) Launch(ctx context.Context, d backend.Deployment, out backend.Output) (*backend.Instance, error) {
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return nil, fmt.Errorf("%w: the server is closing", backend.ErrNoCapacity)
	}
	b.tasks.Add(1)
	b.mu.Unlock()
	defer b.tasks.Done()

	in, err := b.launch(ctx, &d, out)
	if errors.Is(err, errNotShared) {
		b.mu.Lock()
		again := !b.remote
		b.remote = true
		b.mu.Unlock()
		if again {
			b.log.Info("the engine does not see this machine's files: code goes there in volumes", "engine", b.engine.Host)
		}
		in, err = b.launch(ctx, &d, out)
	}
	return in, err
}

func (b *Backend) launch(ctx context.Context, d *backend.Deployment, out backend.Output) (_ *backend.Instance, err error) {
	ref, err := b.imageOf(*d)
	if err != nil {
		return nil, err
	}
	img, err := b.images.get(ctx, ref, d.Architecture)
	if err != nil {
		return nil, err
	}
	if b.isRemote() {
		if err := b.holdOwner(ctx, img); err != nil {
			return nil, err
		}
	}
	p, trees, release, err := b.parts(ctx, d, img)
	if err != nil {
		return nil, err
	}
	c, err := b.create(ctx, d, img, "instance", p)
	if err != nil {
		release()
		if bindFailed(err) && !b.isRemote() {
			return nil, errNotShared
		}
		return nil, err
	}
	c.release = append(c.release, release)
	defer func() {
		if err != nil {
			undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
			defer cancel()
			b.end(undo, c)
		}
	}()
	if err := c.client.Start(b.specOf(d, img, out, trees), out.Logs); err != nil {
		return nil, fmt.Errorf("%w: %w", backend.ErrStartFailed, err)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	b.mu.Lock()
	b.instances[c.id] = c
	b.mu.Unlock()
	in := &backend.Instance{Handle: backend.Handle{Backend: b.Name(), Owner: b.cfg.Owner, ID: c.id}, Agent: c.client}
	return in, nil
}

// bindFailed says whether the engine refused a mount because it has no such folder.
func bindFailed(err error) bool {
	text := err.Error()
	return strings.Contains(text, "bind source path does not exist") || strings.Contains(text, "statfs ") && strings.Contains(text, "no such file or directory")
}

// trees are the unpacked folders of a deployment on this machine.
type trees struct{ task, opt string }

// parts makes a deployment's code, layers and agent ready to be mounted.
func (b *Backend) parts(ctx context.Context, d *backend.Deployment, img *image) (p parts, t trees, release func(), err error) {
	var releases []func()
	release = func() {
		for _, r := range releases {
			r()
		}
	}
	defer func() {
		if err != nil {
			release()
		}
	}()
	program, err := b.cfg.Agent(ctx, img.architecture)
	if err != nil {
		return p, t, release, fmt.Errorf("%w: %w", backend.ErrStartFailed, err)
	}
	switch {
	case d.CodeDir != "":
		t.task = d.CodeDir
	case d.CodeHash != "":
		dir, done, err := b.cfg.Code.Tree(ctx, d.CodeHash)
		if err != nil {
			return p, t, release, codeError(ctx, err)
		}
		t.task, releases = dir, append(releases, done)
	}
	hashes := make([]string, len(d.Layers))
	for i, l := range d.Layers {
		hashes[i] = l.CodeHash
	}
	if len(hashes) > 0 {
		dir, done, err := b.cfg.Code.Layers(ctx, hashes)
		if err != nil {
			return p, t, release, codeError(ctx, err)
		}
		t.opt, releases = dir, append(releases, done)
	}
	if !b.isRemote() {
		return parts{agent: program, task: t.task, opt: t.opt}, t, release, nil
	}
	if p.agent, err = b.volume(ctx, img, filepath.Base(filepath.Dir(program)), program); err != nil {
		return p, t, release, err
	}
	if t.task != "" {
		if p.task, err = b.volume(ctx, img, volumeKey(d.CodeHash, t.task), t.task); err != nil {
			return p, t, release, err
		}
	}
	if t.opt != "" {
		if p.opt, err = b.volume(ctx, img, volumeKey(strings.Join(hashes, "-"), t.opt), t.opt); err != nil {
			return p, t, release, err
		}
	}
	return p, t, release, nil
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

// specOf returns what the agent in a container of img runs.
func (b *Backend) specOf(d *backend.Deployment, img *image, out backend.Output, t trees) instance.Spec {
	args, dir, handler := command(d, img, func(p string) bool {
		for seen, real := range map[string]string{"/var/task": t.task, "/opt": t.opt} {
			if rest, ok := strings.CutPrefix(p, seen); ok && real != "" {
				_, err := os.Stat(real + rest)
				return err == nil
			}
		}
		return false
	})
	image := map[string]string{}
	for _, e := range img.env {
		if k, v, ok := strings.Cut(e, "="); ok {
			image[k] = v
		}
	}
	system := "/usr/local/bin:/usr/bin/:/bin"
	if image["PATH"] != "" {
		system = image["PATH"]
	}
	run := *d
	if run.Handler == "" {
		run.Handler = handler
	}
	env := backend.Environ(run, out.Stream, backend.Paths{TaskRoot: "/var/task", RuntimeDir: "/var/runtime", Opt: "/opt", System: system}, b.cfg.Access(*d), nil)
	// The image's own settings stand, but for those that are Lambda's to give.
	for _, k := range []string{"LANG", "TZ", "PATH", "LD_LIBRARY_PATH"} {
		if v, ok := image[k]; ok {
			if _, own := d.Environment[k]; !own {
				env[k] = v
			}
		}
	}
	merged := maps.Clone(image)
	maps.Copy(merged, env)
	if d.Runtime != "" {
		merged["AWS_EXECUTION_ENV"] = "AWS_Lambda_" + d.Runtime
	} else if handler != "" {
		merged["_HANDLER"] = handler
	}
	return instance.Spec{
		FunctionName: d.Function, FunctionVersion: d.Version, FunctionARN: d.ARN(), AccountID: d.AccountID, Region: d.Region,
		Runtime: d.Runtime, Handler: run.Handler, MemoryMB: d.MemoryMB, EphemeralMB: d.EphemeralMB, Timeout: d.Timeout,
		InitType: d.InitType, MaxConcurrency: d.MaxConcurrency,
		Command: args, WorkDir: dir, Environment: merged, ExtensionEnvironment: backend.ExtensionEnviron(merged), ExtensionsDir: "/opt/extensions",
		LogGroup: d.LogGroup, LogStream: out.Stream, LogFormat: d.LogFormat, AppLogLevel: d.AppLogLevel, SysLogLevel: d.SysLogLevel, Tracing: d.Tracing,
	}
}

// Prepare implements backend.Preparer.
func (b *Backend) Prepare(ctx context.Context, d backend.Deployment, n int) error {
	return errors.New("prepared instances are not supported yet")
}
