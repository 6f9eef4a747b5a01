package code

import (
	"os"
	"strings"
)

// bootID names the time since the machine's last start.
func bootID() string {
	b, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(b))
}
