package wire

import (
	"context"
	"encoding/base64"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Request is what a generated decoder reads an input from.
type Request struct {
	Header http.Header
	Labels []string // the path's, decoded, in the order of the operation's URI
	Query  string   // raw
	Body   []byte

	query  url.Values
	parsed bool
	err    error
}

// fault is AWS's answer to a header or query parameter of the wrong type.
func (r *Request) fault(message string) {
	if r.err == nil {
		r.err = SerializationError(message)
	}
}

// Err returns the first fault of what was read, or nil.
func (r *Request) Err() error { return r.err }

func (r *Request) values(name string) []string {
	if !r.parsed {
		r.parsed = true
		if r.Query != "" {
			var err error
			if r.query, err = url.ParseQuery(r.Query); err != nil {
				r.fault("The query string is malformed.")
			}
		}
	}
	return r.query[name]
}

// QueryString returns a query parameter, or nil if there is none.
func (r *Request) QueryString(name string) *string {
	if v := r.values(name); len(v) > 0 {
		return &v[0]
	}
	return nil
}

// QueryList returns all values of a query parameter, or nil if there are none.
func (r *Request) QueryList(name string) []string { return r.values(name) }

// HeaderString returns a header, or nil if there is none. name is canonical.
func (r *Request) HeaderString(name string) *string {
	if v := r.Header[name]; len(v) > 0 {
		return &v[0]
	}
	return nil
}

// Int32 reads a whole number from a label, query parameter or header.
func (r *Request) Int32(s *string) *int32 {
	if s == nil {
		return nil
	}
	n, err := strconv.ParseInt(*s, 10, 32)
	if err != nil {
		r.fault("STRING_VALUE can not be converted to an Integer")
		return nil
	}
	v := int32(n)
	return &v
}

// Int64 reads a whole number.
func (r *Request) Int64(s *string) *int64 {
	if s == nil {
		return nil
	}
	n, err := strconv.ParseInt(*s, 10, 64)
	if err != nil {
		r.fault("STRING_VALUE can not be converted to a Long")
		return nil
	}
	return &n
}

// Bool reads a boolean.
func (r *Request) Bool(s *string) *bool {
	if s == nil {
		return nil
	}
	v := strings.EqualFold(*s, "true")
	if !v && !strings.EqualFold(*s, "false") {
		r.fault("STRING_VALUE can not be converted to a Boolean")
		return nil
	}
	return &v
}

// Time reads a timestamp: RFC 3339, or seconds since the epoch.
func (r *Request) Time(s *string) *time.Time {
	if s == nil {
		return nil
	}
	for _, layout := range []string{time.RFC3339Nano, http.TimeFormat} {
		if t, err := time.Parse(layout, *s); err == nil {
			t = t.UTC()
			return &t
		}
	}
	if v, err := strconv.ParseFloat(*s, 64); err == nil && v >= -maxSeconds && v <= maxSeconds {
		t := seconds(v)
		return &t
	}
	r.fault("STRING_VALUE can not be converted to milliseconds since epoch")
	return nil
}

// Blob reads base64.
func (r *Request) Blob(s *string) []byte {
	if s == nil {
		return nil
	}
	b, err := base64.StdEncoding.DecodeString(*s)
	if err != nil {
		r.fault("Invalid base64-encoded data")
	}
	return b
}

// Response is what a generated encoder writes an output to.
type Response struct {
	Status int // the operation's, unless the output says otherwise
	Header http.Header
	Writer // the body; empty if the operation has no output
}

// Operation is one operation of an API whose service is an S.
type Operation[S any] struct {
	Name   string
	Method string
	Path   string // with {labels}
	Query  string // "name=value" that belongs to the URI, or ""
	Status int

	// Serve decodes and checks an input, calls the service and encodes the output.
	Serve func(ctx context.Context, s S, in *Request, out *Response) error
	// Stream does the same for an operation that answers with an event stream.
	Stream func(ctx context.Context, s S, in *Request, out *EventWriter) error
}

// EventWriter sends the events of an answer, from one goroutine at a time.
type EventWriter struct {
	// Write takes whole messages and returns once they are on their way.
	Write func(frame []byte) error
}

// Send sends an event with a JSON document.
func (w *EventWriter) Send(name string, document []byte) error {
	return w.Write(AppendTyped(nil, name, "application/json", document))
}
