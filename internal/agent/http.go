package agent

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// apiServer serves the instance's HTTP APIs. It is small on purpose: official
// runtime clients ask it once for each event, so its cost is part of every
// invocation; and nothing of it outlives the instance.
type apiServer struct {
	a  *Agent
	ln net.Listener
	wg sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]struct{}
	shut  bool
}

func newAPIServer(a *Agent, ln net.Listener) *apiServer {
	return &apiServer{a: a, ln: ln, conns: make(map[net.Conn]struct{})}
}

func (s *apiServer) serve() {
	for {
		c, err := s.ln.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				break
			}
			time.Sleep(10 * time.Millisecond) // out of descriptors
			continue
		}
		s.mu.Lock()
		if s.shut || len(s.conns) >= 512 {
			s.mu.Unlock()
			c.Close()
			continue
		}
		s.conns[c] = struct{}{}
		s.mu.Unlock()
		s.wg.Go(func() {
			newHTTPConn(s, c).serve()
			c.Close()
			s.mu.Lock()
			delete(s.conns, c)
			s.mu.Unlock()
		})
	}
	s.wg.Wait()
}

func (s *apiServer) close() {
	s.ln.Close()
	s.mu.Lock()
	s.shut = true
	for c := range s.conns {
		c.Close()
	}
	s.mu.Unlock()
}

// httpConn is one connection of a client. Its goroutine reads requests and
// answers them; but a request that waits for an event is answered by whoever
// has one, while the connection's goroutine is parked: it reads on, and so sees
// when the client goes away.
type httpConn struct {
	s *apiServer
	c net.Conn
	r *bufio.Reader

	write sync.Mutex // held while writing; guards out
	out   []byte

	parked atomic.Bool
	leave  func() // takes the parked connection from where it waits; valid while parked
}

func newHTTPConn(s *apiServer, c net.Conn) *httpConn {
	return &httpConn{s: s, c: c, r: bufio.NewReaderSize(c, 8<<10)}
}

// park notes that the answer to the last request comes later, by another
// goroutine, which calls unparked first. leave is called if the client goes away before.
func (h *httpConn) park(leave func()) {
	h.leave = leave
	h.parked.Store(true)
}

func (h *httpConn) unparked() { h.parked.Store(false) }

// httpRequest is a request whose body has not been read yet.
type httpRequest struct {
	conn         *httpConn
	method, path string
	header       []headerField
	length       int64 // -1 when chunked
	trailer      []headerField
	expect       bool
	close        bool
	done         bool // the body has been read
}

type headerField struct{ name, value string }

func get(h []headerField, name string) string {
	for _, f := range h {
		if strings.EqualFold(f.name, name) {
			return f.value
		}
	}
	return ""
}

var errMalformed = errors.New("malformed HTTP request")

const (
	maxHeaderLine = 64 << 10
	maxHeaders    = 200
)

func (h *httpConn) line() ([]byte, error) {
	line, err := h.r.ReadSlice('\n')
	if err == bufio.ErrBufferFull {
		long := append([]byte(nil), line...)
		for err == bufio.ErrBufferFull && len(long) <= maxHeaderLine {
			line, err = h.r.ReadSlice('\n')
			long = append(long, line...)
		}
		line = long
		if len(line) > maxHeaderLine {
			return nil, errMalformed
		}
	}
	if err != nil {
		return nil, err
	}
	return bytes.TrimRight(line, "\r\n"), nil
}

func (h *httpConn) fields() ([]headerField, error) {
	var fields []headerField
	for {
		line, err := h.line()
		if err != nil {
			return nil, err
		}
		if len(line) == 0 {
			return fields, nil
		}
		name, value, ok := bytes.Cut(line, []byte(":"))
		if !ok || len(fields) >= maxHeaders {
			return nil, errMalformed
		}
		fields = append(fields, headerField{string(name), string(bytes.TrimSpace(value))})
	}
}

// request reads the head of the next request.
func (h *httpConn) request() (*httpRequest, error) {
	line, err := h.line()
	if err != nil {
		return nil, err
	}
	parts := strings.Split(string(line), " ")
	if len(parts) != 3 || !strings.HasPrefix(parts[2], "HTTP/1.") || parts[1] == "" {
		return nil, errMalformed
	}
	r := &httpRequest{conn: h, method: parts[0], path: parts[1], close: parts[2] == "HTTP/1.0"}
	if i := strings.IndexByte(r.path, '?'); i >= 0 {
		r.path = r.path[:i]
	}
	if strings.HasPrefix(r.path, "http://") {
		if i := strings.IndexByte(r.path[7:], '/'); i >= 0 {
			r.path = r.path[7+i:]
		}
	}
	if r.header, err = h.fields(); err != nil {
		return nil, err
	}
	if err := r.frame(); err != nil {
		return nil, err
	}
	return r, nil
}

// frame finds in the header how the body is framed.
func (r *httpRequest) frame() (err error) {
	for _, f := range r.header {
		switch {
		case strings.EqualFold(f.name, "Content-Length"):
			if r.length == -1 {
				return errMalformed
			}
			if r.length, err = strconv.ParseInt(f.value, 10, 62); err != nil || r.length < 0 {
				return errMalformed
			}
		case strings.EqualFold(f.name, "Transfer-Encoding"):
			if !strings.EqualFold(f.value, "chunked") || r.length > 0 {
				return errMalformed
			}
			r.length = -1
		case strings.EqualFold(f.name, "Connection"):
			r.close = r.close || strings.EqualFold(f.value, "close")
		case strings.EqualFold(f.name, "Expect"):
			r.expect = strings.EqualFold(f.value, "100-continue")
		}
	}
	r.done = r.length == 0
	return nil
}

// body calls take with the pieces of r's body until its end or an error of take.
func (r *httpRequest) body(take func([]byte) error) error {
	h := r.conn
	if r.done {
		return nil
	}
	if r.expect {
		r.expect = false
		if _, err := h.c.Write([]byte("HTTP/1.1 100 Continue\r\n\r\n")); err != nil {
			return err
		}
	}
	buf := make([]byte, min(64<<10, max(r.length, 16<<10)))
	copyN := func(n int64) error {
		for n > 0 {
			k, err := h.r.Read(buf[:min(int64(len(buf)), n)])
			if k > 0 {
				n -= int64(k)
				if err := take(buf[:k]); err != nil {
					return err
				}
			}
			if err != nil {
				if err == io.EOF {
					err = io.ErrUnexpectedEOF
				}
				return err
			}
		}
		return nil
	}
	if r.length >= 0 {
		err := copyN(r.length)
		r.done = err == nil
		return err
	}
	for {
		line, err := h.line()
		if err != nil {
			return io.ErrUnexpectedEOF
		}
		size, _, _ := bytes.Cut(line, []byte(";"))
		n, err := strconv.ParseInt(string(bytes.TrimSpace(size)), 16, 62)
		if err != nil || n < 0 {
			return errMalformed
		}
		if n == 0 {
			r.trailer, err = h.fields()
			r.done = err == nil
			return err
		}
		if err := copyN(n); err != nil {
			return err
		}
		if line, err := h.line(); err != nil || len(line) > 0 {
			return errMalformed
		}
	}
}

var errTooLarge = errors.New("body too large")

// bytes returns r's whole body, of at most limit bytes.
func (r *httpRequest) bytes(limit int) ([]byte, error) {
	if r.length > int64(limit) {
		return nil, errTooLarge
	}
	b := make([]byte, 0, max(0, min(r.length, int64(limit))))
	err := r.body(func(p []byte) error {
		if len(b)+len(p) > limit {
			return errTooLarge
		}
		b = append(b, p...)
		return nil
	})
	return b, err
}

// reply writes a response with a body.
func (h *httpConn) reply(status int, contentType string, body []byte, fields ...headerField) error {
	h.write.Lock()
	defer h.write.Unlock()
	b := h.out[:0]
	b = append(b, "HTTP/1.1 "...)
	b = strconv.AppendInt(b, int64(status), 10)
	b = append(b, ' ')
	b = append(b, statusText(status)...)
	b = append(b, "\r\nContent-Type: "...)
	b = append(b, contentType...)
	for _, f := range fields {
		if f.value == "" {
			continue
		}
		b = append(b, "\r\n"...)
		b = append(b, f.name...)
		b = append(b, ": "...)
		b = append(b, f.value...)
	}
	b = append(b, "\r\nContent-Length: "...)
	b = strconv.AppendInt(b, int64(len(body)), 10)
	b = append(b, "\r\n\r\n"...)
	var err error
	if len(body) <= 64<<10 {
		b = append(b, body...)
		_, err = h.c.Write(b)
	} else {
		_, err = (&net.Buffers{b, body}).WriteTo(h.c)
	}
	if cap(b) <= 128<<10 {
		h.out = b
	}
	return err
}

func statusText(status int) string {
	switch status {
	case 200:
		return "OK"
	case 202:
		return "Accepted"
	case 400:
		return "Bad Request"
	case 403:
		return "Forbidden"
	case 404:
		return "Not Found"
	case 405:
		return "Method Not Allowed"
	case 410:
		return "Gone"
	case 413:
		return "Request Entity Too Large"
	}
	return "Internal Server Error"
}

// fail answers with an error of the Runtime, Extensions and Telemetry APIs.
func (h *httpConn) fail(status int, errorType, message string) error {
	b, err := json.Marshal(struct {
		M string `json:"errorMessage"`
		T string `json:"errorType"`
	}{message, errorType})
	if err != nil {
		return err
	}
	return h.reply(status, "application/json", append(b, '\n'))
}

func (h *httpConn) notFound(r *httpRequest) error {
	return h.fail(404, "NotFound", "there is no "+r.method+" "+r.path)
}

var accepted = []byte(`{"status":"OK"}` + "\n")

func (h *httpConn) accept() error { return h.reply(202, "application/json", accepted) }

func (h *httpConn) serve() {
	defer func() {
		if h.parked.Load() {
			h.leave()
		}
	}()
	for {
		r, err := h.request()
		if err != nil {
			if err == errMalformed && !h.parked.Load() {
				h.fail(400, "InvalidRequest", "malformed HTTP request")
			}
			return
		}
		if h.parked.Load() {
			return // it did not wait for its answer
		}
		if err := h.s.a.route(h, r); err != nil {
			return
		}
		if !r.done { // an answer before the end of the body
			if r.length > 8<<20 || r.body(func([]byte) error { return nil }) != nil {
				return
			}
		}
		if r.close && !h.parked.Load() {
			return
		}
	}
}
