package logs

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/hearth-run/hearth/internal/instance"
)

// stream is a log stream: what is pending, and its segments, in the order in
// which events came.
type stream struct {
	g       *group
	name    string
	id      uint64 // from the name
	created int64  // ms

	mu     sync.Mutex // guards what follows
	gone   bool       // deleted, or forgotten; another object may be at its files
	loaded bool       // segs says what is on disk
	segs   []*segment
	file   *os.File // the last segment, open for appending, or nil
	used   time.Time
	buf    []byte // pending records
	spare  []byte // the buffer that flush is done with
	queued bool   // in the store's dirty list
	lost   int    // events dropped since the last flush
	next   uint32 // number of the next segment, when there is none
	sort   int64  // the latest time in all segments, when there is none
}

// segment is one file of a stream.
type segment struct {
	No    uint32
	Sort  int64 // the latest time in the segments before it
	start int64 // bytes of its header
	size  int64 // bytes of whole records, header included
	summary
}

// summary says what a segment's records hold. That of each segment but the
// last is in the header of the next.
type summary struct {
	Min, Max int64 // times, ms
	First    int64
	Last     int64 // ingestion of the last, ms
	Count    int64
	Bytes    int64 // as CloudWatch counts them
}

func (m *summary) add(at, ingested int64, message int) {
	if m.Count == 0 {
		m.Min, m.Max, m.First = at, at, at
	}
	m.Min, m.Max = min(m.Min, at), max(m.Max, at)
	m.Last = ingested
	m.Count++
	m.Bytes += int64(message) + overhead
}

// header begins each segment's file, behind magic and its own length.
type header struct {
	Name    string
	Created int64
	Sort    int64
	Prev    *summary `json:",omitempty"`
}

const magic = "HLOG1\n"

func (st *stream) path(no uint32) string {
	return filepath.Join(st.g.dir, fmt.Sprintf("%016x-%08x.log", st.id, no))
}

// write takes an event into memory, and reports whether the stream still is there.
func (st *stream) write(r instance.LogRecord) bool {
	now := time.Now().UnixMilli()
	at := now
	if !r.Time.IsZero() {
		at = r.Time.UnixMilli()
	}
	s := st.g.s
	st.mu.Lock()
	if st.gone {
		st.mu.Unlock()
		return false
	}
	for message, first := r.Message, true; first || len(message) > 0; first = false {
		part := message[:min(len(message), maxMessage)]
		message = message[len(part):]
		if s.pending.Load() > s.cfg.MaxPending {
			st.lost++
			s.dropped.Add(1)
			break
		}
		before := len(st.buf)
		st.buf = appendRecord(st.buf, at, now, r.Kind, r.RequestID, part)
		s.pending.Add(int64(len(st.buf) - before))
	}
	mark := !st.queued
	st.queued = true
	st.mu.Unlock()
	if mark {
		s.markDirty(st)
	}
	return true
}

// flush writes what is pending to the files.
func (st *stream) flush() error {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.flushLocked()
}

func (st *stream) flushLocked() error {
	st.queued = false
	if st.lost > 0 {
		now := time.Now().UnixMilli()
		st.buf = appendRecord(st.buf, now, now, instance.LogPlatform, "", fmt.Appendf(nil, "[HEARTH] %d log events were dropped: they came faster than the disk takes them", st.lost))
		st.lost = 0
	}
	if len(st.buf) == 0 || st.gone {
		st.g.s.pending.Add(-int64(len(st.buf)))
		st.buf = nil
		return nil
	}
	buf := st.buf
	st.buf, st.spare = st.spare[:0], nil
	err := st.appendLocked(buf)
	st.g.s.pending.Add(-int64(len(buf)))
	if cap(buf) <= 1<<20 {
		st.spare = buf[:0]
	}
	return err
}

// appendLocked writes records to the last segment, and begins another as it fills.
func (st *stream) appendLocked(buf []byte) error {
	if err := st.openLocked(); err != nil {
		return err
	}
	for len(buf) > 0 {
		seg := st.segs[len(st.segs)-1]
		if seg.size-seg.start >= st.g.s.cfg.SegmentSize {
			if err := st.rollLocked(); err != nil {
				return err
			}
			continue
		}
		// As many records as the segment takes.
		var sum = seg.summary
		var n int64
		for n < int64(len(buf)) && (n == 0 || seg.size-seg.start+n < st.g.s.cfg.SegmentSize) {
			r, _, err := parseRecord(buf[n:])
			if err != nil || r.size == 0 {
				return fmt.Errorf("pending records: %w", errTorn)
			}
			sum.add(r.at, r.ingested, len(r.message))
			n += r.size
		}
		if _, err := st.file.WriteAt(buf[:n], seg.size); err != nil {
			// What was written of it is overwritten by the next, or torn.
			st.file.Truncate(seg.size)
			return err
		}
		seg.size += n
		seg.summary = sum
		st.used = time.Now()
		st.g.s.addBytes(n)
		buf = buf[n:]
	}
	return nil
}

// openLocked makes the last segment ready to be appended to.
func (st *stream) openLocked() error {
	if st.file != nil {
		return nil
	}
	if len(st.segs) == 0 && !st.loaded {
		// New, most likely: its first file must not be there.
		err := st.createLocked(st.next, nil, st.sort)
		if !errors.Is(err, fs.ErrExist) {
			return err
		}
		if err := st.loadLocked(); err != nil {
			return err
		}
	}
	if len(st.segs) == 0 {
		return st.createLocked(st.next, nil, st.sort)
	}
	seg := st.segs[len(st.segs)-1]
	f, err := os.OpenFile(st.path(seg.No), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	if err := f.Truncate(seg.size); err != nil {
		f.Close()
		return err
	}
	st.file = f
	return nil
}

func (st *stream) rollLocked() error {
	last := st.segs[len(st.segs)-1]
	sum := last.summary
	return st.createLocked(last.No+1, &sum, max(last.Sort, last.Max))
}

// createLocked begins the segment no.
func (st *stream) createLocked(no uint32, prev *summary, sort int64) error {
	h, err := json.Marshal(header{Name: st.name, Created: st.created, Sort: sort, Prev: prev})
	if err != nil {
		return err
	}
	b := binary.LittleEndian.AppendUint32([]byte(magic), uint32(len(h)))
	b = append(b, h...)
	if err := os.MkdirAll(st.g.dir, 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(st.path(no), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	if _, err := f.Write(b); err != nil {
		f.Close()
		os.Remove(f.Name())
		return err
	}
	if st.file != nil {
		st.file.Close()
	}
	st.file = f
	st.loaded = true
	st.g.s.addBytes(int64(len(b)))
	st.segs = append(st.segs, &segment{No: no, Sort: sort, start: int64(len(b)), size: int64(len(b))})
	return nil
}

// readHeader reads a segment's header, and returns its length, too.
func readHeader(r io.Reader) (h header, n int64, err error) {
	b := make([]byte, len(magic)+4)
	if _, err := io.ReadFull(r, b); err != nil {
		return h, 0, err
	}
	size := binary.LittleEndian.Uint32(b[len(magic):])
	if string(b[:len(magic)]) != magic || size > 1<<16 {
		return h, 0, errTorn
	}
	j := make([]byte, size)
	if _, err := io.ReadFull(r, j); err != nil {
		return h, 0, err
	}
	return h, int64(len(b)) + int64(size), json.Unmarshal(j, &h)
}

// loadLocked learns the stream's segments from the disk.
func (st *stream) loadLocked() error {
	names, err := filepath.Glob(filepath.Join(st.g.dir, fmt.Sprintf("%016x-*.log", st.id)))
	if err != nil {
		return err
	}
	st.segs = nil
	var numbers []uint32
	for _, name := range names {
		var id uint64
		var no uint32
		if _, err := fmt.Sscanf(filepath.Base(name), "%016x-%08x.log", &id, &no); err == nil {
			numbers = append(numbers, no)
		}
	}
	return st.loadSegmentsLocked(numbers)
}

// loadSegmentsLocked reads the headers of the segments, whose numbers are in
// order, and all records of the last. A file without a whole header holds nothing.
func (st *stream) loadSegmentsLocked(numbers []uint32) error {
	for i, no := range numbers {
		f, err := os.Open(st.path(no))
		if err != nil {
			return err
		}
		h, n, err := readHeader(f)
		if err != nil {
			f.Close()
			os.Remove(f.Name())
			continue
		}
		st.name, st.created = h.Name, h.Created
		seg := &segment{No: no, Sort: h.Sort, start: n, size: n}
		if len(st.segs) > 0 && h.Prev != nil {
			st.segs[len(st.segs)-1].summary = *h.Prev
		}
		if i == len(numbers)-1 {
			seg.scan(f)
		} else if fi, err := f.Stat(); err == nil {
			seg.size = fi.Size()
		}
		f.Close()
		st.segs = append(st.segs, seg)
	}
	if n := len(st.segs); n > 0 && st.segs[n-1].Count == 0 && len(numbers) > n {
		// The last file was torn: the one before it has no summary yet.
		if f, err := os.Open(st.path(st.segs[n-1].No)); err == nil {
			st.segs[n-1].size = st.segs[n-1].start
			f.Seek(st.segs[n-1].start, io.SeekStart)
			st.segs[n-1].scan(f)
			f.Close()
		}
	}
	st.loaded = true
	return nil
}

// scan reads the records behind the header, where f stands, up to the first torn one.
func (seg *segment) scan(f *os.File) {
	sc := recordReader{r: bufio.NewReaderSize(f, 64<<10), left: 1 << 62}
	for {
		r, err := sc.next()
		if err != nil {
			return
		}
		seg.add(r.at, r.ingested, len(r.message))
		seg.size += r.size
	}
}

// recordReader reads records one by one, up to left bytes of them.
type recordReader struct {
	r    *bufio.Reader
	left int64
	buf  []byte
}

// next returns the next record, which is valid until the next call; io.EOF at
// the end, which a torn record is, too.
func (rr *recordReader) next() (record, error) {
	if rr.left < recordHead {
		return record{}, io.EOF
	}
	head, err := rr.r.Peek(recordHead)
	if err != nil {
		return record{}, io.EOF
	}
	n := int(binary.LittleEndian.Uint32(head)) + recordHead
	if n > recordHead+maxRecord || int64(n) > rr.left {
		return record{}, io.EOF
	}
	if cap(rr.buf) < n {
		rr.buf = make([]byte, n, max(n, 4096))
	}
	rr.buf = rr.buf[:n]
	if _, err := io.ReadFull(rr.r, rr.buf); err != nil {
		return record{}, io.EOF
	}
	rec, need, err := parseRecord(rr.buf)
	if err != nil || need > 0 {
		return record{}, io.EOF
	}
	rr.left -= int64(n)
	return rec, nil
}

// delete takes the stream and its files away for good.
func (st *stream) delete() error {
	st.mu.Lock()
	defer st.mu.Unlock()
	if !st.loaded {
		if err := st.loadLocked(); err != nil {
			return err
		}
	}
	st.gone = true
	st.g.s.pending.Add(-int64(len(st.buf)))
	st.buf = nil
	st.closeLocked()
	for len(st.segs) > 0 {
		if err := st.dropFirstLocked(); err != nil {
			return err
		}
	}
	return nil
}

// dropFirstLocked removes the oldest segment.
func (st *stream) dropFirstLocked() error {
	seg := st.segs[0]
	if len(st.segs) == 1 {
		st.closeLocked()
	}
	if err := os.Remove(st.path(seg.No)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	st.g.s.addBytes(-seg.size)
	st.segs = st.segs[1:]
	st.next, st.sort = seg.No+1, max(st.sort, seg.Sort, seg.Max)
	return nil
}

func (st *stream) closeLocked() {
	if st.file != nil {
		st.file.Close()
		st.file = nil
	}
}
