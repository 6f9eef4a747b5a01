package code

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// A tree KEY is three things in the folder of trees:
//
//	KEY/       the files, renamed into place when they were all there
//	KEY.json   its marker, written after that, whose modification time is the last use
//	KEY.lock   locked shared by each process that uses it, exclusively by who makes or removes it
//
// A folder without a marker is nothing. A marker of another boot is worth
// nothing either: files are not forced to the disk, so a loss of power may have
// emptied them, and unpacking again is cheaper than syncing every time.

// marker says what was unpacked.
type marker struct {
	Boot  string
	Bytes int64 // that it takes, without what it shares with other trees
}

// tree is this process's use of an unpacked tree.
type tree struct {
	key string
	dir string

	mu   sync.Mutex // held while it is being made ready or given up
	refs int        // guarded by Store.mu
	lock *fileLock  // shared, while refs > 0; guarded by mu
}

func (s *Store) treesDir() string {
	if s.cfg.ReadOnly {
		return s.path("trees-ro")
	}
	return s.path("trees")
}

// Tree returns the folder of the archive's files, unpacked once per machine and
// shared by all who ask for it, who must not write to it. It stays until release is called
// (which may be called again, without effect) or the process ends.
// ErrNotFound if there is no such archive.
func (s *Store) Tree(ctx context.Context, hash string) (dir string, release func(), err error) {
	if !validHash(hash) {
		return "", nil, fmt.Errorf("unpack code: %w: %q is no hash", ErrNotFound, hash)
	}
	return s.use(ctx, hash, func(ctx context.Context, to string) (int64, error) {
		return s.unpack(ctx, hash, to)
	})
}

// Layers returns a folder in which the archives are unpacked one over the
// other, the later over the earlier, as /opt is made of layers. It behaves as
// Tree does; with no hashes, dir is "".
func (s *Store) Layers(ctx context.Context, hashes []string) (dir string, release func(), err error) {
	switch len(hashes) {
	case 0:
		return "", func() {}, nil
	case 1:
		return s.Tree(ctx, hashes[0])
	}
	for _, h := range hashes {
		if !validHash(h) {
			return "", nil, fmt.Errorf("merge layers: %w: %q is no hash", ErrNotFound, h)
		}
	}
	sum := sha256.Sum256([]byte(strings.Join(hashes, "\n")))
	return s.use(ctx, "layers-"+hex.EncodeToString(sum[:]), func(ctx context.Context, to string) (int64, error) {
		var bytes int64
		for _, h := range slices.Backward(hashes) {
			dir, release, err := s.Tree(ctx, h)
			if err != nil {
				return 0, err
			}
			n, err := merge(ctx, dir, to)
			release()
			if err != nil {
				return 0, fmt.Errorf("merge layer %s: %w", h, err)
			}
			bytes += n
		}
		return bytes, nil
	})
}

// use returns the tree key, which fill makes in an empty folder if it is not there.
func (s *Store) use(ctx context.Context, key string, fill func(ctx context.Context, dir string) (int64, error)) (string, func(), error) {
	s.mu.Lock()
	t := s.trees[key]
	if t == nil {
		t = &tree{key: key, dir: filepath.Join(s.treesDir(), key)}
		s.trees[key] = t
	}
	t.refs++
	s.mu.Unlock()

	t.mu.Lock()
	defer t.mu.Unlock()
	if t.lock == nil {
		l, made, err := s.ready(ctx, t, fill)
		if err != nil {
			s.unuse(t)
			return "", nil, fmt.Errorf("unpack code %s: %w", key, err)
		}
		t.lock = l
		if made {
			s.sweepSoon()
		}
	}
	return t.dir, sync.OnceFunc(func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		s.unuse(t)
	}), nil
}

// unuse takes one reference from t, whose mu is held, and unlocks it with the last.
func (s *Store) unuse(t *tree) {
	s.mu.Lock()
	t.refs--
	last := t.refs == 0
	if last {
		delete(s.trees, t.key)
	}
	s.mu.Unlock()
	if last && t.lock != nil {
		now := time.Now()
		os.Chtimes(t.dir+".json", now, now)
		t.lock.unlock()
		t.lock = nil
	}
}

// ready returns a shared lock on t once it is unpacked, and whether it had to be.
func (s *Store) ready(ctx context.Context, t *tree, fill func(context.Context, string) (int64, error)) (l *fileLock, made bool, err error) {
	for {
		if l, err = lock(ctx, t.dir+".lock", false); err != nil {
			return nil, made, err
		}
		if s.complete(t.dir) {
			return l, made, nil
		}
		l.unlock()
		if l, err = lock(ctx, t.dir+".lock", true); err != nil {
			return nil, made, err
		}
		if !s.complete(t.dir) {
			made = true
			err = s.make(ctx, t, fill)
		}
		l.unlock()
		if err != nil {
			return nil, made, err
		}
	}
}

// complete says whether the tree in dir was unpacked whole since the machine started.
func (s *Store) complete(dir string) bool {
	m, err := readMarker(dir)
	if err != nil || m.Boot != s.boot {
		return false
	}
	st, err := os.Stat(dir)
	return err == nil && st.IsDir()
}

func readMarker(dir string) (m marker, err error) {
	b, err := os.ReadFile(dir + ".json")
	if err == nil {
		err = json.Unmarshal(b, &m)
	}
	return m, err
}

// make unpacks t, whose lock the caller holds exclusively.
func (s *Store) make(ctx context.Context, t *tree, fill func(context.Context, string) (int64, error)) (err error) {
	if err := s.removeTree(t.dir); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(s.path("tmp"), tempPrefix+"*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			removeAll(tmp)
		}
	}()
	// Others look at the folder's lock to see whether it is abandoned.
	l, err := tryLock(tmp+".lock", true)
	if err != nil {
		return err
	}
	defer l.unlock()
	defer l.remove()
	bytes, err := fill(ctx, tmp)
	if err != nil {
		return err
	}
	mode := fs.FileMode(0o755)
	if s.cfg.ReadOnly {
		if err := takeWrite(tmp); err != nil {
			return err
		}
		mode = 0o555
	}
	// Renaming a folder needs write permission for it.
	if err := os.Rename(tmp, t.dir); err != nil {
		return err
	}
	if err := os.Chmod(t.dir, mode); err != nil {
		return err
	}
	b, err := json.Marshal(marker{Boot: s.boot, Bytes: bytes})
	if err != nil {
		return err
	}
	return os.WriteFile(t.dir+".json", b, 0o644)
}

// removeTree removes what there is of the tree in dir, whose lock the caller holds exclusively.
func (s *Store) removeTree(dir string) error {
	if err := os.Remove(dir + ".json"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return removeAll(dir)
}

// dropTree removes the tree key unless somebody uses it.
func (s *Store) dropTree(key string) bool {
	dir := filepath.Join(s.treesDir(), key)
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return false
	}
	l, err := tryLock(dir+".lock", true)
	if err != nil {
		return false
	}
	defer l.unlock()
	if err := s.removeTree(dir); err != nil {
		s.log.Warn("unpacked code could not be removed", "dir", dir, "err", err)
		return false
	}
	l.remove()
	return true
}

// sweepSoon looks in the background whether the trees have outgrown the cache.
func (s *Store) sweepSoon() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	if s.sweeps++; s.sweeps > 1 {
		return // the one under way will look again
	}
	s.tasks.Go(func() {
		for asked := 0; ; {
			s.mu.Lock()
			if s.sweeps -= asked; s.sweeps == 0 {
				s.mu.Unlock()
				return
			}
			asked = s.sweeps
			s.mu.Unlock()
			s.sweep()
		}
	})
}

// sweep removes trees that nobody uses, least recently used first, until the
// rest fits the cache.
func (s *Store) sweep() {
	type kept struct {
		key   string
		bytes int64
		used  time.Time
	}
	var all []kept
	var sum int64
	names, err := os.ReadDir(s.treesDir())
	if err != nil {
		s.log.Warn("unpacked code could not be listed", "err", err)
		return
	}
	for _, d := range names {
		key, ok := strings.CutSuffix(d.Name(), ".json")
		if !ok {
			continue
		}
		st, err := d.Info()
		if err != nil {
			continue // removed meanwhile
		}
		m, err := readMarker(filepath.Join(s.treesDir(), key))
		if err != nil {
			continue
		}
		all = append(all, kept{key, m.Bytes, st.ModTime()})
		sum += m.Bytes
	}
	slices.SortFunc(all, func(a, b kept) int { return a.used.Compare(b.used) })
	for _, k := range all {
		if sum <= s.cfg.CacheSize {
			return
		}
		if s.dropTree(k.key) {
			sum -= k.bytes
		}
	}
}

// removeAbandoned removes the temporary files and folders in dir whose makers
// have died, and leaves alone what live ones are making.
func removeAbandoned(dir string) error {
	names, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, d := range names {
		st, err := d.Info()
		if err != nil || !strings.HasPrefix(d.Name(), tempPrefix) ||
			time.Since(st.ModTime()) < 2*time.Second { // its maker may not have locked it yet
			continue
		}
		name := filepath.Join(dir, d.Name())
		lock := name
		if d.IsDir() {
			lock += ".lock"
		} else if strings.HasSuffix(name, ".lock") {
			if _, err := os.Stat(strings.TrimSuffix(name, ".lock")); err == nil {
				continue // goes with its folder
			}
		}
		l, err := tryLock(lock, true)
		if err != nil {
			continue
		}
		if err = removeAll(name); err == nil {
			l.remove()
		}
		l.unlock()
		if err != nil {
			return err
		}
	}
	return nil
}

// unpack unpacks the archive into the empty folder dir.
func (s *Store) unpack(ctx context.Context, hash, dir string) (int64, error) {
	r, size, err := s.blobs.Get(ctx, hash)
	if err != nil {
		return 0, err
	}
	defer r.Close()
	at, ok := r.(io.ReaderAt)
	if !ok {
		f, err := s.temp()
		if err != nil {
			return 0, err
		}
		defer f.discard()
		h := sha256.New()
		if size, err = copyLimited(ctx, io.MultiWriter(f, h), r, 0); err != nil {
			return 0, err
		}
		if got := hex.EncodeToString(h.Sum(nil)); got != hash {
			return 0, fmt.Errorf("archive has come with the hash %s", got)
		}
		at = f
	}
	a, err := openArchive(at, size)
	if err != nil {
		return 0, err
	}
	return a.unpack(ctx, dir)
}

// unpack writes the archive's files into the empty folder dir: folders first,
// links last, so that nothing is ever written through a link.
func (a *archive) unpack(ctx context.Context, dir string) (int64, error) {
	made := map[string]bool{".": true}
	for i := range a.entries {
		e := &a.entries[i]
		d := path.Dir(e.name)
		if e.mode.IsDir() {
			d = e.name
		}
		if !made[d] {
			if err := os.MkdirAll(filepath.Join(dir, filepath.FromSlash(d)), 0o755); err != nil {
				return 0, err
			}
			for ; !made[d]; d = path.Dir(d) {
				made[d] = true
			}
		}
	}
	var bytes int64
	for i := range a.entries {
		if e := &a.entries[i]; e.mode.IsRegular() {
			bytes += int64(e.f.UncompressedSize64)
		}
	}
	err := a.each(ctx, func(e *entry, buf []byte) error {
		if e.mode.Type() == fs.ModeSymlink {
			var err error
			e.dest, err = readLink(e)
			return err
		}
		return unpackFile(ctx, e, filepath.Join(dir, filepath.FromSlash(e.name)), buf)
	})
	if err != nil {
		return 0, err
	}
	for i := range a.entries {
		if e := &a.entries[i]; e.mode.Type() == fs.ModeSymlink {
			if err := os.Symlink(e.dest, filepath.Join(dir, filepath.FromSlash(e.name))); err != nil {
				return 0, err
			}
		}
	}
	return bytes, nil
}

func unpackFile(ctx context.Context, e *entry, to string, buf []byte) error {
	r, err := e.f.Open()
	if err != nil {
		return fmt.Errorf("%s: %w", e.name, err)
	}
	defer r.Close()
	w, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer w.Close()
	// Only what the archive's directory promised, which Put has checked.
	if _, err := io.CopyBuffer(struct{ io.Writer }{w}, ctxReader{ctx, r}, buf); err != nil {
		return fmt.Errorf("%s: %w", e.name, err)
	}
	if err := w.Chmod(fileMode(e)); err != nil {
		return err
	}
	return w.Close()
}

// fileMode returns the permissions that a file gets: those of the archive,
// where it says any. As on AWS, a file that it makes unreadable stays so.
func fileMode(e *entry) fs.FileMode {
	switch maker := e.f.CreatorVersion >> 8; {
	case maker == madeByFAT, maker == madeByNTFS, maker == madeByVFAT, e.mode.Perm() == 0:
		return 0o644
	}
	return e.mode.Perm()
}

type ctxReader struct {
	ctx context.Context
	r   io.Reader
}

func (c ctxReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

// merge adds the tree from to the folder to, in which names that are there
// stay as they are. Files become hard links where the disk can, and copies else.
// It returns the bytes that were copied.
func merge(ctx context.Context, from, to string) (copied int64, err error) {
	err = filepath.WalkDir(from, func(p string, d fs.DirEntry, err error) error {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil || p == from {
			return err
		}
		target := filepath.Join(to, strings.TrimPrefix(p, from))
		there, err := os.Lstat(target)
		switch {
		case err == nil && d.IsDir() && !there.IsDir():
			return fs.SkipDir
		case err == nil:
			return nil
		case !errors.Is(err, fs.ErrNotExist):
			return err
		case d.IsDir():
			return os.Mkdir(target, 0o755)
		case d.Type() == fs.ModeSymlink:
			dest, err := os.Readlink(p)
			if err != nil {
				return err
			}
			return os.Symlink(dest, target)
		}
		if os.Link(p, target) == nil {
			return nil
		}
		n, err := copyFile(p, target)
		copied += n
		return err
	})
	return copied, err
}

func copyFile(from, to string) (int64, error) {
	r, err := os.Open(from)
	if err != nil {
		return 0, err
	}
	defer r.Close()
	st, err := r.Stat()
	if err != nil {
		return 0, err
	}
	w, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, err
	}
	defer w.Close()
	n, err := io.Copy(w, r)
	if err != nil {
		return n, err
	}
	if err := w.Chmod(st.Mode().Perm()); err != nil {
		return n, err
	}
	return n, w.Close()
}

// takeWrite takes the write permissions from all in dir but dir itself.
func takeWrite(dir string) error {
	return filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == dir || d.Type() == fs.ModeSymlink {
			return err
		}
		st, err := d.Info()
		if err != nil {
			return err
		}
		return os.Chmod(p, st.Mode().Perm()&^0o222)
	})
}

// removeAll removes dir, also where folders in it are read-only.
func removeAll(dir string) error {
	err := os.RemoveAll(dir)
	if err == nil || !errors.Is(err, fs.ErrPermission) {
		return err
	}
	filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if d != nil && d.IsDir() {
			os.Chmod(p, 0o755)
		}
		return nil
	})
	return os.RemoveAll(dir)
}
