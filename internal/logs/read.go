package logs

import (
	"bufio"
	"container/heap"
	"context"
	"errors"
	"io"
	"io/fs"
	"iter"
	"math"
	"os"
	"slices"
	"strings"
	"time"
)

// Query says which events of a group Filter and Follow return.
type Query struct {
	Streams      []string // names; nil means all
	StreamPrefix string
	Start, End   time.Time // of Event.Time: from Start, before End; zero means no bound
	Pattern      *Pattern  // nil matches all
	RequestID    string    // if not "", the events of this request only
	After        string    // an Event's ID: only events behind it
	Limit        int       // events at most; 0 means 10,000
	MaxBytes     int64     // of messages, about; 0 means 1 MB
}

const (
	defaultLimit    = 10_000
	defaultMaxBytes = 1 << 20
	// scanLimit bounds the bytes that one call of Filter looks at, so that a rare
	// pattern does not hold it for ever.
	scanLimit = 256 << 20
)

func (q *Query) wants(name string) bool {
	return (q.Streams == nil || slices.Contains(q.Streams, name)) && strings.HasPrefix(name, q.StreamPrefix)
}

func (q *Query) bounds() (start, end int64) {
	start, end = math.MinInt64, math.MaxInt64
	if !q.Start.IsZero() {
		start = q.Start.UnixMilli()
	}
	if !q.End.IsZero() {
		end = q.End.UnixMilli()
	}
	return start, end
}

func (q *Query) match(r *record) bool {
	return (q.RequestID == "" || q.RequestID == string(r.requestID)) && (q.Pattern == nil || q.Pattern.Match(r.message))
}

// Filter returns the group's events that q asks for, in the order of their
// times; next, if not "", is the After of the call that goes on from there. A page may be empty
// although others follow. ErrNoGroup; ErrNoStream if q names streams and none of them is there.
func (s *Store) Filter(ctx context.Context, sc Scope, group string, q Query) (events []Event, next string, err error) {
	g, err := s.group(sc, group)
	if err != nil {
		return nil, "", err
	}
	if q.Limit <= 0 {
		q.Limit = defaultLimit
	}
	if q.MaxBytes <= 0 {
		q.MaxBytes = defaultMaxBytes
	}
	after := position{sort: math.MinInt64}
	if q.After != "" {
		if after, err = parsePosition(q.After); err != nil {
			return nil, "", err
		}
	}
	h, err := g.cursors(q, after)
	if err != nil {
		return nil, "", err
	}
	defer h.close()
	var bytes, scanned int64
	var last position
	for {
		c, err := h.next(ctx)
		if err == io.EOF {
			return events, "", nil
		}
		if err != nil {
			return nil, "", err
		}
		scanned += c.rec.size
		if q.match(&c.rec) {
			events = append(events, c.event())
			bytes += int64(len(c.rec.message))
		}
		last = c.pos
		if len(events) >= q.Limit || bytes >= q.MaxBytes || scanned >= scanLimit {
			return events, last.id(), nil
		}
	}
}

// Follow returns the group's events that q asks for, those that are there and
// then those that come, until ctx ends or the loop breaks. It neither misses
// events nor holds more than one at a time. A group that does not exist yet, or
// is deleted, is waited for. q.Limit and q.MaxBytes mean nothing.
func (s *Store) Follow(ctx context.Context, sc Scope, group string, q Query) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		after := position{sort: math.MinInt64}
		if q.After != "" {
			var err error
			if after, err = parsePosition(q.After); err != nil {
				yield(Event{}, err)
				return
			}
		}
		seen := map[uint64]place{} // by stream
		for ctx.Err() == nil {
			g, err := s.group(sc, group)
			if errors.Is(err, ErrNoGroup) {
				select {
				case <-time.After(100 * time.Millisecond):
				case <-ctx.Done():
				}
				continue
			}
			if err != nil {
				yield(Event{}, err)
				return
			}
			changed := g.next() // before reading, so that nothing falls between
			h, err := g.cursors(q, after)
			if err != nil && !errors.Is(err, ErrNoStream) {
				yield(Event{}, err)
				return
			}
			if h != nil && !followOnce(ctx, h, &q, seen, yield) {
				return
			}
			select {
			case <-changed:
			case <-ctx.Done():
			}
		}
	}
}

// place is where a reader of a stream has come to.
type place struct {
	seg  uint32
	off  int64
	sort int64
}

// followOnce yields what h holds and seen does not.
func followOnce(ctx context.Context, h *cursorHeap, q *Query, seen map[uint64]place, yield func(Event, error) bool) bool {
	defer h.close()
	live := h.all[:0]
	for _, c := range h.all {
		if p, ok := seen[c.st.id]; ok {
			c.skipTo(p)
		}
		if len(c.segs) > 0 {
			live = append(live, c)
		}
	}
	h.all = live
	heap.Init(h)
	for {
		c, err := h.next(ctx)
		if err == io.EOF || ctx.Err() != nil {
			return true
		}
		if err != nil {
			return yield(Event{}, err)
		}
		seen[c.st.id] = place{c.pos.seg, c.off, c.pos.sort}
		if q.match(&c.rec) && !yield(c.event(), nil) {
			return false
		}
	}
}

// Page is a part of a stream. Its tokens are for Read: what comes after it,
// and what comes before.
type Page struct {
	Events   []Event
	Forward  string
	Backward string
}

// Read returns events of one stream in the order in which they came. With a
// token it goes on from there; without, it begins at the head, or returns the
// last ones. At an end it returns no events, and the token that it was given.
func (s *Store) Read(ctx context.Context, sc Scope, group, stream string, q Query, token string, fromHead bool) (Page, error) {
	st, err := s.stream(sc, group, stream)
	if err != nil {
		return Page{}, err
	}
	if q.Limit <= 0 {
		q.Limit = defaultLimit
	}
	if q.MaxBytes <= 0 {
		q.MaxBytes = defaultMaxBytes
	}
	// A token is a place between events: f/ID is behind the event, b/ID before it.
	forward, from := fromHead, position{sort: math.MinInt64}
	if !fromHead {
		from.sort = math.MaxInt64
	}
	if token != "" {
		dir, id, _ := strings.Cut(strings.TrimSuffix(token, "/s"), "/")
		if from, err = parsePosition(id); err != nil || dir != "f" && dir != "b" {
			return Page{}, ErrBadToken
		}
		forward = dir == "f"
	}
	var p Page
	if forward {
		p.Events, err = st.readForward(ctx, &q, from)
	} else {
		p.Events, err = st.readBackward(ctx, &q, from)
	}
	if err != nil {
		return Page{}, err
	}
	switch n := len(p.Events); {
	case n > 0:
		p.Forward, p.Backward = "f/"+p.Events[n-1].ID+"/s", "b/"+p.Events[0].ID+"/s"
	case token != "":
		id := from.id()
		p.Forward, p.Backward = "f/"+id+"/s", "b/"+id+"/s"
	default:
		// Nothing there: what comes will be behind this place.
		id := position{stream: st.id}.id()
		p.Forward, p.Backward = "f/"+id+"/s", "b/"+id+"/s"
	}
	return p, nil
}

func (st *stream) readForward(ctx context.Context, q *Query, from position) ([]Event, error) {
	start, end := q.bounds()
	c := st.cursor(start, end, from)
	defer c.close()
	var events []Event
	var bytes int64
	for len(events) < q.Limit && bytes < q.MaxBytes {
		err := c.advance(ctx)
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
		if q.match(&c.rec) {
			events = append(events, c.event())
			bytes += int64(len(c.rec.message))
		}
	}
	return events, nil
}

func (st *stream) readBackward(ctx context.Context, q *Query, before position) ([]Event, error) {
	start, end := q.bounds()
	all := st.cursor(start, end, position{sort: math.MinInt64})
	all.close()
	var events []Event // the last first
	var bytes int64
	for i := len(all.segs) - 1; i >= 0; i-- {
		one := *all
		one.segs = all.segs[i : i+1]
		var part []Event
		for {
			err := one.advance(ctx)
			if err == io.EOF {
				break
			}
			if err != nil {
				return nil, err
			}
			if one.pos.compare(before) >= 0 {
				break
			}
			if q.match(&one.rec) {
				part = append(part, one.event())
			}
		}
		one.close()
		for _, e := range slices.Backward(part) {
			if len(events) >= q.Limit || bytes >= q.MaxBytes {
				slices.Reverse(events)
				return events, nil
			}
			events = append(events, e)
			bytes += int64(len(e.Message))
		}
	}
	slices.Reverse(events)
	return events, nil
}

// cursor reads the events of one stream in order, as they were when it was made.
type cursor struct {
	st         *stream
	segs       []segment // still to be read, the current one first
	start, end int64
	after      position

	pos  position // of rec; before the first advance, a lower bound of it
	rec  record
	off  int64 // behind rec
	file *os.File
	rr   recordReader
	from *place // where to begin in the first segment; nil at its head
}

// cursor returns a cursor before the first event that is behind after and may be in time.
func (st *stream) cursor(start, end int64, after position) *cursor {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.flushLogged()
	c := &cursor{st: st, start: start, end: end, after: after}
	for _, seg := range st.segs {
		latest := max(seg.Sort, seg.Max) // no event of it sorts behind
		if seg.Count == 0 || seg.Max < start || seg.Min >= end || latest < after.sort {
			continue
		}
		c.segs = append(c.segs, *seg)
	}
	c.pos = position{sort: math.MaxInt64, stream: st.id}
	if len(c.segs) > 0 {
		c.pos.sort = max(c.segs[0].Sort, c.segs[0].First)
	}
	return c
}

// skipTo drops what is before p.
func (c *cursor) skipTo(p place) {
	for len(c.segs) > 0 && (c.segs[0].No < p.seg || c.segs[0].No == p.seg && c.segs[0].size <= p.off) {
		c.segs = c.segs[1:]
	}
	if len(c.segs) > 0 && c.segs[0].No == p.seg {
		c.from = &p
		c.pos.sort = p.sort
	}
}

// advance reads the next event. io.EOF at the end.
func (c *cursor) advance(ctx context.Context) error {
	for len(c.segs) > 0 {
		seg := &c.segs[0]
		if c.file == nil {
			if err := ctx.Err(); err != nil {
				return err
			}
			f, err := os.Open(c.st.path(seg.No))
			if errors.Is(err, fs.ErrNotExist) { // removed meanwhile
				c.from = nil
				c.segs = c.segs[1:]
				continue
			}
			if err != nil {
				return err
			}
			from, latest := seg.start, seg.Sort
			if c.from != nil {
				from, latest = c.from.off, c.from.sort
				c.from = nil
			}
			if _, err := f.Seek(from, io.SeekStart); err != nil {
				f.Close()
				return err
			}
			c.file = f
			c.pos = position{sort: latest, stream: c.st.id, seg: seg.No}
			c.off = from
			c.rr = recordReader{r: bufio.NewReaderSize(f, 16<<10), left: seg.size - from, buf: c.rr.buf}
		}
		rec, err := c.rr.next()
		if err != nil {
			c.close()
			c.segs = c.segs[1:]
			continue
		}
		c.rec = rec
		c.pos.off = c.off
		c.pos.sort = max(c.pos.sort, rec.at)
		c.off += rec.size
		if rec.at >= c.start && rec.at < c.end && c.pos.compare(c.after) > 0 {
			return nil
		}
	}
	return io.EOF
}

// event copies the current event out.
func (c *cursor) event() Event {
	return Event{
		ID:        c.pos.id(),
		Stream:    c.st.name,
		Time:      time.UnixMilli(c.rec.at),
		Ingested:  time.UnixMilli(c.rec.ingested),
		Kind:      c.rec.kind,
		RequestID: string(c.rec.requestID),
		Message:   slices.Clone(c.rec.message),
	}
}

func (c *cursor) close() {
	if c.file != nil {
		c.file.Close()
		c.file = nil
	}
}

// cursorHeap merges cursors. Those that have not read anything yet are in it
// with a lower bound, so that few files are open at a time.
type cursorHeap struct {
	all     []*cursor
	current *cursor // the one that next returned, not yet advanced
}

func (h *cursorHeap) Len() int           { return len(h.all) }
func (h *cursorHeap) Less(i, j int) bool { return h.all[i].pos.compare(h.all[j].pos) < 0 }
func (h *cursorHeap) Swap(i, j int)      { h.all[i], h.all[j] = h.all[j], h.all[i] }
func (h *cursorHeap) Push(x any)         { h.all = append(h.all, x.(*cursor)) }
func (h *cursorHeap) Pop() any {
	n := len(h.all) - 1
	c := h.all[n]
	h.all = h.all[:n]
	return c
}

// cursors returns cursors over the streams that q asks for.
func (g *group) cursors(q Query, after position) (*cursorHeap, error) {
	streams, err := g.all()
	if err != nil {
		return nil, err
	}
	start, end := q.bounds()
	h := &cursorHeap{}
	found := false
	for _, st := range streams {
		if !q.wants(st.name) {
			continue
		}
		found = true
		if c := st.cursor(start, end, after); len(c.segs) > 0 {
			h.all = append(h.all, c)
		}
	}
	if q.Streams != nil && !found {
		return nil, ErrNoStream
	}
	heap.Init(h)
	return h, nil
}

// next returns the cursor with the next event, which is valid until the next call.
func (h *cursorHeap) next(ctx context.Context) (*cursor, error) {
	if c := h.current; c != nil {
		h.current = nil
		if err := h.advanceTop(ctx, c); err != nil {
			return nil, err
		}
	}
	for len(h.all) > 0 {
		c := h.all[0]
		if c.rec.size > 0 {
			h.current = c
			return c, nil
		}
		if err := h.advanceTop(ctx, c); err != nil {
			return nil, err
		}
	}
	return nil, io.EOF
}

// advanceTop moves c, the heap's top, to its next event.
func (h *cursorHeap) advanceTop(ctx context.Context, c *cursor) error {
	switch err := c.advance(ctx); {
	case err == io.EOF:
		heap.Pop(h)
		c.close()
	case err != nil:
		return err
	default:
		heap.Fix(h, 0)
	}
	return nil
}

func (h *cursorHeap) close() {
	for _, c := range h.all {
		c.close()
	}
}
