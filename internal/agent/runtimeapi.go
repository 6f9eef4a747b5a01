package agent

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hearth-run/hearth/internal/instance"
)

const runtimePrefix = "/2018-06-01/runtime/"

// route answers one request of the instance's APIs.
func (a *Agent) route(h *httpConn, r *httpRequest) error {
	a.mu.Lock()
	env := a.env
	a.mu.Unlock()
	path, ok := strings.CutPrefix(r.path, runtimePrefix)
	if !ok {
		return h.fail(404, "NotFound", "there is no "+r.path)
	}
	switch {
	case path == "invocation/next" && r.method == "GET":
		return env.http.next(h)
	case path == "init/error" && r.method == "POST":
		return env.http.initError(h, r)
	case strings.HasPrefix(path, "invocation/") && r.method == "POST":
		id, what, _ := strings.Cut(strings.TrimPrefix(path, "invocation/"), "/")
		switch what {
		case "response":
			return env.http.response(h, r, id)
		case "error":
			return env.http.failure(h, r, id)
		}
	case path == "invocation/next", path == "init/error":
		return h.fail(405, "MethodNotAllowed", "method not allowed")
	}
	return h.fail(404, "NotFound", "there is no "+r.path)
}

// httpRuntime is a runtime that speaks the Runtime API.
type httpRuntime struct {
	e      *environment
	events chan *call
	gone   chan struct{}
	once   sync.Once

	mu    sync.Mutex
	calls map[string]*call
}

// call is an event on its way through the Runtime API.
type call struct {
	ev       *instance.Event
	deadline time.Time
	sink     instance.Sink
	taken    bool // a response has begun
	done     chan struct{}
	ans      *answer
	err      error
}

func newHTTPRuntime(e *environment) *httpRuntime {
	return &httpRuntime{e: e, events: make(chan *call), gone: make(chan struct{}), calls: make(map[string]*call)}
}

func (t *httpRuntime) closeAll() { t.once.Do(func() { close(t.gone) }) }

var errGone = errors.New("the environment is gone")

// exchange hands over ev to a runtime that asks for its next one.
func (t *httpRuntime) exchange(ev *instance.Event, deadline time.Time, sink instance.Sink) (*answer, error) {
	c := &call{ev: ev, deadline: deadline, sink: sink, done: make(chan struct{})}
	t.mu.Lock()
	t.calls[ev.RequestID] = c
	t.mu.Unlock()
	defer func() {
		t.mu.Lock()
		delete(t.calls, ev.RequestID)
		t.mu.Unlock()
	}()
	timer := time.NewTimer(time.Until(deadline))
	defer timer.Stop()
	select {
	case t.events <- c:
	case <-t.e.runtime.Done():
		return nil, errGone
	case <-timer.C:
		return nil, os.ErrDeadlineExceeded
	}
	select {
	case <-c.done:
		return c.ans, c.err
	case <-t.e.runtime.Done():
		select {
		case <-c.done:
			return c.ans, c.err
		default:
			return nil, errGone
		}
	case <-timer.C:
		t.mu.Lock()
		defer t.mu.Unlock()
		if c.taken {
			return &answer{streamed: true}, os.ErrDeadlineExceeded
		}
		return nil, os.ErrDeadlineExceeded
	}
}

func (t *httpRuntime) next(h *httpConn) error {
	t.e.word(nil)
	var c *call
	select {
	case c = <-t.events:
	case <-t.gone:
		return errGone
	}
	ev := c.ev
	return h.reply(200, "application/json", ev.Payload,
		headerField{"Lambda-Runtime-Aws-Request-Id", ev.RequestID},
		headerField{"Lambda-Runtime-Deadline-Ms", strconv.FormatInt(c.deadline.UnixMilli(), 10)},
		headerField{"Lambda-Runtime-Invoked-Function-Arn", ev.FunctionARN},
		headerField{"Lambda-Runtime-Trace-Id", ev.TraceID},
		headerField{"Lambda-Runtime-Client-Context", ev.ClientContext},
		headerField{"Lambda-Runtime-Cognito-Identity", ev.CognitoIdentity},
		headerField{"Lambda-Runtime-Aws-Tenant-Id", ev.TenantID},
	)
}

func (t *httpRuntime) initError(h *httpConn, r *httpRequest) error {
	body, err := r.bytes(instance.MaxResponseSize)
	if err == errTooLarge {
		return h.fail(413, "RequestEntityTooLarge", "the body is too large")
	}
	if err != nil {
		return err
	}
	select {
	case <-t.e.over:
		return h.fail(403, "InvalidStateTransition", "State transition from Ready to InitError failed for runtime. Error: State transition is not allowed")
	default:
	}
	errorType := get(r.header, "Lambda-Runtime-Function-Error-Type")
	if errorType == "" {
		errorType = "Runtime.Unknown"
	}
	t.e.word(&failure{Type: errorType, Payload: body, Status: "error"})
	return h.accept()
}

// take finds the call of a request, and marks it as being answered.
func (t *httpRuntime) take(h *httpConn, id string) (*call, error) {
	t.mu.Lock()
	c := t.calls[id]
	taken := c != nil && c.taken
	if c != nil {
		c.taken = true
	}
	t.mu.Unlock()
	switch {
	case c == nil:
		return nil, h.fail(400, "InvalidRequestID", "Invalid request ID")
	case taken:
		return nil, h.fail(403, "InvalidStateTransition", "State transition from Ready to RuntimeResponseSent failed for runtime. Error: State transition is not allowed")
	}
	return c, nil
}

func (c *call) finish(ans *answer, err error) {
	c.ans, c.err = ans, err
	close(c.done)
}

func (t *httpRuntime) response(h *httpConn, r *httpRequest, id string) error {
	c, err := t.take(h, id)
	if c == nil {
		return err
	}
	contentType := get(r.header, "Content-Type")
	if contentType == "" {
		contentType = "application/json"
	}
	if strings.EqualFold(get(r.header, "Lambda-Runtime-Function-Response-Mode"), "streaming") {
		out := newStream(contentType, c.sink)
		if err := r.body(func(p []byte) error { out.write(p); return nil }); err != nil {
			c.finish(out.answer, errGone)
			return err
		}
		if e := get(r.trailer, "Lambda-Runtime-Function-Error-Type"); e != "" {
			out.fail(e, decodeBase64(get(r.trailer, "Lambda-Runtime-Function-Error-Body")))
		}
		c.finish(out.finish(), nil)
		return h.accept()
	}
	body, err := r.bytes(instance.MaxResponseSize)
	if err == errTooLarge {
		c.finish(&answer{errorType: "Function.ResponseSizeTooLarge", payload: tooLarge()}, nil)
		return h.fail(413, "RequestEntityTooLarge", "Exceeded maximum allowed payload size ("+strconv.Itoa(instance.MaxResponseSize)+" bytes).")
	}
	if err != nil {
		c.finish(nil, errGone)
		return err
	}
	c.finish(&answer{contentType: contentType, payload: body}, nil)
	return h.accept()
}

func (t *httpRuntime) failure(h *httpConn, r *httpRequest, id string) error {
	c, err := t.take(h, id)
	if c == nil {
		return err
	}
	body, err := r.bytes(instance.MaxResponseSize)
	if err != nil && err != errTooLarge {
		c.finish(nil, errGone)
		return err
	}
	errorType := get(r.header, "Lambda-Runtime-Function-Error-Type")
	if errorType == "" {
		errorType = "Runtime.Unknown"
	}
	c.finish(&answer{errorType: errorType, payload: body}, nil)
	return h.accept()
}
