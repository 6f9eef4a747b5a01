package docker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	apicontainer "github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/client"
)

// mark is a server's sign of life for others on this machine: a lock on a file
// in its folder, which the system releases however the server ends.
type mark struct {
	dir  string
	lock *os.File
}

const lockName = "owner.lock"

func setMark(dir string) (*mark, error) {
	for try := 0; ; try++ {
		m, err := trySetMark(dir)
		// A reaper may look whether it is locked, or take the folder away before it is.
		if !errors.Is(err, os.ErrNotExist) && !errors.Is(err, syscall.EWOULDBLOCK) || try == 100 {
			return m, err
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func trySetMark(dir string) (_ *mark, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(dir, lockName), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			f.Close()
		}
	}()
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, fmt.Errorf("lock %s: %w", f.Name(), err)
	}
	there, err := os.Stat(f.Name())
	if err != nil {
		return nil, err
	}
	if mine, err := f.Stat(); err != nil || !os.SameFile(mine, there) {
		return nil, errors.Join(err, os.ErrNotExist)
	}
	return &mark{dir: dir, lock: f}, nil
}

// removeDead removes the folder of a server of this machine, unless that lives.
func removeDead(dir string) error {
	f, err := os.Open(filepath.Join(dir, lockName))
	switch {
	case errors.Is(err, os.ErrNotExist):
	case err != nil:
		return nil // another user's, perhaps
	default:
		defer f.Close()
		if syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) != nil {
			return nil
		}
	}
	return os.RemoveAll(dir)
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

// lockHeld says whether a live server of this machine holds, or may hold, the
// lock. A lock of another boot is nobody's; a file that is gone was removed by
// its server, or is of a server that this machine's files do not show, which then
// has a running owner container.
func lockHeld(path, boot string) bool {
	if boot != bootID() {
		return false
	}
	f, err := os.Open(path)
	if err != nil {
		return !errors.Is(err, os.ErrNotExist) // another user's, perhaps
	}
	defer f.Close()
	return syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB) != nil
}

// owner is a server's sign of life on an engine that does not see its files: a
// container that runs as long as the server holds its standard input open.
type owner struct {
	b *Backend

	mu     sync.Mutex // guards what follows, and is held while the container is made
	id     string     // "" when there is none
	key    string
	attach client.HijackedResponse
	lost   chan struct{} // closed when the container has ended
}

// holdOwner makes sure that this server's sign of life is on the engine. agent
// is the volume that holds the agent.
func (b *Backend) holdOwner(ctx context.Context, img *image, agent string) (err error) {
	o := b.owner
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.id != "" {
		select {
		case <-o.lost:
			if err := o.closeLocked(ctx); err != nil {
				return err
			}
		default:
			return nil
		}
	}
	fail := func(what string, err error) error {
		c := &container{remote: true, img: img}
		return c.startError(fmt.Errorf("%s this server's sign of life: %w", what, err), parts{})
	}
	o.key = newID()
	b.mu.Lock()
	b.ours[o.key] = true
	b.mu.Unlock()
	defer func() {
		if err != nil {
			undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
			defer cancel()
			err = errors.Join(err, o.closeLocked(undo))
		}
	}()
	o.id, err = b.createContainer(ctx, client.ContainerCreateOptions{
		Name: "hearth-owner-" + o.key,
		Config: &apicontainer.Config{
			Image: img.id, Entrypoint: []string{program}, Cmd: []string{"hold"}, User: userID, WorkingDir: "/", Labels: b.labels("owner", o.key),
			OpenStdin: true, StdinOnce: true, AttachStdin: true, Healthcheck: &apicontainer.HealthConfig{Test: []string{"NONE"}},
		},
		HostConfig: &apicontainer.HostConfig{
			AutoRemove: true, NetworkMode: "none", ReadonlyRootfs: true, CapDrop: []string{"ALL"}, LogConfig: apicontainer.LogConfig{Type: "none"},
			Mounts: []mount.Mount{{Type: mount.TypeVolume, Source: agent, Target: inside + "/bin", ReadOnly: true, VolumeOptions: &mount.VolumeOptions{NoCopy: true}}},
		},
	})
	if err != nil {
		return fail("create", err)
	}
	if err := b.engine.init(ctx, o.id); err != nil {
		return fail("set up", err)
	}
	attached, err := b.engine.Client.ContainerAttach(context.WithoutCancel(ctx), o.id, client.ContainerAttachOptions{Stream: true, Stdin: true, Stdout: true})
	if err != nil {
		return fail("attach to", err)
	}
	o.attach, o.lost = attached.HijackedResponse, make(chan struct{})
	if _, err := b.engine.Client.ContainerStart(ctx, o.id, client.ContainerStartOptions{}); err != nil {
		return fail("start", err)
	}
	go func(lost chan struct{}, r io.Reader) {
		defer close(lost)
		io.Copy(io.Discard, r) // it prints nothing, and this ends with it
	}(o.lost, o.attach.Reader)
	return nil
}

func (o *owner) close(ctx context.Context) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.closeLocked(ctx)
}

func (o *owner) closeLocked(ctx context.Context) error {
	if o.attach.Conn != nil {
		o.attach.Close()
		o.attach = client.HijackedResponse{}
	}
	if o.id != "" {
		if err := o.b.engine.remove(ctx, o.id); err != nil {
			return err
		}
	}
	o.b.mu.Lock()
	delete(o.b.ours, o.key)
	o.b.mu.Unlock()
	o.id = ""
	return nil
}
