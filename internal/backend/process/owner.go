package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/hearth-run/hearth/internal/agent/confine"
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
	if dir, err := filepath.Abs(dir); err != nil {
		return nil, err
	} else if _, err := os.Stat(filepath.Join(dir, lockName)); err == nil {
		return nil, fmt.Errorf("%s belongs to another server", dir)
	}
	// It is locked before anybody can see it.
	f, err := os.CreateTemp(dir, "."+lockName)
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err == nil {
		_, err = fmt.Fprintf(f, "%d %s\n", os.Getpid(), startTime(os.Getpid()))
	}
	if err == nil {
		err = os.Rename(f.Name(), filepath.Join(dir, lockName))
	}
	if err != nil {
		os.Remove(f.Name())
		f.Close()
		return nil, fmt.Errorf("set the server's mark: %w", err)
	}
	return &mark{dir: dir, lock: f}, nil
}

func (m *mark) path(id string) string { return filepath.Join(m.dir, id) }

// note writes down the supervisor of an instance, and its control groups.
func (m *mark) note(id string, pid int, groups []string) error {
	b := fmt.Appendf(nil, "%d %s\n", pid, startTime(pid))
	for _, g := range groups {
		b = append(b, g+"\n"...)
	}
	return os.WriteFile(filepath.Join(m.path(id), "supervisor"), b, 0o644)
}

func (m *mark) remove() error {
	err := os.RemoveAll(m.dir)
	return errors.Join(err, m.lock.Close())
}

// startTime tells two processes of the same ID apart, across boots too.
func startTime(pid int) string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		if runtime.GOOS == "linux" {
			return "-"
		}
		out, _ := exec.Command("ps", "-o", "lstart=", "-p", strconv.Itoa(pid)).Output()
		return strings.Join(strings.Fields(string(out)), "_")
	}
	fields := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	if len(fields) < 20 {
		return "-"
	}
	boot, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return fields[19] + "@" + strings.TrimSpace(string(boot))
}

// alive says whether the process of a note's first line still runs.
func alive(line string) (pid int, ok bool) {
	p, start, _ := strings.Cut(strings.TrimSpace(line), " ")
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
	b.log.Info("reaped what a dead server left", "server", owner, "instances", n)
	return os.RemoveAll(dir)
}

// endForeign ends an instance of another server by what is written down of it
// in its folder.
func endForeign(ctx context.Context, dir string) error {
	note, err := os.ReadFile(filepath.Join(dir, "supervisor"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err == nil {
		line, groups, _ := strings.Cut(strings.TrimSpace(string(note)), "\n")
		if err := endSupervisor(ctx, line); err != nil {
			return err
		}
		confine.RemoveGroups(strings.Fields(groups))
	}
	return removeAll(dir)
}

// endSupervisor asks a supervisor to end its environment, and returns when it is gone.
func endSupervisor(ctx context.Context, line string) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	asked := time.Time{}
	for {
		pid, ok := alive(line)
		switch {
		case !ok:
			return nil
		case asked.IsZero():
			// Its server ends the environment in order, or it does so itself.
			if err := syscall.Kill(pid, syscall.SIGTERM); err == syscall.EPERM {
				return fmt.Errorf("end process %d: %w", pid, err)
			}
			asked = time.Now()
		case time.Since(asked) > 20*time.Second:
			syscall.Kill(pid, syscall.SIGKILL)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
