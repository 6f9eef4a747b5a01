// Package blobtest checks implementations of code.Blobs.
package blobtest

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hearth-run/hearth/internal/code"
)

func hashOf(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// Test checks b, which is empty.
func Test(t *testing.T, b code.Blobs) {
	ctx := t.Context()
	one, two := []byte("one"), bytes.Repeat([]byte("two"), 1<<20)
	list := func() (hashes []string) {
		t.Helper()
		if err := b.List(ctx, func(x code.Blob) error {
			if time.Since(x.Written) > time.Hour || x.Size == 0 {
				t.Errorf("listed: %+v", x)
			}
			hashes = append(hashes, x.Hash)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		slices.Sort(hashes)
		return hashes
	}

	t.Run("what is not there is ErrNotFound, and deleted with success", func(t *testing.T) {
		hash := hashOf(one)
		if _, _, err := b.Stat(ctx, hash); !errors.Is(err, code.ErrNotFound) {
			t.Errorf("Stat = %v", err)
		}
		if _, _, err := b.Get(ctx, hash); !errors.Is(err, code.ErrNotFound) {
			t.Errorf("Get = %v", err)
		}
		if err := b.Delete(ctx, hash); err != nil {
			t.Errorf("Delete = %v", err)
		}
		if l := list(); len(l) > 0 {
			t.Errorf("List = %q", l)
		}
	})

	t.Run("what was put is there, whole, however often and from wherever", func(t *testing.T) {
		var wg sync.WaitGroup
		for range 4 {
			for _, body := range [][]byte{one, two} {
				wg.Go(func() {
					if err := b.Put(ctx, hashOf(body), bytes.NewReader(body)); err != nil {
						t.Errorf("Put = %v", err)
					}
				})
			}
		}
		wg.Wait()
		for _, body := range [][]byte{one, two} {
			size, written, err := b.Stat(ctx, hashOf(body))
			if err != nil || size != int64(len(body)) || time.Since(written).Abs() > time.Hour {
				t.Errorf("Stat = %d, %v, %v", size, written, err)
			}
			r, size, err := b.Get(ctx, hashOf(body))
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(r)
			r.Close()
			if err != nil || size != int64(len(body)) || !bytes.Equal(got, body) {
				t.Errorf("Get gave %d bytes and said %d, %v; want %d", len(got), size, err, len(body))
			}
		}
		want := []string{hashOf(one), hashOf(two)}
		slices.Sort(want)
		if l := list(); !slices.Equal(l, want) {
			t.Errorf("List = %q, want %q", l, want)
		}
	})

	t.Run("List ends with the first error", func(t *testing.T) {
		stop := errors.New("stop")
		n := 0
		if err := b.List(ctx, func(code.Blob) error { n++; return stop }); !errors.Is(err, stop) || n != 1 {
			t.Errorf("List = %v after %d", err, n)
		}
	})

	t.Run("what was deleted is gone", func(t *testing.T) {
		for range 2 {
			if err := b.Delete(ctx, hashOf(one)); err != nil {
				t.Errorf("Delete = %v", err)
			}
		}
		if l := list(); !slices.Equal(l, []string{hashOf(two)}) {
			t.Errorf("List = %q", l)
		}
	})
}
