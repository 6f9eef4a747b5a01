//go:build !linux

package confine

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
)

// Without Linux's namespaces and control groups, processes are held by their
// process groups alone.

func childAttr() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

func becomeReaper() error { return nil }

func (l *local) signalAll(sig syscall.Signal) (found bool) {
	for _, pid := range l.pidsLocked() {
		syscall.Kill(-pid, sig)
		found = true
	}
	return found
}

func (l *local) killSome() bool { return l.signalAll(syscall.SIGKILL) }

func isolation() *syscall.SysProcAttr { return nil }

func isolate() error { return errors.New("namespaces are Linux's") }

func arrange(*Setup, *Layout) error { return errors.New("namespaces are Linux's") }

func limitProcesses(int) {}

func detachTmp() {}

type group struct {
	dirs   []string
	memory string
	v2     bool
}

func newGroup(string, int) *group { return &group{} }

func (*group) limit(int64, int) bool { return false }
func (*group) limitCPU(float64)      {}
func (*group) remove()               {}

// LimitsMemory says whether memory limits are enforced for this process's environments.
func LimitsMemory() bool { return false }

// RemoveGroups does nothing where there are no control groups.
func RemoveGroups([]string) {}

type meter struct{}

func newMeter(int, string, bool) *meter { return &meter{} }
func ownMeter() *meter                  { return &meter{} }

func (*meter) memory() int64   { return 0 }
func (*meter) reset()          {}
func (*meter) oomKills() int64 { return 0 }
func (*meter) close()          {}

type leftovers struct{ folder string }

func groupPlaces(string) string { return "" }

func openLeftovers(folder, _ string) (*leftovers, error) {
	return &leftovers{folder: folder}, nil
}

func (l *leftovers) remove() {
	if l.folder == "" || os.RemoveAll(l.folder) == nil {
		return
	}
	filepath.WalkDir(l.folder, func(p string, d os.DirEntry, err error) error {
		if d != nil && d.IsDir() {
			os.Chmod(p, 0o700)
		}
		return nil
	})
	os.RemoveAll(l.folder)
}

// pidsLocked lists the processes that this local started and has not reaped.
func (l *local) pidsLocked() []int {
	var pids []int
	for pid := range l.procs {
		pids = append(pids, pid)
	}
	return pids
}
