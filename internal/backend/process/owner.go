package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// mark is a server's sign of life: a lock on a file in its folder, which the
// system releases however the server ends. Its instances' folders lie beside
// the file, from before anything of them is started.
type mark struct {
	dir  string
	lock *os.File
}

const lockName = "owner.lock"

func setMark(dir string) (*mark, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(dir, lockName), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", f.Name(), err)
	}
	fmt.Fprintf(f, "%d %s\n", os.Getpid(), startTime(os.Getpid()))
	return &mark{dir: dir, lock: f}, nil
}

func (m *mark) path(id string) string { return filepath.Join(m.dir, id) }

// note writes down the supervisor of an instance.
func (m *mark) note(id string, pid int) error {
	return os.WriteFile(filepath.Join(m.path(id), "supervisor"), fmt.Appendf(nil, "%d %s\n", pid, startTime(pid)), 0o644)
}

func (m *mark) remove() error {
	err := os.RemoveAll(m.dir)
	return errors.Join(err, m.lock.Close())
}

// startTime tells two processes of the same ID apart, across boots too.
func startTime(pid int) string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "-"
	}
	fields := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	if len(fields) < 20 {
		return "-"
	}
	boot, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return fields[19] + "@" + strings.TrimSpace(string(boot))
}

// alive says whether the process that note wrote down still runs.
func alive(note string) (pid int, ok bool) {
	p, start, _ := strings.Cut(strings.TrimSpace(note), " ")
	pid, err := strconv.Atoi(p)
	if err != nil || syscall.Kill(pid, 0) == syscall.ESRCH {
		return 0, false
	}
	return pid, startTime(pid) == start
}

// ReapStale implements backend.Backend.
func (b *Backend) ReapStale(ctx context.Context) error {
	owners, err := os.ReadDir(b.cfg.Dir)
	if err != nil {
		return fmt.Errorf("reap: %w", err)
	}
	var errs []error
	for _, o := range owners {
		if !o.IsDir() || o.Name() == b.cfg.Owner {
			continue
		}
		if err := b.reapOwner(ctx, o.Name()); err != nil {
			errs = append(errs, fmt.Errorf("reap what server %s left: %w", o.Name(), err))
		}
	}
	return errors.Join(errs...)
}

func (b *Backend) reapOwner(ctx context.Context, owner string) error {
	dir := filepath.Join(b.cfg.Dir, owner)
	f, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR, 0)
	if errors.Is(err, os.ErrNotExist) {
		// Being made or removed by its server, unless it stays like this.
		if info, err := os.Stat(dir); err != nil || time.Since(info.ModTime()) < time.Minute {
			return nil
		}
	} else if err != nil {
		return err
	} else {
		defer f.Close()
		if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
			return nil // its server lives
		}
	}
	instances, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	n := 0
	for _, i := range instances {
		if i.IsDir() {
			if err := endForeign(ctx, filepath.Join(dir, i.Name())); err != nil {
				return err
			}
			n++
		}
	}
	removeGroups(groupName(owner, "*"))
	b.log.Info("reaped what a dead server left", "server", owner, "instances", n)
	return os.RemoveAll(dir)
}

// endForeign ends an instance of another server by what is written down of it
// in its folder.
func endForeign(ctx context.Context, dir string) error {
	note, err := os.ReadFile(filepath.Join(dir, "supervisor"))
	if err == nil {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		asked := time.Now()
		for sent := false; ; {
			pid, ok := alive(string(note))
			if !ok {
				break
			}
			// A supervisor that is asked to end ends all its processes first.
			if !sent {
				syscall.Kill(pid, syscall.SIGTERM)
				sent = true
			}
			if time.Since(asked) > 10*time.Second {
				syscall.Kill(pid, syscall.SIGKILL)
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	return removeAll(dir)
}

// removeGroups removes the control groups of the instances that pattern names, wherever they are.
func removeGroups(name string) {
	for _, pattern := range []string{"/sys/fs/cgroup/memory/", "/sys/fs/cgroup/pids/", "/sys/fs/cgroup/cpu/", "/sys/fs/cgroup/", "/sys/fs/cgroup/*/", "/sys/fs/cgroup/*/*/", "/sys/fs/cgroup/*/*/*/", "/sys/fs/cgroup/*/*/*/*/"} {
		dirs, _ := filepath.Glob(pattern + name)
		for _, d := range dirs {
			os.Remove(d)
		}
	}
}
