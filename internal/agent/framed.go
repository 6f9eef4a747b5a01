package agent

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"

	"github.com/hearth-run/hearth/internal/instance"
)

// maxFrame bounds what a runtime may send at once (docs/runtimes.md).
const maxFrame = instance.MaxResponseSize + 64<<10

// framed is the agent's end of a runtime's framed socket. After the runtime's
// first frame, whoever has an event for it writes that and reads the answer:
// no goroutine stands in between. One goroutine at a time uses it.
type framed struct {
	conn *net.UnixConn
	r    *bufio.Reader
	head []byte // of the frame being written

	// The frame being read; a deadline may interrupt that.
	kind byte
	body []byte
	got  int
	open bool

	ready bool // the runtime speaks frames; valid once INIT is over
}

func newFramed(conn *net.UnixConn) *framed {
	return &framed{conn: conn, r: bufio.NewReaderSize(conn, 16<<10)}
}

// closeRead lets a reader see the end of the socket after what has been written.
func (f *framed) closeRead() { f.conn.CloseRead() }

// greet waits for the runtime's first frame. The runtime may be one that
// speaks HTTP, then none comes.
func (f *framed) greet(e *environment) {
	kind, body, err := f.read(nil)
	switch {
	case err == errBadFrame:
		e.fail(garbage(err.Error()))
	case err != nil:
		// It exited or closed the descriptor; whoever waits for it sees that.
	case kind == 'N':
		f.ready = true
		e.runtimeReady()
	case kind == 'I':
		t, payload, _ := bytes.Cut(body, []byte{0})
		e.fail(&failure{Type: string(t), Payload: bytes.Clone(payload), Status: statusError})
	default:
		e.fail(garbage(fmt.Sprintf("the runtime began with a frame of type %q", kind)))
	}
}

// garbage is the failure of a runtime that breaks the rules of the framed socket.
func garbage(text string) *failure {
	return &failure{Type: "Runtime.Unknown", Status: statusError, Text: text}
}

var errBadFrame = errors.New("the runtime sent a frame that is none")

// read returns the next frame. The body is in buf if it fits. After
// os.ErrDeadlineExceeded another call goes on with the same frame.
func (f *framed) read(buf []byte) (kind byte, body []byte, err error) {
	if !f.open {
		head, err := f.r.Peek(5)
		if err != nil {
			return 0, nil, err
		}
		n := int(binary.BigEndian.Uint32(head)) - 1
		if n < 0 || n > maxFrame {
			return 0, nil, errBadFrame
		}
		f.kind = head[4]
		f.r.Discard(5)
		if cap(buf) < n {
			buf = make([]byte, n)
		}
		f.body, f.got, f.open = buf[:n], 0, true
	}
	for f.got < len(f.body) {
		n, err := f.r.Read(f.body[f.got:])
		f.got += n
		if err != nil && f.got < len(f.body) {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return 0, nil, err
		}
	}
	f.open = false
	return f.kind, f.body, nil
}

// send hands over an event.
func (f *framed) send(ev *instance.Event, c *clock) error {
	h := f.head[:0]
	h = append(h, 0, 0, 0, 0, 'E', 0, 0, 0, 0)
	h = append(h, ev.RequestID...)
	h = append(h, 0)
	h = strconv.AppendInt(h, c.deadline().UnixMilli(), 10)
	for _, s := range [...]string{ev.FunctionARN, ev.TraceID, ev.ClientContext, ev.CognitoIdentity, ev.TenantID} {
		h = append(h, 0)
		h = append(h, s...)
	}
	binary.BigEndian.PutUint32(h[5:], uint32(len(h)-9))
	binary.BigEndian.PutUint32(h, uint32(len(h)-4+len(ev.Payload)))
	var err error
	if len(ev.Payload) <= 64<<10 {
		h = append(h, ev.Payload...)
		_, err = f.conn.Write(h)
	} else {
		_, err = (&net.Buffers{h, ev.Payload}).WriteTo(f.conn)
	}
	if cap(h) <= 128<<10 {
		f.head = h
	}
	return err
}

// answer is what a runtime made of an event.
type answer struct {
	contentType string
	payload     []byte
	errorType   string // set when the function failed
	message     []byte // the error's JSON when a stream broke
	size        int64  // of a stream
	streamed    bool
	exits       bool // the runtime takes no further event
}

// exchange hands over ev and reads the answer.
func (f *framed) exchange(ev *instance.Event, c *clock, sink instance.Sink, rate int64) (*answer, error) {
	f.conn.SetDeadline(c.deadline())
	if err := f.send(ev, c); err != nil {
		return nil, err
	}
	kind, body, err := f.await(c, nil)
	if err != nil {
		return nil, err
	}
	switch kind {
	case 'R':
		return &answer{contentType: "application/json", payload: body}, nil
	case 'T':
		t, payload, _ := bytes.Cut(body, []byte{0})
		return &answer{contentType: string(t), payload: payload}, nil
	case 'F', 'D':
		t, payload, _ := bytes.Cut(body, []byte{0})
		return &answer{errorType: string(t), payload: payload, exits: kind == 'D'}, nil
	case 'S':
		return f.stream(newStream(string(body), sink, rate), c)
	}
	return nil, errBadFrame
}

// await is read within the event's time.
func (f *framed) await(c *clock, buf []byte) (byte, []byte, error) {
	for {
		kind, body, err := f.read(buf)
		if err == nil || !errors.Is(err, os.ErrDeadlineExceeded) || c.left() <= 0 {
			return kind, body, err
		}
		f.conn.SetDeadline(c.deadline())
	}
}

// stream reads a streamed response to its end.
func (f *framed) stream(out *stream, c *clock) (*answer, error) {
	buf := make([]byte, 64<<10)
	for {
		kind, body, err := f.await(c, buf)
		if err != nil {
			return out.answer, err
		}
		switch kind {
		case 'C':
			out.write(body)
		case 'Z':
			return out.finish(), nil
		case 'X':
			t, payload, _ := bytes.Cut(body, []byte{0})
			out.fail(string(t), bytes.Clone(payload))
			return out.finish(), nil
		default:
			return out.answer, errBadFrame
		}
	}
}
