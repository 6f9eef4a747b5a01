package api

import (
	"net/http"
	"strings"

	"github.com/hearth-run/hearth/internal/awsapi"
	"github.com/hearth-run/hearth/internal/awsapi/logs"
	"github.com/hearth-run/hearth/internal/awsapi/wire"
)

type logsOperation = wire.Operation[logs.Service]

// logsOperations lists CloudWatch Logs' operations by X-Amz-Target.
func logsOperations() map[string]*logsOperation {
	ops := map[string]*logsOperation{}
	for i := range logs.Operations {
		ops[logs.TargetPrefix+"."+logs.Operations[i].Name] = &logs.Operations[i]
	}
	return ops
}

// logsLimit bounds the bodies of CloudWatch Logs: 1 MB of events, and their framing.
const logsLimit = 4 << 20

// serveLogs answers an operation of CloudWatch Logs.
func (x *exchange) serveLogs(target string) {
	op := x.Handler.logs[target]
	if op == nil {
		if name, ok := strings.CutPrefix(target, logs.TargetPrefix+"."); ok && name != "" {
			x.fail(awsapi.Unimplemented(name))
		} else {
			x.fail(logs.UnknownOperationException("The target " + target + " names no operation of this server."))
		}
		return
	}
	x.operation = op.Name
	if x.r.Method != http.MethodPost {
		x.fail(logs.UnknownOperationException("The method " + x.r.Method + " is not POST."))
		return
	}
	body, err := x.readBody(logsLimit, op.Name)
	if err != nil {
		x.fail(err)
		return
	}
	in := &wire.Request{Header: x.r.Header, Query: x.r.URL.RawQuery, Body: body}
	if op.Stream != nil {
		x.streamLogs(op, in)
		return
	}
	out := &wire.Response{Status: op.Status, Header: x.w.Header()}
	if err := op.Serve(x.context(), x.cfg.Logs, in, out); err != nil {
		x.fail(err)
		return
	}
	x.respond(out, jsonRPCType)
}

// streamLogs answers an operation whose output is an event stream.
func (x *exchange) streamLogs(op *logsOperation, in *wire.Request) {
	control := http.NewResponseController(x.w)
	out := &wire.EventWriter{Write: func(frame []byte) error {
		if !x.began {
			h := x.w.Header()
			h["Content-Type"] = eventType
			h[requestIDHeader] = []string{x.facts.ID}
			x.began = true
			x.w.WriteHeader(http.StatusOK)
			if _, err := x.w.Write(wire.AppendTyped(nil, "initial-response", jsonRPCType[0], []byte("{}"))); err != nil {
				return err
			}
		}
		if _, err := x.w.Write(frame); err != nil {
			return err
		}
		return control.Flush()
	}}
	err := op.Stream(x.context(), x.cfg.Logs, in, out)
	switch {
	case err == nil || x.r.Context().Err() != nil:
	case !x.began:
		x.fail(err)
	default:
		e := x.error(err)
		_ = out.Write(wire.AppendException(nil, e.Code, x.errorBody(e))) // the client may be gone
	}
}
