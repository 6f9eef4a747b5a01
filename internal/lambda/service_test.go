package lambda_test

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/hearth-run/hearth/internal/api"
	"github.com/hearth-run/hearth/internal/awsapi"
	"github.com/hearth-run/hearth/internal/code"
	"github.com/hearth-run/hearth/internal/invoke"
	"github.com/hearth-run/hearth/internal/lambda"
	"github.com/hearth-run/hearth/internal/store"
	"github.com/hearth-run/hearth/internal/store/storetest"
)

const (
	account = "111111111111"
	region  = "us-east-1"
	role    = "arn:aws:iam::111111111111:role/r"
	fnARN   = "arn:aws:lambda:us-east-1:111111111111:function:fn"
)

// server is the Lambda API over HTTP, without invocations.
type server struct {
	t       testing.TB
	api     http.Handler
	service *lambda.Service
	store   *store.Store
	// account and region are those of requests.
	account, region string
}

type noInvoker struct{}

func (noInvoker) Invoke(context.Context, invoke.Request) (*invoke.Response, error) {
	return nil, awsapi.Unimplemented("Invoke")
}

// newServer returns a server whose functions need nothing to be activated,
// unless change says otherwise.
func newServer(t testing.TB, database string, change func(*lambda.Config)) *server {
	t.Helper()
	return serverOn(t, storetest.Open(t, storetest.Config(t, database)), change)
}

func serverOn(t testing.TB, st *store.Store, change func(*lambda.Config)) *server {
	t.Helper()
	c, err := code.Open(t.TempDir(), code.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	cfg := lambda.Config{Store: st, Code: c}
	if change != nil {
		change(&cfg)
	}
	s := &server{t: t, store: st, account: account, region: region, service: lambda.New(cfg)}
	t.Cleanup(func() {
		if err := s.service.Stop(context.Background()); err != nil {
			t.Errorf("Stop: %v", err)
		}
	})
	s.api = api.New(api.Config{
		Lambda: s.service, Invoker: noInvoker{}, AccountID: account, Region: region,
		Mounts: map[string]http.Handler{lambda.CodePath: s.service.Downloads()},
	})
	return s
}

// answer is what a client gets.
type answer struct {
	status int
	header http.Header
	raw    string
	body   map[string]any
}

func (a answer) code() string {
	for name, values := range a.header { // AWS's spelling is not Go's
		if strings.EqualFold(name, "x-amzn-errortype") {
			c, _, _ := strings.Cut(values[0], ":")
			return c
		}
	}
	return ""
}

func (a answer) message() string {
	for _, k := range []string{"message", "Message"} {
		if m, ok := a.body[k].(string); ok {
			return m
		}
	}
	return ""
}

// get returns the member at a path such as "Configuration.State", or nil.
func (a answer) get(path string) any {
	var v any = a.body
	for name := range strings.SplitSeq(path, ".") {
		m, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = m[name]
	}
	return v
}

func (a answer) str(path string) string { s, _ := a.get(path).(string); return s }

// do sends a request, and waits until what it began in the background is done. body is a value that is sent as JSON, a string of JSON, or nil.
func (s *server) do(method, path string, body any) answer {
	a := s.send(method, path, body)
	s.service.Settle()
	return a
}

func (s *server) send(method, path string, body any) answer {
	s.t.Helper()
	var r io.Reader = http.NoBody
	switch b := body.(type) {
	case nil:
	case string:
		r = strings.NewReader(b)
	case io.Reader:
		r = b
	default:
		j, err := json.Marshal(b)
		if err != nil {
			s.t.Fatal(err)
		}
		r = bytes.NewReader(j)
	}
	req := httptest.NewRequest(method, path, r)
	req.Host = "localhost:9001"
	req.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential="+s.account+"/20261125/"+s.region+"/lambda/aws4_request, SignedHeaders=host, Signature=00")
	w := httptest.NewRecorder()
	s.api.ServeHTTP(w, req)
	a := answer{status: w.Code, header: w.Header(), raw: w.Body.String()}
	if err := json.Unmarshal(w.Body.Bytes(), &a.body); err != nil && w.Body.Len() > 0 && strings.Contains(w.Header().Get("Content-Type"), "json") {
		s.t.Errorf("%s %s answers no JSON: %s", method, path, w.Body)
	}
	return a
}

// ok is do for requests that succeed.
func (s *server) ok(method, path string, body any) answer {
	s.t.Helper()
	a := s.do(method, path, body)
	if a.status/100 != 2 {
		s.t.Fatalf("%s %s: %d %s", method, path, a.status, a.raw)
	}
	return a
}

type object = map[string]any

// archive returns a zip with one file of the content, in base64.
func archive(content string) string {
	return base64.StdEncoding.EncodeToString(zipped(content))
}

func zipped(content string) []byte {
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	f, err := z.Create("index.py")
	if err == nil {
		_, err = io.WriteString(f, content)
	}
	if err == nil {
		err = z.Close()
	}
	if err != nil {
		panic(err)
	}
	return b.Bytes()
}

// function returns a CreateFunction request; changes are pairs of names and values, nil removes one.
func function(name string, changes ...any) object {
	o := object{"FunctionName": name, "Role": role, "Runtime": "python3.12", "Handler": "index.handler", "Code": object{"ZipFile": archive("def handler(e, c): pass")}}
	for i := 0; i < len(changes); i += 2 {
		if changes[i+1] == nil {
			delete(o, changes[i].(string))
		} else {
			o[changes[i].(string)] = changes[i+1]
		}
	}
	return o
}

const functions = "/2015-03-31/functions"

// create makes a function.
func (s *server) create(name string, changes ...any) answer {
	s.t.Helper()
	return s.ok("POST", functions, function(name, changes...))
}
