package logs

import (
	"bytes"
	"io"
	"sync"

	"github.com/hearth-run/hearth/internal/instance"
)

// Printer returns a writer that prints each event's message to w, followed by
// a newline unless it ends in one. Nothing is kept.
func Printer(w io.Writer) instance.LogWriter { return &printer{w: w} }

type printer struct {
	mu  sync.Mutex
	w   io.Writer
	buf []byte
}

func (p *printer) WriteLog(r instance.LogRecord) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.buf = append(p.buf[:0], r.Message...)
	if !bytes.HasSuffix(p.buf, []byte("\n")) {
		p.buf = append(p.buf, '\n')
	}
	p.w.Write(p.buf) // there is nobody to tell of an error
}
