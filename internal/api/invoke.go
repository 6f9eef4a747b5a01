package api

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/hearth-run/hearth/internal/awsapi"
	"github.com/hearth-run/hearth/internal/awsapi/lambda"
	"github.com/hearth-run/hearth/internal/awsapi/wire"
	"github.com/hearth-run/hearth/internal/instance"
	"github.com/hearth-run/hearth/internal/invoke"
)

// maxClientContext bounds X-Amz-Client-Context, in base64.
const maxClientContext = 3583

// clientContext decodes the X-Amz-Client-Context header.
func clientContext(header *string) (string, error) {
	if header == nil || *header == "" {
		return "", nil
	}
	b, err := base64.StdEncoding.DecodeString(*header)
	if err == nil && len(*header) <= maxClientContext {
		if r := wire.NewReader(b); r.Object() {
			for _, ok := r.Key(); ok; _, ok = r.Key() {
				r.Skip()
			}
			if r.Err() == nil {
				return string(b), nil
			}
		}
	}
	e := lambda.InvalidRequestContentException("Client context must be a valid Base64-encoded JSON object.")
	e.Fault = "" // AWS gives no Type here
	return "", e
}

// event makes the Invoker's request of what both kinds of Invoke have in common.
func (x *exchange) event(in *wire.Request, function, qualifier, kind, logType, tenant, header *string) (invoke.Request, error) {
	context, err := clientContext(header)
	if err != nil {
		return invoke.Request{}, err
	}
	return invoke.Request{
		Function:      awsapi.Val(function),
		Qualifier:     awsapi.Val(qualifier),
		Type:          awsapi.Val(kind),
		Payload:       in.Body,
		LogTail:       awsapi.Val(logType) == lambda.LogTypeTail,
		ClientContext: context,
		TraceID:       x.r.Header.Get("X-Amzn-Trace-Id"),
		TenantID:      awsapi.Val(tenant),
	}, nil
}

// invoke answers Invoke, the hot path.
func (x *exchange) invoke(in *wire.Request) {
	v, err := lambda.DecodeInvocationRequest(in)
	if err == nil {
		err = v.Validate()
	}
	if err != nil {
		x.fail(err)
		return
	}
	if v.DurableExecutionName != nil {
		x.fail(lambda.InvalidParameterValueException("A durable execution name can only be given for a function with a durable configuration."))
		return
	}
	if awsapi.Val(v.InvocationType) == lambda.InvocationTypeEvent && len(in.Body) > instance.MaxAsyncSize {
		x.fail(lambda.RequestEntityTooLargeException(fmt.Sprintf("%d byte payload is too large for the Event invocation type (limit %d bytes)", len(in.Body), instance.MaxAsyncSize)))
		return
	}
	e, err := x.event(in, v.FunctionName, v.Qualifier, v.InvocationType, v.LogType, v.TenantId, v.ClientContext)
	if err != nil {
		x.fail(err)
		return
	}
	res, err := x.cfg.Invoker.Invoke(x.context(), e)
	if err != nil {
		x.fail(err)
		return
	}
	h := x.w.Header()
	h[requestIDHeader] = []string{x.facts.ID}
	h["X-Amzn-Remapped-Content-Length"] = zero
	if res.ExecutedVersion != "" {
		h["X-Amz-Executed-Version"] = []string{res.ExecutedVersion}
	}
	if res.FunctionError != instance.NoError {
		h["X-Amz-Function-Error"] = []string{string(res.FunctionError)}
	}
	if res.TraceID != "" {
		h["X-Amzn-Trace-Id"] = []string{res.TraceID}
	}
	if e.LogTail && res.Status == http.StatusOK {
		h["X-Amz-Log-Result"] = []string{base64.StdEncoding.EncodeToString(res.LogTail)}
	}
	x.began = true
	if res.Status == http.StatusNoContent {
		x.w.WriteHeader(res.Status)
		return
	}
	h["Content-Type"] = jsonType
	if res.ContentType != "" && res.ContentType != jsonType[0] {
		h["Content-Type"] = []string{res.ContentType}
	}
	h["Content-Length"] = []string{strconv.Itoa(len(res.Payload))}
	x.w.WriteHeader(res.Status)
	x.write(res.Payload)
}

// invokeAsync answers InvokeAsync, Invoke's predecessor for asynchronous events.
func (x *exchange) invokeAsync(in *wire.Request) {
	v, err := lambda.DecodeInvokeAsyncRequest(in)
	if err == nil {
		if v.InvokeArgs == nil {
			v.InvokeArgs = []byte{}
		}
		err = v.Validate()
	}
	if err != nil {
		x.fail(err)
		return
	}
	res, err := x.cfg.Invoker.Invoke(x.context(), invoke.Request{
		Function: awsapi.Val(v.FunctionName),
		Type:     lambda.InvocationTypeEvent,
		Payload:  v.InvokeArgs,
		TraceID:  x.r.Header.Get("X-Amzn-Trace-Id"),
	})
	if err != nil {
		x.fail(err)
		return
	}
	x.respond(&wire.Response{Status: res.Status, Header: x.w.Header(), Writer: wire.Writer{B: []byte("{}")}}, jsonType)
}

// invokeStream answers InvokeWithResponseStream.
func (x *exchange) invokeStream(in *wire.Request) {
	v, err := lambda.DecodeInvokeWithResponseStreamRequest(in)
	if err == nil {
		err = v.Validate()
	}
	if err != nil {
		x.fail(err)
		return
	}
	e, err := x.event(in, v.FunctionName, v.Qualifier, v.InvocationType, v.LogType, v.TenantId, v.ClientContext)
	if err != nil {
		x.fail(err)
		return
	}
	s := &eventSink{x: x, control: http.NewResponseController(x.w)}
	e.Stream, e.Sink = true, s
	res, err := x.cfg.Invoker.Invoke(x.context(), e)
	if err != nil && x.began {
		panic(http.ErrAbortHandler) // the stream has no end that would be true
	}
	if err != nil {
		x.fail(err)
		return
	}
	if res.Status == http.StatusNoContent {
		x.respond(&wire.Response{Status: res.Status, Header: x.w.Header()}, nil)
		return
	}
	s.ExecutedVersion(res.ExecutedVersion)
	_ = s.end(res, e.LogTail) // the client may be gone
}

// eventSink writes a function's response as an event stream.
type eventSink struct {
	x       *exchange
	control *http.ResponseController
	version string
	frame   []byte
}

var _ instance.Sink = (*eventSink)(nil)

// ExecutedVersion tells the version that answers. It goes into a header, so it
// has no effect after Begin.
func (s *eventSink) ExecutedVersion(v string) {
	if s.version == "" {
		s.version = v
	}
}

func (s *eventSink) Begin(contentType string) error {
	x := s.x
	h := x.w.Header()
	h["Content-Type"] = eventType
	h[requestIDHeader] = []string{x.facts.ID}
	h["X-Amzn-Remapped-Content-Length"] = zero
	if contentType != "" {
		h["X-Amzn-Remapped-Content-Type"] = []string{contentType}
	}
	if s.version != "" {
		h["X-Amz-Executed-Version"] = []string{s.version}
	}
	x.began = true
	x.w.WriteHeader(http.StatusOK)
	return s.control.Flush()
}

// maxChunk bounds an event's payload.
const maxChunk = 256 << 10

func (s *eventSink) Write(p []byte) (int, error) {
	for written := 0; written < len(p); {
		n := min(len(p)-written, maxChunk)
		if err := s.send("PayloadChunk", "application/octet-stream", p[written:written+n]); err != nil {
			return written, err
		}
		written += n
	}
	return len(p), nil
}

func (s *eventSink) send(name, contentType string, payload []byte) error {
	s.frame = wire.AppendTyped(s.frame[:0], name, contentType, payload)
	if _, err := s.x.w.Write(s.frame); err != nil {
		return err
	}
	return s.control.Flush()
}

// end sends what is not sent yet, and InvokeComplete.
func (s *eventSink) end(res *invoke.Response, tail bool) error {
	if !s.x.began {
		if err := s.Begin(res.ContentType); err != nil {
			return err
		}
		if _, err := s.Write(res.Payload); err != nil {
			return err
		}
	}
	var w wire.Writer
	w.Object()
	if res.FunctionError != instance.NoError {
		w.Key("ErrorCode")
		w.String(string(res.FunctionError))
		w.Key("ErrorDetails")
		w.String(errorDetails(res))
	}
	if tail {
		w.Key("LogResult")
		w.Blob(res.LogTail)
	}
	w.EndObject()
	return s.send("InvokeComplete", "application/json", w.B)
}

// errorDetails is the error's document: as the function gave it, in its response or
// behind a stream that it broke, or made of what is known.
func errorDetails(res *invoke.Response) string {
	if len(res.Payload) > 0 {
		return string(res.Payload)
	}
	if r := wire.NewReader([]byte(res.ErrorMessage)); strings.HasPrefix(res.ErrorMessage, "{") {
		if r.Skip(); r.Err() == nil {
			return res.ErrorMessage
		}
	}
	var w wire.Writer
	w.Object()
	w.Key("errorType")
	w.String(res.ErrorType)
	w.Key("errorMessage")
	w.String(res.ErrorMessage)
	w.EndObject()
	return string(w.B)
}
