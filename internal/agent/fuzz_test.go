package agent

import (
	"bufio"
	"bytes"
	"io"
	"testing"
)

// FuzzRequest reads whatever a client may send: an error or a request, never a panic, and never more than was sent.
func FuzzRequest(f *testing.F) {
	f.Add([]byte("GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: x\r\n\r\n"))
	f.Add([]byte("POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTrailer: A\r\n\r\n3;x=y\r\nabc\r\n0\r\nA: b\r\n\r\n"))
	f.Add([]byte("POST http://h/x?y HTTP/1.0\r\nContent-Length: 3\r\nExpect: nothing\r\n\r\nabc"))
	f.Fuzz(func(t *testing.T, b []byte) {
		h := &httpConn{r: bufio.NewReader(bytes.NewReader(b))}
		for {
			r, err := h.request()
			if err != nil {
				return
			}
			r.expect = false // there is no connection to write to
			body, err := r.bytes(1 << 20)
			if len(body) > len(b) {
				t.Fatalf("a body of %d bytes in %d", len(body), len(b))
			}
			if err != nil {
				return
			}
		}
	})
}

// FuzzFrames reads whatever a runtime may send over its framed socket.
func FuzzFrames(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x01N\x00\x00\x00\x03R{}"))
	f.Add([]byte("\xff\xff\xff\xffR"))
	f.Fuzz(func(t *testing.T, b []byte) {
		fr := &framed{r: bufio.NewReaderSize(bytes.NewReader(b), 16<<10)}
		for {
			_, body, err := fr.read(nil)
			if err != nil {
				if err != errBadFrame && err != io.EOF && err != io.ErrUnexpectedEOF {
					t.Fatalf("read() = %v", err)
				}
				return
			}
			if len(body) > len(b) {
				t.Fatalf("a frame of %d bytes in %d", len(body), len(b))
			}
		}
	})
}
