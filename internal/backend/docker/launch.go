package docker

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/hearth-run/hearth/internal/backend"
	"github.com/hearth-run/hearth/internal/code"
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
		first := !b.remote
		b.remote = true
		b.mu.Unlock()
		if first {
			b.log.Info("the engine does not see this machine's files: code goes there in volumes", "engine", b.engine.Host, "err", err)
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
	p, t, release, err := b.parts(ctx, d, img)
	if err != nil {
		return nil, err
	}
	spec, err := b.specOf(d, img, out, t)
	if err != nil {
		release()
		return nil, err
	}
	s := shape{img: img, memoryMB: d.MemoryMB, ephemeralMB: d.EphemeralMB, code: d.Image == ""}
	c := b.claim(s, d, t)
	if c == nil {
		if c, err = b.make(ctx, s, d, p); err != nil {
			release()
			return nil, err
		}
	}
	c.release = append(c.release, release)
	defer func() {
		if err == nil {
			return
		}
		undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
		defer cancel()
		b.undo(undo, c)
	}()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := c.client.Start(spec, out.Logs); err != nil {
		return nil, fmt.Errorf("%w: %w", backend.ErrStartFailed, err)
	}
	b.mu.Lock()
	b.instances[c.id] = c
	b.mu.Unlock()
	return &backend.Instance{Handle: backend.Handle{Backend: b.Name(), Owner: b.cfg.Owner, ID: c.id}, Agent: c.client}, nil
}

// forget makes c none of this backend's containers any more. What is left of
// it on the engine, ReapStale removes.
func (b *Backend) forget(c *container) {
	b.mu.Lock()
	delete(b.instances, c.id)
	delete(b.ours, c.key)
	b.mu.Unlock()
}

// trees are the unpacked folders of a deployment on this machine.
type trees struct{ task, opt string }

// parts makes a deployment's code, layers and agent ready to be mounted, until release is called.
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
	file, err := b.agent(ctx, img.architecture)
	if err != nil {
		return p, t, release, err
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
		return parts{agent: file, task: t.task, opt: t.opt}, t, release, nil
	}
	for _, v := range []struct {
		name      *string
		key, path string
	}{
		{&p.agent, "agent " + img.architecture, file},
		{&p.task, d.CodeHash, t.task},
		{&p.opt, strings.Join(hashes, " "), t.opt},
	} {
		if v.path == "" {
			continue
		}
		name, done, err := b.volumes.use(ctx, img, v.key, v.path)
		if err != nil {
			return p, t, release, err
		}
		*v.name, releases = name, append(releases, done)
	}
	return p, t, release, b.holdOwner(ctx, img, p.agent)
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

// Terminate implements backend.Backend.
func (b *Backend) Terminate(ctx context.Context, h backend.Handle) error {
	b.mu.Lock()
	c := b.instances[h.ID]
	b.mu.Unlock()
	if c == nil {
		// Gone already, or another server's: that one's client learns by the wire.
		if err := b.engine.remove(ctx, h.ID); err != nil {
			return fmt.Errorf("terminate %s: %w", h, err)
		}
		return nil
	}
	if err := b.end(ctx, c); err != nil {
		if !errors.Is(err, ctx.Err()) {
			b.later(c) // the caller may have given up when the engine is back
		}
		return fmt.Errorf("terminate %s: %w", h, err)
	}
	b.forget(c)
	return nil
}

// Close implements backend.Backend.
func (b *Backend) Close() error {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	b.stop()
	b.tasks.Wait()
	b.mu.Lock()
	var all []*container
	for _, c := range b.instances {
		all = append(all, c)
	}
	for _, w := range b.prepared {
		all = append(all, w.idle...)
	}
	clear(b.prepared)
	b.mu.Unlock()
	errs := make([]error, len(all))
	b.each(len(all), func(ctx context.Context, i int) { errs[i] = b.end(ctx, all[i]) })
	err := errors.Join(errs...)
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	b.mu.Lock()
	left := b.sweeping
	b.mu.Unlock()
	if left {
		err = errors.Join(err, b.sweepOnce(ctx))
	}
	err = errors.Join(err, b.owner.close(ctx), b.volumes.close(ctx))
	return errors.Join(err, b.mark.remove(), b.engine.Client.Close())
}
