package agentmain

import (
	"bytes"
	"os"
	"strconv"
	"strings"

	"github.com/hearth-run/hearth/internal/agent"
)

// contained is a supervisor whose memory figures are those of the container it is in.
type contained struct {
	agent.Supervisor
	// peak has the peak in bytes, or is nil. It stays open: the kernel keeps a
	// reset of it by descriptor.
	peak   *os.File
	events string // the file that counts kills
}

func newContained(s agent.Supervisor) *contained {
	c := &contained{Supervisor: s}
	for _, paths := range [][2]string{
		{"/sys/fs/cgroup/memory.peak", "/sys/fs/cgroup/memory.events"},
		{"/sys/fs/cgroup/memory/memory.max_usage_in_bytes", "/sys/fs/cgroup/memory/memory.oom_control"},
	} {
		f, err := os.OpenFile(paths[0], os.O_RDWR, 0)
		if err != nil {
			f, err = os.Open(paths[0])
		}
		if err == nil {
			c.peak, c.events = f, paths[1]
			break
		}
	}
	return c
}

func (c *contained) Memory() int64 {
	if c.peak != nil {
		b := make([]byte, 32)
		n, _ := c.peak.ReadAt(b, 0)
		if n, err := strconv.ParseInt(string(bytes.TrimSpace(b[:n])), 10, 64); err == nil && n > 0 {
			return n
		}
	}
	return c.Supervisor.Memory()
}

func (c *contained) ResetMemory() {
	if c.peak != nil {
		// Refused by older kernels and on read-only mounts: the peak is then that of the container's life.
		c.peak.WriteAt([]byte("0"), 0)
	}
}

func (c *contained) Close() error {
	if c.peak != nil {
		c.peak.Close()
	}
	return c.Supervisor.Close()
}

func (c *contained) OOMKills() int64 {
	b, err := os.ReadFile(c.events)
	if err != nil {
		return c.Supervisor.OOMKills()
	}
	for line := range strings.Lines(string(b)) {
		if n, ok := strings.CutPrefix(line, "oom_kill "); ok {
			kills, _ := strconv.ParseInt(strings.TrimSpace(n), 10, 64)
			return kills
		}
	}
	return 0
}
