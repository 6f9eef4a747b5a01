package agent

import (
	"bytes"
	"encoding/binary"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/hearth-run/hearth/internal/instance"
)

// maxRecord is how long a log record may get before it is cut.
const maxRecord = 256 << 10

// output is the instance's one ordered stream of log records.
type output struct {
	w       instance.LogWriter
	observe func(instance.LogRecord) // telemetry; set before the first record, or nil

	mu      sync.Mutex // orders records; guards what follows
	request string     // that the environment serves now
	tail    *tail      // of that request, if somebody wants it
}

func newOutput(w instance.LogWriter) *output { return &output{w: w} }

// write sends one record.
func (o *output) write(kind instance.LogKind, at time.Time, message []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.writeLocked(kind, at, message)
}

func (o *output) writeLocked(kind instance.LogKind, at time.Time, message []byte) {
	r := instance.LogRecord{Time: at, Kind: kind, RequestID: o.request, Message: message}
	if o.w != nil {
		o.w.WriteLog(r)
	}
	if o.observe != nil && kind != instance.LogPlatform {
		o.observe(r)
	}
	if o.tail != nil {
		o.tail.add(message)
	}
}

// begin attributes the following records to a request.
func (o *output) begin(request string, t *tail) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.request, o.tail = request, t
}

// tail keeps the last bytes of a text of lines.
type tail struct{ buf []byte }

func (t *tail) add(line []byte) {
	t.buf = append(append(t.buf, line...), '\n')
	if len(t.buf) > 4*instance.LogTailSize {
		t.buf = append(t.buf[:0], t.buf[len(t.buf)-instance.LogTailSize:]...)
	}
}

func (t *tail) bytes() []byte {
	if n := len(t.buf) - instance.LogTailSize; n > 0 {
		return t.buf[n:]
	}
	return t.buf
}

// pipe is the agent's end of one of a process's outputs. A goroutine of its own
// reads it as output comes; drain reads what is there now.
type pipe struct {
	out    *output
	kind   instance.LogKind
	framed bool // as _LAMBDA_TELEMETRY_LOG_FD
	file   *os.File
	fd     int
	done   chan struct{} // closed at the end of the output

	mu      sync.Mutex // guards what follows, and reading
	partial []byte     // an unfinished line or frame
	closed  bool
	buf     []byte
}

// newPipe returns a pipe and the end to give to a process.
func newPipe(out *output, kind instance.LogKind, framed bool) (*pipe, *os.File, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	p := &pipe{out: out, kind: kind, framed: framed, file: r, done: make(chan struct{}), buf: make([]byte, 32<<10)}
	conn, err := r.SyscallConn()
	if err == nil {
		err = conn.Control(func(fd uintptr) { p.fd = int(fd) })
	}
	if err != nil {
		r.Close()
		w.Close()
		return nil, nil, err
	}
	go func() {
		defer close(p.done)
		conn.Read(func(uintptr) bool { return p.read() })
		p.mu.Lock()
		p.flushLocked()
		p.closed = true
		p.mu.Unlock()
		r.Close()
	}()
	return p, w, nil
}

// read takes what there is, and reports whether the output has ended.
func (p *pipe) read() (eof bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.readLocked()
}

func (p *pipe) readLocked() (eof bool) {
	if p.closed {
		return true
	}
	for {
		n, err := syscall.Read(p.fd, p.buf)
		if n > 0 {
			p.takeLocked(p.buf[:n])
			if n < len(p.buf) {
				return false
			}
			continue
		}
		if err == syscall.EINTR {
			continue
		}
		return err != syscall.EAGAIN
	}
}

// drain writes whatever the process has printed so far, unfinished lines too.
func (p *pipe) drain() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.readLocked()
	p.flushLocked()
}

// close ends the pipe when the processes that hold its other end may live on.
func (p *pipe) close() {
	p.drain()
	p.file.SetReadDeadline(time.Unix(1, 0))
	<-p.done
}

func (p *pipe) flushLocked() {
	if len(p.partial) > 0 && !p.framed {
		p.out.write(p.kind, time.Now(), p.partial)
		p.partial = p.partial[:0]
	}
}

func (p *pipe) takeLocked(b []byte) {
	now := time.Now()
	p.out.mu.Lock()
	defer p.out.mu.Unlock()
	if p.framed {
		p.partial = append(p.partial, b...)
		p.framesLocked(now)
		return
	}
	for len(b) > 0 {
		i := bytes.IndexByte(b, '\n')
		switch {
		case i >= 0 && len(p.partial) == 0:
			p.out.writeLocked(p.kind, now, b[:i])
			b = b[i+1:]
		case i >= 0:
			p.partial = append(p.partial, b[:i]...)
			p.out.writeLocked(p.kind, now, p.partial)
			p.partial = p.partial[:0]
			b = b[i+1:]
		default:
			p.partial = append(p.partial, b...)
			b = nil
		}
		if len(p.partial) >= maxRecord {
			p.out.writeLocked(p.kind, now, p.partial)
			p.partial = p.partial[:0]
		}
	}
}

// framesLocked cuts records as the official runtime clients frame them. Bytes
// that are no frame are written as they are.
func (p *pipe) framesLocked(now time.Time) {
	b := p.partial
	for len(b) >= 8 {
		kind, length := binary.BigEndian.Uint32(b), int(binary.BigEndian.Uint32(b[4:]))
		head := 16
		if kind == 0xa55a0001 {
			head = 8
		}
		if kind>>8 != 0xa55a00 || length > 8<<20 {
			p.out.writeLocked(p.kind, now, bytes.TrimSuffix(b, []byte("\n")))
			b = nil
			break
		}
		if len(b) < head+length {
			break
		}
		at := now
		if head == 16 {
			at = time.UnixMicro(int64(binary.BigEndian.Uint64(b[8:])))
		}
		p.out.writeLocked(p.kind, at, bytes.TrimSuffix(b[head:head+length], []byte("\n")))
		b = b[head+length:]
	}
	p.partial = append(p.partial[:0], b...)
}
