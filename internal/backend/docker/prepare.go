package docker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/hearth-run/hearth/internal/backend"
)

const (
	// maxShapes is for how many shapes containers wait; the one that was not
	// needed for longest gives way.
	maxShapes = 4
	// minMemory is how much memory an engine's machine has at least, in bytes, for
	// containers to wait without having been asked for.
	minMemory = 4 << 30
)

// waiting are the prepared containers of one shape.
type waiting struct {
	shape  shape
	want   int
	idle   []*container
	making int
	used   time.Time
}

// Prepare implements backend.Preparer. Where the engine does not see this
// machine's files there are no prepared instances, since a volume can't be
// mounted later; that is no error.
func (b *Backend) Prepare(ctx context.Context, d backend.Deployment, n int) error {
	ref, err := b.imageOf(d)
	if err != nil {
		return err
	}
	img, err := b.images.get(ctx, ref, d.Architecture)
	if err != nil {
		return err
	}
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return fmt.Errorf("%w: the server is closing", backend.ErrNoCapacity)
	}
	b.tasks.Add(1)
	b.mu.Unlock()
	defer b.tasks.Done()
	s := shape{img: img, memoryMB: d.MemoryMB, ephemeralMB: d.EphemeralMB, code: d.Image == ""}
	return b.retire(b.want(s, n))
}

// want sets how many containers of a shape wait, and returns those that are too many.
func (b *Backend) want(s shape, n int) (surplus []*container) {
	b.mu.Lock()
	defer b.mu.Unlock()
	w := b.prepared[s.String()]
	if w == nil {
		if n == 0 {
			return nil
		}
		if len(b.prepared) >= maxShapes {
			var oldest *waiting
			for _, other := range b.prepared {
				if oldest == nil || other.used.Before(oldest.used) {
					oldest = other
				}
			}
			oldest.want = 0
			surplus = oldest.idle
			oldest.idle = nil
			delete(b.prepared, oldest.shape.String())
		}
		w = &waiting{shape: s}
		b.prepared[s.String()] = w
	}
	w.want, w.used = n, time.Now()
	if len(w.idle) > n {
		surplus = append(surplus, w.idle[n:]...)
		w.idle = w.idle[:n:n]
	}
	if n == 0 {
		delete(b.prepared, s.String())
	}
	b.refillLocked(w)
	return surplus
}

// refillLocked makes what is missing of w, in the background.
func (b *Backend) refillLocked(w *waiting) {
	for ; !b.closed && !b.remote && len(w.idle)+w.making < w.want; w.making++ {
		b.tasks.Go(func() {
			c, err := b.prepare(w.shape)
			b.mu.Lock()
			w.making--
			keep := err == nil && !b.closed && len(w.idle) < w.want
			if keep {
				w.idle = append(w.idle, c)
			}
			b.mu.Unlock()
			if err != nil && b.ctx.Err() == nil {
				b.log.Warn("no prepared container could be made; the next launch tries again", "image", w.shape.img.ref, "err", err)
			}
			if err == nil && !keep {
				b.retire([]*container{c})
			}
		})
	}
}

func (b *Backend) prepare(s shape) (*container, error) {
	file, err := b.agent(b.ctx, s.img.architecture)
	if err != nil {
		return nil, err
	}
	return b.make(b.ctx, s, nil, parts{agent: file})
}

// claim returns a prepared container with d's code in its place, or nil.
func (b *Backend) claim(s shape, d *backend.Deployment, t trees) *container {
	if d.CodeDir != "" {
		return nil // a folder that changes under a running function must be the folder itself
	}
	if b.cfg.Prepared > 0 && b.engine.memory >= minMemory {
		b.mu.Lock()
		known := b.prepared[s.String()] != nil
		b.mu.Unlock()
		if !known {
			// The first of its kind; the next ones find one waiting.
			surplus := b.want(s, b.cfg.Prepared)
			b.tasks.Go(func() { b.retire(surplus) })
			return nil
		}
	}
	for {
		b.mu.Lock()
		w := b.prepared[s.String()]
		if w == nil {
			b.mu.Unlock()
			return nil
		}
		w.used = time.Now()
		var c *container
		if n := len(w.idle); n > 0 {
			c = w.idle[n-1]
			w.idle = w.idle[:n-1]
		}
		b.refillLocked(w)
		b.mu.Unlock()
		if c == nil {
			return nil
		}
		err := errors.New("it has ended")
		select {
		case <-c.client.Ended():
		case <-c.exited:
		default:
			if err = c.fill(t); err == nil {
				return c
			}
		}
		b.log.Warn("prepared container not used", "container", c.name, "err", err)
		b.tasks.Go(func() { b.retire([]*container{c}) })
	}
}

// retire ends containers that nobody has claimed.
func (b *Backend) retire(all []*container) error {
	errs := make([]error, len(all))
	b.each(len(all), func(ctx context.Context, i int) {
		if errs[i] = b.end(ctx, all[i]); errs[i] != nil {
			b.later(all[i])
			return
		}
		b.forget(all[i])
	})
	return errors.Join(errs...)
}

// each calls f for 0 to n-1 at once, with a context of its own that lasts as
// long as the end of a container may take.
func (b *Backend) each(n int, f func(ctx context.Context, i int)) {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { f(ctx, i) })
	}
	wg.Wait()
}

// fill puts code and layers into the folders that c mounts.
func (c *container) fill(t trees) error {
	if t.task != "" {
		if err := linkTree(t.task, c.path("task")); err != nil {
			return err
		}
	}
	if t.opt != "" {
		return linkTree(t.opt, c.path("opt"))
	}
	return nil
}

// linkTree makes the files of a folder appear in another, which is empty: as
// hard links where the system allows, else as copies.
func linkTree(from, to string) error {
	return filepath.WalkDir(from, func(p string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, p)
		if err != nil || rel == "." {
			return err
		}
		target := filepath.Join(to, rel)
		switch {
		case e.IsDir():
			return os.Mkdir(target, 0o755)
		case e.Type()&fs.ModeSymlink != 0:
			link, err := os.Readlink(p)
			if err != nil {
				return err
			}
			return os.Symlink(link, target)
		}
		if os.Link(p, target) == nil {
			return nil
		}
		return copyFile(p, target)
	})
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, info.Mode().Perm())
	if err != nil {
		return err
	}
	if _, err = io.Copy(out, in); err == nil {
		err = out.Chmod(info.Mode().Perm())
	}
	return errors.Join(err, out.Close())
}
