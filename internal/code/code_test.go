package code

import (
	"archive/zip"
	"bytes"
	"compress/flate"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// file is one entry of a test archive. A name that ends in / is a folder.
type file struct {
	name string
	mode fs.FileMode // 0 means 0644
	body string
}

func makeZip(t testing.TB, files ...file) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, f := range files {
		h := &zip.FileHeader{Name: f.name, Method: zip.Deflate}
		if f.mode == 0 {
			f.mode = 0o644
		}
		h.SetMode(f.mode)
		e, err := w.CreateHeader(h)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasSuffix(f.name, "/") {
			io.WriteString(e, f.body)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func open(t testing.TB, dir string, cfg Config) *Store {
	t.Helper()
	s, err := Open(dir, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func put(t testing.TB, s *Store, files ...file) string {
	t.Helper()
	info, err := s.Put(t.Context(), bytes.NewReader(makeZip(t, files...)), Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return info.Hash
}

// readTree returns a tree as name → "mode body", links as "→ dest".
func readTree(t testing.TB, dir string) map[string]string {
	t.Helper()
	got := map[string]string{}
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == dir {
			return err
		}
		rel, _ := filepath.Rel(dir, p)
		st, err := os.Lstat(p)
		if err != nil {
			return err
		}
		switch {
		case d.IsDir():
			got[rel+"/"] = fmt.Sprintf("%o", st.Mode().Perm())
		case d.Type() == fs.ModeSymlink:
			dest, err := os.Readlink(p)
			got[rel] = "→ " + dest
			return err
		default:
			b, err := os.ReadFile(p)
			got[rel] = fmt.Sprintf("%o %s", st.Mode().Perm(), b)
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// leftovers are all files of the store's folder that are no archive, tree or lock.
func leftovers(t testing.TB, dir string) (names []string) {
	t.Helper()
	filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err == nil && strings.HasPrefix(d.Name(), tempPrefix) {
			names = append(names, p)
		}
		return err
	})
	return names
}

func TestPut(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Config{})
	b := makeZip(t, file{"a.py", 0, "print(1)"}, file{"bin/x", 0o755, "#!"}, file{"l", fs.ModeSymlink | 0o777, "bin/x"}, file{"empty/", fs.ModeDir | 0o700, ""})
	for _, r := range []io.Reader{bytes.NewReader(b), io.MultiReader(bytes.NewReader(b)), bytes.NewReader(b)} {
		info, err := s.Put(t.Context(), r, Limits{Zipped: int64(len(b))})
		if err != nil {
			t.Fatal(err)
		}
		if info.Size != int64(len(b)) || info.Unzipped != 10 || len(info.Hash) != 64 {
			t.Errorf("Put = %+v, want size %d, unzipped 10", info, len(b))
		}
		r, n, err := s.Reader(t.Context(), info.Hash)
		if err != nil {
			t.Fatal(err)
		}
		got, _ := io.ReadAll(r)
		r.Close()
		if !bytes.Equal(got, b) || n != int64(len(b)) {
			t.Errorf("Reader gave %d bytes and said %d, want the archive's %d", len(got), n, len(b))
		}
		tree, release, err := s.Tree(t.Context(), info.Hash)
		if err != nil {
			t.Fatal(err)
		}
		want := map[string]string{"a.py": "644 print(1)", "bin/": "755", "bin/x": "755 #!", "l": "→ bin/x", "empty/": "755"}
		if d := cmp.Diff(want, readTree(t, tree)); d != "" {
			t.Errorf("tree (-want +got):\n%s", d)
		}
		release()
		release()
	}
	if l := leftovers(t, dir); l != nil {
		t.Errorf("left over: %q", l)
	}
	if _, err := s.Stat(t.Context(), strings.Repeat("0", 64)); !errors.Is(err, ErrNotFound) {
		t.Errorf("Stat of an unknown hash = %v, want ErrNotFound", err)
	}
	for _, hash := range []string{"", "../../etc/passwd", strings.Repeat("0", 64)} {
		if _, _, err := s.Tree(t.Context(), hash); !errors.Is(err, ErrNotFound) {
			t.Errorf("Tree(%q) = %v, want ErrNotFound", hash, err)
		}
	}
}

// patch returns b with every occurrence of old replaced by new, of the same length.
func patch(b []byte, old, new string) []byte {
	if len(old) != len(new) {
		panic("lengths differ")
	}
	return bytes.ReplaceAll(b, []byte(old), []byte(new))
}

func TestPutRefuses(t *testing.T) {
	ok := makeZip(t, file{"a.py", 0, "print(1)"})
	link := fs.ModeSymlink | 0o777
	encrypted := bytes.Clone(ok)
	i := bytes.LastIndex(encrypted, []byte("PK\x01\x02"))
	encrypted[i+8] |= 1
	method := bytes.Clone(ok)
	binary.LittleEndian.PutUint16(method[bytes.LastIndex(method, []byte("PK\x01\x02"))+10:], 12) // bzip2
	for _, tt := range []struct {
		name string
		b    []byte
		want error
	}{
		{"nothing", nil, ErrNotZip},
		{"text", []byte("hello, I am no zip"), ErrNotZip},
		{"cut short", ok[:len(ok)-30], ErrNotZip},
		{"wrong sum", func() []byte {
			b := bytes.Clone(ok)
			i := bytes.LastIndex(b, []byte("PK\x01\x02"))
			b[i+16] ^= 1
			return b
		}(), ErrNotZip},
		{"encrypted", encrypted, ErrNotZip},
		{"unknown method", method, ErrNotZip},
		{"no entry", makeZip(t), ErrEmpty},
		{"folders only", makeZip(t, file{"a/", fs.ModeDir | 0o755, ""}), ErrEmpty},
		{"traversal", makeZip(t, file{"../a", 0, ""}), ErrUnsafePath},
		{"traversal inside", makeZip(t, file{"a/../../b", 0, ""}), ErrUnsafePath},
		{"absolute", makeZip(t, file{"/etc/passwd", 0, ""}), ErrUnsafePath},
		{"NUL", patch(makeZip(t, file{"aXb", 0, ""}), "aXb", "a\x00b"), ErrUnsafePath},
		{"backslashes", windows(makeZip(t, file{`..\a`, 0, ""})), ErrUnsafePath},
		{"twice", makeZip(t, file{"a", 0, "1"}, file{"a", 0, "2"}), ErrUnsafePath},
		{"twice, spelled otherwise", makeZip(t, file{"a", 0, "1"}, file{"./a", 0, "2"}), ErrUnsafePath},
		{"file and folder", makeZip(t, file{"a", 0, "1"}, file{"a/", fs.ModeDir | 0o755, ""}), ErrUnsafePath},
		{"file in a file", makeZip(t, file{"a", 0, "1"}, file{"a/b/c", 0, "2"}), ErrUnsafePath},
		{"file in a file, turned", makeZip(t, file{"a/b/c", 0, "2"}, file{"a", 0, "1"}), ErrUnsafePath},
		{"file in a link", makeZip(t, file{"a", link, "/tmp"}, file{"a/b", 0, "2"}), ErrUnsafePath},
		{"the folder itself", makeZip(t, file{"x/..", 0, "1"}), ErrUnsafePath},
		{"link out", makeZip(t, file{"a", link, "../b"}), ErrUnsafePath},
		{"link out and in", makeZip(t, file{"a", link, "b/../../c"}), ErrUnsafePath},
		{"link to an absolute path", makeZip(t, file{"a", link, "/etc/passwd"}), ErrUnsafePath},
		{"link to a disguised path", makeZip(t, file{"a", link, "/tmp/../etc/passwd"}), ErrUnsafePath},
		{"link out through a link", makeZip(t, file{"a", link, "."}, file{"b", link, "a/../etc"}), ErrUnsafePath},
		{"link out through /tmp", makeZip(t, file{"a", link, "/tmp"}, file{"b", link, "a/../etc"}), ErrUnsafePath},
		{"empty link", makeZip(t, file{"a", link, ""}), ErrUnsafePath},
		{"long link", makeZip(t, file{"a", link, strings.Repeat("a", 5000)}), ErrUnsafePath},
		{"device", makeZip(t, file{"a", fs.ModeDevice | 0o644, ""}), ErrUnsafePath},
		{"pipe", makeZip(t, file{"a", fs.ModeNamedPipe | 0o644, ""}), ErrUnsafePath},
		{"long name", makeZip(t, file{strings.Repeat("a", 256), 0, ""}), ErrNotZip},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, dir, Config{})
			for _, r := range []io.Reader{bytes.NewReader(tt.b), io.MultiReader(bytes.NewReader(tt.b))} {
				if _, err := s.Put(t.Context(), r, Limits{}); !errors.Is(err, tt.want) {
					t.Errorf("Put = %v, want %v", err, tt.want)
				}
			}
			s.blobs.List(t.Context(), func(b Blob) error {
				t.Errorf("kept %s", b.Hash)
				return nil
			})
			if l := leftovers(t, dir); l != nil {
				t.Errorf("left over: %q", l)
			}
		})
	}
}

// windows makes an archive look as if a tool of Windows had made it.
func windows(b []byte) []byte {
	for i := 0; ; {
		j := bytes.Index(b[i:], []byte("PK\x01\x02"))
		if j < 0 {
			return b
		}
		b[i+j+5] = madeByFAT
		i += j + 4
	}
}

func TestPutTakes(t *testing.T) {
	cp437 := patch(makeZip(t, file{"gr?n.txt", 0, "1"}), "gr?n.txt", "gr\x81n.txt")
	stream := func() []byte { // with data descriptors, behind a shell script, with a comment
		var b bytes.Buffer
		b.WriteString("#!/bin/sh\nexec unzip \"$0\"\n")
		w := zip.NewWriter(&b)
		e, _ := w.Create("a")
		io.WriteString(e, "1")
		w.SetComment("made by a test")
		w.Close()
		return b.Bytes()
	}
	raw := func(h zip.FileHeader, body string) []byte {
		var b bytes.Buffer
		w := zip.NewWriter(&b)
		h.CRC32 = crc32.ChecksumIEEE([]byte(body))
		h.CompressedSize64, h.UncompressedSize64 = uint64(len(body)), uint64(len(body))
		e, err := w.CreateRaw(&h)
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(e, body)
		w.Close()
		return b.Bytes()
	}
	for _, tt := range []struct {
		name string
		b    []byte
		want map[string]string
	}{
		{"made on Windows", windows(makeZip(t, file{`src\lib\a.py`, 0, "1"}, file{`src\b.py`, 0, "2"})), map[string]string{"src/": "755", "src/lib/": "755", "src/lib/a.py": "644 1", "src/b.py": "644 2"}},
		{"code page 437", windows(cp437), map[string]string{"grün.txt": "644 1"}},
		{"streamed", stream(), map[string]string{"a": "644 1"}},
		{"folders again", makeZip(t, file{"a/", fs.ModeDir | 0o755, ""}, file{"a/", fs.ModeDir | 0o700, ""}, file{"./", fs.ModeDir | 0o755, ""}, file{"a//b", 0, "1"}), map[string]string{"a/": "755", "a/b": "644 1"}},
		{"no modes", raw(zip.FileHeader{Name: "a", CreatorVersion: 3 << 8}, "1"), map[string]string{"a": "644 1"}},
		{"modes", makeZip(t, file{"a", 0o600, "1"}, file{"b", 0o444, "2"}, file{"c", 0o4755, "3"}, file{"d/", fs.ModeDir | 0o111, ""}), map[string]string{"a": "600 1", "b": "444 2", "c": "755 3", "d/": "755"}},
		{"links", makeZip(t, file{"a/b", fs.ModeSymlink, "../c"}, file{"c", 0, "1"}, file{"o", fs.ModeSymlink, "/opt/lib"}, file{"r", fs.ModeSymlink, "r"}),
			map[string]string{"a/": "755", "a/b": "→ ../c", "c": "644 1", "o": "→ /opt/lib", "r": "→ r"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := open(t, t.TempDir(), Config{})
			info, err := s.Put(t.Context(), bytes.NewReader(tt.b), Limits{})
			if err != nil {
				t.Fatal(err)
			}
			dir, release, err := s.Tree(t.Context(), info.Hash)
			if err != nil {
				t.Fatal(err)
			}
			defer release()
			want := tt.want
			if d := cmp.Diff(want, readTree(t, dir)); d != "" {
				t.Errorf("tree (-want +got):\n%s", d)
			}
		})
	}
}

func TestLimits(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Config{})
	b := makeZip(t, file{"zeros", 0, strings.Repeat("\x00", 100_000)})
	for _, r := range []io.Reader{bytes.NewReader(b), io.MultiReader(bytes.NewReader(b))} {
		var tooLarge *TooLargeError
		if _, err := s.Put(t.Context(), r, Limits{Zipped: int64(len(b)) - 1}); !errors.As(err, &tooLarge) || !tooLarge.Zipped {
			t.Errorf("Put of a large archive = %v, want a *TooLargeError", err)
		}
	}
	lying := bytes.Clone(b)
	// The directory says 10 bytes; what counts is what comes out.
	binary.LittleEndian.PutUint32(lying[bytes.LastIndex(lying, []byte("PK\x01\x02"))+24:], 10)
	for name, b := range map[string][]byte{"honest": b, "lying": lying} {
		_, err := s.Put(t.Context(), bytes.NewReader(b), Limits{Unzipped: 99_999})
		var tooLarge *TooLargeError
		if !(errors.As(err, &tooLarge) && tooLarge.Limit == 99_999) && !(name == "lying" && errors.Is(err, ErrNotZip)) {
			t.Errorf("Put of a large tree (%s) = %v, want a *TooLargeError", name, err)
		}
	}
	if _, err := s.Put(t.Context(), bytes.NewReader(b), Limits{Unzipped: 100_000}); err != nil {
		t.Errorf("Put of an archive of just the limit: %v", err)
	}
	if l := leftovers(t, dir); l != nil {
		t.Errorf("left over: %q", l)
	}
}

// TestBomb: entries that say they hold a byte, and hold 10 MB each.
func TestBomb(t *testing.T) {
	var packed bytes.Buffer
	f, _ := flate.NewWriter(&packed, flate.BestSpeed)
	f.Write(make([]byte, 10<<20))
	f.Close()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for i := range 30 {
		e, err := w.CreateRaw(&zip.FileHeader{Name: fmt.Sprint(i), Method: zip.Deflate, CompressedSize64: uint64(packed.Len()), UncompressedSize64: 9 << 20})
		if err != nil {
			t.Fatal(err)
		}
		e.Write(packed.Bytes())
	}
	w.Close()
	s := open(t, t.TempDir(), Config{})
	var tooLarge *TooLargeError
	if _, err := s.Put(t.Context(), bytes.NewReader(b.Bytes()), Limits{}); !errors.As(err, &tooLarge) && !errors.Is(err, ErrNotZip) {
		t.Errorf("Put of a bomb = %v, want a *TooLargeError or ErrNotZip", err)
	}
	if _, err := s.Put(t.Context(), bytes.NewReader(b.Bytes()), Limits{Unzipped: 20 << 20}); !errors.As(err, &tooLarge) {
		t.Errorf("Put of a bomb = %v, want a *TooLargeError", err)
	}
}

func TestManyEntriesTakeNoMemory(t *testing.T) {
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	name := strings.Repeat("n", 200)
	for i := range 150_000 {
		w.CreateRaw(&zip.FileHeader{Name: fmt.Sprint(name, i)})
	}
	w.Close()
	s := open(t, t.TempDir(), Config{})
	if _, err := s.Put(t.Context(), bytes.NewReader(b.Bytes()), Limits{}); !errors.Is(err, ErrNotZip) {
		t.Errorf("Put of an archive with a huge directory = %v, want ErrNotZip", err)
	}
}

func TestLayers(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Config{})
	link := fs.ModeSymlink | 0o777
	one := put(t, s, file{"lib/a", 0, "1a"}, file{"lib/b", 0, "1b"}, file{"d/x", 0, "1x"}, file{"l", link, "lib"}, file{"e/f", 0, "1f"})
	two := put(t, s, file{"lib/b", 0o755, "2b"}, file{"d", 0, "file over folder"}, file{"l/y", 0, "folder over link"}, file{"e", link, "lib"})
	get := func(hashes ...string) (map[string]string, string) {
		t.Helper()
		dir, release, err := s.Layers(t.Context(), hashes)
		if err != nil {
			t.Fatal(err)
		}
		defer release()
		return readTree(t, dir), dir
	}
	got, first := get(one, two)
	want := map[string]string{"lib/": "755", "lib/a": "644 1a", "lib/b": "755 2b", "d": "644 file over folder", "l/": "755", "l/y": "644 folder over link", "e": "→ lib"}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("one, two (-want +got):\n%s", d)
	}
	got, second := get(two, one)
	want = map[string]string{"lib/": "755", "lib/a": "644 1a", "lib/b": "644 1b", "d/": "755", "d/x": "644 1x", "l": "→ lib", "e/": "755", "e/f": "644 1f"}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("two, one (-want +got):\n%s", d)
	}
	if _, again := get(one, two); again != first || again == second {
		t.Errorf("Layers gave %s, then %s; another order %s", first, again, second)
	}
	if dir, release, err := s.Layers(t.Context(), nil); dir != "" || err != nil {
		t.Errorf("Layers of none = %q, %v", dir, err)
	} else {
		release()
	}
	if _, _, err := s.Layers(t.Context(), []string{one, strings.Repeat("0", 64)}); !errors.Is(err, ErrNotFound) {
		t.Errorf("Layers with an unknown one = %v, want ErrNotFound", err)
	}
	if l := leftovers(t, dir); l != nil {
		t.Errorf("left over: %q", l)
	}
}

// TestTreeShared: many goroutines of several stores on one folder get one
// whole tree each time, also while it is evicted again and again.
func TestTreeShared(t *testing.T) {
	dir := t.TempDir()
	stores := []*Store{open(t, dir, Config{CacheSize: 1}), open(t, dir, Config{CacheSize: 1}), open(t, dir, Config{CacheSize: 1})}
	var files []file
	for i := range 50 {
		files = append(files, file{fmt.Sprintf("d%d/f%d", i%7, i), 0, strings.Repeat("x", i)})
	}
	hashes := []string{put(t, stores[0], files...), put(t, stores[0], files[:20]...)}
	var wg sync.WaitGroup
	for i := range 12 {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(i), 1))
			for range 20 {
				n := rnd.IntN(3)
				dir, release, err := stores[i%3].Layers(t.Context(), hashes[:max(1, n)])
				if err != nil {
					t.Error(err)
					return
				}
				for j, f := range files {
					if b, err := os.ReadFile(filepath.Join(dir, f.name)); string(b) != f.body || err != nil {
						t.Errorf("file %d of the tree: %q, %v", j, b, err)
					}
				}
				release()
			}
		})
	}
	wg.Wait()
	for _, s := range stores {
		s.Close()
		if len(s.trees) > 0 {
			t.Errorf("%d trees in use after all were released", len(s.trees))
		}
	}
	if l := leftovers(t, dir); l != nil {
		t.Errorf("left over: %q", l)
	}
}

func TestEviction(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Config{CacheSize: 2500})
	var hashes []string
	for i := range 4 {
		hashes = append(hashes, put(t, s, file{fmt.Sprint("f", i), 0, strings.Repeat("x", 1000)}))
	}
	there := func(i int) bool {
		s.tasks.Wait()
		_, err := os.Stat(filepath.Join(s.treesDir(), hashes[i]))
		return err == nil
	}
	use := func(i int) func() {
		_, release, err := s.Tree(t.Context(), hashes[i])
		if err != nil {
			t.Fatal(err)
		}
		return release
	}
	keep := use(0)
	use(1)()
	old := time.Now().Add(-time.Hour)
	os.Chtimes(filepath.Join(s.treesDir(), hashes[1])+".json", old, old)
	use(2)()
	if !there(0) || there(1) || !there(2) {
		t.Errorf("trees 0, 1, 2 there: %v %v %v; want all but the one least recently used", there(0), there(1), there(2))
	}
	keep()
	os.Chtimes(filepath.Join(s.treesDir(), hashes[0])+".json", old, old)
	use(3)()
	if there(0) || !there(2) || !there(3) {
		t.Errorf("trees 0, 2, 3 there: %v %v %v; want all but the first, now released", there(0), there(2), there(3))
	}
	use(0)() // is unpacked again
}

// TestPartialTrees: whatever a kill or a loss of power leaves is made new.
func TestPartialTrees(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Config{})
	hash := put(t, s, file{"a", 0, "1"}, file{"b/c", 0, "2"})
	want := map[string]string{"a": "644 1", "b/": "755", "b/c": "644 2"}
	tree := filepath.Join(s.treesDir(), hash)
	for name, spoil := range map[string]func(){
		"no marker":    func() { os.Remove(tree + ".json"); os.Remove(filepath.Join(tree, "a")) },
		"empty marker": func() { os.WriteFile(tree+".json", nil, 0o644); os.Remove(filepath.Join(tree, "a")) },
		"another boot": func() {
			os.WriteFile(tree+".json", []byte(`{"Boot":"another"}`), 0o644)
			os.WriteFile(filepath.Join(tree, "a"), nil, 0o644)
		},
		"no folder": func() { os.RemoveAll(tree) },
	} {
		_, release, err := s.Tree(t.Context(), hash)
		if err != nil {
			t.Fatal(err)
		}
		release()
		spoil()
		got, release, err := s.Tree(t.Context(), hash)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, readTree(t, got)); d != "" {
			t.Errorf("%s: tree (-want +got):\n%s", name, d)
		}
		release()
	}

	// What a killed process was making is removed when the next opens the folder.
	old := time.Now().Add(-time.Minute)
	for _, name := range []string{"tmp/.new-1/x/y", "tmp/.new-2", "blobs/.new-3", "tmp/.new-4.lock"} {
		p := filepath.Join(dir, name)
		os.MkdirAll(filepath.Dir(p), 0o755)
		os.WriteFile(p, nil, 0o644)
		os.Chtimes(p, old, old)
	}
	os.Chtimes(filepath.Join(dir, "tmp/.new-1"), old, old)
	live, err := s.temp()
	if err != nil {
		t.Fatal(err)
	}
	os.Chtimes(live.Name(), old, old)
	open(t, dir, Config{})
	if l := leftovers(t, dir); !slices.Equal(l, []string{live.Name()}) {
		t.Errorf("left over: %q, want only %s", l, live.Name())
	}
	live.discard()
}

func TestReadOnly(t *testing.T) {
	s := open(t, t.TempDir(), Config{ReadOnly: true, CacheSize: 1})
	hash := put(t, s, file{"a", 0, "1"}, file{"b/c", 0o755, "2"})
	dir, release, err := s.Tree(t.Context(), hash)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(map[string]string{"a": "444 1", "b/": "555", "b/c": "555 2"}, readTree(t, dir)); d != "" {
		t.Errorf("tree (-want +got):\n%s", d)
	}
	release()
	s.sweep()
	s.tasks.Wait()
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a read-only tree was not evicted: %v", err)
	}
}

func TestCollect(t *testing.T) {
	s := open(t, t.TempDir(), Config{Grace: time.Minute})
	live, dead, young := put(t, s, file{"a", 0, "1"}), put(t, s, file{"a", 0, "2"}), put(t, s, file{"a", 0, "3"})
	_, release, err := s.Tree(t.Context(), dead)
	if err != nil {
		t.Fatal(err)
	}
	release()
	old := time.Now().Add(-time.Hour)
	for _, h := range []string{live, dead} {
		p, _ := s.blobs.(*Folder).path(h)
		os.Chtimes(p, old, old)
	}
	n, freed, err := s.Collect(t.Context(), func(hash string) bool { return hash == live })
	if n != 1 || freed == 0 || err != nil {
		t.Errorf("Collect = %d, %d, %v, want 1 archive", n, freed, err)
	}
	for h, want := range map[string]error{live: nil, young: nil, dead: ErrNotFound} {
		if _, err := s.Stat(t.Context(), h); !errors.Is(err, want) {
			t.Errorf("Stat(%s) = %v, want %v", h, err, want)
		}
	}
	if _, _, err := s.Tree(t.Context(), dead); !errors.Is(err, ErrNotFound) {
		t.Errorf("Tree of a collected archive = %v, want ErrNotFound", err)
	}
}

func TestPutTree(t *testing.T) {
	dir := t.TempDir()
	for name, body := range map[string]string{"app.py": "1", "pkg/mod.py": "2", "bin/run": "#!"} {
		os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700)
		os.WriteFile(filepath.Join(dir, name), []byte(body), 0o600)
	}
	os.Chmod(filepath.Join(dir, "bin/run"), 0o700)
	os.Symlink("pkg", filepath.Join(dir, "alias"))
	s := open(t, t.TempDir(), Config{})
	a, err := s.PutTree(t.Context(), dir, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now().Add(time.Hour)
	os.Chtimes(filepath.Join(dir, "app.py"), now, now)
	b, err := s.PutTree(t.Context(), dir, Limits{})
	if err != nil || a != b {
		t.Errorf("PutTree of an equal folder = %v, %v, want %v", b, err, a)
	}
	tree, release, err := s.Tree(t.Context(), a.Hash)
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	want := map[string]string{"alias": "→ pkg", "app.py": "644 1", "bin/": "755", "bin/run": "755 #!", "pkg/": "755", "pkg/mod.py": "644 2"}
	if d := cmp.Diff(want, readTree(t, tree)); d != "" {
		t.Errorf("tree (-want +got):\n%s", d)
	}
	if _, err := s.PutTree(t.Context(), filepath.Join(dir, "nowhere"), Limits{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("PutTree of no folder = %v, want that it does not exist", err)
	}
	if _, err := s.PutTree(t.Context(), dir, Limits{Zipped: 10}); !errors.As(err, new(*TooLargeError)) {
		t.Errorf("PutTree beyond the limit = %v, want a *TooLargeError", err)
	}
}

// FuzzPut: whatever Put accepts can be unpacked, and nothing lies outside of its tree.
func FuzzPut(f *testing.F) {
	link := fs.ModeSymlink | 0o777
	f.Add(makeZip(f, file{"a", 0, "1"}))
	f.Add(makeZip(f, file{"a/b", 0, "1"}, file{"a/", fs.ModeDir | 0o755, ""}, file{"l", link, "a/b"}))
	f.Add(makeZip(f, file{"../a", 0, "1"}))
	f.Add(makeZip(f, file{"l", link, "l2/.."}, file{"l2", link, "."}))
	f.Add(windows(makeZip(f, file{`x\y`, 0, "1"}, file{`x\`, fs.ModeDir | 0o755, ""})))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := openArchive(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return
		}
		n, err := a.check(context.Background(), 1<<20)
		if err != nil {
			return
		}
		base, err := os.MkdirTemp(dir, "")
		if err != nil {
			t.Fatal(err)
		}
		defer removeAll(base)
		tree := filepath.Join(base, "x", "tree")
		os.MkdirAll(tree, 0o755)
		if _, err := a.unpack(context.Background(), tree); err != nil {
			t.Fatalf("unpack of what check took (%d bytes): %v", n, err)
		}
		for _, d := range []string{base, filepath.Dir(tree)} {
			if names, _ := os.ReadDir(d); len(names) != 1 {
				t.Fatalf("%s holds %v", d, names)
			}
		}
	})
}

func BenchmarkPut(b *testing.B) {
	s := open(b, b.TempDir(), Config{})
	i := 0
	for b.Loop() {
		i++
		put(b, s, file{"lambda_function.py", 0, fmt.Sprint("x =", i)})
	}
}

// BenchmarkLarge checks and unpacks an archive of 200 MB that looks like code.
func BenchmarkLarge(b *testing.B) {
	rnd := rand.New(rand.NewPCG(1, 1))
	var files []file
	for i := range 2000 {
		var body strings.Builder
		for body.Len() < 100_000 {
			fmt.Fprintf(&body, "func %x(%d) { return %v }\n", rnd.Uint32(), rnd.IntN(100), rnd.IntN(2) == 0)
		}
		files = append(files, file{fmt.Sprintf("d%d/f%d", i%50, i), 0, body.String()})
	}
	z := makeZip(b, files...)
	b.Run("Put", func(b *testing.B) {
		for b.Loop() {
			s := open(b, b.TempDir(), Config{})
			if _, err := s.Put(b.Context(), bytes.NewReader(z), Limits{}); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("Tree", func(b *testing.B) {
		s := open(b, b.TempDir(), Config{})
		info, err := s.Put(b.Context(), bytes.NewReader(z), Limits{})
		if err != nil {
			b.Fatal(err)
		}
		for b.Loop() {
			_, release, err := s.Tree(b.Context(), info.Hash)
			if err != nil {
				b.Fatal(err)
			}
			release()
			b.StopTimer()
			s.dropTree(info.Hash)
			b.StartTimer()
		}
	})
}
