//go:build unix && !linux

package code

import "golang.org/x/sys/unix"

// bootID names the time since the machine's last start, or is "".
func bootID() string {
	id, _ := unix.Sysctl("kern.bootsessionuuid")
	return id
}
