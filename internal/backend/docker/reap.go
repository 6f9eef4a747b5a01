package docker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/moby/moby/client"

	"github.com/hearth-run/hearth/internal/backend"
)

// mark is a server's sign of life for others on this machine: a lock on a file
// in its folder, which the system releases however the server ends.
type mark struct {
	dir  string
	lock *os.File
}

const lockName = "owner.lock"

func setMark(dir string) (*mark, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(dir, lockName), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", f.Name(), err)
	}
	return &mark{dir: dir, lock: f}, nil
}

func (m *mark) path(id string) string { return filepath.Join(m.dir, id) }

func (m *mark) remove() error {
	err := os.RemoveAll(m.dir)
	return errors.Join(err, m.lock.Close())
}

var bootID = sync.OnceValue(func() string {
	b, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(b))
})

// removeInstanceDir removes the folder of an instance of another server, found
// by its container's name.
func removeInstanceDir(owner, _ string) error {
	if _, err := os.Stat(filepath.Join(owner, lockName)); err != nil {
		return nil
	}
	return nil
}

// liveness judges owners by what their containers' labels say.
type liveness struct {
	b      *Backend
	owners map[string]bool // those with a running owner container
	known  map[string]bool
}

// lives says whether the owner of something with these labels lives, or may.
func (l *liveness) lives(labels map[string]string) bool {
	owner := labels[labelOwner]
	if owner == l.b.cfg.Owner || l.owners[owner] {
		return true
	}
	if alive, ok := l.known[owner]; ok {
		return alive
	}
	alive := lockHeld(labels[labelLock], labels[labelBoot])
	l.known[owner] = alive
	return alive
}

// lockHeld says whether a live server of this machine holds the lock. A lock of
// another boot is nobody's; a file that is gone was removed by its server, or is of
// another machine's, which then has a running owner container.
func lockHeld(path, boot string) bool {
	if boot != bootID() {
		return false
	}
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB); err != nil {
		return true
	}
	return false
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
	return errors.Join(errs...)
}

// reapVolumes removes volumes that dead servers filled and nobody uses.
func (b *Backend) reapVolumes(ctx context.Context, l *liveness) error {
	list, err := b.engine.Client.VolumeList(ctx, client.VolumeListOptions{Filters: make(client.Filters).Add("label", labelKind+"=code")})
	if err != nil {
		return classify(backend.ErrUnreachable, fmt.Errorf("list volumes: %w", err))
	}
	for _, v := range list.Items {
		if !l.lives(v.Labels) {
			// The engine refuses those that are in use, which is right.
			b.engine.Client.VolumeRemove(ctx, v.Name, client.VolumeRemoveOptions{})
		}
	}
	return nil
}

// reapDirs removes the folders of dead servers of this machine.
func (b *Backend) reapDirs() error {
	owners, err := os.ReadDir(b.cfg.Dir)
	if err != nil {
		return err
	}
	var errs []error
	for _, o := range owners {
		dir := filepath.Join(b.cfg.Dir, o.Name())
		if !o.IsDir() || o.Name() == b.cfg.Owner || lockHeld(filepath.Join(dir, lockName), bootID()) {
			continue
		}
		if info, err := o.Info(); err == nil && time.Since(info.ModTime()) < time.Second {
			continue // its server may be about to lock it
		}
		errs = append(errs, os.RemoveAll(dir))
	}
	return errors.Join(errs...)
}
