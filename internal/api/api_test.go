package api

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hearth-run/hearth/internal/awsapi"
	"github.com/hearth-run/hearth/internal/awsapi/lambda"
	"github.com/hearth-run/hearth/internal/awsapi/logs"
	"github.com/hearth-run/hearth/internal/instance"
	"github.com/hearth-run/hearth/internal/invoke"
)

// fakeLambda answers the operations that the tests need.
type fakeLambda struct {
	lambda.Unimplemented
	getFunction func(context.Context, *lambda.GetFunctionRequest) (*lambda.GetFunctionResponse, error)
}

func (f *fakeLambda) GetFunction(ctx context.Context, in *lambda.GetFunctionRequest) (*lambda.GetFunctionResponse, error) {
	return f.getFunction(ctx, in)
}

func (f *fakeLambda) TagResource(_ context.Context, in *lambda.TagResourceRequest) error {
	return lambda.ResourceNotFoundException("tags of " + *in.Resource)
}

func (f *fakeLambda) GetDurableExecution(_ context.Context, in *lambda.GetDurableExecutionRequest) (*lambda.GetDurableExecutionResponse, error) {
	return nil, lambda.ResourceNotFoundException("execution " + *in.DurableExecutionArn)
}

func (f *fakeLambda) ListProvisionedConcurrencyConfigs(context.Context, *lambda.ListProvisionedConcurrencyConfigsRequest) (*lambda.ListProvisionedConcurrencyConfigsResponse, error) {
	return &lambda.ListProvisionedConcurrencyConfigsResponse{ProvisionedConcurrencyConfigs: []lambda.ProvisionedConcurrencyConfigListItem{}}, nil
}

func (f *fakeLambda) DeleteFunction(context.Context, *lambda.DeleteFunctionRequest) (*lambda.DeleteFunctionResponse, error) {
	return &lambda.DeleteFunctionResponse{}, nil
}

// invokerFunc is an Invoker made of a function.
type invokerFunc func(context.Context, invoke.Request) (*invoke.Response, error)

func (f invokerFunc) Invoke(ctx context.Context, r invoke.Request) (*invoke.Response, error) {
	return f(ctx, r)
}

func echo(_ context.Context, r invoke.Request) (*invoke.Response, error) {
	return &invoke.Response{Status: 200, ExecutedVersion: "$LATEST", Payload: r.Payload, ContentType: "application/json"}, nil
}

// serve starts a server of h and returns its address, as host and port.
func serve(t *testing.T, h *Handler) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

func newHandler(cfg Config) *Handler {
	if cfg.Lambda == nil {
		cfg.Lambda = &fakeLambda{}
	}
	if cfg.Invoker == nil {
		cfg.Invoker = invokerFunc(echo)
	}
	return New(cfg)
}

// do serves one request without a network. head is "METHOD path", and then header lines.
func do(h http.Handler, head, body string) *httptest.ResponseRecorder {
	lines := strings.Split(head, "\n")
	method, path, _ := strings.Cut(lines[0], " ")
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Host = "localhost:9001"
	for _, l := range lines[1:] {
		k, v, _ := strings.Cut(strings.TrimSpace(l), ": ")
		if k == "Host" {
			r.Host = v
		} else {
			r.Header.Set(k, v)
		}
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

const auth = "\nAuthorization: AWS4-HMAC-SHA256 Credential=%s/20261125/eu-west-1/lambda/aws4_request, SignedHeaders=host, Signature=00"

func TestFacts(t *testing.T) {
	var got awsapi.Request
	h := newHandler(Config{AccountID: "999999999999", Region: "us-west-2", Lambda: &fakeLambda{getFunction: func(ctx context.Context, _ *lambda.GetFunctionRequest) (*lambda.GetFunctionResponse, error) {
		got = *awsapi.RequestFrom(ctx)
		return &lambda.GetFunctionResponse{}, nil
	}}})
	const path = "GET /2015-03-31/functions/f"
	signed := func(key, region string) string {
		return path + strings.ReplaceAll(strings.Replace(auth, "%s", key, 1), "eu-west-1", region)
	}
	for _, tt := range []struct {
		head string
		want awsapi.Request
	}{
		{path, awsapi.Request{Partition: "aws", AccountID: "999999999999", Region: "us-west-2"}},
		{signed("AKIAEXAMPLE", "eu-west-1"), awsapi.Request{Partition: "aws", AccountID: "999999999999", Region: "eu-west-1", AccessKeyID: "AKIAEXAMPLE"}},
		{signed("123456789012", "cn-north-1"), awsapi.Request{Partition: "aws-cn", AccountID: "123456789012", Region: "cn-north-1", AccessKeyID: "123456789012"}},
		{signed("a/b", "nowhere"), awsapi.Request{Partition: "aws", AccountID: "999999999999", Region: "us-west-2", AccessKeyID: "a/b"}},
		{path + "?X-Amz-Credential=123456789012%2F20261125%2Feu-central-1%2Flambda%2Faws4_request", awsapi.Request{Partition: "aws", AccountID: "123456789012", Region: "eu-central-1", AccessKeyID: "123456789012"}},
		{path + "\nAuthorization: Bearer x", awsapi.Request{Partition: "aws", AccountID: "999999999999", Region: "us-west-2"}},
	} {
		w := do(h, tt.head, "")
		//lint:ignore SA1008 AWS spells the header so, and clients may depend on that
		if w.Code != 200 || len(got.ID) != 36 || w.Header()["x-amzn-RequestId"][0] != got.ID || got.BaseURL != "http://localhost:9001" {
			t.Errorf("%s: %d, request %+v", tt.head, w.Code, got)
		}
		got.ID, got.BaseURL = "", ""
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.head, diff)
		}
	}
}

func TestNewID(t *testing.T) {
	seen := map[string]bool{}
	for range 100 {
		id := newID()
		if len(id) != 36 || id[14] != '4' || !strings.ContainsRune("89ab", rune(id[19])) || seen[id] {
			t.Fatalf("newID() = %q", id)
		}
		seen[id] = true
	}
}

// TestErrors compares answers to the byte.
func TestErrors(t *testing.T) {
	h := newHandler(Config{
		Lambda: &fakeLambda{getFunction: func(_ context.Context, in *lambda.GetFunctionRequest) (*lambda.GetFunctionResponse, error) {
			switch *in.FunctionName {
			case "broken":
				return nil, errors.New("secret of the database")
			case "panics":
				panic("secret of the code")
			case "denied":
				return nil, lambda.AccessDeniedException("no")
			}
			return nil, lambda.ResourceNotFoundException("Function not found: " + *in.FunctionName)
		}},
		Invoker: invokerFunc(func(context.Context, invoke.Request) (*invoke.Response, error) {
			e := lambda.TooManyRequestsException("Rate Exceeded.")
			e.Fields = map[string]any{"Reason": "ReservedFunctionConcurrentInvocationLimitExceeded", "retryAfterSeconds": "1"}
			return nil, e
		}),
	})
	long := strings.Repeat("a", 141)
	for _, tt := range []struct {
		head, body string
		status     int
		code, want string
	}{
		{"GET /2015-03-31/functions/f", "", 404, "ResourceNotFoundException", `{"Type":"User","Message":"Function not found: f"}`},
		{"GET /2015-03-31/functions/arn%3Aaws%3Alambda%3Aus-east-1%3A111111111111%3Afunction%3Af%3A1", "", 404, "ResourceNotFoundException",
			`{"Type":"User","Message":"Function not found: arn:aws:lambda:us-east-1:111111111111:function:f:1"}`},
		{"GET /2015-03-31/functions/arn:aws:lambda:us-east-1:111111111111:function:f/", "", 404, "ResourceNotFoundException",
			`{"Type":"User","Message":"Function not found: arn:aws:lambda:us-east-1:111111111111:function:f"}`},
		{"GET /2015-03-31/functions/denied", "", 403, "AccessDeniedException", `{"Message":"no"}`},
		{"GET /2015-03-31/functions/broken", "", 500, "ServiceException", `{"Type":"Server","Message":"An error occurred and the request cannot be processed."}`},
		{"GET /2015-03-31/functions/panics", "", 500, "ServiceException", `{"Type":"Server","Message":"An error occurred and the request cannot be processed."}`},
		{"GET /2015-03-31/functions/" + strings.Repeat("a", 257), "", 400, "ValidationException",
			`{"message":"1 validation error detected: Value '` + strings.Repeat("a", 257) + `' at 'functionName' failed to satisfy constraint: Member must have length less than or equal to 256"}`},
		{"POST /2015-03-31/functions/" + long + "/versions", "", 400, "ValidationException",
			`{"message":"1 validation error detected: Value '` + long + `' at 'functionName' failed to satisfy constraint: Member must have length less than or equal to 140"}`},
		{"POST /2015-03-31/functions", "{", 400, "SerializationException", `{"message":"Unexpected end-of-input"}`},
		{"GET /2015-03-31/functions", "", 501, "NotImplementedException", `{"Type":"Server","message":"Hearth does not implement the operation ListFunctions yet."}`},
		{"GET /2015-03-31/functions/", "", 501, "NotImplementedException", `{"Type":"Server","message":"Hearth does not implement the operation ListFunctions yet."}`},
		{"POST /2015-03-31/functions/f/invocations", "{}", 429, "TooManyRequestsException", `{"Type":"User","message":"Rate Exceeded.","Reason":"ReservedFunctionConcurrentInvocationLimitExceeded"}`},
		{"POST /2015-03-31/functions/f/invocations\nX-Amz-Client-Context: %", "{}", 400, "InvalidRequestContentException", `{"message":"Client context must be a valid Base64-encoded JSON object."}`},
		{"POST /2015-03-31/functions/f/invocations\nX-Amz-Client-Context: WzFd", "{}", 400, "InvalidRequestContentException", `{"message":"Client context must be a valid Base64-encoded JSON object."}`},
		{"POST /2015-03-31/functions/f/invocations\nX-Amz-Invocation-Type: Odd", "{}", 400, "ValidationException",
			`{"message":"1 validation error detected: Value 'Odd' at 'invocationType' failed to satisfy constraint: Member must satisfy enum value set: [Event, RequestResponse, DryRun]"}`},
		{"POST /2017-03-31/tags/arn:aws:lambda:us-east-1:111111111111:function:f", `{"Tags":{}}`, 404, "ResourceNotFoundException",
			`{"Type":"User","Message":"tags of arn:aws:lambda:us-east-1:111111111111:function:f"}`},
		{"GET /2025-12-01/durable-executions/arn:aws:lambda:us-east-1:111111111111:function:f:1/durable-execution/n/i", "", 404, "ResourceNotFoundException",
			`{"Type":"User","Message":"execution arn:aws:lambda:us-east-1:111111111111:function:f:1/durable-execution/n/i"}`},
		{"GET /2025-12-01/durable-executions/arn%3Aaws%3Alambda%3Aus-east-1%3A111111111111%3Afunction%3Af%3A1%2Fdurable-execution%2Fn%2Fi", "", 404, "ResourceNotFoundException",
			`{"Type":"User","Message":"execution arn:aws:lambda:us-east-1:111111111111:function:f:1/durable-execution/n/i"}`},
		{"GET /", "", 403, "AccessDeniedException", `{"Message":"Unable to determine service/operation name to be authorized"}`},
		{"PATCH /2015-03-31/functions", "", 403, "AccessDeniedException", `{"Message":"Unable to determine service/operation name to be authorized"}`},
		{"GET /2015-03-31/functions/f/nothing", "", 403, "AccessDeniedException", `{"Message":"Unable to determine service/operation name to be authorized"}`},
		{"GET /2019-09-30/functions/f/provisioned-concurrency?List=ALL", "", 200, "", `{"ProvisionedConcurrencyConfigs":[]}`},
		{"GET /2019-09-30/functions/f/provisioned-concurrency?Qualifier=1", "", 501, "NotImplementedException", `{"Type":"Server","message":"Hearth does not implement the operation GetProvisionedConcurrencyConfig yet."}`},
		{"DELETE /2015-03-31/functions/f", "", 204, "", ""},
		{"POST /\nX-Amz-Target: Logs_20140328.DescribeLogGroups", "{}", 501, "NotImplementedException", `{"__type":"NotImplementedException","message":"Hearth does not implement the operation DescribeLogGroups yet."}`},
		{"POST /\nX-Amz-Target: Logs_20140328.PutMetricFilter", "{}", 501, "NotImplementedException", `{"__type":"NotImplementedException","message":"Hearth does not implement the operation PutMetricFilter yet."}`},
		{"POST /\nX-Amz-Target: Logs_20140328.CreateLogGroup", "{}", 400, "InvalidParameterException",
			`{"__type":"InvalidParameterException","message":"1 validation error detected: Value null at 'logGroupName' failed to satisfy constraint: Member must not be null"}`},
		{"POST /\nX-Amz-Target: DynamoDB_20120810.GetItem", "{}", 400, "UnknownOperationException", `{"__type":"UnknownOperationException","message":"The target DynamoDB_20120810.GetItem names no operation of this server."}`},
	} {
		w := do(h, tt.head, tt.body)
		code := ""
		//lint:ignore SA1008 AWS spells the header so, and clients may depend on that
		if c := w.Header()["x-amzn-ErrorType"]; len(c) > 0 {
			code = c[0]
		}
		if w.Code != tt.status || code != tt.code || w.Body.String() != tt.want {
			t.Errorf("%s:\n%d %s %s\nwant\n%d %s %s", tt.head, w.Code, code, w.Body, tt.status, tt.code, tt.want)
		}
	}
	if got := do(h, "POST /2015-03-31/functions/f/invocations", "{}").Header().Get("Retry-After"); got != "1" {
		t.Errorf("Retry-After = %q, want 1", got)
	}
}

func TestSites(t *testing.T) {
	h := newHandler(Config{Hosts: []string{"Hearth.example"}, Invoker: invokerFunc(echo)})
	for _, tt := range []struct {
		headers string
		status  int
	}{
		{"", 200},
		{"\nHost: localhost", 200},
		{"\nHost: LOCALHOST.:80", 200},
		{"\nHost: x.lambda-url.us-east-1.localhost:9001", 200},
		{"\nHost: 127.0.0.1:9001", 200},
		{"\nHost: [::1]:9001", 200},
		{"\nHost: [::1]", 200},
		{"\nHost: 192.168.1.5", 200},
		{"\nHost: hearth.example:443", 200},
		{"\nHost: stream-localhost:9001", 200},
		{"\nHost: stream-127.0.0.1:9001", 200},
		{"\nHost: stream-stream-localhost", 403},
		{"\nHost: evil.example", 403},
		{"\nHost: evil.example:9001", 403},
		{"\nHost: localhost.evil.example", 403},
		{"\nHost: notlocalhost", 403},
		{"\nOrigin: http://localhost:3000", 200},
		{"\nOrigin: https://evil.example", 403},
		{"\nOrigin: null", 403},
		{"\nSec-Fetch-Site: same-origin", 200},
		{"\nSec-Fetch-Site: none", 200},
		{"\nSec-Fetch-Site: cross-site", 403},
	} {
		w := do(h, "POST /2015-03-31/functions/f/invocations"+tt.headers, "{}")
		if w.Code != tt.status {
			t.Errorf("with %q: %d %s, want %d", tt.headers, w.Code, w.Body, tt.status)
		}
	}
}

func TestHealthAndMounts(t *testing.T) {
	var ill error
	h := newHandler(Config{
		Health: func(context.Context) error { return ill },
		Mounts: map[string]http.Handler{"/_hearth/code/": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.URL.Path) })},
	})
	if w := do(h, "GET /health", ""); w.Code != 200 || w.Body.String() != "{\"status\":\"ready\"}\n" {
		t.Errorf("health: %d %s", w.Code, w.Body)
	}
	ill = errors.New("the disk is full")
	if w := do(h, "GET /health", ""); w.Code != 503 || !strings.Contains(w.Body.String(), "the disk is full") {
		t.Errorf("health when ill: %d %s", w.Code, w.Body)
	}
	if w := do(h, "GET /_hearth/code/x", ""); w.Body.String() != "/_hearth/code/x" {
		t.Errorf("mount: %d %s", w.Code, w.Body)
	}
	if w := do(h, "GET /_hearth/code/x\nHost: evil.example", ""); w.Code != 403 {
		t.Errorf("mount from another site: %d", w.Code)
	}
}

func TestInvoke(t *testing.T) {
	var got invoke.Request
	var answer invoke.Response
	h := newHandler(Config{Invoker: invokerFunc(func(_ context.Context, r invoke.Request) (*invoke.Response, error) {
		got = r
		return &answer, nil
	})})
	answer = invoke.Response{Status: 200, ExecutedVersion: "7", Payload: []byte(`{"errorMessage":"x"}`), FunctionError: instance.Unhandled, LogTail: []byte("END"), TraceID: "Root=1-2-3"}
	w := do(h, "POST /2015-03-31/functions/f%3Alive/invocations?Qualifier=live\nX-Amz-Log-Type: Tail\nX-Amz-Tenant-Id: blue\nX-Amzn-Trace-Id: Root=1-2-3\nX-Amz-Client-Context: "+
		base64.StdEncoding.EncodeToString([]byte(`{"client":{}}`)), `{"a":1}`)
	want := invoke.Request{Function: "f:live", Qualifier: "live", Payload: []byte(`{"a":1}`), LogTail: true, ClientContext: `{"client":{}}`, TraceID: "Root=1-2-3", TenantID: "blue"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("request (-want +got):\n%s", diff)
	}
	headers := map[string]string{}
	for k, v := range w.Header() {
		headers[k] = v[0]
	}
	delete(headers, "x-amzn-RequestId")
	if diff := cmp.Diff(map[string]string{
		"Content-Type": "application/json", "Content-Length": "20", "X-Amz-Executed-Version": "7", "X-Amz-Function-Error": "Unhandled",
		"X-Amz-Log-Result": base64.StdEncoding.EncodeToString([]byte("END")), "X-Amzn-Remapped-Content-Length": "0", "X-Amzn-Trace-Id": "Root=1-2-3",
	}, headers); diff != "" || w.Code != 200 || w.Body.String() != `{"errorMessage":"x"}` {
		t.Errorf("answer %d %s (-want +got):\n%s", w.Code, w.Body, diff)
	}

	answer = invoke.Response{Status: 202}
	w = do(h, "POST /2015-03-31/functions/f/invocations\nX-Amz-Invocation-Type: Event", "")
	if got.Type != "Event" || w.Code != 202 || w.Body.Len() != 0 || w.Header().Get("Content-Length") != "0" {
		t.Errorf("Event: %+v, %d %s %v", got, w.Code, w.Body, w.Header())
	}
	w = do(h, "POST /2014-11-13/functions/f/invoke-async/", `{"b":2}`)
	if got.Type != "Event" || string(got.Payload) != `{"b":2}` || w.Code != 202 {
		t.Errorf("InvokeAsync: %+v, %d %s", got, w.Code, w.Body)
	}
	answer = invoke.Response{Status: 204, ExecutedVersion: "$LATEST"}
	w = do(h, "POST /2015-03-31/functions/f/invocations\nX-Amz-Invocation-Type: DryRun", "")
	if got.Type != "DryRun" || w.Code != 204 || w.Body.Len() != 0 || w.Header().Get("X-Amz-Executed-Version") != "$LATEST" {
		t.Errorf("DryRun: %+v, %d %s", got, w.Code, w.Body)
	}
}

func TestBodyLimits(t *testing.T) {
	addr := serve(t, newHandler(Config{}))
	for _, tt := range []struct {
		path, kind string
		size       int
		status     int
		message    string
	}{
		{"/2015-03-31/functions/f/invocations", "", 6_291_456, 200, ""},
		{"/2015-03-31/functions/f/invocations", "", 6_291_457, 413, `{"Type":"User","message":"Request must be smaller than 6291456 bytes for the InvokeFunction operation"}`},
		{"/2015-03-31/functions/f/invocations", "Event", 1_048_577, 413, `{"Type":"User","message":"1048577 byte payload is too large for the Event invocation type (limit 1048576 bytes)"}`},
		{"/2014-11-13/functions/f/invoke-async", "", 1_048_577, 413, `{"Type":"User","message":"Request must be smaller than 1048576 bytes for the InvokeAsync operation"}`},
		{"/2015-03-31/functions", "", 70_167_212, 413, `{"Type":"User","message":"Request must be smaller than 70167211 bytes for the CreateFunction operation"}`},
		{"/2015-03-31/event-source-mappings", "", 6_291_457, 413, `{"Type":"User","message":"Request must be smaller than 6291456 bytes for the CreateEventSourceMapping operation"}`},
	} {
		for _, chunked := range []bool{false, true} {
			var body io.Reader = bytes.NewReader(make([]byte, tt.size))
			if chunked {
				body = io.MultiReader(body)
			}
			r, err := http.NewRequest("POST", "http://"+addr+tt.path, body)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("X-Amz-Invocation-Type", tt.kind)
			if tt.kind == "" {
				r.Header.Del("X-Amz-Invocation-Type")
			}
			res, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Errorf("%s with %d bytes: %v", tt.path, tt.size, err)
				continue
			}
			got, err := io.ReadAll(res.Body)
			_ = res.Body.Close()
			if err != nil || res.StatusCode != tt.status || tt.message != "" && string(got) != tt.message {
				t.Errorf("%s with %d bytes, chunked %v: %d %.200s %v, want %d %s", tt.path, tt.size, chunked, res.StatusCode, got, err, tt.status, tt.message)
			}
		}
	}
}

// TestSlowBody: a client that sends nothing more is answered, and cut off.
func TestSlowBody(t *testing.T) {
	h := newHandler(Config{})
	h.grace = 50 * time.Millisecond
	conn, err := net.Dial("tcp", serve(t, h))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "POST /2015-03-31/functions/f/invocations HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{"); err != nil {
		t.Fatal(err)
	}
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(conn)
	res, err := http.ReadResponse(in, nil)
	if err != nil || res.StatusCode != 408 {
		t.Fatalf("answer %v, %v, want 408", res, err)
	}
	if _, err := io.Copy(io.Discard, in); err != nil {
		t.Errorf("the connection was not closed: %v", err)
	}
}

// TestSlowReader: a client that does not read its answer does not hold it for ever.
func TestSlowReader(t *testing.T) {
	done := make(chan struct{})
	h := newHandler(Config{Invoker: invokerFunc(func(context.Context, invoke.Request) (*invoke.Response, error) {
		return &invoke.Response{Status: 200, Payload: make([]byte, 64<<20)}, nil
	})})
	h.grace = -1023 * time.Second // of the 1024 that 64 MB may take
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.ServeHTTP(w, r)
		close(done)
	}))
	defer s.Close()
	conn, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "POST /2015-03-31/functions/f/invocations HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatal("the answer is still being written")
	}
}

// TestDisconnect: when the client goes, the service's context ends, and a slow
// body's deadline leaves the connection's next requests alone.
func TestDisconnect(t *testing.T) {
	ended := make(chan struct{})
	began := make(chan struct{})
	h := newHandler(Config{Invoker: invokerFunc(func(ctx context.Context, r invoke.Request) (*invoke.Response, error) {
		if string(r.Payload) == "1" {
			time.Sleep(100 * time.Millisecond) // longer than h.grace
			return &invoke.Response{Status: 200}, ctx.Err()
		}
		close(began)
		<-ctx.Done()
		close(ended)
		return nil, ctx.Err()
	})})
	h.grace = 20 * time.Millisecond
	conn, err := net.Dial("tcp", serve(t, h))
	if err != nil {
		t.Fatal(err)
	}
	const head = "POST /2015-03-31/functions/f/invocations HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\n"
	in := bufio.NewReader(conn)
	for range 2 {
		if _, err := io.WriteString(conn, head+"1"); err != nil {
			t.Fatal(err)
		}
		res, err := http.ReadResponse(in, nil)
		if err != nil || res.StatusCode != 200 {
			t.Fatalf("answer %v, %v, want 200", res, err)
		}
	}
	if _, err := io.WriteString(conn, head+"2"); err != nil {
		t.Fatal(err)
	}
	<-began
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Fatal("the service was not told that the client went")
	}
}

func TestBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBudget(10)
		ctx := t.Context()
		if err := b.acquire(ctx, 100); err != nil { // all there is
			t.Fatal(err)
		}
		var served [2]atomic.Bool
		for i, n := range []int64{10, 1} {
			go func() {
				served[i].Store(b.acquire(ctx, n) == nil)
			}()
			synctest.Wait()
		}
		gone, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		if err := b.acquire(gone, 1); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("acquire with nothing free = %v, want the context's error", err)
		}
		if served[0].Load() || served[1].Load() {
			t.Error("somebody was served with nothing free")
		}
		b.release(100)
		synctest.Wait()
		if !served[0].Load() || served[1].Load() {
			t.Errorf("served are %v and %v, want the first alone", served[0].Load(), served[1].Load())
		}
		b.release(10)
		synctest.Wait()
		if !served[1].Load() {
			t.Error("the second was not served")
		}
		b.release(1)
		if b.free != 10 || len(b.waiting) != 0 {
			t.Errorf("%d bytes free, %d waiting, want 10 and 0", b.free, len(b.waiting))
		}
	})
}

// FuzzHandler: whatever is sent is answered with a document, and with a server's
// fault only where the services are at fault.
func FuzzHandler(f *testing.F) {
	h := newHandler(Config{Lambda: lambda.Unimplemented{}, Logs: logs.Unimplemented{}})
	f.Add("POST", "/2015-03-31/functions/f/invocations", "Qualifier=1", "X-Amz-Client-Context", "e30=", []byte("{}"))
	f.Add("POST", "/", "", "X-Amz-Target", "Logs_20140328.PutLogEvents", []byte(`{"logEvents":[{}]}`))
	f.Add("GET", "/2018-10-31/layers", "find=LayerVersion&Arn=%", "Authorization", "Credential=a/b/c/d/e", []byte(""))
	f.Add("PUT", "/2015-03-31//%2f%00/", "&&=", "Origin", "::", []byte("\xff"))
	for _, op := range lambda.Operations {
		f.Add(op.Method, op.Path, op.Query, "X-Amzn-Trace-Id", "x", []byte("{}"))
	}
	f.Fuzz(func(t *testing.T, method, path, query, name, value string, body []byte) {
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")))
		if err != nil {
			t.Fatal(err)
		}
		u, err := r.URL.Parse("/" + strings.TrimLeft(path, "/") + "?" + query)
		if err != nil || u.Host != "" {
			return
		}
		r.Method, r.URL = method, u
		r.Header.Set(name, value)
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code >= 500 && w.Code != 501 || w.Code < 200 {
			t.Fatalf("%s %s with %s: %q and %q gives %d %s", method, u, name, value, body, w.Code, w.Body)
		}
		if w.Code >= 300 && w.Body.Len() == 0 && method != "HEAD" {
			t.Fatalf("%s %s gives %d without a word", method, u, w.Code)
		}
	})
}

// nullWriter is the cheapest ResponseWriter.
type nullWriter struct{ h http.Header }

func (w *nullWriter) Header() http.Header         { return w.h }
func (w *nullWriter) Write(b []byte) (int, error) { return len(b), nil }
func (w *nullWriter) WriteHeader(int)             {}

// BenchmarkInvoke is all that the door adds to an invocation, without net/http's own part.
func BenchmarkInvoke(b *testing.B) {
	h := newHandler(Config{})
	payload := make([]byte, 50)
	if _, err := rand.Read(payload); err != nil {
		b.Fatal(err)
	}
	event := []byte(`{"key":"` + base64.StdEncoding.EncodeToString(payload) + `"}`)
	r := httptest.NewRequest("POST", "/2015-03-31/functions/my-function/invocations", nil)
	r.Host = "127.0.0.1:9001"
	r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20261125/us-east-1/lambda/aws4_request, SignedHeaders=host;x-amz-date, Signature=fe5f80f77d5fa3beca038a248ff027d0445342fe2855ddc963176630326f1024")
	r.Header.Set("X-Amz-Invocation-Type", "RequestResponse")
	r.ContentLength = int64(len(event))
	body := bytes.NewReader(event)
	w := &nullWriter{h: http.Header{}}
	b.ReportAllocs()
	for b.Loop() {
		body.Reset(event)
		r.Body = io.NopCloser(body)
		clear(w.h)
		h.ServeHTTP(w, r)
	}
	if w.h.Get("X-Amz-Executed-Version") != "$LATEST" {
		b.Fatal(w.h)
	}
}
