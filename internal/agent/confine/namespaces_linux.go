package confine

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// isolation returns the namespaces to try for.
func isolation() *syscall.SysProcAttr {
	flags := uintptr(unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWIPC)
	if os.Geteuid() == 0 {
		return &syscall.SysProcAttr{Cloneflags: flags}
	}
	return &syscall.SysProcAttr{
		Cloneflags:  flags | unix.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: os.Getuid(), HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: os.Getgid(), HostID: os.Getgid(), Size: 1}},
		AmbientCaps: []uintptr{unix.CAP_SYS_ADMIN, unix.CAP_SYS_CHROOT},
	}
}

// isolate gives the calling process, PID 1 of its own namespaces, a root of its
// own: the machine's, read-only, with a /var/task and /var/runtime that are
// still empty. Every folder is still where it was, so that arrange finds it.
func isolate() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	// The new root is built on a folder that every machine has.
	const root = "/proc"
	oldProc, err := openTree(root)
	if err != nil {
		return fmt.Errorf("open /proc: %w", err)
	}
	defer unix.Close(oldProc)
	if err := unix.Mount("hearth", root, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755,size=4m"); err != nil {
		return fmt.Errorf("mount a root: %w", err)
	}
	if err := mirror("/", root, map[string]bool{"proc": true, "var": true}); err != nil {
		return err
	}
	if err := os.MkdirAll(root+"/var", 0o755); err != nil {
		return err
	}
	if err := mirror("/var", root+"/var", map[string]bool{"task": true, "runtime": true}); err != nil {
		return err
	}
	for _, dir := range []string{"proc", "opt", "tmp", "var/task", "var/runtime"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			return err
		}
	}
	if err := readOnly(root); err != nil {
		return fmt.Errorf("make the root read-only: %w", err)
	}
	if err := unix.Mount("proc", root+"/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		// Refused where a container hides parts of it. Then the environment sees
		// the machine's, which works, too.
		if err := moveTree(oldProc, root+"/proc"); err != nil {
			return fmt.Errorf("mount /proc: %w", err)
		}
	}
	if err := os.Chdir(root); err != nil {
		return err
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("change the root: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("leave the old root: %w", err)
	}
	return os.Chdir("/")
}

// arrange puts c's folders where Lambda has them, once.
func arrange(c *Setup, l *Layout) error {
	// All that the new mounts will hide is opened first.
	tops := map[string]string{"/var/task": c.TaskRoot, "/var/runtime": c.RuntimeDir, "/opt": c.Opt, "/tmp": c.Tmp}
	fds := map[string]int{}
	defer func() {
		for _, fd := range fds {
			unix.Close(fd)
		}
	}()
	for target, source := range tops {
		if source == "" {
			continue
		}
		fd, err := openTree(source)
		if err != nil {
			return fmt.Errorf("open %s: %w", source, err)
		}
		fds[target] = fd
	}
	inOpt := false
	for _, path := range c.Keep {
		if !within(path, "/opt") && !within(path, "/tmp") || path == "/opt" || path == "/tmp" {
			continue
		}
		if _, err := os.Lstat(path); err != nil {
			continue
		}
		fd, err := openTree(path)
		if err != nil {
			return fmt.Errorf("open %s: %w", path, err)
		}
		fds[path] = fd
		inOpt = inOpt || within(path, "/opt")
	}
	layers := map[string]int{}
	if inOpt && c.Opt != "" {
		// Layers and what is kept have to share a folder.
		entries, err := os.ReadDir(c.Opt)
		if err != nil {
			return err
		}
		for _, e := range entries {
			fd, err := openTree(filepath.Join(c.Opt, e.Name()))
			if err != nil {
				return fmt.Errorf("open layer: %w", err)
			}
			layers[e.Name()] = fd
			fds["layer "+e.Name()] = fd
		}
	}

	if fd, ok := fds["/var/task"]; ok {
		if err := moveReadOnly(fd, "/var/task"); err != nil {
			return err
		}
	}
	if fd, ok := fds["/var/runtime"]; ok {
		if err := moveReadOnly(fd, "/var/runtime"); err != nil {
			return err
		}
	}
	if c.TmpSize > 0 {
		if err := unix.Mount("tmp", "/tmp", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, fmt.Sprintf("mode=1777,size=%d", c.TmpSize)); err != nil {
			return fmt.Errorf("mount /tmp: %w", err)
		}
	} else if fd, ok := fds["/tmp"]; ok {
		err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &unix.MountAttr{Attr_clr: unix.MOUNT_ATTR_RDONLY})
		if err == nil {
			err = moveTree(fd, "/tmp")
		}
		if err != nil {
			return fmt.Errorf("mount /tmp: %w", err)
		}
	}
	if fd, ok := fds["/opt"]; ok && !inOpt {
		if err := moveReadOnly(fd, "/opt"); err != nil {
			return err
		}
	} else if err := unix.Mount("opt", "/opt", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755,size=1m"); err != nil {
		return fmt.Errorf("mount /opt: %w", err)
	}
	for name, fd := range layers {
		if err := place(fd, "/opt/"+name); err != nil {
			return err
		}
	}
	for _, path := range slices.Sorted(maps.Keys(fds)) { // folders before what is in them
		fd := fds[path]
		if _, top := tops[path]; top || path[0] != '/' {
			continue
		}
		if _, hidden := os.Lstat(path); hidden != nil { // else it is below another that is kept
			if err := place(fd, path); err != nil {
				return err
			}
		}
	}
	if err := readOnly("/opt"); err != nil {
		return fmt.Errorf("make /opt read-only: %w", err)
	}
	l.TaskRoot, l.RuntimeDir, l.Opt, l.Tmp, l.Isolated = "/var/task", "/var/runtime", "/opt", "/tmp", true
	return dropAmbient()
}

// detachTmp takes away /tmp and what is mounted in it, so that its folder can be removed.
func detachTmp() { unix.Unmount("/tmp", unix.MNT_DETACH) }

// place makes the tree of fd visible at path, which is not there yet.
func place(fd int, path string) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		if err := os.Mkdir(path, 0o755); err != nil {
			return err
		}
	default:
		f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
		if err != nil {
			return err
		}
		f.Close()
	}
	return moveReadOnly(fd, path)
}

func within(path, dir string) bool {
	return path == dir || strings.HasPrefix(path, dir+"/")
}

// openTree returns a copy of the mounts at path that is not attached yet.
func openTree(path string) (int, error) {
	return unix.OpenTree(unix.AT_FDCWD, path, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
}

func moveTree(fd int, to string) error {
	return unix.MoveMount(fd, "", unix.AT_FDCWD, to, unix.MOVE_MOUNT_F_EMPTY_PATH)
}

func moveReadOnly(fd int, to string) error {
	err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY})
	if err == nil {
		err = moveTree(fd, to)
	}
	if err != nil {
		return fmt.Errorf("mount %s: %w", to, err)
	}
	return nil
}

func readOnly(path string) error {
	return unix.MountSetattr(unix.AT_FDCWD, path, unix.AT_RECURSIVE, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY})
}

// mirror makes the entries of from, but those left out, visible in to.
func mirror(from, to string, except map[string]bool) error {
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if except[e.Name()] {
			continue
		}
		source, target := filepath.Join(from, e.Name()), filepath.Join(to, e.Name())
		switch {
		case e.Type()&os.ModeSymlink != 0:
			link, err := os.Readlink(source)
			if err == nil {
				err = os.Symlink(link, target)
			}
			if err != nil {
				return err
			}
			continue
		case e.IsDir():
			if err := os.Mkdir(target, 0o755); err != nil {
				return err
			}
		case e.Type().IsRegular():
			f, err := os.OpenFile(target, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
			if err != nil {
				return err
			}
			f.Close()
		default:
			continue
		}
		if err := unix.Mount(source, target, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
			return fmt.Errorf("mount %s: %w", source, err)
		}
	}
	return nil
}

// dropAmbient keeps the environment's processes from inheriting what this one
// needed for its mounts, a matter of tidiness: they own the namespaces anyway.
// A program built with cgo can't do it for all its threads.
func dropAmbient() error {
	_, _, e := syscall.AllThreadsSyscall6(syscall.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0, 0)
	if e != 0 && e != syscall.ENOTSUP && e != syscall.EINVAL {
		return fmt.Errorf("drop capabilities: %w", e)
	}
	return nil
}

// limitProcesses bounds the processes of an environment in a user namespace of
// its own, where the kernel counts them apart from the user's others.
func limitProcesses(n int) {
	if b, err := os.ReadFile("/proc/self/uid_map"); err == nil && len(strings.Fields(string(b))) == 3 && strings.Fields(string(b))[2] == "1" {
		lowerLimit(unix.RLIMIT_NPROC, uint64(n))
	}
}
