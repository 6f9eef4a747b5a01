package code

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hearth-run/hearth/internal/hearthtest"
)

// TestMain is the process that TestKilled kills, when the environment says so.
func TestMain(m *testing.M) {
	if dir := os.Getenv("HEARTH_CODE_TEST_DIR"); dir != "" {
		busy(dir)
	}
	os.Exit(m.Run())
}

// busy puts, unpacks and merges until it is killed.
func busy(dir string) {
	s, err := Open(dir, Config{CacheSize: 1000})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	for i := 0; ; i++ {
		var hashes []string
		for j := range 2 {
			info, err := s.Put(context.Background(), bytes.NewReader(numbered(rand.IntN(8)+100*j)), Limits{})
			if err != nil {
				fmt.Println(err)
				os.Exit(1)
			}
			hashes = append(hashes, info.Hash)
		}
		_, release, err := s.Layers(context.Background(), hashes)
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		release()
		if i == 0 {
			fmt.Println("busy")
		}
	}
}

func numbered(n int) []byte {
	var files []file
	for i := range 20 {
		files = append(files, file{fmt.Sprintf("d%d/f%d", n, i), 0, strings.Repeat(fmt.Sprint(n), 1000)})
	}
	return makeZip(panics{}, files...)
}

// panics is a testing.TB for who is no test.
type panics struct{ testing.TB }

func (panics) Helper()           {}
func (panics) Fatal(args ...any) { panic(fmt.Sprint(args...)) }

// TestKilled: after kill -9 at any moment, every archive is whole, every tree
// is or is made again, and nothing half-done stays.
func TestKilled(t *testing.T) {
	dir := t.TempDir()
	for round := range 10 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "HEARTH_CODE_TEST_DIR="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		said := make([]byte, 4)
		if _, err := io.ReadFull(out, said); err != nil || string(said) != "busy" {
			t.Fatalf("round %d: it said %q, %v", round, said, err)
		}
		time.Sleep(time.Duration(rand.IntN(20_000)) * time.Microsecond)
		cmd.Process.Kill()
		cmd.Wait()
	}
	old := time.Now().Add(-time.Minute)
	for _, p := range leftovers(t, dir) {
		os.Chtimes(p, old, old)
	}
	s := open(t, dir, Config{})
	if l := leftovers(t, dir); l != nil {
		t.Errorf("left over: %q", l)
	}
	n := 0
	err := s.blobs.List(t.Context(), func(b Blob) error {
		n++
		r, _, err := s.Reader(t.Context(), b.Hash)
		if err != nil {
			return err
		}
		defer r.Close()
		h := sha256.New()
		io.Copy(h, r)
		if got := hex.EncodeToString(h.Sum(nil)); got != b.Hash {
			t.Errorf("archive %s has the hash %s", b.Hash, got)
		}
		tree, release, err := s.Tree(t.Context(), b.Hash)
		if err != nil {
			return err
		}
		defer release()
		if got := readTree(t, tree); len(got) != 21 {
			t.Errorf("tree %s holds %d names, want 21", b.Hash, len(got))
		}
		for name, body := range readTree(t, tree) {
			if !strings.HasSuffix(name, "/") && len(body) < 1000 {
				t.Errorf("%s of tree %s has %d bytes", name, b.Hash, len(body))
			}
		}
		return nil
	})
	if err != nil || n == 0 {
		t.Errorf("%d archives, %v", n, err)
	}
}

// TestDiskFull: what does not fit is refused, and what was there before works on.
func TestDiskFull(t *testing.T) {
	dir := smallDisk(t, "4m")
	s := open(t, filepath.Join(dir, "code"), Config{})
	small := put(t, s, file{"a", 0, "1"})
	noise := make([]byte, 5<<20)
	for i := range noise {
		noise[i] = byte(rand.Uint32())
	}
	b := makeZip(t, file{"noise", 0, string(noise)})
	for _, r := range []io.Reader{bytes.NewReader(b), io.MultiReader(bytes.NewReader(b))} {
		if _, err := s.Put(t.Context(), r, Limits{}); err == nil || !strings.Contains(err.Error(), "no space left") {
			t.Errorf("Put on a full disk = %v", err)
		}
	}
	// It packs well, so the archive fits and its tree does not.
	zeros := put(t, s, file{"zeros", 0, strings.Repeat("0", 5<<20)})
	if _, _, err := s.Tree(t.Context(), zeros); err == nil || !strings.Contains(err.Error(), "no space left") {
		t.Errorf("Tree on a full disk = %v", err)
	}
	if l := leftovers(t, dir); l != nil {
		t.Errorf("left over: %q", l)
	}
	tree, release, err := s.Tree(t.Context(), small)
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	if b, err := os.ReadFile(filepath.Join(tree, "a")); string(b) != "1" {
		t.Errorf("the small one's file = %q, %v", b, err)
	}
}

// smallDisk mounts a disk of that size.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size="+size, "tmpfs", dir).CombinedOutput(); err != nil {
		hearthtest.Skip(t, "mount", strings.TrimSpace(string(out)))
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", "-l", dir).CombinedOutput(); err != nil {
			t.Errorf("umount: %s", out)
		}
	})
	return dir
}
