package confine

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// isolations lists the namespaces to try for, best first.
func isolations() []*syscall.SysProcAttr {
	flags := uintptr(unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWIPC)
	if os.Geteuid() == 0 {
		return []*syscall.SysProcAttr{{Cloneflags: flags}}
	}
	return []*syscall.SysProcAttr{{
		Cloneflags:  flags | unix.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: os.Getuid(), HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: os.Getgid(), HostID: os.Getgid(), Size: 1}},
		AmbientCaps: []uintptr{unix.CAP_SYS_ADMIN, unix.CAP_SYS_CHROOT},
	}}
}

// isolate gives the calling process, PID 1 of its own namespaces, a root of its
// own: the machine's, read-only, with /var/task, /var/runtime, /opt, /tmp and
// /proc as on Lambda.
func isolate(c *Setup) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	// The new root is built on a folder that every machine has.
	const root = "/proc"
	// Paths that the new root hides are opened first.
	sources := map[string]string{"var/task": c.TaskRoot, "var/runtime": c.RuntimeDir, "opt": c.Opt, "tmp": c.Tmp}
	fds := map[string]int{}
	defer func() {
		for _, fd := range fds {
			unix.Close(fd)
		}
	}()
	for target, source := range sources {
		if source == "" {
			continue
		}
		fd, err := unix.OpenTree(unix.AT_FDCWD, source, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
		if err != nil {
			return fmt.Errorf("open %s: %w", source, err)
		}
		fds[target] = fd
	}
	if err := unix.Mount("hearth", root, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755,size=1m"); err != nil {
		return fmt.Errorf("mount a root: %w", err)
	}
	if err := mirror("/", root, map[string]bool{"proc": true, "var": true, "opt": true, "tmp": true}); err != nil {
		return err
	}
	if err := os.Mkdir(root+"/var", 0o755); err != nil {
		return err
	}
	if err := mirror("/var", root+"/var", map[string]bool{"task": true, "runtime": true}); err != nil {
		return err
	}
	for _, dir := range []string{"proc", "opt", "tmp", "var/task", "var/runtime"} {
		if err := os.Mkdir(filepath.Join(root, dir), 0o755); err != nil {
			return err
		}
	}
	for target, fd := range fds {
		if target == "tmp" {
			continue
		}
		if err := unix.MoveMount(fd, "", unix.AT_FDCWD, filepath.Join(root, target), unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
			return fmt.Errorf("mount /%s: %w", target, err)
		}
	}
	if err := unix.MountSetattr(unix.AT_FDCWD, root, unix.AT_RECURSIVE, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}); err != nil {
		return fmt.Errorf("make the root read-only: %w", err)
	}
	if fd, ok := fds["tmp"]; ok {
		if err := unix.MoveMount(fd, "", unix.AT_FDCWD, root+"/tmp", unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
			return fmt.Errorf("mount /tmp: %w", err)
		}
	}
	if err := unix.Mount("proc", root+"/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
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
	if err := os.Chdir("/"); err != nil {
		return err
	}
	return dropAmbient()
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
			f, err := os.Create(target)
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
