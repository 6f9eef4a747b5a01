package awsclient

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/hearth-run/hearth/internal/hearthtest"
)

// isolate keeps the machine's own AWS configuration out of a test.
func isolate(t *testing.T) {
	for _, v := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_ENDPOINT_URL"} {
		t.Setenv(v, "")
	}
	t.Setenv("AWS_CONFIG_FILE", "/dev/null")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
}

func env(pairs ...string) func(string) string {
	return func(name string) string {
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == name {
				return pairs[i+1]
			}
		}
		return ""
	}
}

func TestEndpoint(t *testing.T) {
	for _, tt := range []struct {
		env  []string
		want string
	}{
		{nil, ""},
		{[]string{"AWS_ENDPOINT_URL", "http://all"}, "http://all"},
		{[]string{"AWS_ENDPOINT_URL", "http://all", "AWS_ENDPOINT_URL_S3", "http://s3"}, "http://s3"},
		{[]string{"AWS_ENDPOINT_URL", "http://all", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true"}, ""},
	} {
		if got := New(Config{Getenv: env(tt.env...)}).Endpoint("S3"); got != tt.want {
			t.Errorf("Endpoint with %v = %q, want %q", tt.env, got, tt.want)
		}
	}
}

// What has no endpoint is not asked.
func TestNotConfigured(t *testing.T) {
	c := New(Config{Getenv: env()})
	ctx := t.Context()
	err := errors.Join(c.Role(ctx, "r", "arn:aws:iam::1:role/x"), c.Queue(ctx, "r", "arn:aws:sqs:r:1:q"), c.Stream(ctx, "r", "arn:aws:kinesis:r:1:stream/s"))
	if err != nil {
		t.Errorf("asked although nothing is configured: %v", err)
	}
}

// The requests are signed for their service, and the answers of each protocol are read.
func TestChecks(t *testing.T) {
	isolate(t)
	var seen *http.Request
	var sent, answer string
	status := 200
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		seen, sent = r, string(b)
		w.WriteHeader(status)
		io.WriteString(w, answer)
	}))
	defer srv.Close()
	c := New(Config{Getenv: env("AWS_ENDPOINT_URL", srv.URL)})
	for _, tt := range []struct {
		name    string
		ask     func() error
		service string
		body    string
		missing string
	}{
		{"role", func() error { return c.Role(t.Context(), "us-east-1", "arn:aws:iam::111111111111:role/path/r") }, "iam", "RoleName=r&",
			`<ErrorResponse><Error><Type>Sender</Type><Code>NoSuchEntity</Code><Message>no</Message></Error></ErrorResponse>`},
		{"queue", func() error { return c.Queue(t.Context(), "us-east-1", "arn:aws:sqs:us-east-1:111111111111:q") }, "sqs", `"QueueName":"q"`,
			`{"__type":"com.amazonaws.sqs#QueueDoesNotExist","message":"no"}`},
		{"kinesis", func() error {
			return c.Stream(t.Context(), "us-east-1", "arn:aws:kinesis:us-east-1:111111111111:stream/s/consumer/c:1")
		}, "kinesis", `"StreamName":"s"`,
			`{"__type":"ResourceNotFoundException"}`},
		{"dynamodb", func() error {
			return c.Stream(t.Context(), "us-east-1", "arn:aws:dynamodb:us-east-1:111111111111:table/t/stream/x")
		}, "dynamodb", `table/t/stream/x"`,
			`{"__type":"com.amazonaws.dynamodb.v20120810#ResourceNotFoundException"}`},
	} {
		status, answer = 200, "{}"
		if err := tt.ask(); err != nil {
			t.Errorf("%s that is there: %v", tt.name, err)
		}
		if a := seen.Header.Get("Authorization"); !strings.Contains(a, "/us-east-1/"+tt.service+"/aws4_request") {
			t.Errorf("%s is signed %q", tt.name, a)
		}
		if !strings.Contains(sent, tt.body) && !strings.Contains(sent+"&", tt.body) {
			t.Errorf("%s sends %q, want %q", tt.name, sent, tt.body)
		}
		status, answer = 400, tt.missing
		if err := tt.ask(); !errors.Is(err, ErrNotFound) {
			t.Errorf("%s that is not there: %v, want %v", tt.name, err, ErrNotFound)
		}
		status, answer = 500, "oops"
		if err := tt.ask(); err == nil || errors.Is(err, ErrNotFound) {
			t.Errorf("%s of a broken service: %v, want an error of its own", tt.name, err)
		}
	}
}

// S3's words come through, and so do objects and their versions.
func TestGetObject(t *testing.T) {
	isolate(t)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/bucket/dir/key.zip" {
			w.WriteHeader(404)
			io.WriteString(w, `<?xml version="1.0"?><Error><Code>NoSuchKey</Code><Message>The specified key does not exist.</Message></Error>`)
			return
		}
		io.WriteString(w, "version "+r.URL.Query().Get("versionId"))
	}))
	defer srv.Close()
	c := New(Config{Getenv: env("AWS_ENDPOINT_URL_S3", srv.URL)})
	r, err := c.GetObject(t.Context(), "us-east-1", "bucket", "dir/key.zip", "7")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if b, err := io.ReadAll(r); err != nil || string(b) != "version 7" {
		t.Errorf("object = %q, %v", b, err)
	}
	_, err = c.GetObject(t.Context(), "us-east-1", "bucket", "other", "")
	var e *Error
	if !errors.As(err, &e) || e.Code != "NoSuchKey" || e.Message != "The specified key does not exist." {
		t.Errorf("missing object: %v, want S3's NoSuchKey", err)
	}
}

// A stand-in for AWS that nobody here wrote answers as expected.
func TestMoto(t *testing.T) {
	endpoint := os.Getenv("TESTBED_MOTO")
	if endpoint == "" {
		hearthtest.Skip(t, "moto", "TESTBED_MOTO names no server")
	}
	isolate(t)
	c := New(Config{Getenv: env("AWS_ENDPOINT_URL", endpoint)})
	ctx := t.Context()
	for name, err := range map[string]error{
		"role":    c.Role(ctx, "us-east-1", "arn:aws:iam::123456789012:role/none"),
		"queue":   c.Queue(ctx, "us-east-1", "arn:aws:sqs:us-east-1:123456789012:none"),
		"kinesis": c.Stream(ctx, "us-east-1", "arn:aws:kinesis:us-east-1:123456789012:stream/none"),
	} {
		if !errors.Is(err, ErrNotFound) {
			t.Errorf("%s: %v, want %v", name, err, ErrNotFound)
		}
	}
	_, err := c.GetObject(ctx, "us-east-1", "nobucket", "k", "")
	var e *Error
	if !errors.As(err, &e) || e.Code != "NoSuchBucket" {
		t.Errorf("missing bucket: %v, want NoSuchBucket", err)
	}
}
