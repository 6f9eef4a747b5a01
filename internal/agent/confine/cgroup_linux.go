package confine

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// hierarchy is a place where control groups can be made.
type hierarchy struct {
	parent string // below which groups are made
	home   string // the group of this process, where a supervisor goes before it removes its own
	v2     bool
	memory bool
	pids   bool
	cpu    bool
}

// hierarchies finds where this process may make control groups, by making one.
var hierarchies = sync.OnceValue(func() []hierarchy {
	var all []hierarchy
	for _, h := range candidates() {
		probe := filepath.Join(h.parent, "hearth-probe-"+strconv.Itoa(os.Getpid()))
		if os.Mkdir(probe, 0o755) != nil {
			continue
		}
		has := func(file string) bool {
			f, err := os.OpenFile(filepath.Join(probe, file), os.O_WRONLY, 0)
			if err == nil {
				f.Close()
			}
			return err == nil
		}
		if h.v2 {
			if !has("memory.max") {
				h.delegate()
			}
			h.memory, h.pids, h.cpu = has("memory.max"), has("pids.max"), has("cpu.max")
		} else {
			h.memory, h.pids, h.cpu = has("memory.limit_in_bytes"), has("pids.max"), has("cpu.cfs_quota_us")
		}
		os.Remove(probe)
		if h.memory || h.pids || h.cpu {
			all = append(all, h)
			if h.v2 {
				break
			}
		}
	}
	return all
})

// LimitsMemory says whether memory limits are enforced for this process's environments.
func LimitsMemory() bool {
	return slices.ContainsFunc(hierarchies(), func(h hierarchy) bool { return h.memory })
}

// delegate asks for controllers in the groups below h.parent. If this process
// is alone in that group, it makes room by moving to one below it.
func (h *hierarchy) delegate() {
	enable := func() bool {
		name := filepath.Join(h.parent, "cgroup.subtree_control")
		if os.WriteFile(name, []byte("+memory +pids"), 0) != nil {
			return false
		}
		os.WriteFile(name, []byte("+cpu"), 0) // not needed by most
		return true
	}
	if enable() || h.parent != h.home {
		return
	}
	b, err := os.ReadFile(filepath.Join(h.home, "cgroup.procs"))
	if err != nil || string(bytes.TrimSpace(b)) != strconv.Itoa(os.Getpid()) {
		return
	}
	leaf := filepath.Join(h.home, "hearth-server-"+strconv.Itoa(os.Getpid()))
	if os.Mkdir(leaf, 0o755) != nil {
		return
	}
	if !write(leaf, "cgroup.procs", int64(os.Getpid())) {
		os.Remove(leaf)
		return
	}
	if h.home = leaf; !enable() {
		write(h.parent, "cgroup.procs", int64(os.Getpid()))
		os.Remove(leaf)
		h.home = h.parent
	}
}

// candidates lists where groups might be made, best first: version 2 below and
// beside this process's own group, version 1 below it.
func candidates() []hierarchy {
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return nil
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil
	}
	var all []hierarchy
	for line := range strings.Lines(string(own)) {
		// "4:memory:/user.slice", and for version 2 "0::/user.slice/…"
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) != 3 {
			continue
		}
		v2 := parts[1] == ""
		controller := parts[1]
		for _, c := range []string{"memory", "pids", "cpu"} {
			if slices.Contains(strings.Split(parts[1], ","), c) {
				controller = c
				break
			}
		}
		if !v2 && controller != "memory" && controller != "pids" && controller != "cpu" {
			continue
		}
		dir, root := mountOf(string(mounts), controller)
		if dir == "" {
			continue
		}
		// In a container the mount may show a part of the tree alone.
		rel, ok := strings.CutPrefix(parts[2], strings.TrimSuffix(root, "/"))
		if !ok {
			rel = "/"
		}
		home := filepath.Join(dir, rel)
		h := hierarchy{parent: home, home: home, v2: v2}
		if !v2 {
			all = append(all, h)
			continue
		}
		// A group with processes can't give controllers to groups below it,
		// unless it is the root; then the new ones are its siblings.
		v2s := []hierarchy{h}
		if home != dir {
			h.parent = filepath.Dir(home)
			v2s = append(v2s, h)
		}
		all = append(v2s, all...)
	}
	return all
}

// mountOf returns where the hierarchy with a controller ("" means version 2) is
// mounted, and which group of it is seen there.
func mountOf(mountinfo, controller string) (dir, root string) {
	for line := range strings.Lines(mountinfo) {
		before, after, ok := strings.Cut(line, " - ")
		b, a := strings.Fields(before), strings.Fields(after)
		if !ok || len(b) < 5 || len(a) < 3 {
			continue
		}
		if controller == "" && a[0] == "cgroup2" ||
			controller != "" && a[0] == "cgroup" && slices.Contains(strings.Split(a[2], ","), controller) {
			return b[4], b[3]
		}
	}
	return "", ""
}

// group is an environment's control groups, as far as the machine allows them.
type group struct {
	dirs   []string
	memory string // the one that counts memory, or ""
	v2     bool
	pids   string // the one that counts processes, or ""
	cpu    string // the one that counts CPU time, or ""
	name   string
	pid    int
}

// newGroup makes control groups of the given name and puts process pid into
// them. Whatever the machine refuses is left out.
func newGroup(name string, pid int) *group {
	g := &group{name: name, pid: pid}
	if name == "" {
		return g
	}
	for _, h := range hierarchies() {
		if h.memory || h.pids {
			g.add(h)
		}
	}
	return g
}

// add makes a group in h.
func (g *group) add(h hierarchy) {
	dir := filepath.Join(h.parent, g.name)
	if os.Mkdir(dir, 0o755) != nil {
		return
	}
	if !write(dir, "cgroup.procs", int64(g.pid)) {
		os.Remove(dir)
		return
	}
	g.dirs = append(g.dirs, dir)
	if h.memory {
		g.memory, g.v2 = dir, h.v2
	}
	if h.pids {
		g.pids = dir
	}
	if h.cpu {
		g.cpu = dir
	}
}

// cpuPeriod is over how long CPU time is bounded, in microseconds. It is short,
// so that a small share does not mean long pauses.
const cpuPeriod = 20_000

// limitCPU bounds the environment's CPU time, in processors.
func (g *group) limitCPU(cpus float64) {
	if g.name == "" || cpus <= 0 {
		return
	}
	if g.cpu == "" {
		for _, h := range hierarchies() {
			if h.cpu && !h.memory && !h.pids {
				g.add(h)
			}
		}
	}
	if g.cpu == "" {
		return
	}
	quota := max(1000, int64(cpus*cpuPeriod)) // the least that the kernel takes
	if g.v2 {
		os.WriteFile(filepath.Join(g.cpu, "cpu.max"), fmt.Appendf(nil, "%d %d", quota, cpuPeriod), 0)
		return
	}
	write(g.cpu, "cpu.cfs_period_us", cpuPeriod)
	write(g.cpu, "cpu.cfs_quota_us", quota)
}

// limit sets the limits, and reports whether that of memory holds.
func (g *group) limit(memory int64, processes int) (limited bool) {
	if g.pids != "" && processes > 0 {
		// The supervisor's threads count, too.
		write(g.pids, "pids.max", int64(processes)+16)
	}
	if g.memory == "" || memory <= 0 {
		return false
	}
	if g.v2 {
		limited = write(g.memory, "memory.max", memory)
		write(g.memory, "memory.swap.max", 0)
		return limited
	}
	limited = write(g.memory, "memory.limit_in_bytes", memory)
	write(g.memory, "memory.memsw.limit_in_bytes", memory)
	return limited
}

// remove ends what is still in the groups, and removes them.
func (g *group) remove() {
	for _, d := range g.dirs {
		empty(d, g.v2)
		removeGroup(os.Remove, d)
	}
}

// removeGroup removes a group, waiting until its last process is out of it.
func removeGroup(remove func(string) error, dir string) {
	for wait := 100 * time.Microsecond; wait < time.Second; wait *= 2 {
		if err := remove(dir); err == nil || errors.Is(err, fs.ErrNotExist) {
			return
		}
		time.Sleep(wait)
	}
}

// RemoveGroups ends whatever still runs in control groups (see
// Supervisor.Groups), those of a supervisor that was killed itself, and removes
// them. Other folders are left alone.
func RemoveGroups(dirs []string) {
	for _, dir := range dirs {
		if _, err := os.Stat(filepath.Join(dir, "cgroup.procs")); err != nil {
			continue
		}
		empty(dir, true)
		removeGroup(os.Remove, dir)
	}
}

// empty kills what is in a group.
func empty(dir string, v2 bool) {
	for range 20 {
		b, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
		if err != nil || len(bytes.TrimSpace(b)) == 0 {
			return
		}
		if v2 {
			write(dir, "cgroup.kill", 1)
		}
		for f := range bytes.FieldsSeq(b) {
			if pid, err := strconv.Atoi(string(f)); err == nil && pid > 1 {
				unix.Kill(pid, unix.SIGKILL)
			}
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func write(dir, name string, n int64) bool {
	f, err := os.OpenFile(filepath.Join(dir, name), os.O_WRONLY, 0)
	if err != nil {
		return false
	}
	defer f.Close()
	_, err = f.Write(strconv.AppendInt(nil, n, 10))
	return err == nil
}

// leftovers are what a supervisor removes when it ends: opened before it is
// isolated, since afterwards the machine's folders are hidden and read-only.
type leftovers struct {
	folder *os.Root // that holds the environment's folder
	name   string   // of that folder
	groups []leftGroup
}

// leftGroup is where a control group may be left.
type leftGroup struct {
	parent, home *os.Root
	name         string
}

// groupPlaces says, for openLeftovers, where the control groups of a name may be.
func groupPlaces(name string) string {
	var places []string
	for _, h := range hierarchies() {
		places = append(places, filepath.Join(h.parent, name), h.home)
	}
	return strings.Join(places, "\n")
}

// openLeftovers opens what has to be removed with folder ("" for none), and
// the places of control groups. A supervisor knows both from its beginning, as
// its server may die at any time.
func openLeftovers(folder, places string) (*leftovers, error) {
	l := &leftovers{}
	if folder != "" {
		var err error
		if l.folder, err = os.OpenRoot(filepath.Dir(folder)); err != nil {
			return nil, err
		}
		l.name = filepath.Base(folder)
	}
	for pair := range slices.Chunk(strings.Split(places, "\n"), 2) {
		if len(pair) < 2 {
			break
		}
		parent, err := os.OpenRoot(filepath.Dir(pair[0]))
		if err != nil {
			continue
		}
		home, err := os.OpenRoot(pair[1])
		if err != nil {
			parent.Close()
			continue
		}
		l.groups = append(l.groups, leftGroup{parent, home, filepath.Base(pair[0])})
	}
	return l, nil
}

// remove removes everything. The calling process leaves the control groups.
func (l *leftovers) remove() {
	for _, g := range l.groups {
		if _, err := g.parent.Stat(g.name); err != nil {
			continue
		}
		if f, err := g.home.OpenFile("cgroup.procs", os.O_WRONLY, 0); err == nil {
			f.WriteString("0")
			f.Close()
		}
		removeGroup(g.parent.Remove, g.name)
	}
	if l.folder == nil {
		return
	}
	if err := l.folder.RemoveAll(l.name); err != nil {
		// A function took permissions from folders of its own.
		fs.WalkDir(l.folder.FS(), l.name, func(p string, d fs.DirEntry, err error) error {
			if d != nil && d.IsDir() {
				l.folder.Chmod(p, 0o700)
			}
			return nil
		})
		l.folder.RemoveAll(l.name)
	}
}
