// Package agenttest checks that an agent keeps the rules of the Runtime and
// Extensions APIs. It speaks raw HTTP in the runtime's place and hands over
// events by instance.Agent, so that it runs against an agent in this process as
// well as against one at the other end of a wire.
package agenttest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hearth-run/hearth/internal/instance"
)

// Subject is an agent in its first INIT, whose runtime process stays silent: the
// suite is the runtime.
type Subject struct {
	Agent instance.Agent
	API   string // host:port of its APIs
}

// Run runs the suite. start makes a new subject, whose function has the version
// $LATEST, for an on-demand environment that serves so many events at once, and ends
// it with the test.
func Run(t *testing.T, start func(t *testing.T, concurrency int) Subject) {
	for name, check := range map[string]func(*testing.T, Subject){
		"Order":             order,
		"Errors":            functionErrors,
		"InitError":         initError,
		"InitClosed":        initClosed,
		"LateAnswer":        lateAnswer,
		"LostConnection":    lostConnection,
		"Garbage":           garbage,
		"Restore":           restore,
		"InternalExtension": internalExtension,
		"ExtensionStates":   extensionStates,
	} {
		t.Run(name, func(t *testing.T) { check(t, start(t, 1)) })
	}
	t.Run("Concurrent", func(t *testing.T) { concurrent(t, start(t, 4)) })
}

type answer struct {
	status int
	header http.Header
	body   string
}

func (s Subject) ask(t *testing.T, method, path, body string, header ...string) answer {
	t.Helper()
	a, err := s.try(t.Context(), method, path, body, header...)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	return a
}

func (s Subject) try(ctx context.Context, method, path, body string, header ...string) (answer, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://"+s.API+path, strings.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return answer{res.StatusCode, res.Header, string(b)}, err
}

const (
	next   = "/2018-06-01/runtime/invocation/next"
	prefix = "/2018-06-01/runtime/invocation/"
)

// want checks a refusal: its status and its error type.
func (a answer) want(t *testing.T, what string, status int, errorType string) {
	t.Helper()
	var e struct{ ErrorType, ErrorMessage string }
	if errorType != "" {
		json.Unmarshal([]byte(a.body), &e)
	}
	if a.status != status || e.ErrorType != errorType {
		t.Errorf("%s = %d %s, want %d %s", what, a.status, a.body, status, errorType)
	}
}

type outcome struct {
	res *instance.Result
	err error
}

func (s Subject) invoke(id, payload string, timeout time.Duration) <-chan outcome {
	c := make(chan outcome, 1)
	go func() {
		res, err := s.Agent.Invoke(context.Background(), &instance.Event{RequestID: id, Payload: []byte(payload), Timeout: timeout, FunctionARN: "arn:aws:lambda:x"}, nil)
		c <- outcome{res, err}
	}()
	return c
}

func await(t *testing.T, c <-chan outcome) *instance.Result {
	t.Helper()
	select {
	case o := <-c:
		if o.err != nil {
			t.Fatalf("Invoke = %v", o.err)
		}
		return o.res
	case <-time.After(20 * time.Second):
		t.Fatal("no answer came")
		return nil
	}
}

// order: what is legal only at its time is refused at others.
func order(t *testing.T, s Subject) {
	s.ask(t, "POST", prefix+"nobody/response", "1").want(t, "response before any event", 400, "InvalidRequestID")
	got := s.invoke("one", `{"a":1}`, 10*time.Second)
	ev := s.ask(t, "GET", next, "")
	if ev.status != 200 || ev.body != `{"a":1}` || ev.header.Get("Lambda-Runtime-Aws-Request-Id") != "one" || ev.header.Get("Lambda-Runtime-Deadline-Ms") == "" {
		t.Fatalf("next = %+v", ev)
	}
	s.ask(t, "POST", prefix+"other/response", "1").want(t, "response of another request", 400, "InvalidRequestID")
	s.ask(t, "GET", prefix+"one/response", "").want(t, "GET of a response", 405, "MethodNotAllowed")
	s.ask(t, "POST", "/2018-06-01/runtime/init/error", "{}").want(t, "init error after INIT", 403, "InvalidStateTransition")
	s.ask(t, "POST", prefix+"one/response", `"done"`).want(t, "response", 202, "")
	if res := await(t, got); string(res.Payload) != `"done"` || res.FunctionError != "" {
		t.Errorf("result = %s %s", res.ErrorType, res.Payload)
	}
	s.ask(t, "POST", prefix+"one/response", "1").want(t, "second response", 403, "InvalidStateTransition")
	s.ask(t, "POST", prefix+"one/error", "1").want(t, "error after the response", 403, "InvalidStateTransition")
	got = s.invoke("two", "2", 10*time.Second)
	if ev := s.ask(t, "GET", next, ""); ev.header.Get("Lambda-Runtime-Aws-Request-Id") != "two" {
		t.Errorf("next = %+v", ev)
	}
	s.ask(t, "POST", prefix+"one/response", "1").want(t, "response to a finished event", 400, "InvalidRequestID")
	s.ask(t, "POST", prefix+"two/response", "2").want(t, "response", 202, "")
	await(t, got)
	s.ask(t, "GET", "/2018-06-01/elsewhere", "").want(t, "unknown path", 404, "NotFound")
}

// functionErrors: an error of the function is an answer, with the runtime's own type.
func functionErrors(t *testing.T, s Subject) {
	got := s.invoke("one", "1", 10*time.Second)
	s.ask(t, "GET", next, "")
	body := `{"errorType":"ValueError","errorMessage":"bad"}`
	s.ask(t, "POST", prefix+"one/error", body, "Lambda-Runtime-Function-Error-Type", "ValueError").want(t, "error", 202, "")
	if res := await(t, got); res.FunctionError != instance.Unhandled || res.ErrorType != "ValueError" || string(res.Payload) != body {
		t.Errorf("result = %s %s", res.ErrorType, res.Payload)
	}
	got = s.invoke("two", "1", 10*time.Second)
	s.ask(t, "GET", next, "")
	s.ask(t, "POST", prefix+"two/response", "1", "Lambda-Runtime-Function-Response-Mode", "nonsense").want(t, "response mode", 400, "InvalidFunctionResponseMode")
	if res := await(t, got); res.ErrorType != "Runtime.InvalidResponseModeHeader" {
		t.Errorf("result = %s %s", res.ErrorType, res.Payload)
	}
}

// initError: a failed INIT is tried again with the first event.
func initError(t *testing.T, s Subject) {
	s.ask(t, "POST", "/2018-06-01/runtime/init/error", `{"errorType":"E","errorMessage":"m"}`, "Lambda-Runtime-Function-Error-Type", "Function.E").want(t, "init error", 202, "")
	select {
	case <-s.Agent.Ready():
	case <-time.After(20 * time.Second):
		t.Fatal("a failed INIT does not end")
	}
	got := s.invoke("one", "1", 10*time.Second)
	// The first runtime's time is over; the second one, which comes with the event, is served.
	for s.ask(t, "GET", next, "").status != 200 {
		if t.Context().Err() != nil || t.Failed() {
			return
		}
	}
	s.ask(t, "POST", prefix+"one/response", "1").want(t, "response", 202, "")
	if res := await(t, got); res.FunctionError != "" || string(res.Payload) != "1" {
		t.Errorf("result = %s %s", res.ErrorType, res.Payload)
	}
}

// initClosed: nothing registers or subscribes once INIT is over.
func initClosed(t *testing.T, s Subject) {
	got := s.invoke("one", "1", 10*time.Second)
	s.ask(t, "GET", next, "")
	s.ask(t, "POST", "/2020-01-01/extension/register", `{"events":[]}`, "Lambda-Extension-Name", "late").want(t, "late registration", 403, "Extension.RegistrationClosed")
	s.ask(t, "PUT", "/2022-07-01/telemetry", `{}`).want(t, "subscription of nobody", 403, "Extension.MissingExtensionIdentifier")
	s.ask(t, "POST", prefix+"one/response", "1").want(t, "response", 202, "")
	await(t, got)
}

// lateAnswer: after its timeout an event is nobody's.
func lateAnswer(t *testing.T, s Subject) {
	got := s.invoke("slow", "1", 300*time.Millisecond)
	s.ask(t, "GET", next, "")
	res := await(t, got)
	if want := `{"errorType":"Sandbox.Timedout","errorMessage":"RequestId: slow Error: Task timed out after 0.30 seconds"}`; string(res.Payload) != want {
		t.Errorf("result = %s, want %s", res.Payload, want)
	}
	s.ask(t, "POST", prefix+"slow/response", "1").want(t, "late response", 400, "InvalidRequestID")
}

// lostConnection: a runtime that lost its connection gets its event again, and a
// client that went away takes none with it.
func lostConnection(t *testing.T, s Subject) {
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	s.try(ctx, "GET", next, "") // ends INIT, and goes away while it waits
	cancel()
	got := s.invoke("one", "1", 10*time.Second)
	for range 2 {
		if ev := s.ask(t, "GET", next, ""); ev.header.Get("Lambda-Runtime-Aws-Request-Id") != "one" {
			t.Fatalf("next = %+v", ev)
		}
	}
	s.ask(t, "POST", prefix+"one/response", "1").want(t, "response", 202, "")
	await(t, got)
}

// garbage: what is no HTTP harms nobody.
func garbage(t *testing.T, s Subject) {
	for _, text := range []string{
		"\x00\x01\x02\r\n\r\n", "GET\r\n\r\n", "GET / HTTP/1.1\r\nno colon\r\n\r\n", "POST " + prefix + "x/response HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
		"POST " + prefix + "x/response HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "GET / HTTP/1.1\r\n" + strings.Repeat("A: b\r\n", 1000) + "\r\n",
		"GET /" + strings.Repeat("a", 100_000) + " HTTP/1.1\r\n\r\n", "GET " + next,
	} {
		c, err := net.Dial("tcp", s.API)
		if err != nil {
			t.Fatal(err)
		}
		c.SetDeadline(time.Now().Add(5 * time.Second))
		io.WriteString(c, text)
		c.(*net.TCPConn).CloseWrite()
		if _, err := io.ReadAll(c); err != nil {
			if e, ok := err.(net.Error); ok && e.Timeout() {
				t.Errorf("%.40q: the connection stays open", text)
			}
		}
		c.Close()
	}
	got := s.invoke("one", "1", 10*time.Second)
	s.ask(t, "GET", next, "")
	// A response that ends early is the function's failure.
	c, err := net.Dial("tcp", s.API)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(c, "POST %sone/response HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nonly this", prefix)
	c.Close()
	if res := await(t, got); res.ErrorType != "Runtime.TruncatedResponse" {
		t.Errorf("result = %s %s", res.ErrorType, res.Payload)
	}
}

// restore: a runtime may use the calls of SnapStart.
func restore(t *testing.T, s Subject) {
	s.ask(t, "GET", "/2018-06-01/runtime/restore/next", "").want(t, "restore/next", 200, "")
	s.ask(t, "GET", "/2018-06-01/runtime/restore/next", "").want(t, "second restore/next", 403, "InvalidStateTransition")
	got := s.invoke("one", "1", 10*time.Second)
	s.ask(t, "GET", next, "")
	s.ask(t, "POST", "/2018-06-01/runtime/restore/error", "{}").want(t, "late restore/error", 403, "InvalidStateTransition")
	s.ask(t, "POST", prefix+"one/response", "1").want(t, "response", 202, "")
	await(t, got)
}

// internalExtension: INIT waits for it, the caller does not, the next event does.
func internalExtension(t *testing.T, s Subject) {
	reg := s.ask(t, "POST", "/2020-01-01/extension/register", `{"events":["INVOKE"]}`, "Lambda-Extension-Name", "inner", "Lambda-Extension-Accept-Feature", "accountId")
	id := reg.header.Get("Lambda-Extension-Identifier")
	if reg.status != 200 || id == "" || !strings.Contains(reg.body, `"functionVersion":"$LATEST"`) {
		t.Fatalf("register = %+v", reg)
	}
	got := s.invoke("one", "1", 10*time.Second)
	first := make(chan answer, 1)
	go func() {
		a, _ := s.try(t.Context(), "GET", next, "")
		first <- a
	}()
	select {
	case <-s.Agent.Ready():
		t.Error("INIT ended before the extension was ready")
	case <-time.After(100 * time.Millisecond):
	}
	ev := s.ask(t, "GET", "/2020-01-01/extension/event/next", "", "Lambda-Extension-Identifier", id)
	var e struct{ EventType, RequestID string }
	if json.Unmarshal([]byte(ev.body), &e); e.EventType != "INVOKE" || e.RequestID != "one" || ev.header.Get("Lambda-Extension-Event-Identifier") == "" {
		t.Errorf("event = %+v", ev)
	}
	<-first
	s.ask(t, "POST", prefix+"one/response", "1").want(t, "response", 202, "")
	res := await(t, got)
	if res.Settled == nil {
		t.Fatal("settled before the extension was done")
	}
	go s.try(t.Context(), "GET", next, "")
	select {
	case <-res.Settled:
		t.Error("settled before the extension was done")
	case <-time.After(100 * time.Millisecond):
	}
	go s.try(t.Context(), "GET", "/2020-01-01/extension/event/next", "", "Lambda-Extension-Identifier", id)
	select {
	case <-res.Settled:
	case <-time.After(10 * time.Second):
		t.Error("not settled though the extension is done")
	}
}

// extensionStates: illegal calls of extensions are refused in AWS's words.
func extensionStates(t *testing.T, s Subject) {
	const register, event = "/2020-01-01/extension/register", "/2020-01-01/extension/event/next"
	s.ask(t, "POST", register, `{"events":[]}`).want(t, "no name", 403, "Extension.InvalidExtensionName")
	s.ask(t, "POST", register, `{"events":["SHUTDOWN"]}`, "Lambda-Extension-Name", "i").want(t, "SHUTDOWN of an internal one", 403, "Extension.InvalidEventType")
	s.ask(t, "POST", register, `nonsense`, "Lambda-Extension-Name", "i").want(t, "bad JSON", 403, "InvalidRequestFormat")
	s.ask(t, "GET", event, "").want(t, "no identifier", 403, "Extension.MissingExtensionIdentifier")
	s.ask(t, "GET", event, "", "Lambda-Extension-Identifier", "x").want(t, "bad identifier", 403, "Extension.InvalidExtensionIdentifier")
	s.ask(t, "GET", event, "", "Lambda-Extension-Identifier", "00000000-0000-4000-8000-000000000000").want(t, "unknown identifier", 403, "Extension.UnknownExtensionIdentifier")
	for i := range 10 {
		if a := s.ask(t, "POST", register, `{"events":[]}`, "Lambda-Extension-Name", fmt.Sprint("i", i)); a.status != 200 {
			t.Errorf("extension %d = %+v", i, a)
		}
	}
	s.ask(t, "POST", register, `{"events":[]}`, "Lambda-Extension-Name", "i0").want(t, "same name", 403, "Extension.InvalidExtensionState")
	s.ask(t, "POST", register, `{"events":[]}`, "Lambda-Extension-Name", "i10").want(t, "eleventh", 403, "Extension.TooManyExtensions")
}

// concurrent: events at once, answered in any order.
func concurrent(t *testing.T, s Subject) {
	var got [4]<-chan outcome
	for i := range got {
		got[i] = s.invoke(fmt.Sprint("r", i), fmt.Sprint(i), 10*time.Second)
	}
	bodies := map[string]string{}
	for range got {
		ev := s.ask(t, "GET", next, "")
		bodies[ev.header.Get("Lambda-Runtime-Aws-Request-Id")] = ev.body
	}
	for i := len(got) - 1; i >= 0; i-- {
		id := fmt.Sprint("r", i)
		s.ask(t, "POST", prefix+id+"/response", bodies[id]).want(t, "response", 202, "")
		if res := await(t, got[i]); !bytes.Equal(res.Payload, fmt.Append(nil, i)) {
			t.Errorf("%s = %s", id, res.Payload)
		}
	}
}
