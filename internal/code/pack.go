package code

import (
	"archive/zip"
	"compress/flate"
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// packed is the time of all files in packed archives: the first that a zip can say.
var packed = time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)

// Pack writes the files of the folder dir to w as a zip, which depends on
// their names, contents and execute permissions alone: equal folders give equal
// archives. Links stay links. Sockets, pipes and devices are left out, and so
// is whatever skip (which may be nil) says true of; names have slashes and are
// relative to dir.
func Pack(ctx context.Context, w io.Writer, dir string, skip func(name string, isDir bool) bool) error {
	z := zip.NewWriter(w)
	z.RegisterCompressor(zip.Deflate, func(w io.Writer) (io.WriteCloser, error) {
		return flate.NewWriter(w, flate.BestSpeed)
	})
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil || p == dir {
			return err
		}
		rel, err := filepath.Rel(dir, p)
		if err != nil {
			return err
		}
		name := filepath.ToSlash(rel)
		if skip != nil && skip(name, d.IsDir()) {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		return packEntry(z, p, name, d)
	})
	if err != nil {
		return fmt.Errorf("pack %s: %w", dir, err)
	}
	return z.Close()
}

func packEntry(z *zip.Writer, p, name string, d fs.DirEntry) error {
	h := &zip.FileHeader{Name: name, Method: zip.Deflate, Modified: packed}
	switch {
	case d.IsDir():
		h.Name += "/"
		h.Method = zip.Store
		h.SetMode(fs.ModeDir | 0o755)
		_, err := z.CreateHeader(h)
		return err
	case d.Type() == fs.ModeSymlink:
		dest, err := os.Readlink(p)
		if err != nil {
			return err
		}
		h.Method = zip.Store
		h.SetMode(fs.ModeSymlink | 0o777)
		w, err := z.CreateHeader(h)
		if err != nil {
			return err
		}
		_, err = io.Copy(w, strings.NewReader(filepath.ToSlash(dest)))
		return err
	case !d.Type().IsRegular():
		return nil
	}
	f, err := os.Open(p)
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	h.SetMode(0o644)
	if st.Mode()&0o111 != 0 {
		h.SetMode(0o755)
	}
	w, err := z.CreateHeader(h)
	if err != nil {
		return err
	}
	_, err = io.Copy(w, f)
	return err
}
