package docker

import (
	"context"
	"time"
)

// later removes in the background what could not be removed now: c, if it is
// not nil, and whatever else of this server's is on the engine and is nobody's.
// It tries until that has succeeded or the backend is closed.
func (b *Backend) later(c *container) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if c != nil {
		b.doomed = append(b.doomed, c)
	}
	if b.sweeping || b.closed {
		return
	}
	b.sweeping = true
	b.tasks.Go(b.sweep)
}

func (b *Backend) sweep() {
	for pause := 250 * time.Millisecond; ; pause = min(2*pause, 30*time.Second) {
		select {
		case <-time.After(pause):
		case <-b.ctx.Done():
			return // Close sweeps once more
		}
		ctx, cancel := context.WithTimeout(b.ctx, closeTimeout)
		err := b.sweepOnce(ctx)
		cancel()
		if err == nil {
			b.mu.Lock()
			done := len(b.doomed) == 0
			b.sweeping = !done
			b.mu.Unlock()
			if done {
				return
			}
		}
	}
}

// sweepOnce tries to remove all that is doomed.
func (b *Backend) sweepOnce(ctx context.Context) error {
	b.mu.Lock()
	doomed := b.doomed
	b.doomed = nil
	b.mu.Unlock()
	for i, c := range doomed {
		if err := b.end(ctx, c); err != nil {
			b.mu.Lock()
			b.doomed = append(b.doomed, doomed[i:]...)
			b.mu.Unlock()
			return err
		}
		b.forget(c)
	}
	return b.ReapStale(ctx)
}
