package docker

import "golang.org/x/sys/unix"

// processLimit is the hard limit of processes here, or 0 for none.
func processLimit() int64 {
	var lim unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NPROC, &lim); err != nil || lim.Max == unix.RLIM_INFINITY {
		return 0
	}
	return int64(lim.Max)
}
