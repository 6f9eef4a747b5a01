package confine

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

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

// descendants lists the processes below this one, parents first.
func descendants() []int {
	var all []int
	queue := []int{os.Getpid()}
	for len(queue) > 0 {
		pid := queue[0]
		queue = queue[1:]
		tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
		if err != nil {
			continue
		}
		for _, t := range tasks {
			b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/children", pid, t.Name()))
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

// signalAll sends a signal to every process of the environment.
func signalAll(sig syscall.Signal) (found bool) {
	if os.Getpid() == 1 {
		return syscall.Kill(-1, sig) == nil
	}
	for _, pid := range descendants() {
		syscall.Kill(pid, sig)
		found = true
	}
	return found
}

// killAll ends every process of the environment and returns when none is left.
func (s *supervised) killAll() error {
	deadline := time.Now().Add(10 * time.Second)
	for wait := 50 * time.Microsecond; ; wait = min(2*wait, 20*time.Millisecond) {
		found := signalAll(syscall.SIGKILL)
		s.reap()
		if !found {
			return nil
		}
		if time.Now().After(deadline) {
			return errors.New("processes are left that cannot be killed")
		}
		time.Sleep(wait)
	}
}

// peakMemory adds up the peak resident memory of the environment's processes.
func peakMemory() int64 {
	var sum int64
	for _, pid := range descendants() {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
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
