package confine

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// childAttr is how processes of an environment start: in a group of their
// own, and ended with their supervisor.
func childAttr() *syscall.SysProcAttr {
	// A group, not a session: Linux schedules sessions against each other, which
	// costs a server and its functions some of their speed.
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// becomeReaper makes orphans of the environment this process's children.
func becomeReaper() error {
	if os.Getpid() == 1 {
		return nil
	}
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("become the reaper of orphans: %w", err)
	}
	return nil
}

// descendants lists the processes below pid, parents first.
func descendants(pid int) []int {
	var all []int
	queue := []int{pid}
	for len(queue) > 0 {
		pid := queue[0]
		queue = queue[1:]
		dir := "/proc/" + strconv.Itoa(pid) + "/task"
		tasks, err := os.ReadDir(dir)
		if err != nil {
			continue
		}
		for _, t := range tasks {
			b, err := os.ReadFile(dir + "/" + t.Name() + "/children")
			if err != nil {
				continue
			}
			for f := range bytes.FieldsSeq(b) {
				if child, err := strconv.Atoi(string(f)); err == nil {
					all = append(all, child)
					queue = append(queue, child)
				}
			}
		}
	}
	return all
}

// signalAll sends a signal to every process of the environment, and reports
// whether there was any. The caller holds mu.
func (l *local) signalAll(sig syscall.Signal) (found bool) {
	if os.Getpid() == 1 {
		return syscall.Kill(-1, sig) == nil
	}
	for _, pid := range descendants(os.Getpid()) {
		syscall.Kill(pid, sig)
		found = true
	}
	return found
}

// killSome kills all processes that can be seen, and reports whether there was
// any, ended ones that wait for their reaper too. The caller holds mu.
func (l *local) killSome() (found bool) {
	if os.Getpid() == 1 {
		return l.signalAll(syscall.SIGKILL)
	}
	// What forks faster than it can be killed is stopped first.
	seen := map[int]bool{}
	for more := true; more; {
		more = false
		for _, pid := range descendants(os.Getpid()) {
			if !seen[pid] {
				seen[pid], more = true, true
				syscall.Kill(pid, syscall.SIGSTOP)
			}
		}
	}
	for pid := range seen {
		syscall.Kill(pid, syscall.SIGKILL)
	}
	return len(seen) > 0
}

// residentPeak adds up the peak resident memory of the processes below pid, in bytes.
func residentPeak(pid int) int64 {
	var sum int64
	for _, pid := range descendants(pid) {
		b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
		if err != nil {
			continue
		}
		if _, rest, ok := bytes.Cut(b, []byte("\nVmHWM:")); ok {
			line, _, _ := bytes.Cut(rest, []byte("kB"))
			kb, _ := strconv.ParseInt(string(bytes.TrimSpace(line)), 10, 64)
			sum += kb << 10
		}
	}
	return sum
}
