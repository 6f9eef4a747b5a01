package code

import (
	"archive/zip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"unicode/utf8"

	"golang.org/x/text/encoding/charmap"
)

const (
	// directoryBudget bounds what is read of an archive's directory, and so the
	// memory that a hostile one can take: some 300,000 files.
	directoryBudget = 32 << 20
	maxLinkLength   = 4096
	maxPathLength   = 4096
	maxNameLength   = 255
)

// archive is an opened zip whose names have been checked.
type archive struct {
	entries []entry
}

type entry struct {
	f    *zip.File
	name string // clean and relative, slashes
	mode fs.FileMode
	dest string // of a link, once check has read it
}

// budgetReader fails once more than left bytes have been read from it.
type budgetReader struct {
	r    io.ReaderAt
	left atomic.Int64
}

var errBudget = errors.New("directory of the archive is too large")

func (b *budgetReader) ReadAt(p []byte, off int64) (int, error) {
	if b.left.Add(-int64(len(p))) < 0 {
		return 0, errBudget
	}
	return b.r.ReadAt(p, off)
}

// openArchive reads the directory of the zip in r, and checks all of it that
// can be told without unpacking.
func openArchive(r io.ReaderAt, size int64) (*archive, error) {
	b := &budgetReader{r: r}
	b.left.Store(directoryBudget)
	z, err := zip.NewReader(b, size)
	if err != nil && !errors.Is(err, zip.ErrInsecurePath) {
		return nil, fmt.Errorf("%w: %w", ErrNotZip, err)
	}
	b.left.Store(1 << 62)
	a := &archive{entries: make([]entry, 0, len(z.File))}
	files := 0
	for _, f := range z.File {
		e, err := newEntry(f)
		if err != nil {
			return nil, err
		}
		if e.name == "." { // the archive's own folder
			continue
		}
		if !e.mode.IsDir() {
			files++
		}
		a.entries = append(a.entries, e)
	}
	if files == 0 {
		return nil, ErrEmpty
	}
	return a, a.checkNames()
}

// Who made an archive's entry, which says what its mode and name mean.
const (
	madeByFAT  = 0
	madeByNTFS = 11
	madeByVFAT = 14
)

func newEntry(f *zip.File) (entry, error) {
	e := entry{f: f, mode: f.Mode()}
	maker := f.CreatorVersion >> 8
	name := f.Name
	if f.NonUTF8 && !utf8.ValidString(name) && maker == madeByFAT {
		if s, err := charmap.CodePage437.NewDecoder().String(name); err == nil {
			name = s
		}
	}
	if maker == madeByFAT || maker == madeByNTFS || maker == madeByVFAT {
		// Made on Windows: some tools write its separators.
		name = strings.ReplaceAll(name, `\`, "/")
	}
	if strings.HasSuffix(name, "/") && e.mode.Type() == 0 {
		e.mode |= fs.ModeDir
	}
	switch {
	case f.Flags&1 != 0:
		return e, fmt.Errorf("%w: %q is encrypted", ErrNotZip, f.Name)
	case strings.HasPrefix(name, "/") || strings.ContainsRune(name, 0):
		return e, fmt.Errorf("%w: %q", ErrUnsafePath, f.Name)
	case e.mode.Type() != 0 && e.mode.Type() != fs.ModeDir && e.mode.Type() != fs.ModeSymlink:
		return e, fmt.Errorf("%w: %q is neither file, folder nor link", ErrUnsafePath, f.Name)
	case len(name) > maxPathLength:
		return e, fmt.Errorf("%w: a name of %d bytes", ErrNotZip, len(name))
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == ".." {
			return e, fmt.Errorf("%w: %q", ErrUnsafePath, f.Name)
		}
		if len(part) > maxNameLength {
			return e, fmt.Errorf("%w: a name of %d bytes", ErrNotZip, len(part))
		}
	}
	e.name = path.Clean(name)
	if e.name == "." && !e.mode.IsDir() {
		return e, fmt.Errorf("%w: %q names no file", ErrUnsafePath, f.Name)
	}
	return e, nil
}

// checkNames refuses names that are there twice, and files and links that
// would have to be folders, too. Folders may be named again.
func (a *archive) checkNames() error {
	dir := make(map[string]bool, len(a.entries)) // whether a name is a folder
	for _, e := range a.entries {
		was, seen := dir[e.name]
		if seen && !(was && e.mode.IsDir()) {
			return fmt.Errorf("%w: %q is there twice", ErrUnsafePath, e.name)
		}
		dir[e.name] = e.mode.IsDir()
	}
	for _, e := range a.entries {
		for p := path.Dir(e.name); p != "."; p = path.Dir(p) {
			isDir, seen := dir[p]
			if seen && !isDir {
				return fmt.Errorf("%w: %q lies in %q, which is no folder", ErrUnsafePath, e.name, p)
			}
			if seen {
				break // its own parents are looked at with it
			}
			dir[p] = true
		}
	}
	return nil
}

// check unpacks everything to nowhere, and returns how many bytes that made.
// It stops as soon as they are more than limit.
func (a *archive) check(ctx context.Context, limit int64) (int64, error) {
	// A first look at what the archive says of itself costs nothing.
	var said uint64
	for i := range a.entries {
		if e := &a.entries[i]; !e.mode.IsDir() {
			if said += e.f.UncompressedSize64; said > uint64(limit) || e.f.UncompressedSize64 > uint64(limit) {
				return 0, &TooLargeError{Limit: limit}
			}
		}
	}
	var total atomic.Int64
	err := a.each(ctx, func(e *entry, buf []byte) error {
		if e.mode.Type() == fs.ModeSymlink {
			var err error
			e.dest, err = readLink(e)
			return err
		}
		r, err := e.f.Open()
		if err != nil {
			return fmt.Errorf("%w: %q: %w", ErrNotZip, e.name, err)
		}
		defer r.Close()
		for {
			n, err := r.Read(buf)
			if total.Add(int64(n)) > limit {
				return &TooLargeError{Limit: limit}
			}
			if err == io.EOF {
				return nil
			}
			if err != nil {
				return fmt.Errorf("%w: %q: %w", ErrNotZip, e.name, err)
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
		}
	})
	if err != nil {
		return 0, err
	}
	return total.Load(), a.checkLinks()
}

// each calls f for all files and links, several at once, until one fails. buf
// is f's to use until it returns.
func (a *archive) each(ctx context.Context, f func(e *entry, buf []byte) error) error {
	workers := min(runtime.GOMAXPROCS(0), len(a.entries))
	var (
		next  atomic.Int64
		wg    sync.WaitGroup
		once  sync.Once
		first error
	)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	work := func() {
		buf := make([]byte, 64<<10)
		for ctx.Err() == nil {
			i := int(next.Add(1)) - 1
			if i >= len(a.entries) {
				return
			}
			if a.entries[i].mode.IsDir() {
				continue
			}
			if err := f(&a.entries[i], buf); err != nil {
				once.Do(func() { first = err })
				cancel()
				return
			}
		}
	}
	for range workers - 1 {
		wg.Go(work)
	}
	work()
	wg.Wait()
	if first == nil && int(next.Load()) < len(a.entries) {
		first = ctx.Err()
	}
	return first
}

func readLink(e *entry) (string, error) {
	r, err := e.f.Open()
	if err != nil {
		return "", fmt.Errorf("%w: %q: %w", ErrNotZip, e.name, err)
	}
	defer r.Close()
	b, err := io.ReadAll(io.LimitReader(r, maxLinkLength+1))
	if err != nil {
		return "", fmt.Errorf("%w: %q: %w", ErrNotZip, e.name, err)
	}
	if len(b) == 0 || len(b) > maxLinkLength || strings.IndexByte(string(b), 0) >= 0 {
		return "", fmt.Errorf("%w: link %q", ErrUnsafePath, e.name)
	}
	return string(b), nil
}

// checkLinks refuses links that lead out of their archive's folder, to anything
// but the folders that every execution environment has. It follows links
// through links, as the system will.
func (a *archive) checkLinks() error {
	links := make(map[string]string)
	for i := range a.entries {
		if e := &a.entries[i]; e.mode.Type() == fs.ModeSymlink {
			links[e.name] = e.dest
		}
	}
	steps := maxLinkSteps
	for name := range links {
		if err := checkLink(links, name, &steps); err != nil {
			return err
		}
	}
	return nil
}

const (
	maxLinkSteps = 10_000_000 // in all: a hostile archive must not cost minutes
	maxLinkHops  = 40         // as the system's; more is a loop, which leads nowhere
)

func checkLink(links map[string]string, name string, steps *int) error {
	at := strings.Split(path.Dir(name), "/") // where we are; "." is the folder itself
	if at[0] == "." {
		at = at[:0]
	}
	todo := strings.Split(links[name], "/")
	bad := func() error { return fmt.Errorf("%w: link %q leads to %q", ErrUnsafePath, name, links[name]) }
	if path.IsAbs(links[name]) {
		if !inEnvironment(links[name]) {
			return bad()
		}
		return nil
	}
	for hops := 0; len(todo) > 0; {
		if *steps--; *steps < 0 {
			return fmt.Errorf("%w: too many links", ErrNotZip)
		}
		part := todo[0]
		todo = todo[1:]
		switch part {
		case "", ".":
			continue
		case "..":
			if len(at) == 0 {
				return bad()
			}
			at = at[:len(at)-1]
			continue
		}
		to, isLink := links[path.Join(path.Join(at...), part)]
		switch {
		case !isLink:
			at = append(at, part)
		case path.IsAbs(to):
			if slices.Contains(todo, "..") || !inEnvironment(to) {
				return bad()
			}
			return nil
		default:
			if hops++; hops > maxLinkHops {
				return nil
			}
			todo = append(strings.Split(to, "/"), todo...)
		}
	}
	return nil
}

// inEnvironment says whether a link may lead to the absolute path to.
func inEnvironment(to string) bool {
	to = path.Clean(to)
	for _, dir := range []string{"/var/task", "/opt", "/tmp", "/var/runtime", "/var/lang"} {
		if to == dir || strings.HasPrefix(to, dir+"/") {
			return true
		}
	}
	return false
}
