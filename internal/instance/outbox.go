package instance

import (
	"fmt"
	"sync"
	"time"
)

// outbox keeps log records in order until the server has them for sure: across
// a broken connection, and within bounded memory. It implements LogWriter. While a
// server is connected, a writer that is faster than the wire waits; while none
// is, records beyond the bound are dropped and counted.
type outbox struct {
	wake chan struct{} // has an element when there may be something to send

	mu        sync.Mutex // guards what follows
	space     sync.Cond
	segments  []segment // oldest first; those before next have been sent and not been acknowledged
	next      int
	seq       int64
	size      int // bytes of all segments
	connected bool
	closed    bool // nobody will read any more
	dropped   int  // records, since the last that was kept
	lost      int  // bytes of those
}

// segment is some encoded records, the last of them with number last.
type segment struct {
	data []byte
	last int64
}

const (
	outboxSize  = 16 << 20
	segmentSize = 64 << 10
)

func newOutbox() *outbox {
	o := &outbox{wake: make(chan struct{}, 1)}
	o.space.L = &o.mu
	return o
}

// WriteLog implements LogWriter.
func (o *outbox) WriteLog(r LogRecord) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for o.size > outboxSize && o.connected && !o.closed {
		o.space.Wait()
	}
	if o.size > outboxSize || o.closed {
		o.dropped++
		o.lost += len(r.Message)
		return
	}
	if o.dropped > 0 {
		note := LogRecord{Time: r.Time, Kind: LogPlatform,
			Message: fmt.Appendf(nil, "%d log records (%d bytes) were dropped while the server was away", o.dropped, o.lost)}
		o.dropped, o.lost = 0, 0
		o.addLocked(note)
	}
	o.addLocked(r)
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

func (o *outbox) addLocked(r LogRecord) {
	if n := len(o.segments); n == o.next || len(o.segments[n-1].data) >= segmentSize {
		o.segments = append(o.segments, segment{data: make([]byte, 0, len(r.Message)+1024)})
	}
	s := &o.segments[len(o.segments)-1]
	before := len(s.data)
	o.seq++
	s.data = appendLog(s.data, o.seq, r)
	s.last = o.seq
	o.size += len(s.data) - before
}

// take returns the next segment to send, or nil. The segment is not changed any more.
func (o *outbox) take() []byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.next == len(o.segments) {
		return nil
	}
	o.next++
	return o.segments[o.next-1].data
}

// ack notes that the server has all records up to seq.
func (o *outbox) ack(seq int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for o.next > 0 && o.segments[0].last <= seq {
		o.size -= len(o.segments[0].data)
		o.segments[0].data = nil
		o.segments = o.segments[1:]
		o.next--
	}
	o.space.Broadcast()
}

// connect notes that a server is there that has all records up to seq; the
// rest will be sent again.
func (o *outbox) connect(seq int64) {
	o.ack(seq)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.next = 0
	o.connected = true
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// disconnect notes that no server is there.
func (o *outbox) disconnect() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.connected = false
	o.space.Broadcast()
}

func (o *outbox) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	o.space.Broadcast()
}

// waitEmpty waits until the server has every record, at most d.
func (o *outbox) waitEmpty(d time.Duration) {
	timer := time.AfterFunc(d, o.close)
	defer timer.Stop()
	o.mu.Lock()
	defer o.mu.Unlock()
	for len(o.segments) > 0 && !o.closed && o.connected {
		o.space.Wait()
	}
}
