// Package code keeps the code of functions and layers: archives by the hash of
// their bytes, and unpacked trees of them that a machine's instances share.
//
//	Put ──▶ blob (zip) ──Tree──▶ unpacked once ──▶ release ──▶ evicted when room is needed
//	                   └─Layers─▶ trees merged in attach order
//
// An archive is checked whole while it comes in: that it is a zip, that it
// unpacks within its limits (by unpacking it, not by believing what it says of
// itself), and that none of its names leaves its folder. What Put accepted can
// be unpacked later without looking again.
//
// Several stores, in one process or in several, may work on the same folder at
// once. All files appear whole or not at all, also after kill -9, a full disk
// or a loss of power.
package code

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// MaxUnzipped is AWS's limit of an archive's unpacked size, in bytes.
const MaxUnzipped = 262_144_000

// Errors of Put and PutTree. Whatever is wrong with an archive wraps exactly
// one of ErrNotZip, ErrEmpty and ErrUnsafePath, or is a *TooLargeError; all
// other errors are the machine's (a full disk, a dead bucket).
var (
	// ErrNotZip: the bytes are no zip archive, or one that can't be unpacked.
	ErrNotZip = errors.New("not a zip archive that can be unpacked")
	// ErrEmpty: the archive holds no file.
	ErrEmpty = errors.New("empty archive")
	// ErrUnsafePath: a name or link of the archive leaves its folder, is there
	// twice, or names something that is neither file, folder nor link.
	ErrUnsafePath = errors.New("unsafe path in archive")
	// ErrNotFound: there is no archive of that hash.
	ErrNotFound = errors.New("code not found")
)

// TooLargeError says which limit an archive goes beyond.
type TooLargeError struct {
	Limit  int64 // in bytes
	Zipped bool  // of the archive itself, else of what it unpacks to
}

func (e *TooLargeError) Error() string {
	if e.Zipped {
		return fmt.Sprintf("archive is larger than %d bytes", e.Limit)
	}
	return fmt.Sprintf("archive unpacks to more than %d bytes", e.Limit)
}

// Limits bounds an archive. Zero means: for Zipped no bound, for Unzipped MaxUnzipped.
type Limits struct {
	Zipped   int64
	Unzipped int64
}

// Info says what an archive is.
type Info struct {
	Hash     string // SHA-256 of the archive's bytes, in hex
	Size     int64
	Unzipped int64 // bytes of all files; 0 when Stat gave the Info
}

// SHA256 returns the hash as AWS's CodeSha256 shows it, in base64.
func (i Info) SHA256() string { return SHA256(i.Hash) }

// SHA256 returns a hash of this package as AWS's CodeSha256 shows it, in base64.
func SHA256(hash string) string {
	b, err := hex.DecodeString(hash)
	if err != nil {
		return ""
	}
	return base64.StdEncoding.EncodeToString(b)
}

// Config says how a Store works.
type Config struct {
	// Blobs holds the archives. Nil means a folder in the store's own.
	Blobs Blobs
	// CacheSize is how many bytes of unpacked trees are kept; beyond it, those
	// that nobody uses go, least recently used first. 0 means 10 GB.
	CacheSize int64
	// ReadOnly takes all write permissions from unpacked files and folders, for
	// backends that can't mount trees read-only.
	ReadOnly bool
	// Grace is how young an archive must be to escape Collect whether or not
	// anybody knows of it. 0 means an hour.
	Grace time.Duration
	// Logger is told of what goes wrong in the background. Nil discards.
	Logger *slog.Logger
}

// Store keeps archives and trees. Its methods may be called concurrently.
type Store struct {
	dir   string
	cfg   Config
	log   *slog.Logger
	blobs Blobs
	boot  string // of the machine, see tree.go

	tasks sync.WaitGroup

	mu     sync.Mutex // guards what follows
	trees  map[string]*tree
	sweeps int // asked for and not yet done
	closed bool
}

// Open returns the store in dir, which is made if it is not there, and removes
// what dead processes left half-done there.
func Open(dir string, cfg Config) (*Store, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("open code store: %w", err)
	}
	if cfg.CacheSize <= 0 {
		cfg.CacheSize = 10 << 30
	}
	if cfg.Grace <= 0 {
		cfg.Grace = time.Hour
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Store{
		dir:   dir,
		cfg:   cfg,
		log:   cfg.Logger,
		blobs: cfg.Blobs,
		boot:  bootID(),
		trees: make(map[string]*tree),
	}
	for _, d := range []string{s.path("tmp"), s.treesDir()} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return nil, fmt.Errorf("open code store: %w", err)
		}
	}
	if s.blobs == nil {
		if s.blobs, err = NewFolder(s.path("blobs")); err != nil {
			return nil, fmt.Errorf("open code store: %w", err)
		}
	}
	if err := removeAbandoned(s.path("tmp")); err != nil {
		s.log.Warn("abandoned files could not be removed", "dir", s.path("tmp"), "err", err)
	}
	return s, nil
}

// Close waits for background work. Trees that are still in use stay locked
// until they are released or the process ends.
func (s *Store) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.tasks.Wait()
	return nil
}

func (s *Store) path(elem ...string) string {
	return filepath.Join(append([]string{s.dir}, elem...)...)
}

// Put checks the archive that r gives and keeps it. When it returns without
// an error, the archive is on disk for good; with one, nothing of it is left.
// An archive that is there already is kept once.
//
// A *bytes.Reader is checked in place, so a bad archive never touches the disk.
func (s *Store) Put(ctx context.Context, r io.Reader, lim Limits) (Info, error) {
	if lim.Unzipped <= 0 {
		lim.Unzipped = MaxUnzipped
	}
	if b, ok := r.(*bytes.Reader); ok {
		return s.putBytes(ctx, b, lim)
	}
	f, err := s.temp()
	if err != nil {
		return Info{}, fmt.Errorf("put code: %w", err)
	}
	defer f.discard()
	h := sha256.New()
	size, err := copyLimited(ctx, io.MultiWriter(f, h), r, lim.Zipped)
	if err != nil {
		return Info{}, fmt.Errorf("put code: %w", err)
	}
	return s.keep(ctx, h, size, f.File, f, lim)
}

func (s *Store) putBytes(ctx context.Context, b *bytes.Reader, lim Limits) (Info, error) {
	if lim.Zipped > 0 && b.Size() > lim.Zipped {
		return Info{}, fmt.Errorf("put code: %w", &TooLargeError{Limit: lim.Zipped, Zipped: true})
	}
	h := sha256.New()
	if _, err := b.Seek(0, io.SeekStart); err != nil {
		return Info{}, fmt.Errorf("put code: %w", err)
	}
	if _, err := b.WriteTo(h); err != nil {
		return Info{}, fmt.Errorf("put code: %w", err)
	}
	return s.keep(ctx, h, b.Size(), b, nil, lim)
}

// keep checks the archive in r and stores it; file is where it lies already, or nil.
func (s *Store) keep(ctx context.Context, h hash.Hash, size int64, r io.ReaderAt, file *tempFile, lim Limits) (Info, error) {
	info := Info{Hash: hex.EncodeToString(h.Sum(nil)), Size: size}
	a, err := openArchive(r, size)
	if err != nil {
		return Info{}, fmt.Errorf("put code: %w", err)
	}
	if info.Unzipped, err = a.check(ctx, lim.Unzipped); err != nil {
		return Info{}, fmt.Errorf("put code: %w", err)
	}
	if folder, ok := s.blobs.(*Folder); ok && file != nil && folder.sameDisk(s.dir) {
		err = folder.adopt(info.Hash, file)
	} else {
		err = s.blobs.Put(ctx, info.Hash, io.NewSectionReader(r, 0, size))
	}
	if err != nil {
		return Info{}, fmt.Errorf("put code %s: %w", info.Hash, err)
	}
	return info, nil
}

// Stat says whether an archive is there, and its size. Its error is ErrNotFound
// or the blob store's.
func (s *Store) Stat(ctx context.Context, hash string) (Info, error) {
	size, _, err := s.blobs.Stat(ctx, hash)
	if err != nil {
		return Info{}, fmt.Errorf("code %s: %w", hash, err)
	}
	return Info{Hash: hash, Size: size}, nil
}

// Reader returns the archive's bytes and their number. The caller closes it.
func (s *Store) Reader(ctx context.Context, hash string) (io.ReadCloser, int64, error) {
	r, size, err := s.blobs.Get(ctx, hash)
	if err != nil {
		return nil, 0, fmt.Errorf("code %s: %w", hash, err)
	}
	return r, size, nil
}

// PutTree packs the folder dir as Pack does, and keeps the archive as Put does.
func (s *Store) PutTree(ctx context.Context, dir string, lim Limits) (Info, error) {
	r, w := io.Pipe()
	go func() { w.CloseWithError(Pack(ctx, w, dir, nil)) }()
	info, err := s.Put(ctx, r, lim)
	r.CloseWithError(context.Canceled) // ends Pack if Put did not read to the end
	return info, err
}

// Collect removes the archives for which live is false and that are older
// than the store's grace, with their trees if nobody uses them. It returns how
// many it removed, and their bytes.
func (s *Store) Collect(ctx context.Context, live func(hash string) bool) (n int, freed int64, err error) {
	var dead []string
	err = s.blobs.List(ctx, func(b Blob) error {
		if time.Since(b.Written) > s.cfg.Grace && !live(b.Hash) {
			dead = append(dead, b.Hash)
		}
		return nil
	})
	if err != nil {
		return 0, 0, fmt.Errorf("collect code: %w", err)
	}
	for _, hash := range dead {
		// Once more: it may have been put again meanwhile.
		size, written, err := s.blobs.Stat(ctx, hash)
		if errors.Is(err, ErrNotFound) || err == nil && time.Since(written) <= s.cfg.Grace || live(hash) {
			continue
		}
		if err == nil {
			err = s.blobs.Delete(ctx, hash)
		}
		if err != nil {
			return n, freed, fmt.Errorf("collect code %s: %w", hash, err)
		}
		s.dropTree(hash)
		n++
		freed += size
	}
	return n, freed, nil
}

// copyLimited copies from r until its end, ctx's end, or more than limit bytes (0: no limit).
func copyLimited(ctx context.Context, w io.Writer, r io.Reader, limit int64) (int64, error) {
	buf := make([]byte, 128<<10)
	var size int64
	for {
		if err := ctx.Err(); err != nil {
			return size, err
		}
		n, err := r.Read(buf)
		size += int64(n)
		if limit > 0 && size > limit {
			return size, &TooLargeError{Limit: limit, Zipped: true}
		}
		if n > 0 {
			if _, err := w.Write(buf[:n]); err != nil {
				return size, err
			}
		}
		if err == io.EOF {
			return size, nil
		}
		if err != nil {
			return size, err
		}
	}
}
