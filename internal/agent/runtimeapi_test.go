package agent

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hearth-run/hearth/internal/hearthtest"
	"github.com/hearth-run/hearth/internal/instance"
)

// idle starts an agent whose runtime process does nothing, so that the test is
// the runtime.
func idle(t *testing.T) (*Agent, string) {
	t.Helper()
	sleep := hearthtest.Need(t, "sleep")
	a, err := New(Config{Spec: instance.Spec{FunctionName: "f", FunctionVersion: "$LATEST", MemoryMB: 128, Timeout: 3 * time.Second,
		Command: []string{sleep, "1000"}, WorkDir: t.TempDir(), Environment: map[string]string{}}, Supervisor: newLocal(), Logs: &logBuffer{}})
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Shutdown(context.Background()) })
	return a, "http://" + a.Addr() + "/2018-06-01/runtime/"
}

type got struct {
	status int
	header http.Header
	body   string
}

func ask(t *testing.T, method, url, body string, header ...string) got {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return got{res.StatusCode, res.Header, string(b)}
}

type outcome struct {
	res *instance.Result
	err error
}

func invokeAsync(a *Agent, id, payload string, timeout time.Duration) <-chan outcome {
	c := make(chan outcome, 1)
	go func() {
		res, err := a.Invoke(context.Background(), &instance.Event{RequestID: id, Payload: []byte(payload), Timeout: timeout, FunctionARN: "arn:f",
			TraceID: "Root=1", ClientContext: `{"c":1}`, CognitoIdentity: `{"i":1}`, TenantID: "tenant"}, nil)
		c <- outcome{res, err}
	}()
	return c
}

// What the Runtime API gives and takes, and what it says to wrong calls.
func TestRuntimeAPI(t *testing.T) {
	a, api := idle(t)
	answered := invokeAsync(a, "one", `{"in":1}`, 3*time.Second)
	next := ask(t, "GET", api+"invocation/next", "")
	if next.status != 200 || next.body != `{"in":1}` {
		t.Fatalf("next = %+v", next)
	}
	for name, want := range map[string]string{
		"Lambda-Runtime-Aws-Request-Id": "one", "Lambda-Runtime-Invoked-Function-Arn": "arn:f", "Lambda-Runtime-Trace-Id": "Root=1",
		"Lambda-Runtime-Client-Context": `{"c":1}`, "Lambda-Runtime-Cognito-Identity": `{"i":1}`, "Lambda-Runtime-Aws-Tenant-Id": "tenant",
	} {
		if next.header.Get(name) != want {
			t.Errorf("%s: %q, want %q", name, next.header.Get(name), want)
		}
	}
	if next.header.Get("Lambda-Runtime-Deadline-Ms") == "" {
		t.Error("next has no deadline")
	}
	for _, tt := range []struct {
		method, path, body string
		status             int
		errorType          string
	}{
		{"POST", "invocation/other/response", "1", 400, "InvalidRequestID"},
		{"POST", "invocation/one/nonsense", "1", 404, ""},
		{"GET", "nonsense", "", 404, ""},
		{"POST", "init/error", "{}", 403, "InvalidStateTransition"},
	} {
		r := ask(t, tt.method, api+tt.path, tt.body)
		if r.status != tt.status || !strings.Contains(r.body, tt.errorType) {
			t.Errorf("%s %s = %d %s, want %d %s", tt.method, tt.path, r.status, r.body, tt.status, tt.errorType)
		}
	}
	if r := ask(t, "POST", api+"invocation/one/response", `"out"`); r.status != 202 {
		t.Errorf("response = %+v, want 202", r)
	}
	if o := <-answered; o.err != nil || string(o.res.Payload) != `"out"` {
		t.Errorf("Invoke() = %+v", o)
	}
	if r := ask(t, "POST", api+"invocation/one/response", `"again"`); r.status != 400 && r.status != 403 {
		t.Errorf("a second response = %+v, want a refusal", r)
	}
	answered = invokeAsync(a, "two", `{}`, 3*time.Second)
	ask(t, "GET", api+"invocation/next", "")
	ask(t, "POST", api+"invocation/two/error", `{"errorMessage":"m","errorType":"T"}`, "Lambda-Runtime-Function-Error-Type", "T")
	if o := <-answered; o.err != nil || o.res.FunctionError != instance.Unhandled || o.res.ErrorType != "T" || string(o.res.Payload) != `{"errorMessage":"m","errorType":"T"}` {
		t.Errorf("Invoke() that failed = %+v, %v", o.res, o.err)
	}
}

// A response beyond the limit is refused, and is the function's error.
func TestResponseTooLarge(t *testing.T) {
	a, api := idle(t)
	answered := invokeAsync(a, "big", `{}`, 10*time.Second)
	ask(t, "GET", api+"invocation/next", "")
	body := `"` + strings.Repeat("x", instance.MaxResponseSize) + `"`
	if r := ask(t, "POST", api+"invocation/big/response", body); r.status != 413 {
		t.Errorf("a response of %d bytes = %d %s, want 413", len(body), r.status, r.body)
	}
	if o := <-answered; o.err != nil || o.res.ErrorType != "Function.ResponseSizeTooLarge" ||
		!strings.Contains(string(o.res.Payload), fmt.Sprintf("Response payload size exceeded maximum allowed payload size (%d bytes).", instance.MaxResponseSize)) {
		t.Errorf("Invoke() = %+v, %v", o.res, o.err)
	}
}

type sink struct {
	bytes.Buffer
	contentType string
	first       chan struct{}
}

func (s *sink) Begin(contentType string) error { s.contentType = contentType; return nil }
func (s *sink) Write(p []byte) (int, error) {
	if s.Len() == 0 && len(p) > 0 {
		close(s.first)
	}
	return s.Buffer.Write(p)
}

// A streamed response reaches the sink while the function still writes; an
// error behind its first byte is told in trailers.
func TestStream(t *testing.T) {
	for _, broken := range []bool{false, true} {
		a, api := idle(t)
		out := &sink{first: make(chan struct{})}
		c := make(chan outcome, 1)
		go func() {
			res, err := a.Invoke(context.Background(), &instance.Event{RequestID: "s", Payload: []byte("{}"), Timeout: 10 * time.Second, Stream: true}, out)
			c <- outcome{res, err}
		}()
		ask(t, "GET", api+"invocation/next", "")
		r, w := io.Pipe()
		req, _ := http.NewRequestWithContext(t.Context(), "POST", api+"invocation/s/response", r)
		req.Header.Set("Lambda-Runtime-Function-Response-Mode", "streaming")
		req.Header.Set("Content-Type", "text/plain")
		if broken {
			req.Trailer = http.Header{"Lambda-Runtime-Function-Error-Type": nil, "Lambda-Runtime-Function-Error-Body": nil}
		}
		go func() {
			io.WriteString(w, "first ")
			<-out.first
			io.WriteString(w, "second")
			if broken {
				req.Trailer.Set("Lambda-Runtime-Function-Error-Type", "Broken")
				req.Trailer.Set("Lambda-Runtime-Function-Error-Body", "eyJlcnJvclR5cGUiOiJCcm9rZW4ifQ==")
			}
			w.Close()
		}()
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		o := <-c
		if o.err != nil || out.String() != "first second" || out.contentType != "text/plain" {
			t.Errorf("streamed %q as %q, %v", out, out.contentType, o.err)
		}
		if want := map[bool]string{false: "", true: "Broken"}[broken]; o.res.ErrorType != want {
			t.Errorf("broken=%v: error type %q, want %q", broken, o.res.ErrorType, want)
		}
	}
}
