package confine

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// group is an environment's control group, as far as the machine allows one.
// Its methods tolerate a nil or empty group.
type group struct {
	memoryDir string // v1 or v2, "" for none
	v2        bool
	pidsDir   string
	cpuDir    string
	limit     int64
}

// newGroup puts the supervisor with PID pid, and so all that it starts, into a
// control group of its own. Whatever the machine refuses is left out.
func newGroup(c Setup, pid int) *group {
	g := &group{}
	if c.CgroupName == "" {
		return g
	}
	if parent, ok := v2Parent(); ok {
		dir := filepath.Join(parent, c.CgroupName)
		if os.Mkdir(dir, 0o755) == nil {
			if g.fill(dir, pid) {
				g.v2, g.memoryDir = true, dir
				if c.MemoryLimit > 0 && write(dir, "memory.max", c.MemoryLimit) {
					write(dir, "memory.swap.max", 0)
					g.limit = c.MemoryLimit
				}
				if c.MaxProcesses > 0 {
					write(dir, "pids.max", int64(c.MaxProcesses))
				}
				if c.CPUs > 0 {
					os.WriteFile(filepath.Join(dir, "cpu.max"), fmt.Appendf(nil, "%d %d", int64(c.CPUs*cpuPeriod), cpuPeriod), 0o644)
				}
				return g
			}
			os.Remove(dir)
		}
	}
	if dir := filepath.Join("/sys/fs/cgroup/memory", c.CgroupName); os.MkdirAll(dir, 0o755) == nil {
		if g.fill(dir, pid) {
			g.memoryDir = dir
			if c.MemoryLimit > 0 && write(dir, "memory.limit_in_bytes", c.MemoryLimit) {
				write(dir, "memory.memsw.limit_in_bytes", c.MemoryLimit)
				g.limit = c.MemoryLimit
			}
		} else {
			os.Remove(dir)
		}
	}
	if dir := filepath.Join("/sys/fs/cgroup/pids", c.CgroupName); c.MaxProcesses > 0 && os.MkdirAll(dir, 0o755) == nil {
		if write(dir, "pids.max", int64(c.MaxProcesses)) && g.fill(dir, pid) {
			g.pidsDir = dir
		} else {
			os.Remove(dir)
		}
	}
	if dir := filepath.Join("/sys/fs/cgroup/cpu", c.CgroupName); c.CPUs > 0 && os.MkdirAll(dir, 0o755) == nil {
		if write(dir, "cpu.cfs_period_us", cpuPeriod) && write(dir, "cpu.cfs_quota_us", int64(c.CPUs*cpuPeriod)) && g.fill(dir, pid) {
			g.cpuDir = dir
		} else {
			os.Remove(dir)
		}
	}
	return g
}

// cpuPeriod is over how long CPU time is bounded, in microseconds. It is short,
// so that a small share does not mean long pauses.
const cpuPeriod = 20_000

// v2Parent returns a cgroup v2 folder below which this process may make groups
// with a memory controller.
func v2Parent() (string, bool) {
	b, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "", false
	}
	for line := range strings.Lines(string(b)) {
		own, ok := strings.CutPrefix(strings.TrimSpace(line), "0::")
		if !ok {
			continue
		}
		// The group of this process cannot hold both processes and groups with
		// controllers, so the new ones are its siblings.
		dir := filepath.Dir(filepath.Join("/sys/fs/cgroup", own))
		control, err := os.ReadFile(filepath.Join(dir, "cgroup.subtree_control"))
		return dir, err == nil && bytes.Contains(control, []byte("memory"))
	}
	return "", false
}

func (g *group) fill(dir string, pid int) bool { return write(dir, "cgroup.procs", int64(pid)) }

func write(dir, name string, n int64) bool {
	return os.WriteFile(filepath.Join(dir, name), strconv.AppendInt(nil, n, 10), 0o644) == nil
}

func read(dir, name string) int64 {
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return 0
	}
	n, _ := strconv.ParseInt(string(bytes.TrimSpace(b)), 10, 64)
	return n
}

func (g *group) limited() bool { return g.limit > 0 }

// memory returns the group's peak memory in bytes, or 0.
func (g *group) memory() int64 {
	switch {
	case g.memoryDir == "":
		return 0
	case g.v2:
		return read(g.memoryDir, "memory.peak")
	}
	return read(g.memoryDir, "memory.max_usage_in_bytes")
}

// resetMemory begins a new peak where the machine can.
func (g *group) resetMemory() {
	if g.memoryDir != "" && !g.v2 {
		write(g.memoryDir, "memory.max_usage_in_bytes", 0)
	}
}

// oomKills counts the processes of the group that were killed for memory.
func (g *group) oomKills() int64 {
	if g.memoryDir == "" {
		return 0
	}
	name := "memory.oom_control"
	if g.v2 {
		name = "memory.events"
	}
	b, err := os.ReadFile(filepath.Join(g.memoryDir, name))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if n, ok := strings.CutPrefix(line, "oom_kill "); ok {
			kills, _ := strconv.ParseInt(strings.TrimSpace(n), 10, 64)
			return kills
		}
	}
	return 0
}

// remove removes the group, which must be empty or about to be.
func (g *group) remove() {
	for _, dir := range []string{g.memoryDir, g.pidsDir, g.cpuDir} {
		if dir == "" {
			continue
		}
		for range 50 {
			if err := os.Remove(dir); err == nil || os.IsNotExist(err) {
				break
			}
			time.Sleep(2 * time.Millisecond)
		}
	}
}
