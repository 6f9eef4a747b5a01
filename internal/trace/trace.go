// Package trace tells an OpenTelemetry collector what the server does with an
// event: spans for the invocation, the wait for an instance, its launch. It is off
// unless configured, and costs nothing then: a nil *Tracer starts nil *Spans.
//
//	ctx, span := tracer.Start(ctx, "invoke", slog.String("faas.invoked_name", name))
//	defer func() { span.End(err) }()
//
// Trace IDs are those of X-Ray, spelled the other way, so that the spans of a
// function that is instrumented itself hang below the server's.
package trace

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// Config says where spans go.
type Config struct {
	// Endpoint is the collector's URL for traces, "http://host:4318/v1/traces".
	// "" means that tracing is off.
	Endpoint string
	// Headers go with each request.
	Headers map[string]string
	// Timeout bounds a request. 0 means 10 s.
	Timeout time.Duration
	// Service is the service's name. "" means "hearth".
	Service string
	// Ratio is the share of traces that are recorded when the caller does not
	// decide. 0 means all.
	Ratio float64
	// Logger is told of spans that could not be sent. Nil discards.
	Logger *slog.Logger
}

// FromEnvironment reads OpenTelemetry's variables: OTEL_EXPORTER_OTLP_ENDPOINT
// or OTEL_EXPORTER_OTLP_TRACES_ENDPOINT, …_HEADERS, …_TIMEOUT, …_PROTOCOL (of
// which "http/json" is spoken), OTEL_SERVICE_NAME, OTEL_TRACES_SAMPLER_ARG,
// OTEL_SDK_DISABLED, OTEL_TRACES_EXPORTER=none.
func FromEnvironment(getenv func(string) string) (Config, error) {
	get := func(name string) string {
		if v := getenv("OTEL_EXPORTER_OTLP_TRACES_" + name); v != "" {
			return v
		}
		return getenv("OTEL_EXPORTER_OTLP_" + name)
	}
	var c Config
	if strings.EqualFold(getenv("OTEL_SDK_DISABLED"), "true") || getenv("OTEL_TRACES_EXPORTER") == "none" {
		return c, nil
	}
	c.Endpoint = getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
	if base := getenv("OTEL_EXPORTER_OTLP_ENDPOINT"); c.Endpoint == "" && base != "" {
		c.Endpoint = strings.TrimSuffix(base, "/") + "/v1/traces"
	}
	if c.Endpoint == "" {
		return c, nil
	}
	if u, err := url.Parse(c.Endpoint); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return c, fmt.Errorf("OTEL_EXPORTER_OTLP_ENDPOINT: %q is no http URL", c.Endpoint)
	}
	if p := get("PROTOCOL"); p != "" && p != "http/json" && p != "http/protobuf" {
		return c, fmt.Errorf("OTEL_EXPORTER_OTLP_PROTOCOL: %s is not spoken here; point the endpoint to the collector's HTTP port (4318) and leave it out, or say http/json", p)
	}
	for pair := range strings.SplitSeq(get("HEADERS"), ",") {
		k, v, ok := strings.Cut(pair, "=")
		if !ok {
			continue
		}
		if c.Headers == nil {
			c.Headers = map[string]string{}
		}
		if u, err := url.PathUnescape(strings.TrimSpace(v)); err == nil {
			v = u
		}
		c.Headers[strings.TrimSpace(k)] = v
	}
	if n, err := strconv.Atoi(get("TIMEOUT")); err == nil && n > 0 {
		c.Timeout = time.Duration(n) * time.Millisecond
	}
	c.Service = getenv("OTEL_SERVICE_NAME")
	if s := getenv("OTEL_TRACES_SAMPLER"); strings.Contains(s, "traceidratio") {
		r, err := strconv.ParseFloat(getenv("OTEL_TRACES_SAMPLER_ARG"), 64)
		if err != nil || r <= 0 || r > 1 {
			return c, fmt.Errorf("OTEL_TRACES_SAMPLER_ARG: %q is no ratio above 0 and up to 1", getenv("OTEL_TRACES_SAMPLER_ARG"))
		}
		c.Ratio = r
	}
	return c, nil
}

// Tracer starts spans. All methods may be called concurrently, and on a nil *Tracer.
type Tracer struct {
	provider *sdk.TracerProvider
	tracer   trace.Tracer
}

// New returns a tracer, which is nil if c says that tracing is off.
func New(c Config) *Tracer {
	if c.Endpoint == "" {
		return nil
	}
	if c.Timeout <= 0 {
		c.Timeout = 10 * time.Second
	}
	if c.Service == "" {
		c.Service = "hearth"
	}
	if c.Ratio <= 0 {
		c.Ratio = 1
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	p := sdk.NewTracerProvider(
		sdk.WithBatcher(&exporter{cfg: c, client: &http.Client{Timeout: c.Timeout}}),
		sdk.WithResource(resource.NewSchemaless(attribute.String("service.name", c.Service), attribute.String("cloud.platform", "hearth"))),
		sdk.WithSampler(sdk.ParentBased(sdk.TraceIDRatioBased(c.Ratio))),
	)
	return &Tracer{provider: p, tracer: p.Tracer("github.com/hearth-run/hearth")}
}

// Close sends what has been recorded, until ctx ends.
func (t *Tracer) Close(ctx context.Context) error {
	if t == nil {
		return nil
	}
	return t.provider.Shutdown(ctx)
}

// Span is a piece of work. Its methods may be called on nil.
type Span struct{ s trace.Span }

// Start begins a span below that of ctx, and returns a ctx for what is below it.
func (t *Tracer) Start(ctx context.Context, name string, attrs ...slog.Attr) (context.Context, *Span) {
	if t == nil {
		return ctx, nil
	}
	kind := trace.SpanKindInternal
	if !trace.SpanContextFromContext(ctx).IsValid() || trace.SpanContextFromContext(ctx).IsRemote() {
		kind = trace.SpanKindServer
	}
	ctx, s := t.tracer.Start(ctx, name, trace.WithSpanKind(kind), trace.WithAttributes(convert(attrs)...))
	return ctx, &Span{s}
}

// Set adds facts to the span.
func (s *Span) Set(attrs ...slog.Attr) {
	if s != nil {
		s.s.SetAttributes(convert(attrs)...)
	}
}

// End ends the span, as failed if err is not nil.
func (s *Span) End(err error) {
	if s == nil {
		return
	}
	if err != nil {
		s.s.SetStatus(codes.Error, err.Error())
	}
	s.s.End()
}

func convert(attrs []slog.Attr) []attribute.KeyValue {
	kvs := make([]attribute.KeyValue, 0, len(attrs))
	for _, a := range attrs {
		k := attribute.Key(a.Key)
		switch v := a.Value.Resolve(); v.Kind() {
		case slog.KindBool:
			kvs = append(kvs, k.Bool(v.Bool()))
		case slog.KindInt64:
			kvs = append(kvs, k.Int64(v.Int64()))
		case slog.KindFloat64:
			kvs = append(kvs, k.Float64(v.Float64()))
		default:
			kvs = append(kvs, k.String(v.String()))
		}
	}
	return kvs
}

// Continue returns a ctx whose spans belong to the trace that a request names
// in traceparent or X-Amzn-Trace-Id; the latter may also be given alone, as
// _X_AMZN_TRACE_ID spells it.
func (t *Tracer) Continue(ctx context.Context, traceparent, xray string) context.Context {
	if t == nil {
		return ctx
	}
	if sc, ok := parseTraceparent(traceparent); ok {
		return trace.ContextWithRemoteSpanContext(ctx, sc)
	}
	if sc, ok := parseXRay(xray); ok {
		return trace.ContextWithRemoteSpanContext(ctx, sc)
	}
	return ctx
}

// Header returns ctx's span as the function is to see it in _X_AMZN_TRACE_ID, or
// "" if there is none: "Root=1-…;Parent=…;Sampled=1".
func (t *Tracer) Header(ctx context.Context) string {
	sc := trace.SpanContextFromContext(ctx)
	if t == nil || !sc.IsValid() {
		return ""
	}
	id := sc.TraceID().String()
	sampled := "0"
	if sc.IsSampled() {
		sampled = "1"
	}
	return "Root=1-" + id[:8] + "-" + id[8:] + ";Parent=" + sc.SpanID().String() + ";Sampled=" + sampled
}

// parseTraceparent reads https://www.w3.org/TR/trace-context/#traceparent-header.
func parseTraceparent(s string) (sc trace.SpanContext, ok bool) {
	part := strings.Split(s, "-")
	if len(part) < 4 || len(part[0]) != 2 || part[0] == "ff" || len(part[3]) != 2 {
		return sc, false
	}
	flags, err := strconv.ParseUint(part[3], 16, 8)
	if err != nil {
		return sc, false
	}
	return remote(part[1], part[2], flags&1 == 1)
}

// parseXRay reads "Root=1-67891233-abcdef012345678912345678;Parent=53995c3f42cd8ad8;Sampled=1".
func parseXRay(s string) (sc trace.SpanContext, ok bool) {
	var root, parent string
	sampled := true
	for part := range strings.SplitSeq(s, ";") {
		switch k, v, _ := strings.Cut(strings.TrimSpace(part), "="); k {
		case "Root":
			root = v
		case "Parent":
			parent = v
		case "Sampled":
			sampled = v != "0"
		}
	}
	part := strings.Split(root, "-")
	if len(part) != 3 || part[0] != "1" || len(part[1]) != 8 {
		return sc, false
	}
	return remote(part[1]+part[2], parent, sampled)
}

func remote(traceID, spanID string, sampled bool) (trace.SpanContext, bool) {
	t, err := trace.TraceIDFromHex(traceID)
	if err != nil {
		return trace.SpanContext{}, false
	}
	s, err := trace.SpanIDFromHex(spanID)
	if err != nil {
		return trace.SpanContext{}, false
	}
	cfg := trace.SpanContextConfig{TraceID: t, SpanID: s, Remote: true}
	if sampled {
		cfg.TraceFlags = trace.FlagsSampled
	}
	return trace.NewSpanContext(cfg), true
}
