package agent

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/hearth-run/hearth/internal/instance"
)

// maxRecord is how long a log record may get before it is cut.
const maxRecord = 256 << 10

// output is the instance's one ordered stream of log records.
type output struct {
	w        instance.LogWriter
	tel      *telemetry
	spec     *instance.Spec
	json     bool
	appLevel int // of the JSON format: records below it are left out
	sysLevel int

	mu      sync.Mutex // orders records; guards what follows
	request string     // that the environment serves now
	tail    *tail      // of that request, if somebody wants it
}

func newOutput(w instance.LogWriter, tel *telemetry, spec *instance.Spec) *output {
	o := &output{w: w, tel: tel, spec: spec, json: spec.LogFormat == "JSON"}
	if o.json {
		o.appLevel, o.sysLevel = rank(spec.AppLogLevel), max(rank(spec.SysLogLevel), levelDebug)
		if spec.SysLogLevel == "" {
			o.sysLevel = levelInfo
		}
	}
	return o
}

// Levels of the JSON log format.
const (
	levelTrace = iota + 1
	levelDebug
	levelInfo
	levelWarn
	levelError
	levelFatal
)

// rank returns a level's rank, or 0 for no known level.
func rank(level string) int {
	switch strings.ToUpper(level) {
	case "TRACE":
		return levelTrace
	case "DEBUG":
		return levelDebug
	case "INFO":
		return levelInfo
	case "WARN", "WARNING":
		return levelWarn
	case "ERROR":
		return levelError
	case "FATAL", "CRITICAL":
		return levelFatal
	}
	return 0
}

// write sends one record.
func (o *output) write(kind instance.LogKind, at time.Time, message []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.writeLocked(kind, at, message)
}

func (o *output) writeLocked(kind instance.LogKind, at time.Time, message []byte) {
	if o.json && kind == instance.LogFunction && o.below(message) {
		return
	}
	r := instance.LogRecord{Time: at, Kind: kind, RequestID: o.request, Message: message}
	if o.w != nil {
		o.w.WriteLog(r)
	}
	if o.tail != nil {
		o.tail.add(message)
	}
	if kind != instance.LogPlatform {
		o.tel.log(kind, at, message)
	}
}

// below reports whether a record says that its level is below the function's:
// only JSON with a level and a time stamp counts, as on AWS.
func (o *output) below(message []byte) bool {
	if o.appLevel == 0 || len(message) == 0 || message[0] != '{' {
		return false
	}
	var r struct {
		Level     string `json:"level"`
		Timestamp string `json:"timestamp"`
	}
	if json.Unmarshal(message, &r) != nil || r.Timestamp == "" {
		return false
	}
	l := rank(r.Level)
	return l > 0 && l < o.appLevel
}

// begin attributes the following records to a request. With several at once
// nobody knows whose a line is.
func (o *output) begin(request string, t *tail, concurrency int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if concurrency > 1 {
		request = ""
	}
	o.request, o.tail = request, t
}

// tail keeps the last bytes of a text of lines.
type tail struct{ buf []byte }

func (t *tail) add(line []byte) {
	if n := len(line) - instance.LogTailSize; n > 0 {
		line = line[n:]
	}
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
// reads it as output comes; drain reads what is there now. A process that prints
// faster than records are taken waits.
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
}

const pieceSize = 32 << 10

var pieces = sync.Pool{New: func() any { return new([pieceSize]byte) }}

// newPipe returns a pipe and the end to give to a process.
func newPipe(out *output, kind instance.LogKind, framed bool) (*pipe, *os.File, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	p := &pipe{out: out, kind: kind, framed: framed, file: r, done: make(chan struct{})}
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
		conn.Read(func(uintptr) bool {
			for {
				if n, eof := p.read(); n == 0 {
					return eof
				}
			}
		})
		p.mu.Lock()
		p.flushLocked()
		p.closed = true
		p.mu.Unlock()
		r.Close()
	}()
	return p, w, nil
}

// read takes a piece of what there is. n is 0 when there is nothing now, or
// when the output has ended.
func (p *pipe) read() (n int, eof bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.readLocked()
}

func (p *pipe) readLocked() (n int, eof bool) {
	if p.closed {
		return 0, true
	}
	buf := pieces.Get().(*[pieceSize]byte)
	defer pieces.Put(buf)
	for {
		n, err := syscall.Read(p.fd, buf[:])
		switch {
		case n > 0:
			p.takeLocked(buf[:n])
			return n, false
		case err == syscall.EINTR:
			continue
		}
		return 0, err != syscall.EAGAIN
	}
}

// pipeSize is as much as a pipe holds: what was printed before drain.
const pipeSize = 64 << 10

// drain writes whatever the process has printed so far, unfinished lines too.
func (p *pipe) drain() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for got := 0; got < pipeSize; {
		n, _ := p.readLocked()
		if n < pieceSize { // it was all
			break
		}
		got += n
	}
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
