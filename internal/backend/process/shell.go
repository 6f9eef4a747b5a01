package process

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/hearth-run/hearth/internal/agent/confine"
)

// shell is a supervisor with its folder, from before it has a function: the
// part of an instance that all deployments have in common.
type shell struct {
	id  string
	dir string
	sup *confine.Supervisor
}

func (s *shell) tmp() string { return filepath.Join(s.dir, "tmp") }
func (s *shell) opt() string { return filepath.Join(s.dir, "opt") }

// end ends the supervisor and all below it, and removes the folder. It may be
// called more than once.
func (s *shell) end() error {
	if s.sup != nil {
		s.sup.Close()
	}
	if err := removeAll(s.dir); err != nil {
		return fmt.Errorf("remove the instance's folder: %w", err)
	}
	return nil
}

// newShell makes a folder and starts its supervisor.
func (b *Backend) newShell(ctx context.Context) (_ *shell, err error) {
	var random [8]byte
	rand.Read(random[:])
	id := hex.EncodeToString(random[:])
	s := &shell{id: id, dir: b.mark.path(id)}
	defer func() {
		if err != nil {
			s.end()
		}
	}()
	for _, dir := range []string{s.dir, s.tmp(), s.opt()} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return nil, err
		}
	}
	if err := os.Chmod(s.tmp(), os.ModeSticky|0o777); err != nil {
		return nil, err
	}
	program, args, err := b.cfg.Supervisor(ctx)
	if err != nil {
		return nil, err
	}
	s.sup, err = confine.Start(ctx, confine.Config{
		Program: program, Args: args, Plain: b.cfg.Plain, Folder: s.dir, Name: groupName(b.cfg.Owner, id),
	})
	if err != nil {
		return nil, err
	}
	return s, b.mark.note(id, s.sup.PID(), s.sup.Groups())
}

// takeShell returns a spare shell, or else a new one.
func (b *Backend) takeShell(ctx context.Context) (*shell, error) {
	for {
		b.mu.Lock()
		n := len(b.spares)
		if n == 0 {
			b.mu.Unlock()
			return b.newShell(ctx)
		}
		s := b.spares[n-1]
		b.spares = b.spares[:n-1]
		b.mu.Unlock()
		select {
		case <-s.sup.Lost(): // somebody killed it
			s.end()
		case <-s.sup.Asked():
			s.end()
		default:
			return s, nil
		}
	}
}

// refill starts spare shells until there are enough. One call at a time does it.
func (b *Backend) refill() {
	want := b.cfg.Spare
	if want == 0 {
		want = 1
	}
	b.mu.Lock()
	if b.refilling || b.closed {
		b.mu.Unlock()
		return
	}
	b.refilling = true
	for len(b.spares) < want && !b.closed {
		b.mu.Unlock()
		s, err := b.newShell(b.life)
		if err != nil && !errors.Is(err, context.Canceled) {
			b.log.Warn("a supervisor could not be started ahead", "backend", Name, "err", err)
		}
		b.mu.Lock()
		if err != nil {
			break
		}
		b.spares = append(b.spares, s)
	}
	b.refilling = false
	b.mu.Unlock()
}

// Warm starts the supervisors that wait for the first launches. Without it
// the first launch starts its own.
func (b *Backend) Warm() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.closed {
		b.tasks.Go(b.refill)
	}
}

// groupName names an instance on the machine: its control groups, its supervisor.
func groupName(owner, id string) string { return "hearth-" + owner + "-" + id }
