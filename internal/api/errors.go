package api

import (
	"net/http"
	"strconv"

	"github.com/hearth-run/hearth/internal/awsapi"
	"github.com/hearth-run/hearth/internal/awsapi/lambda"
	"github.com/hearth-run/hearth/internal/awsapi/wire"
)

// protocol is how a service's bodies and errors look.
type protocol int

const (
	restJSON protocol = iota // Lambda's
	jsonRPC                  // CloudWatch Logs': JSON 1.1
)

// Header values that are written often, in the form of http.Header's.
var (
	jsonType    = []string{"application/json"}
	jsonRPCType = []string{"application/x-amz-json-1.1"}
	eventType   = []string{wire.EventStreamType}
	zero        = []string{"0"}
)

// Names of headers as AWS spells them, which is not Go's way.
const (
	requestIDHeader = "x-amzn-RequestId"
	errorTypeHeader = "x-amzn-ErrorType"
)

// fail answers with an error.
func (x *exchange) fail(err error) {
	e := x.error(err)
	body := x.errorBody(e)
	h := x.w.Header()
	h["Content-Type"] = jsonType
	if x.protocol == jsonRPC {
		h["Content-Type"] = jsonRPCType
	}
	if x.facts.ID != "" {
		h[requestIDHeader] = []string{x.facts.ID}
	}
	h[errorTypeHeader] = []string{e.Code}
	if after, ok := e.Fields[retryAfter].(string); ok {
		h["Retry-After"] = []string{after}
	}
	h["Content-Length"] = []string{strconv.Itoa(len(body))}
	x.began = true
	x.w.WriteHeader(e.Status)
	if x.r.Method != http.MethodHead {
		_, _ = x.w.Write(body) // the client may be gone
	}
}

// retryAfter is the one member of an exception that travels in a header.
const retryAfter = "retryAfterSeconds"

// errorBody writes an error's document in the spelling of the protocol and of the exception.
func (x *exchange) errorBody(e *awsapi.Error) []byte {
	var w wire.Writer
	w.Object()
	if x.protocol == jsonRPC {
		w.Key("__type")
		w.String(e.Code)
		w.Key("message")
	} else {
		if e.Fault != "" {
			w.Key("Type")
			w.String(e.Fault)
		}
		w.Key(lambda.MessageKey(e.Code))
	}
	w.String(e.Message)
	for _, name := range wire.SortedKeys(e.Fields) {
		if name == retryAfter {
			continue
		}
		switch v := e.Fields[name].(type) {
		case string:
			w.Key(name)
			w.String(v)
		case int:
			w.Key(name)
			w.Int(int64(v))
		case int64:
			w.Key(name)
			w.Int(v)
		case bool:
			w.Key(name)
			w.Bool(v)
		}
	}
	w.EndObject()
	return w.B
}

func healthError(err error) string {
	var w wire.Writer
	w.Object()
	w.Key("status")
	w.String("unavailable")
	w.Key("reason")
	w.String(err.Error())
	w.EndObject()
	return string(w.B)
}
