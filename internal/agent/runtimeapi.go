package agent

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hearth-run/hearth/internal/instance"
)

// runtimeState is the state of a runtime; AWS's names are in runtimeStates.
type runtimeState int

const (
	stateStarted runtimeState = iota
	stateInitError
	stateRestoreReady
	stateRestoring
	stateRestoreError
	stateReady // and later ones: INIT is behind it
	stateRunning
	stateResponding
	stateResponded
)

var runtimeStates = [...]string{"Started", "InitError", "RestoreReady", "Restoring", "RuntimeRestoreErrorState", "Ready", "Running", "InvocationResponse", "RuntimeResponseSentState"}

func (s runtimeState) String() string { return runtimeStates[s] }

const runtimePrefix = "/2018-06-01/runtime/"

// route answers one request of the instance's APIs. An error closes the connection.
func (a *Agent) route(h *httpConn, r *httpRequest) error {
	e := a.current()
	if path, ok := strings.CutPrefix(r.path, runtimePrefix); ok {
		return e.runtimeRoute(h, r, path)
	}
	if path, ok := strings.CutPrefix(r.path, extensionPrefix); ok {
		return e.extensionRoute(h, r, path)
	}
	switch strings.TrimSuffix(r.path, "/") {
	case "/2022-07-01/telemetry":
		return e.subscribe(h, r, apiTelemetry)
	case "/2020-08-15/logs":
		return e.subscribe(h, r, apiLogs)
	}
	return h.notFound(r)
}

func (e *environment) runtimeRoute(h *httpConn, r *httpRequest, path string) error {
	switch {
	case path == "invocation/next" && r.method == "GET":
		return e.next(h)
	case path == "init/error" && r.method == "POST":
		return e.initError(h, r)
	case path == "restore/next" && r.method == "GET":
		return e.restoreNext(h)
	case path == "restore/error" && r.method == "POST":
		return e.restoreError(h, r)
	case path == "invocation/next", path == "init/error", path == "restore/next", path == "restore/error":
		return h.fail(405, "MethodNotAllowed", "method not allowed")
	}
	id, ok := strings.CutPrefix(path, "invocation/")
	if !ok {
		return h.notFound(r)
	}
	id, what, _ := strings.Cut(id, "/")
	switch {
	case what != "response" && what != "error":
		return h.notFound(r)
	case r.method != "POST":
		return h.fail(405, "MethodNotAllowed", "method not allowed")
	case what == "response":
		return e.response(h, r, id)
	}
	return e.invocationError(h, r, id)
}

func (h *httpConn) invalidState(from runtimeState, to string) error {
	return h.fail(403, "InvalidStateTransition", transition("runtime", from.String(), to))
}

// call is an event on its way through the Runtime API. The environment's mutex
// guards taken and given.
type call struct {
	ev       *instance.Event
	deadline time.Time
	sink     instance.Sink
	given    bool // to a connection of the runtime
	taken    bool // an answer has begun
	done     chan struct{}
	ans      *answer
	err      error

	mu  sync.Mutex // guards out: a timeout stops a stream
	out *stream
}

func (c *call) finish(ans *answer, err error) {
	c.ans, c.err = ans, err
	close(c.done)
}

// call hands over ev to a runtime that asks for its next event, and waits for
// the answer.
func (e *environment) call(ev *instance.Event, clock *clock, sink instance.Sink) (*answer, error) {
	c := &call{ev: ev, deadline: clock.deadline(), sink: sink, done: make(chan struct{})}
	e.mu.Lock()
	e.calls[ev.RequestID] = c
	e.mu.Unlock()
	e.dispatch(c)
	timer := time.NewTimer(time.Until(c.deadline))
	defer timer.Stop()
	for {
		select {
		case <-c.done:
			return c.ans, c.err
		case <-e.failed:
			select {
			case <-c.done:
				return c.ans, c.err
			default:
			}
			return c.abandon(e), errBroken
		case <-timer.C:
			if left := clock.left(); left > 0 {
				timer.Reset(left)
				continue
			}
			return c.abandon(e), os.ErrDeadlineExceeded
		}
	}
}

var errBroken = errors.New("the environment failed")

// abandon makes c's answer go nowhere. It returns what of it was streamed already.
func (c *call) abandon(e *environment) *answer {
	e.forget(c.ev.RequestID)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.out == nil {
		return nil
	}
	c.out.refused = true
	return c.out.answer
}

// forget ends what is known of a request: a late answer is to an invalid ID.
func (e *environment) forget(id string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	c := e.calls[id]
	delete(e.calls, id)
	for i, q := range e.queue {
		if q == c {
			e.queue = append(e.queue[:i], e.queue[i+1:]...)
			break
		}
	}
}

// dispatch gives c to a connection that waits for an event, or queues it for
// the next one.
func (e *environment) dispatch(c *call) {
	for {
		e.mu.Lock()
		n := len(e.waiting)
		if n == 0 {
			e.queue = append(e.queue, c)
			e.mu.Unlock()
			return
		}
		h := e.waiting[n-1]
		e.waiting = e.waiting[:n-1]
		e.giveLocked(c)
		e.mu.Unlock()
		h.unparked()
		if h.event(c) == nil {
			return
		}
	}
}

func (e *environment) giveLocked(c *call) {
	c.given = true
	if e.a.spec.MaxConcurrency == 1 {
		e.current = c
		e.state = stateRunning
	}
}

// event writes c to the runtime.
func (h *httpConn) event(c *call) error {
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

// next answers a runtime's request for its next event: now, or by whoever has one.
func (e *environment) next(h *httpConn) error {
	e.mu.Lock()
	switch e.state {
	case stateStarted, stateRestoring:
		e.mu.Unlock()
		e.runtimeReady()
		e.mu.Lock()
	case stateReady:
	case stateRunning:
		// It lost its connection: the event is still its own.
		if c := e.current; c != nil && !c.taken && e.a.spec.MaxConcurrency == 1 {
			e.mu.Unlock()
			return h.event(c)
		}
	case stateResponded:
		e.state = stateReady
		if e.round != nil {
			e.round.runtime = false
			e.round.checkLocked()
		}
	default:
		from := e.state
		e.mu.Unlock()
		return h.invalidState(from, "Ready")
	}
	if len(e.queue) > 0 {
		c := e.queue[0]
		e.queue = e.queue[1:]
		e.giveLocked(c)
		e.mu.Unlock()
		err := h.event(c)
		if err != nil {
			e.dispatch(c)
		}
		return err
	}
	if e.fault != nil || e.closing {
		e.mu.Unlock()
		return errBroken
	}
	e.waiting = append(e.waiting, h)
	h.park(func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		for i, w := range e.waiting {
			if w == h {
				e.waiting = append(e.waiting[:i], e.waiting[i+1:]...)
				break
			}
		}
	})
	e.mu.Unlock()
	return nil
}

// errorBody reads the error that a runtime reports.
func (r *httpRequest) errorBody() (errorType string, body []byte, err error) {
	errorType = get(r.header, "Lambda-Runtime-Function-Error-Type")
	body, err = r.bytes(instance.MaxResponseSize)
	if strings.HasPrefix(get(r.header, "Content-Type"), "application/vnd.aws.lambda.error.cause+json") {
		var e struct {
			Type  string          `json:"errorType"`
			Text  string          `json:"errorMessage"`
			Trace json.RawMessage `json:"stackTrace,omitempty"`
		}
		if json.Unmarshal(body, &e) == nil {
			if b, err := json.Marshal(e); err == nil {
				body = b
			}
		}
	}
	if errorType == "" { // most official clients name it in the body alone
		var e struct {
			Type string `json:"errorType"`
		}
		if json.Unmarshal(body, &e) == nil {
			errorType = e.Type
		}
	}
	if errorType == "" {
		errorType = "Runtime.Unknown"
	}
	return errorType, body, err
}

func (e *environment) initError(h *httpConn, r *httpRequest) error {
	errorType, body, err := r.errorBody()
	if err == errTooLarge {
		return h.fail(413, "RequestEntityTooLarge", exceeded)
	}
	if err != nil {
		return err
	}
	e.mu.Lock()
	from := e.state
	if from == stateRestoring {
		e.state = stateRestoreError
	} else if from == stateStarted {
		e.state = stateInitError
	}
	e.mu.Unlock()
	if from != stateStarted && from != stateRestoring {
		return h.invalidState(from, "InitError")
	}
	err = h.accept()
	e.fail(&failure{Type: errorType, Payload: body, Status: statusError})
	return err
}

// restoreNext ends INIT of a runtime that is to be snapshot. The snapshot and
// its restoring are nothing here: the hooks run, and the phase is reported.
func (e *environment) restoreNext(h *httpConn) error {
	e.mu.Lock()
	from := e.state
	if from == stateStarted {
		e.state = stateRestoring
		e.restored = time.Now()
	}
	e.mu.Unlock()
	if from != stateStarted {
		return h.invalidState(from, "Ready")
	}
	e.a.out.initRuntimeDone(e, nil)
	e.a.out.restoreStart(e)
	return h.reply(200, "application/json", nil)
}

func (e *environment) restoreError(h *httpConn, r *httpRequest) error {
	errorType, body, err := r.errorBody()
	if err != nil && err != errTooLarge {
		return err
	}
	e.mu.Lock()
	from := e.state
	if from == stateRestoring {
		e.state = stateRestoreError
	}
	e.mu.Unlock()
	if from != stateRestoring {
		return h.invalidState(from, "RuntimeRestoreErrorState")
	}
	err = h.accept()
	f := &failure{Type: errorType, Payload: body, Status: statusError}
	e.a.out.restoreRuntimeDone(e, f)
	e.fail(f)
	return err
}

// take finds the call of a request and marks it as being answered, or answers
// the runtime with an error.
func (e *environment) take(h *httpConn, id, to string) (*call, error) {
	e.mu.Lock()
	c := e.calls[id]
	switch {
	case c == nil || !c.given:
		e.mu.Unlock()
		return nil, h.fail(400, "InvalidRequestID", "Invalid request ID")
	case c.taken:
		from := e.state
		if e.a.spec.MaxConcurrency > 1 {
			from = stateResponded
		}
		e.mu.Unlock()
		return nil, h.invalidState(from, to)
	}
	c.taken = true
	if e.current == c {
		e.state = stateResponding
	}
	e.mu.Unlock()
	return c, nil
}

// answered notes that c's answer is complete.
func (e *environment) answered(c *call, ans *answer, err error) {
	e.mu.Lock()
	if e.current == c && e.state == stateResponding {
		e.state = stateResponded
	}
	e.mu.Unlock()
	c.finish(ans, err)
}

var exceeded = "Exceeded maximum allowed payload size (" + strconv.Itoa(instance.MaxResponseSize) + " bytes)."

func truncated(c *call) *answer {
	return &answer{errorType: "Runtime.TruncatedResponse", payload: errorJSON("Runtime.TruncatedResponse",
		"RequestId: "+c.ev.RequestID+" Error: the runtime's response ended early")}
}

func (e *environment) response(h *httpConn, r *httpRequest, id string) error {
	c, err := e.take(h, id, "InvocationResponse")
	if c == nil {
		return err
	}
	contentType := get(r.header, "Content-Type")
	if contentType == "" {
		contentType = "application/json"
	}
	mode := get(r.header, "Lambda-Runtime-Function-Response-Mode")
	if mode != "" && !strings.EqualFold(mode, "streaming") {
		e.answered(c, &answer{errorType: "Runtime.InvalidResponseModeHeader", payload: []byte{}}, nil)
		return h.fail(400, "InvalidFunctionResponseMode", "Invalid function response mode")
	}
	if mode != "" {
		return e.streamResponse(h, r, c, contentType)
	}
	body, err := r.bytes(instance.MaxResponseSize)
	switch {
	case err == errTooLarge:
		e.answered(c, &answer{errorType: typeTooLarge, payload: tooLarge(instance.MaxResponseSize)}, nil)
		return h.fail(413, "RequestEntityTooLarge", exceeded)
	case err != nil:
		e.answered(c, truncated(c), nil)
		h.fail(400, "TruncatedHTTPRequest", "HTTP request detected as truncated")
		return err
	}
	// Whoever waits runs while the runtime is told.
	e.answered(c, &answer{contentType: contentType, payload: body}, nil)
	return h.accept()
}

func (e *environment) streamResponse(h *httpConn, r *httpRequest, c *call, contentType string) error {
	out := newStream(contentType, c.sink, e.a.spec.StreamRate)
	c.mu.Lock()
	c.out = out
	c.mu.Unlock()
	err := r.body(func(p []byte) error {
		c.mu.Lock()
		defer c.mu.Unlock()
		out.write(p)
		if out.exceeded {
			return errTooLarge
		}
		return nil
	})
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case err == errTooLarge:
		e.answered(c, out.finish(), nil)
		h.fail(413, "RequestEntityTooLarge", exceeded)
		return err
	case err != nil:
		out.fail("Runtime.TruncatedResponse", truncated(c).payload)
		e.answered(c, out.finish(), nil)
		h.fail(400, "TruncatedHTTPRequest", "HTTP request detected as truncated")
		return err
	}
	if t := get(r.trailer, "Lambda-Runtime-Function-Error-Type"); t != "" {
		out.fail(t, decodeBase64(get(r.trailer, "Lambda-Runtime-Function-Error-Body")))
	}
	e.answered(c, out.finish(), nil)
	return h.accept()
}

func (e *environment) invocationError(h *httpConn, r *httpRequest, id string) error {
	c, err := e.take(h, id, "InvocationErrorResponse")
	if c == nil {
		return err
	}
	errorType, body, err := r.errorBody()
	if err == errTooLarge {
		e.answered(c, &answer{errorType: typeTooLarge, payload: tooLarge(instance.MaxResponseSize)}, nil)
		return h.fail(413, "RequestEntityTooLarge", exceeded)
	}
	if err != nil {
		e.answered(c, truncated(c), nil)
		h.fail(400, "TruncatedHTTPRequest", "HTTP request detected as truncated")
		return err
	}
	e.answered(c, &answer{errorType: errorType, payload: body}, nil)
	return h.accept()
}

func decodeBase64(s string) []byte {
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		return []byte(s)
	}
	return b
}
