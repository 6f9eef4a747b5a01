package docker

import (
	"bytes"
	"strings"
	"sync"
)

// tailBuffer keeps the last bytes of what a container printed, and says when
// the agent's line was among it.
type tailBuffer struct {
	ready chan struct{} // closed at the agent's line

	mu   sync.Mutex // guards what follows
	buf  []byte
	line []byte // what may hold the agent's line; nil once it was there
	seen bool
}

const (
	tailSize = 8 << 10
	lineSize = 4 << 10 // the agent prints its line first; what is before it is an engine's words at most
)

// Write implements io.Writer; it never fails.
func (t *tailBuffer) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p...)
	if n := len(t.buf) - tailSize; n > 0 {
		t.buf = append(t.buf[:0], t.buf[n:]...)
	}
	if t.seen {
		return len(p), nil
	}
	t.line = append(t.line, p...)
	if i := bytes.Index(t.line, []byte(agentsLine)); i >= 0 && bytes.IndexByte(t.line[i:], '\n') > 0 {
		t.seen, t.line = true, nil
		close(t.ready)
	} else if n := len(t.line) - lineSize; n > 0 {
		t.line = append(t.line[:0], t.line[n:]...)
	}
	return len(p), nil
}

// String returns what was printed, without the agent's line.
func (t *tailBuffer) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var lines []string
	for line := range strings.Lines(string(t.buf)) {
		if !strings.HasPrefix(line, agentsLine) {
			lines = append(lines, line)
		}
	}
	return strings.TrimSpace(strings.Join(lines, ""))
}
