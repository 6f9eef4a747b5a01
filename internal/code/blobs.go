package code

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Blobs keeps archives by their hash. Its methods may be called concurrently,
// and from several servers at once.
type Blobs interface {
	// Put stores what r gives under hash; it is durable, and whole, when Put
	// returns without an error. When the hash is there already, Put counts as
	// writing it again: Stat then says that it was written now, or not long ago.
	Put(ctx context.Context, hash string, r io.ReadSeeker) error
	// Get returns the bytes and their number. The caller closes the reader,
	// which is an io.ReaderAt, too, where that is cheap. ErrNotFound if there are none.
	Get(ctx context.Context, hash string) (io.ReadCloser, int64, error)
	// Stat returns the size, and when it was written. ErrNotFound if it is not there.
	Stat(ctx context.Context, hash string) (size int64, written time.Time, err error)
	// Delete removes it. That it is not there is success.
	Delete(ctx context.Context, hash string) error
	// List calls f for each; f's error ends it and is returned.
	List(ctx context.Context, f func(Blob) error) error
}

// Blob is an archive in a list.
type Blob struct {
	Hash    string
	Size    int64
	Written time.Time
}

// Folder keeps archives as files: ab/abcdef….zip.
type Folder struct{ dir string }

var _ Blobs = (*Folder)(nil)

// NewFolder returns the archives in dir, which is made if it is not there.
func NewFolder(dir string) (*Folder, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	return &Folder{dir}, removeAbandoned(dir)
}

const blobSuffix = ".zip"

func (f *Folder) path(hash string) (string, error) {
	if !validHash(hash) {
		return "", fmt.Errorf("%w: %q is no hash", ErrNotFound, hash)
	}
	return filepath.Join(f.dir, hash[:2], hash+blobSuffix), nil
}

// validHash keeps names that come from elsewhere from becoming paths.
func validHash(hash string) bool {
	return len(hash) == 64 && strings.Trim(hash, "0123456789abcdef") == ""
}

// touch marks an archive that is there as written now, and says whether it is there.
func (f *Folder) touch(path string) bool {
	now := time.Now()
	return os.Chtimes(path, now, now) == nil
}

func (f *Folder) Put(ctx context.Context, hash string, r io.ReadSeeker) error {
	path, err := f.path(hash)
	if err != nil || f.touch(path) {
		return err
	}
	t, err := createTemp(f.dir)
	if err != nil {
		return err
	}
	defer t.discard()
	if _, err := copyLimited(ctx, t, r, 0); err != nil {
		return err
	}
	return f.adopt(hash, t)
}

// sameDisk says whether files of dir can be renamed into the folder.
func (f *Folder) sameDisk(dir string) bool { return filepath.Dir(f.dir) == dir }

// adopt makes the file t the archive of hash.
func (f *Folder) adopt(hash string, t *tempFile) error {
	path, err := f.path(hash)
	if err != nil || f.touch(path) {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return t.become(path)
}

func (f *Folder) Get(ctx context.Context, hash string) (io.ReadCloser, int64, error) {
	path, err := f.path(hash)
	if err != nil {
		return nil, 0, err
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, 0, notFound(err)
	}
	st, err := file.Stat()
	if err != nil {
		file.Close()
		return nil, 0, err
	}
	return file, st.Size(), nil
}

func (f *Folder) Stat(ctx context.Context, hash string) (int64, time.Time, error) {
	path, err := f.path(hash)
	if err != nil {
		return 0, time.Time{}, err
	}
	st, err := os.Stat(path)
	if err != nil {
		return 0, time.Time{}, notFound(err)
	}
	return st.Size(), st.ModTime(), nil
}

func (f *Folder) Delete(ctx context.Context, hash string) error {
	path, err := f.path(hash)
	if err != nil {
		return nil
	}
	if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (f *Folder) List(ctx context.Context, fn func(Blob) error) error {
	return filepath.WalkDir(f.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || ctx.Err() != nil {
			return errors.Join(err, ctx.Err())
		}
		hash, ok := strings.CutSuffix(d.Name(), blobSuffix)
		if !ok || !validHash(hash) {
			return nil
		}
		st, err := d.Info()
		if err != nil {
			return nil // removed meanwhile
		}
		return fn(Blob{Hash: hash, Size: st.Size(), Written: st.ModTime()})
	})
}

func notFound(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return ErrNotFound
	}
	return err
}

// tempFile is a file that is removed unless it becomes another. It is locked,
// so that others see that somebody is at work on it.
type tempFile struct {
	*os.File
	kept bool
}

// tempPrefix begins the names of files and folders that are still being made.
const tempPrefix = ".new-"

func createTemp(dir string) (*tempFile, error) {
	f, err := os.CreateTemp(dir, tempPrefix+"*")
	if err != nil {
		return nil, err
	}
	if err := lockFile(f); err != nil {
		f.Close()
		os.Remove(f.Name())
		return nil, err
	}
	return &tempFile{File: f}, nil
}

func (s *Store) temp() (*tempFile, error) { return createTemp(s.path("tmp")) }

// become gives the file its name for good: its bytes first, then the name.
func (t *tempFile) become(path string) error {
	if err := t.Chmod(0o644); err != nil {
		return err
	}
	if err := t.Sync(); err != nil {
		return err
	}
	if err := os.Rename(t.Name(), path); err != nil {
		return err
	}
	t.kept = true
	return syncDir(filepath.Dir(path))
}

func (t *tempFile) discard() {
	t.Close()
	if !t.kept {
		os.Remove(t.Name())
	}
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
