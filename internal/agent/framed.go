package agent

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/hearth-run/hearth/internal/instance"
)

// maxFrame bounds what a runtime may send at once (docs/runtimes.md).
const maxFrame = instance.MaxResponseSize + 64<<10

// framed is the agent's end of a runtime's framed socket. After the runtime's
// first frame, whoever has an event for it writes that and reads the answer:
// no goroutine stands in between.
type framed struct {
	conn net.Conn
	r    *bufio.Reader

	mu    sync.Mutex // held by whoever exchanges frames
	head  []byte     // of the frame being written
	ready bool       // the runtime speaks frames; valid once INIT is over
}

func newFramed(conn net.Conn) *framed {
	return &framed{conn: conn, r: bufio.NewReaderSize(conn, 16<<10)}
}

// greet waits for the runtime's first frame. The runtime may be one that
// speaks HTTP, then none comes.
func (f *framed) greet(e *environment) {
	kind, body, err := f.read(nil)
	if err != nil {
		return // it exited or closed the descriptor; whoever waits for it sees that
	}
	switch kind {
	case 'N':
		f.ready = true
		e.word(nil)
	case 'I':
		t, payload, _ := bytes.Cut(body, []byte{0})
		e.word(&failure{Type: string(t), Payload: payload, Status: "error"})
	default:
		e.word(&failure{Type: "Runtime.Unknown", Status: "error", Payload: errorJSON("Runtime.Unknown", fmt.Sprintf("the runtime began with a frame of type %q", kind))})
	}
}

var errBadFrame = errors.New("the runtime sent a frame that is none")

// read returns the next frame. The body is in buf if it fits.
func (f *framed) read(buf []byte) (kind byte, body []byte, err error) {
	head, err := f.r.Peek(5)
	if err != nil {
		return 0, nil, err
	}
	n, kind := int(binary.BigEndian.Uint32(head))-1, head[4]
	if n < 0 || n > maxFrame {
		return 0, nil, errBadFrame
	}
	f.r.Discard(5)
	if cap(buf) < n {
		buf = make([]byte, n)
	}
	body = buf[:n]
	_, err = io.ReadFull(f.r, body)
	return kind, body, err
}

// send hands over an event. sent is false if surely nothing of it arrived.
func (f *framed) send(ev *instance.Event, deadline time.Time) error {
	h := f.head[:0]
	h = append(h, 0, 0, 0, 0, 'E', 0, 0, 0, 0)
	h = append(h, ev.RequestID...)
	h = append(h, 0)
	h = strconv.AppendInt(h, deadline.UnixMilli(), 10)
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
	streamed    bool
}

// exchange hands over ev and reads the answer.
func (f *framed) exchange(ev *instance.Event, deadline time.Time, sink instance.Sink) (*answer, error) {
	f.conn.SetDeadline(deadline)
	if err := f.send(ev, deadline); err != nil {
		return nil, err
	}
	kind, body, err := f.read(nil)
	if err != nil {
		return nil, err
	}
	switch kind {
	case 'R':
		return &answer{contentType: "application/json", payload: body}, nil
	case 'T':
		t, payload, _ := bytes.Cut(body, []byte{0})
		return &answer{contentType: string(t), payload: payload}, nil
	case 'F':
		t, payload, _ := bytes.Cut(body, []byte{0})
		return &answer{errorType: string(t), payload: payload}, nil
	case 'D':
		t, payload, _ := bytes.Cut(body, []byte{0})
		return nil, &lastWords{failure{Type: string(t), Payload: payload, Status: "error", Exit: true}}
	case 'S':
		return f.stream(string(body), sink)
	}
	return nil, errBadFrame
}

// lastWords is how an event failed whose runtime exits, having said why.
type lastWords struct{ failure }

func (w *lastWords) Error() string { return "the runtime exits: " + w.Type }

// stream reads a streamed response to its end.
func (f *framed) stream(contentType string, sink instance.Sink) (*answer, error) {
	out := newStream(contentType, sink)
	buf := make([]byte, 64<<10)
	for {
		kind, body, err := f.read(buf)
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
