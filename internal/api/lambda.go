package api

import (
	"net/http"
	"strconv"

	"github.com/hearth-run/hearth/internal/awsapi/wire"
	"github.com/hearth-run/hearth/internal/instance"
)

// Bounds of request bodies, in bytes, as AWS words them.
const (
	codeLimit    = 70_167_211 // of operations that carry an archive: 50 MB in base64
	controlLimit = 6_291_456
)

// bodyLimit returns how large a Lambda operation's body may be, and the operation's name in the error.
func bodyLimit(operation string) (int64, string) {
	switch operation {
	case "CreateFunction", "UpdateFunctionCode", "PublishLayerVersion":
		return codeLimit, operation
	case "Invoke":
		return instance.MaxEventSize, "InvokeFunction"
	case "InvokeAsync":
		return instance.MaxAsyncSize, operation
	}
	return controlLimit, operation
}

// serveLambda answers an operation of the Lambda API.
func (x *exchange) serveLambda() {
	op, labels := x.lambda.find(x.r.Method, x.r.URL.EscapedPath(), x.r.URL.RawQuery)
	if op == nil {
		x.fail(denied("Unable to determine service/operation name to be authorized"))
		return
	}
	x.operation = op.Name
	limit, name := bodyLimit(op.Name)
	body, err := x.readBody(limit, name)
	if err != nil {
		x.fail(err)
		return
	}
	in := &wire.Request{Header: x.r.Header, Labels: labels, Query: x.r.URL.RawQuery, Body: body}
	switch op.Name {
	case "Invoke":
		x.invoke(in)
		return
	case "InvokeWithResponseStream":
		x.invokeStream(in)
		return
	case "InvokeAsync":
		x.invokeAsync(in)
		return
	}
	out := &wire.Response{Status: op.Status, Header: x.w.Header()}
	if err := op.Serve(x.context(), x.cfg.Lambda, in, out); err != nil {
		x.fail(err)
		return
	}
	x.respond(out, jsonType)
}

// respond writes an answer.
func (x *exchange) respond(out *wire.Response, contentType []string) {
	h := out.Header
	h[requestIDHeader] = []string{x.facts.ID}
	if out.Status != http.StatusNoContent {
		h["Content-Type"] = contentType
		h["Content-Length"] = []string{strconv.Itoa(len(out.B))}
	} else {
		out.B = nil
	}
	x.began = true
	x.w.WriteHeader(out.Status)
	x.write(out.B)
}
