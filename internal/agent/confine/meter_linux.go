package confine

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"
)

// meter measures the memory of an environment: by its control group, or else
// by what /proc says of the processes below one. The agent asks around each
// event, so files stay open and expensive figures are read at most once in a while.
type meter struct {
	pid int // the supervisor

	mu     sync.Mutex // guards what follows
	peakF  *os.File   // peak of the control group, or nil
	statF  *os.File   // its memory.stat
	oomF   *os.File   // its count of kills
	cache  string     // the line of memory.stat that counts files
	resets bool       // the peak can be reset
	read   time.Time  // when files, or without a control group last, was read
	files  int64      // bytes that the control group holds of files
	last   int64      // what /proc said
}

// meterInterval is how old a figure of /proc or memory.stat may be.
const meterInterval = 10 * time.Millisecond

// newMeter returns a meter of group's memory, or else of the processes below pid.
func newMeter(pid int, memory string, v2 bool) *meter {
	m := &meter{pid: pid}
	if memory == "" {
		return m
	}
	if v2 {
		// Since Linux 6.12 a write resets the peak that this descriptor reads.
		m.peakF, _ = os.OpenFile(filepath.Join(memory, "memory.peak"), os.O_RDWR, 0)
		m.resets = m.peakF != nil
		if m.peakF == nil {
			m.peakF, _ = os.Open(filepath.Join(memory, "memory.peak"))
		}
		m.oomF, _ = os.Open(filepath.Join(memory, "memory.events"))
		m.cache = "file "
	} else {
		m.peakF, _ = os.OpenFile(filepath.Join(memory, "memory.max_usage_in_bytes"), os.O_RDWR, 0)
		m.resets = m.peakF != nil
		m.oomF, _ = os.Open(filepath.Join(memory, "memory.oom_control"))
		m.cache = "total_cache "
	}
	m.statF, _ = os.Open(filepath.Join(memory, "memory.stat"))
	return m
}

// ownMeter returns a meter of the calling process's own container.
func ownMeter() *meter {
	for _, h := range candidates() {
		if h.parent != h.home {
			continue
		}
		m := newMeter(os.Getpid(), h.home, h.v2)
		if m.peakF != nil {
			return m
		}
		m.close()
	}
	return newMeter(os.Getpid(), "", false)
}

// memory returns the peak in bytes, or 0. What a control group holds of files
// is not counted: it is there only as long as nothing else needs the memory.
func (m *meter) memory() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	old := time.Since(m.read) >= meterInterval
	if old {
		m.read = time.Now()
	}
	if m.peakF == nil {
		if old {
			m.last = residentPeak(m.pid)
		}
		return m.last
	}
	if old {
		m.files = field(m.statF, m.cache)
	}
	peak := number(m.peakF)
	if m.files < peak {
		peak -= m.files
	}
	return peak
}

// reset begins a new peak where the machine can.
func (m *meter) reset() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.resets {
		m.peakF.WriteAt([]byte("0"), 0)
	}
}

// oomKills counts the processes of the control group that were killed for memory.
func (m *meter) oomKills() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return field(m.oomF, "oom_kill ")
}

func (m *meter) close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, f := range []**os.File{&m.peakF, &m.statF, &m.oomF} {
		if *f != nil {
			(*f).Close()
			*f = nil
		}
	}
	m.resets = false
}

// contents reads a small file of the kernel's.
func contents(f *os.File, buf []byte) []byte {
	if f == nil {
		return nil
	}
	n, err := f.ReadAt(buf, 0)
	if n == 0 && err != nil {
		return nil
	}
	return buf[:n]
}

func number(f *os.File) int64 {
	var buf [32]byte
	n, _ := strconv.ParseInt(string(bytes.TrimSpace(contents(f, buf[:]))), 10, 64)
	return n
}

// field returns the number after name at the beginning of a line.
func field(f *os.File, name string) int64 {
	var buf [8 << 10]byte
	for line := range bytes.Lines(contents(f, buf[:])) {
		if v, ok := bytes.CutPrefix(line, []byte(name)); ok {
			n, _ := strconv.ParseInt(string(bytes.TrimSpace(v)), 10, 64)
			return n
		}
	}
	return 0
}
