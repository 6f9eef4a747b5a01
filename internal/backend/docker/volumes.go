package docker

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	apicontainer "github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/client"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/hearth-run/hearth/internal/backend"
)

// fill is the filling of a volume, by the first who needs it.
type fill struct {
	mu   sync.Mutex
	done bool
}

// volumeKey names a folder by its content's hash, or an uncached folder by its path and time.
func volumeKey(hash, dir string) string {
	if hash == "" {
		hash = dir
		if info, err := os.Stat(dir); err == nil {
			hash += info.ModTime().String()
		}
	}
	sum := sha256.Sum256([]byte(hash))
	return hex.EncodeToString(sum[:12])
}

// volume returns the name of a volume that holds what is at path here, which is
// filled once: by a helper container that is never started.
func (b *Backend) volume(ctx context.Context, img *image, key, path string) (string, error) {
	name := "hearth-" + key
	b.mu.Lock()
	f := b.filled[name]
	if f == nil {
		f = &fill{}
		b.filled[name] = f
	}
	b.mu.Unlock()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.done {
		return name, nil
	}
	engine := b.engine.Client
	// A label says that it is full: a server may have died while filling it.
	full := name + "-full"
	if _, err := engine.VolumeInspect(ctx, full, client.VolumeInspectOptions{}); err == nil {
		f.done = true
		return name, nil
	}
	if _, err := engine.VolumeCreate(ctx, client.VolumeCreateOptions{Name: name, Labels: b.labels("code")}); err != nil {
		return "", classify(startClass(err), fmt.Errorf("create volume: %w", err))
	}
	labels := b.labels("filler")
	created, err := engine.ContainerCreate(ctx, client.ContainerCreateOptions{
		Name:       "hearth-fill-" + newID(),
		Config:     &apicontainer.Config{Image: img.id, Entrypoint: []string{"/nothing"}, Labels: labels},
		HostConfig: &apicontainer.HostConfig{Mounts: []mount.Mount{{Type: mount.TypeVolume, Source: name, Target: "/fill", VolumeOptions: &mount.VolumeOptions{NoCopy: true}}}},
		Platform:   &ocispec.Platform{OS: "linux", Architecture: img.architecture},
	})
	if err != nil {
		return "", classify(startClass(err), fmt.Errorf("create a container to fill a volume: %w", err))
	}
	defer func() {
		undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
		defer cancel()
		if err := b.engine.remove(undo, created.ID); err != nil {
			b.log.Error("filler container not removed", "container", created.ID, "err", err)
		}
	}()
	r, w := io.Pipe()
	go func() { w.CloseWithError(pack(w, path)) }()
	defer r.Close()
	if _, err := engine.CopyToContainer(ctx, created.ID, client.CopyToContainerOptions{DestinationPath: "/fill", Content: r}); err != nil {
		return "", classify(startClass(err), fmt.Errorf("fill a volume: %w", err))
	}
	if _, err := engine.VolumeCreate(ctx, client.VolumeCreateOptions{Name: full, Labels: b.labels("code")}); err != nil {
		return "", classify(startClass(err), fmt.Errorf("mark a volume as full: %w", err))
	}
	f.done = true
	return name, nil
}

// pack writes the folder or file at path as a tar archive.
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

// ownerContainer is a server's sign of life on an engine that does not see its
// files: it runs as long as the server holds its standard input open.
type ownerContainer struct {
	b      *Backend
	id     string
	attach client.HijackedResponse
}

// holdOwner makes sure that this server's sign of life is on the engine.
func (b *Backend) holdOwner(ctx context.Context, img *image) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.owner != nil {
		return nil
	}
	engine := b.engine.Client
	created, err := engine.ContainerCreate(ctx, client.ContainerCreateOptions{
		Name: "hearth-owner-" + b.cfg.Owner,
		Config: &apicontainer.Config{
			Image: img.id, Entrypoint: []string{"/bin/sh", "-c", "read -r line"}, Labels: b.labels("owner"),
			OpenStdin: true, StdinOnce: true, AttachStdin: true,
		},
		HostConfig: &apicontainer.HostConfig{AutoRemove: true, NetworkMode: "none"},
	})
	if err != nil {
		return classify(startClass(err), fmt.Errorf("create this server's sign of life: %w", err))
	}
	o := &ownerContainer{b: b, id: created.ID}
	undo := func() {
		undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
		defer cancel()
		b.engine.remove(undo, o.id)
	}
	attached, err := engine.ContainerAttach(context.WithoutCancel(ctx), o.id, client.ContainerAttachOptions{Stream: true, Stdin: true})
	if err != nil {
		undo()
		return classify(backend.ErrStartFailed, fmt.Errorf("attach to this server's sign of life: %w", err))
	}
	o.attach = attached.HijackedResponse
	if _, err := engine.ContainerStart(ctx, o.id, client.ContainerStartOptions{}); err != nil {
		o.attach.Close()
		undo()
		return classify(startClass(err), fmt.Errorf("start this server's sign of life: %w", err))
	}
	b.owner = o
	return nil
}

func (o *ownerContainer) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	o.attach.Close()
	return o.b.engine.remove(ctx, o.id)
}
