package docker

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	apicontainer "github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/client"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// idleVolumes is how many volumes that nobody uses are kept; beyond it the
// least recently used go.
const idleVolumes = 32

// volumes carry folders of this machine to an engine that does not see them.
// Each is filled once, before its first use. They belong to this server alone,
// so that no other one's end takes them away.
type volumes struct {
	b *Backend

	mu  sync.Mutex // guards what follows
	all map[string]*volume
}

type volume struct {
	name string
	fill sync.Mutex // held by who fills it
	full bool       // guarded by fill
	uses int        // guarded by volumes.mu, as is last
	last time.Time
}

// use returns the name of a volume that holds what is at path, until release is
// called. key names the content; "" stands for a folder that changes.
func (s *volumes) use(ctx context.Context, img *image, key, path string) (name string, release func(), err error) {
	if key == "" || key[:min(5, len(key))] == "agent" {
		if key += path; filepath.IsAbs(path) {
			if info, err := os.Stat(path); err == nil {
				key += info.ModTime().String()
			}
		}
	}
	sum := sha256.Sum256([]byte(s.b.cfg.Owner + " " + key))
	name = "hearth-" + hex.EncodeToString(sum[:12])
	s.mu.Lock()
	v := s.all[name]
	if v == nil {
		v = &volume{name: name}
		s.all[name] = v
	}
	v.uses++
	s.mu.Unlock()
	release = sync.OnceFunc(func() { s.release(v) })
	v.fill.Lock()
	defer v.fill.Unlock()
	if !v.full {
		if err := s.b.fillVolume(ctx, img, name, path); err != nil {
			release()
			return "", nil, err
		}
		v.full = true
	}
	return name, release, nil
}

func (s *volumes) release(v *volume) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v.uses--
	v.last = time.Now()
	idle := 0
	var oldest *volume
	for _, other := range s.all {
		if other.uses > 0 {
			continue
		}
		if idle++; oldest == nil || other.last.Before(oldest.last) {
			oldest = other
		}
	}
	if idle <= idleVolumes {
		return
	}
	delete(s.all, oldest.name)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
		defer cancel()
		if err := s.b.engine.removeVolume(ctx, oldest.name); err != nil {
			s.b.log.Warn("volume not removed; trying again later", "volume", oldest.name, "err", err)
		}
	}()
}

// has says whether a volume is in use or kept.
func (s *volumes) has(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all[name] != nil
}

func (s *volumes) close(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for name := range s.all {
		errs = append(errs, s.b.engine.removeVolume(ctx, name))
	}
	return errors.Join(errs...)
}

// removeVolume removes a volume. One that is gone is success.
func (e *Engine) removeVolume(ctx context.Context, name string) error {
	_, err := e.Client.VolumeRemove(ctx, name, client.VolumeRemoveOptions{})
	if err == nil || errdefs.IsNotFound(err) {
		return nil
	}
	return fmt.Errorf("remove volume %s: %w", name, err)
}

// fillVolume makes a volume of what is at path, by a container that is never started.
func (b *Backend) fillVolume(ctx context.Context, img *image, name, path string) (err error) {
	engine := b.engine.Client
	fail := func(what string, err error) error {
		c := &container{remote: true, img: img}
		return c.startError(fmt.Errorf("%s: %w", what, err), parts{})
	}
	// A volume that an earlier try left half-full is filled anew.
	if err := b.engine.removeVolume(ctx, name); err != nil {
		return fail("fill a volume", err)
	}
	key := newID()
	b.mu.Lock()
	b.ours[key] = true
	b.mu.Unlock()
	id := ""
	defer func() {
		undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
		defer cancel()
		if id != "" {
			if removeErr := b.engine.remove(undo, id); removeErr != nil {
				b.log.Error("filler container not removed; trying again later", "container", short(id), "err", removeErr)
			}
		}
		b.mu.Lock()
		delete(b.ours, key)
		b.mu.Unlock()
		if err != nil {
			if removeErr := b.engine.removeVolume(undo, name); removeErr != nil {
				b.log.Error("volume not removed; trying again later", "volume", name, "err", removeErr)
			}
		}
	}()
	if _, err := engine.VolumeCreate(ctx, client.VolumeCreateOptions{Name: name, Labels: b.labels("code", name)}); err != nil {
		return fail("create volume", err)
	}
	id, err = b.createContainer(ctx, client.ContainerCreateOptions{
		Name:       "hearth-fill-" + key,
		Config:     &apicontainer.Config{Image: img.id, Entrypoint: []string{"/nothing"}, Labels: b.labels("filler", key)},
		HostConfig: &apicontainer.HostConfig{NetworkMode: "none", Mounts: []mount.Mount{{Type: mount.TypeVolume, Source: name, Target: "/fill", VolumeOptions: &mount.VolumeOptions{NoCopy: true}}}},
		Platform:   &ocispec.Platform{OS: "linux", Architecture: img.architecture},
	})
	if err != nil {
		return fail("create a container to fill a volume", err)
	}
	r, w := io.Pipe()
	packed := make(chan struct{})
	go func() {
		defer close(packed)
		w.CloseWithError(pack(w, path))
	}()
	_, err = engine.CopyToContainer(ctx, id, client.CopyToContainerOptions{DestinationPath: "/fill", Content: r})
	r.Close()
	<-packed
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fail("fill a volume", err)
	}
	return nil
}

// pack writes the folder at path as a tar archive; a file, which is an agent
// of whatever name, as one that has the agent's.
func pack(w io.Writer, path string) error {
	t := tar.NewWriter(w)
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	base := path
	if !info.IsDir() {
		base = filepath.Dir(path)
	}
	err = filepath.WalkDir(path, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		link := ""
		if info.Mode()&fs.ModeSymlink != 0 {
			if link, err = os.Readlink(p); err != nil {
				return err
			}
		}
		h, err := tar.FileInfoHeader(info, link)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(base, p)
		if err != nil {
			return err
		}
		if rel == "." {
			return nil
		}
		h.Name = filepath.ToSlash(rel)
		if p == path {
			h.Name = "hearth-agent"
		}
		h.Uid, h.Gid, h.Uname, h.Gname = 0, 0, "", ""
		if err := t.WriteHeader(h); err != nil || !info.Mode().IsRegular() {
			return err
		}
		f, err := os.Open(p)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = io.Copy(t, f)
		return err
	})
	if err != nil {
		return err
	}
	return t.Close()
}
