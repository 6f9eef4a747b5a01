//go:build unix

package code

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// fileLock is a lock on a file, which ends with the process at the latest.
type fileLock struct{ f *os.File }

var errLocked = errors.New("locked")

// tryLock takes the lock at path, shared or exclusive, or returns errLocked.
func tryLock(path string, exclusive bool) (*fileLock, error) {
	how := unix.LOCK_SH
	if exclusive {
		how = unix.LOCK_EX
	}
	for {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
		if err != nil {
			return nil, err
		}
		if err := unix.Flock(int(f.Fd()), how|unix.LOCK_NB); err != nil {
			f.Close()
			if errors.Is(err, unix.EWOULDBLOCK) {
				return nil, errLocked
			}
			if errors.Is(err, unix.EINTR) {
				continue
			}
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		// Whoever removed the file meanwhile left us the lock of nothing.
		here, err := f.Stat()
		if err == nil {
			var there os.FileInfo
			if there, err = os.Stat(path); err == nil && os.SameFile(here, there) {
				return &fileLock{f}, nil
			}
		}
		f.Close()
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
	}
}

// lockFile locks a file that nobody else knows of yet, until it is closed.
func lockFile(f *os.File) error { return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) }

// lock waits for the lock at path until ctx ends.
func lock(ctx context.Context, path string, exclusive bool) (*fileLock, error) {
	for wait := time.Millisecond; ; wait = min(2*wait, 50*time.Millisecond) {
		l, err := tryLock(path, exclusive)
		if err != errLocked {
			return l, err
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (l *fileLock) unlock() { l.f.Close() }

// remove takes the lock's file away; the lock must be exclusive.
func (l *fileLock) remove() { os.Remove(l.f.Name()) }
