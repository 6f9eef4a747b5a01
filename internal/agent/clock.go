package agent

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// clock counts an event's time against its timeout. It stands still while a
// debugger is attached, if that is asked for.
type clock struct {
	began time.Time
	limit time.Duration
	debug *debugger // nil: it always runs
}

// deadline returns when the time is up, as far as that is known.
func (c *clock) deadline() time.Time {
	d := c.began.Add(c.limit)
	if c.debug != nil {
		d = d.Add(c.debug.stopped())
	}
	return d
}

// left returns the time that is left.
func (c *clock) left() time.Duration { return time.Until(c.deadline()) }

// debugger watches the environment's processes for debuggers while an event runs.
type debugger struct {
	address string // of the APIs: the mark of the environment's processes
	stop    chan struct{}

	mu    sync.Mutex // guards what follows
	total time.Duration
}

const debugTick = 50 * time.Millisecond

// watchDebugger returns a running watch, which close ends.
func watchDebugger(address string) *debugger {
	d := &debugger{address: address, stop: make(chan struct{})}
	go d.run()
	return d
}

func (d *debugger) close() {
	if d != nil {
		close(d.stop)
	}
}

// stopped returns for how long debuggers have been attached.
func (d *debugger) stopped() time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.total
}

func (d *debugger) run() {
	t := time.NewTicker(debugTick)
	defer t.Stop()
	var pids []string
	for i := 0; ; i++ {
		if i%10 == 0 {
			pids = d.processes()
		}
		begun := time.Now()
		attached := false
		for _, p := range pids {
			attached = attached || traced(p)
		}
		select {
		case <-t.C:
		case <-d.stop:
			return
		}
		if attached {
			d.mu.Lock()
			// A little more than has passed, so that a deadline cannot fall between two ticks.
			d.total += max(debugTick, time.Since(begun)) + time.Millisecond
			d.mu.Unlock()
		}
	}
}

// processes lists the folders in /proc of the environment's processes. They
// are known by their environment, whatever namespaces they are in.
func (d *debugger) processes() []string {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	var found []string
	for _, dir := range dirs {
		b, err := os.ReadFile(filepath.Join(dir, "environ"))
		if err == nil && bytes.Contains(b, []byte("\x00_HEARTH_RUNTIME_API="+d.address+"\x00")) {
			found = append(found, dir)
		}
	}
	return found
}

// traced reports whether a debugger is attached to the process of a folder in /proc.
func traced(dir string) bool {
	b, err := os.ReadFile(filepath.Join(dir, "status"))
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(b)) {
		if pid, ok := strings.CutPrefix(line, "TracerPid:"); ok {
			return strings.TrimSpace(pid) != "0"
		}
	}
	return false
}
