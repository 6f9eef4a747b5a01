package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/hearth-run/hearth/internal/awsapi"
)

const (
	// Bodies must come, and be taken, at this rate at least, after a grace time.
	bodyGrace = 20 * time.Second
	bodyRate  = 64 << 10 // bytes a second

	// drainLimit is how much of a body that is too large is read and dropped,
	// so that the client reads the answer before the connection closes.
	drainLimit = 64 << 20
)

// readBody reads the whole body, of at most limit bytes. name is the operation's in AWS's words.
func (x *exchange) readBody(limit int64, name string) ([]byte, error) {
	n := x.r.ContentLength
	if n == 0 {
		return nil, nil
	}
	if n > limit {
		x.drain()
		return nil, tooLarge(limit, name)
	}
	reserve := n
	if n < 0 {
		reserve = limit
	}
	if err := x.budget.acquire(x.r.Context(), reserve); err != nil {
		return nil, err
	}
	defer x.budget.release(reserve)

	// A client that sends a byte a second must not hold the budget for ever.
	control := http.NewResponseController(x.w)
	_ = control.SetReadDeadline(time.Now().Add(x.grace + time.Duration(reserve)*time.Second/bodyRate)) // best effort: not all connections have deadlines
	body, err := readAll(x.r.Body, n, limit)
	switch {
	case err == nil:
		_ = control.SetReadDeadline(time.Time{})
		return body, nil
	case errors.Is(err, errTooLong):
		x.drain()
		return nil, tooLarge(limit, name)
	case errors.Is(err, os.ErrDeadlineExceeded):
		x.w.Header().Set("Connection", "close")
		return nil, &awsapi.Error{Code: "RequestTimeoutException", Status: http.StatusRequestTimeout, Fault: "User", Message: "The request body was sent too slowly."}
	}
	x.w.Header().Set("Connection", "close")
	return nil, &awsapi.Error{Code: "SerializationException", Status: http.StatusBadRequest, Message: "The request body could not be read.", Cause: err}
}

var errTooLong = errors.New("body is too long")

// readAll reads a body of n bytes, or of at most limit if n is negative.
func readAll(r io.Reader, n, limit int64) ([]byte, error) {
	if n >= 0 {
		b := make([]byte, n)
		_, err := io.ReadFull(r, b)
		return b, err
	}
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = errTooLong
	}
	return b, err
}

func tooLarge(limit int64, name string) error {
	return &awsapi.Error{Code: "RequestEntityTooLargeException", Status: http.StatusRequestEntityTooLarge, Fault: "User",
		Message: fmt.Sprintf("Request must be smaller than %d bytes for the %s operation", limit, name)}
}

// drain drops the rest of a body that is too large, up to a point, before the
// answer is written: most clients send everything before they look for an
// answer. Those that wait to be asked for the body are not asked.
func (x *exchange) drain() {
	x.w.Header().Set("Connection", "close")
	if x.r.Header.Get("Expect") != "" {
		return
	}
	_ = http.NewResponseController(x.w).SetReadDeadline(time.Now().Add(x.grace)) // best effort, as above
	_, _ = io.CopyN(io.Discard, x.r.Body, drainLimit)                            // whatever ends it, the answer follows
}

// promptSize is how much of an answer fits the buffers between here and the client.
const promptSize = 32 << 10

// write writes an answer's body. A client that reads it too slowly is cut off:
// it would hold the body in memory for as long as it likes.
func (x *exchange) write(b []byte) {
	if len(b) <= promptSize {
		_, _ = x.w.Write(b) // the client may be gone
		return
	}
	control := http.NewResponseController(x.w)
	_ = control.SetWriteDeadline(time.Now().Add(x.grace + time.Duration(len(b))*time.Second/bodyRate)) // best effort, as above
	if _, err := x.w.Write(b); err == nil {
		_ = control.SetWriteDeadline(time.Time{})
	}
}

// budget is a weighted semaphore over bytes; who waits is served in order.
type budget struct {
	size int64

	mu      sync.Mutex
	free    int64 // guarded by mu
	waiting []*waiter
}

type waiter struct {
	n     int64
	ready chan struct{}
}

func newBudget(size int64) *budget { return &budget{size: size, free: size} }

// acquire takes n bytes (or all there are, if n is more) and waits for them until ctx ends.
func (b *budget) acquire(ctx context.Context, n int64) error {
	n = min(n, b.size)
	b.mu.Lock()
	if len(b.waiting) == 0 && b.free >= n {
		b.free -= n
		b.mu.Unlock()
		return nil
	}
	w := &waiter{n: n, ready: make(chan struct{})}
	b.waiting = append(b.waiting, w)
	b.mu.Unlock()
	select {
	case <-w.ready:
		return nil
	case <-ctx.Done():
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	select {
	case <-w.ready: // served in the meantime
		b.free += n
	default:
		for i, other := range b.waiting {
			if other == w {
				b.waiting = append(b.waiting[:i], b.waiting[i+1:]...)
				break
			}
		}
	}
	b.serveLocked()
	return ctx.Err()
}

// release gives back what acquire(ctx, n) took.
func (b *budget) release(n int64) {
	b.mu.Lock()
	b.free += min(n, b.size)
	b.serveLocked()
	b.mu.Unlock()
}

func (b *budget) serveLocked() {
	for len(b.waiting) > 0 && b.free >= b.waiting[0].n {
		w := b.waiting[0]
		b.free -= w.n
		b.waiting = b.waiting[1:]
		close(w.ready)
	}
}
