package main

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"path/filepath"
	"strings"
	"time"
)

// watchRun calls run, and again whenever a file below path has changed, until ctx ends.
func watchRun(ctx context.Context, path string, errOut io.Writer, run func() error) error {
	for {
		seen, err := fingerprint(path)
		if err != nil {
			return err
		}
		if err := run(); err != nil && !errors.Is(err, errFunction) {
			fmt.Fprintln(errOut, "hearth:", err)
		}
		if ctx.Err() != nil {
			return nil
		}
		fmt.Fprintln(errOut, "hearth: waiting for a change; Ctrl-C ends")
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(200 * time.Millisecond):
			}
			if now, err := fingerprint(path); err == nil && now != seen {
				break
			}
		}
	}
}

// fingerprint tells by names, sizes and times whether the files below path
// have changed. Folders that tools fill by themselves are left out.
func fingerprint(path string) (uint64, error) {
	h := fnv.New64a()
	err := filepath.WalkDir(path, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name := d.Name(); d.IsDir() {
			if p != path && (name == "node_modules" || name == "__pycache__" || strings.HasPrefix(name, ".")) {
				return fs.SkipDir
			}
			return nil
		}
		info, err := d.Info()
		if err == nil {
			fmt.Fprintln(h, p, info.Size(), info.ModTime().UnixNano())
		}
		return nil
	})
	return h.Sum64(), err
}
