package instance

import (
	"bufio"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// The wire between a Client (in the server) and a Server (the agent's end).
//
// There are three kinds of connections. The one control connection carries what
// concerns the instance: the spec, log records, "ready", "ended", shutdown. Event
// connections carry one event at a time, from the event to "settled", so that a
// slow reader of one response holds up no other. Forward connections carry what
// the function connects to (forward.go). All are dialled by the Client.
//
// A connection begins with proofs, both ways, of a secret that was given to
// both ends at launch; the secret itself is never sent:
//
//	client: magic, kind, nonce(16)
//	agent:  nonce(16), HMAC-SHA256(secret, "agent", kind, both nonces)
//	client: HMAC-SHA256(secret, "server", kind, both nonces)
//
// Frames follow: 4 bytes big-endian length of the rest, a type byte, a body.
const (
	wireMagic  = "hearth1\n"
	nonceSize  = 16
	proofSize  = sha256.Size
	maxMessage = MaxResponseSize + 1<<20 // of a frame
)

type connKind byte

const (
	controlConn connKind = 'C'
	eventConn   connKind = 'E'
	forwardConn connKind = 'T' // see forward.go
)

// Frame types. On the control connection, from the client: spec, ack, ping,
// shutdown; from the agent: welcome, log, ready, ended, ping, refused. On event
// connections, from the client: event; from the agent: begin, chunk, result,
// settled, notHandedOver, failed.
const (
	frameSpec          = 'P' // Spec as JSON: begin INIT
	frameAck           = 'K' // the sequence number of the last log record that is safe
	framePing          = 'H' // answered by the same
	frameShutdown      = 'D' // milliseconds that it may take
	frameWelcome       = 'W' // the first frame of the agent
	frameLog           = 'L' // a log record
	frameReady         = 'Y'
	frameEnded         = 'Z' // EndReason as JSON; after all log records
	frameRefused       = 'X' // why the spec could not be started
	frameEvent         = 'V'
	frameBegin         = 'B' // content type of a streamed response
	frameChunk         = 'C'
	frameResult        = 'R'
	frameSettled       = 'S' // the complete report
	frameNotHandedOver = 'N' // text
	frameFailed        = 'F' // text
	frameForward       = 'T' // the address that the function connects to
)

const (
	pingEvery   = 10 * time.Second
	wireSilence = 35 * time.Second // after which a control connection is given up
	handshake   = 10 * time.Second
)

var (
	errWire   = errors.New("instance: malformed frame")
	errSecret = errors.New("instance: the other end does not know the secret")
)

// wireConn is a connection after its handshake. One goroutine at a time reads;
// writes must be serialised by the user.
type wireConn struct {
	net.Conn
	r   *bufio.Reader
	buf []byte // of the last frame read, up to a size
	out []byte // scratch for writing
}

func proof(secret []byte, role string, kind connKind, client, agent []byte) []byte {
	h := hmac.New(sha256.New, secret)
	io.WriteString(h, role)
	h.Write([]byte{byte(kind)})
	h.Write(client)
	h.Write(agent)
	return h.Sum(nil)
}

// dialHandshake does the client's part.
func dialHandshake(c net.Conn, secret []byte, kind connKind) (*wireConn, error) {
	w := &wireConn{Conn: c, r: bufio.NewReaderSize(c, 32<<10)}
	c.SetDeadline(time.Now().Add(handshake))
	hello := make([]byte, 0, len(wireMagic)+1+nonceSize)
	hello = append(hello, wireMagic...)
	hello = append(hello, byte(kind))
	nonce := make([]byte, nonceSize)
	rand.Read(nonce)
	if _, err := c.Write(append(hello, nonce...)); err != nil {
		return nil, err
	}
	answer := make([]byte, nonceSize+proofSize)
	if _, err := io.ReadFull(w.r, answer); err != nil {
		return nil, fmt.Errorf("read the agent's proof: %w", err)
	}
	theirs := answer[:nonceSize]
	if !hmac.Equal(answer[nonceSize:], proof(secret, "agent", kind, nonce, theirs)) {
		return nil, errSecret
	}
	if _, err := c.Write(proof(secret, "server", kind, nonce, theirs)); err != nil {
		return nil, err
	}
	c.SetDeadline(time.Time{})
	return w, nil
}

// acceptHandshake does the agent's part.
func acceptHandshake(c net.Conn, secret []byte) (*wireConn, connKind, error) {
	w := &wireConn{Conn: c, r: bufio.NewReaderSize(c, 32<<10)}
	c.SetDeadline(time.Now().Add(handshake))
	hello := make([]byte, len(wireMagic)+1+nonceSize)
	if _, err := io.ReadFull(w.r, hello); err != nil {
		return nil, 0, err
	}
	kind := connKind(hello[len(wireMagic)])
	if string(hello[:len(wireMagic)]) != wireMagic || (kind != controlConn && kind != eventConn && kind != forwardConn) {
		return nil, 0, errWire
	}
	theirs := hello[len(wireMagic)+1:]
	nonce := make([]byte, nonceSize)
	rand.Read(nonce)
	if _, err := c.Write(append(append([]byte(nil), nonce...), proof(secret, "agent", kind, theirs, nonce)...)); err != nil {
		return nil, 0, err
	}
	p := make([]byte, proofSize)
	if _, err := io.ReadFull(w.r, p); err != nil {
		return nil, 0, err
	}
	if !hmac.Equal(p, proof(secret, "server", kind, theirs, nonce)) {
		return nil, 0, errSecret
	}
	c.SetDeadline(time.Time{})
	return w, kind, nil
}

// read returns the next frame. The body is valid until the next read.
func (w *wireConn) read() (kind byte, body []byte, err error) {
	head, err := w.r.Peek(5)
	if err != nil {
		return 0, nil, err
	}
	n, kind := int(binary.BigEndian.Uint32(head))-1, head[4]
	if n < 0 || n > maxMessage {
		return 0, nil, errWire
	}
	w.r.Discard(5)
	body = w.buf
	if cap(body) < n {
		body = make([]byte, n)
		if n <= 128<<10 {
			w.buf = body
		}
	}
	body = body[:n]
	_, err = io.ReadFull(w.r, body)
	return kind, body, err
}

// write sends a frame whose body is head and then payload.
func (w *wireConn) write(kind byte, head, payload []byte) error {
	b := binary.BigEndian.AppendUint32(w.out[:0], uint32(1+len(head)+len(payload)))
	b = append(b, kind)
	b = append(b, head...)
	var err error
	if len(payload) <= 64<<10 {
		b = append(b, payload...)
		_, err = w.Conn.Write(b)
	} else {
		_, err = (&net.Buffers{b, payload}).WriteTo(w.Conn)
	}
	if cap(b) <= 128<<10 {
		w.out = b
	}
	return err
}

func (w *wireConn) writeJSON(kind byte, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("instance: encode a frame: %w", err)
	}
	return w.write(kind, nil, b)
}

// Bodies are built of varints and of strings with a varint length before them.

func putString[T ~string | ~[]byte](b []byte, s T) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func putInt(b []byte, n int64) []byte { return binary.AppendVarint(b, n) }

func putBool(b []byte, v bool) []byte {
	if v {
		return append(b, 1)
	}
	return append(b, 0)
}

// body reads what the put functions wrote. After a failure it returns zeros.
type bodyReader struct {
	b   []byte
	bad bool
}

func (r *bodyReader) bytes() []byte {
	n, k := binary.Uvarint(r.b)
	if r.bad || k <= 0 || n > uint64(len(r.b)-k) {
		r.bad = true
		return nil
	}
	s := r.b[k : k+int(n)]
	r.b = r.b[k+int(n):]
	return s
}

func (r *bodyReader) string() string { return string(r.bytes()) }

func (r *bodyReader) int() int64 {
	n, k := binary.Varint(r.b)
	if r.bad || k <= 0 {
		r.bad = true
		return 0
	}
	r.b = r.b[k:]
	return n
}

func (r *bodyReader) bool() bool {
	if r.bad || len(r.b) == 0 {
		r.bad = true
		return false
	}
	v := r.b[0] != 0
	r.b = r.b[1:]
	return v
}

func (r *bodyReader) rest() []byte { return r.b }

func (r *bodyReader) err() error {
	if r.bad {
		return errWire
	}
	return nil
}

// appendEvent appends e but for its payload.
func appendEvent(b []byte, e *Event) []byte {
	b = putString(b, e.RequestID)
	b = putInt(b, int64(e.Timeout))
	b = putString(b, e.FunctionARN)
	b = putString(b, e.TraceID)
	b = putString(b, e.ClientContext)
	b = putString(b, e.CognitoIdentity)
	b = putString(b, e.TenantID)
	b = putBool(b, e.Stream)
	return putBool(b, e.Tail)
}

// parseEvent returns an event whose payload lies in body.
func parseEvent(body []byte) (*Event, error) {
	r := bodyReader{b: body}
	e := &Event{
		RequestID:       r.string(),
		Timeout:         time.Duration(r.int()),
		FunctionARN:     r.string(),
		TraceID:         r.string(),
		ClientContext:   r.string(),
		CognitoIdentity: r.string(),
		TenantID:        r.string(),
		Stream:          r.bool(),
		Tail:            r.bool(),
	}
	e.Payload = r.rest()
	return e, r.err()
}

func appendReport(b []byte, p *Report) []byte {
	b = putString(b, p.RequestID)
	for _, d := range [...]time.Duration{p.Duration, p.BilledDuration, p.InitDuration, p.RestoreDuration} {
		b = putInt(b, int64(d))
	}
	b = putInt(b, int64(p.MemorySize))
	b = putInt(b, int64(p.MaxMemoryUsed))
	b = putString(b, p.Status)
	return putString(b, p.ErrorType)
}

func parseReport(r *bodyReader) Report {
	return Report{
		RequestID:       r.string(),
		Duration:        time.Duration(r.int()),
		BilledDuration:  time.Duration(r.int()),
		InitDuration:    time.Duration(r.int()),
		RestoreDuration: time.Duration(r.int()),
		MemorySize:      int(r.int()),
		MaxMemoryUsed:   int(r.int()),
		Status:          r.string(),
		ErrorType:       r.string(),
	}
}

// appendResult appends r but for its payload.
func appendResult(b []byte, r *Result) []byte {
	b = putBool(b, r.Settled == nil)
	b = putString(b, r.ContentType)
	b = putString(b, string(r.FunctionError))
	b = putString(b, r.ErrorType)
	b = putString(b, r.ErrorMessage)
	b = putString(b, r.LogTail)
	if r.Settled == nil {
		b = appendReport(b, &r.Report)
	}
	return b
}

// parseResult returns a copy of what body holds, and whether it is settled.
func parseResult(body []byte) (*Result, bool, error) {
	r := bodyReader{b: body}
	settled := r.bool()
	res := &Result{
		ContentType:   r.string(),
		FunctionError: FunctionError(r.string()),
		ErrorType:     r.string(),
		ErrorMessage:  r.string(),
	}
	if t := r.bytes(); len(t) > 0 {
		res.LogTail = append([]byte(nil), t...)
	}
	if settled {
		res.Report = parseReport(&r)
	}
	if p := r.rest(); len(p) > 0 {
		res.Payload = append([]byte(nil), p...)
	}
	return res, settled, r.err()
}

func appendLog(b []byte, seq int64, r LogRecord) []byte {
	start := len(b)
	b = append(b, 0, 0, 0, 0, frameLog)
	b = putInt(b, seq)
	b = putInt(b, r.Time.UnixNano())
	b = putString(b, string(r.Kind))
	b = putString(b, r.RequestID)
	b = append(b, r.Message...)
	binary.BigEndian.PutUint32(b[start:], uint32(len(b)-start-4))
	return b
}

// parseLog returns a record whose message lies in body.
func parseLog(body []byte) (seq int64, rec LogRecord, err error) {
	r := bodyReader{b: body}
	seq = r.int()
	rec = LogRecord{Time: time.Unix(0, r.int()), Kind: LogKind(r.string()), RequestID: r.string()}
	rec.Message = r.rest()
	return seq, rec, r.err()
}
