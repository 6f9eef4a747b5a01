package trace

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdk "go.opentelemetry.io/otel/sdk/trace"
)

// exporter sends spans by OTLP over HTTP in its JSON form. The official
// exporter would bring gRPC and protocol buffers: 14 MB of program and a third of
// the server's build, for what these lines do.
//
// https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding
type exporter struct {
	cfg    Config
	client *http.Client
}

var _ sdk.SpanExporter = (*exporter)(nil)

func (e *exporter) Shutdown(context.Context) error {
	e.client.CloseIdleConnections()
	return nil
}

// ExportSpans sends spans. A failure is logged here and lost: spans are no reason to try for long.
func (e *exporter) ExportSpans(ctx context.Context, spans []sdk.ReadOnlySpan) error {
	if len(spans) == 0 {
		return nil
	}
	if err := e.send(ctx, spans); err != nil {
		e.cfg.Logger.Warn("spans could not be sent", "endpoint", e.cfg.Endpoint, "spans", len(spans), "err", err)
	}
	return nil
}

func (e *exporter) send(ctx context.Context, spans []sdk.ReadOnlySpan) error {
	b, err := json.Marshal(encode(spans))
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, e.cfg.Endpoint, bytes.NewReader(b))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	for k, v := range e.cfg.Headers {
		r.Header.Set(k, v)
	}
	res, err := e.client.Do(r)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(res.Body, 1000))
	if res.StatusCode/100 != 2 {
		return fmt.Errorf("%s: %s", res.Status, body)
	}
	return nil
}

// The messages of OTLP, as far as they are used.
type (
	otlpTraces struct {
		ResourceSpans []otlpResourceSpans `json:"resourceSpans"`
	}
	otlpResourceSpans struct {
		Resource   otlpResource     `json:"resource"`
		ScopeSpans []otlpScopeSpans `json:"scopeSpans"`
	}
	otlpResource struct {
		Attributes []otlpAttribute `json:"attributes"`
	}
	otlpScopeSpans struct {
		Scope otlpScope  `json:"scope"`
		Spans []otlpSpan `json:"spans"`
	}
	otlpScope struct {
		Name string `json:"name"`
	}
	otlpSpan struct {
		TraceID      string          `json:"traceId"`
		SpanID       string          `json:"spanId"`
		ParentSpanID string          `json:"parentSpanId,omitempty"`
		Name         string          `json:"name"`
		Kind         int             `json:"kind"`
		Start        string          `json:"startTimeUnixNano"`
		End          string          `json:"endTimeUnixNano"`
		Attributes   []otlpAttribute `json:"attributes,omitempty"`
		Status       otlpStatus      `json:"status"`
	}
	otlpStatus struct {
		Code    int    `json:"code,omitempty"`
		Message string `json:"message,omitempty"`
	}
	otlpAttribute struct {
		Key   string    `json:"key"`
		Value otlpValue `json:"value"`
	}
	otlpValue struct {
		String *string  `json:"stringValue,omitempty"`
		Bool   *bool    `json:"boolValue,omitempty"`
		Int    *string  `json:"intValue,omitempty"` // 64 bits are strings
		Double *float64 `json:"doubleValue,omitempty"`
	}
)

func encode(spans []sdk.ReadOnlySpan) otlpTraces {
	// All spans are of one resource and one scope: this server's.
	out := otlpResourceSpans{
		Resource:   otlpResource{attributes(spans[0].Resource().Attributes())},
		ScopeSpans: []otlpScopeSpans{{Scope: otlpScope{spans[0].InstrumentationScope().Name}}},
	}
	for _, s := range spans {
		o := otlpSpan{
			TraceID:    s.SpanContext().TraceID().String(),
			SpanID:     s.SpanContext().SpanID().String(),
			Name:       s.Name(),
			Kind:       int(s.SpanKind()), // numbered alike
			Start:      strconv.FormatInt(s.StartTime().UnixNano(), 10),
			End:        strconv.FormatInt(s.EndTime().UnixNano(), 10),
			Attributes: attributes(s.Attributes()),
		}
		if s.Parent().HasSpanID() {
			o.ParentSpanID = s.Parent().SpanID().String()
		}
		switch s.Status().Code {
		case codes.Ok:
			o.Status.Code = 1
		case codes.Error:
			o.Status = otlpStatus{2, s.Status().Description}
		}
		out.ScopeSpans[0].Spans = append(out.ScopeSpans[0].Spans, o)
	}
	return otlpTraces{[]otlpResourceSpans{out}}
}

func attributes(kvs []attribute.KeyValue) []otlpAttribute {
	out := make([]otlpAttribute, 0, len(kvs))
	for _, kv := range kvs {
		a := otlpAttribute{Key: string(kv.Key)}
		switch kv.Value.Type() {
		case attribute.BOOL:
			b := kv.Value.AsBool()
			a.Value.Bool = &b
		case attribute.INT64:
			n := strconv.FormatInt(kv.Value.AsInt64(), 10)
			a.Value.Int = &n
		case attribute.FLOAT64:
			f := kv.Value.AsFloat64()
			a.Value.Double = &f
		default:
			s := kv.Value.String()
			a.Value.String = &s
		}
		out = append(out, a)
	}
	return out
}
