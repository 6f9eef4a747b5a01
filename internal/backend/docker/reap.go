package docker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/moby/moby/client"

	"github.com/hearth-run/hearth/internal/backend"
)

// liveness judges owners by what their containers' labels say.
type liveness struct {
	b      *Backend
	owners map[string]bool // those with a running owner container
	known  map[string]bool
}

// lives says whether something with these labels is a live server's.
func (l *liveness) lives(labels map[string]string) bool {
	owner := labels[labelOwner]
	if owner == l.b.cfg.Owner {
		// This server's own: all but what an earlier try failed to remove.
		l.b.mu.Lock()
		defer l.b.mu.Unlock()
		return l.b.ours[labels[labelID]]
	}
	if l.owners[owner] {
		return true
	}
	if alive, ok := l.known[owner]; ok {
		return alive
	}
	alive := lockHeld(labels[labelLock], labels[labelBoot])
	l.known[owner] = alive
	return alive
}

// ReapStale implements backend.Backend.
func (b *Backend) ReapStale(ctx context.Context) error {
	list, err := b.engine.Client.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: make(client.Filters).Add("label", labelOwner)})
	if err != nil {
		return classify(backend.ErrUnreachable, fmt.Errorf("list containers: %w", err))
	}
	l := &liveness{b: b, owners: map[string]bool{}, known: map[string]bool{}}
	for _, c := range list.Items {
		if c.Labels[labelKind] == "owner" && c.State == "running" {
			l.owners[c.Labels[labelOwner]] = true
		}
	}
	var errs []error
	reaped := 0
	for _, c := range list.Items {
		if l.lives(c.Labels) {
			continue
		}
		if err := b.engine.remove(ctx, c.ID); err != nil {
			errs = append(errs, err)
			continue
		}
		reaped++
	}
	errs = append(errs, b.reapVolumes(ctx, l), b.reapDirs())
	if reaped > 0 {
		b.log.Info("reaped what dead servers left", "engine", b.Name(), "containers", reaped)
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("reap on %s: %w", b.Name(), err)
	}
	return nil
}

// reapVolumes removes dead servers' volumes, and this one's that are left over.
func (b *Backend) reapVolumes(ctx context.Context, l *liveness) error {
	list, err := b.engine.Client.VolumeList(ctx, client.VolumeListOptions{Filters: make(client.Filters).Add("label", labelOwner)})
	if err != nil {
		return classify(backend.ErrUnreachable, fmt.Errorf("list volumes: %w", err))
	}
	var errs []error
	for _, v := range list.Items {
		if v.Labels[labelOwner] == b.cfg.Owner && b.volumes.has(v.Name) || v.Labels[labelOwner] != b.cfg.Owner && l.lives(v.Labels) {
			continue
		}
		errs = append(errs, b.engine.removeVolume(ctx, v.Name))
	}
	return errors.Join(errs...)
}

// reapDirs removes the folders of dead servers of this machine.
func (b *Backend) reapDirs() error {
	owners, err := os.ReadDir(b.cfg.Dir)
	if err != nil {
		return err
	}
	var errs []error
	for _, o := range owners {
		if o.IsDir() && o.Name() != b.cfg.Owner {
			errs = append(errs, removeDead(filepath.Join(b.cfg.Dir, o.Name())))
		}
	}
	return errors.Join(errs...)
}
