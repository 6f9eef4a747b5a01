package trace

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestSpans(t *testing.T) {
	got := make(chan otlpTraces, 10)
	collector := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var v otlpTraces
		if err := json.NewDecoder(r.Body).Decode(&v); err != nil || r.URL.Path != "/v1/traces" || r.Header.Get("Content-Type") != "application/json" || r.Header.Get("x-key") != "a b" {
			t.Errorf("%s %v: %v", r.URL, r.Header, err)
		}
		got <- v
	}))
	defer collector.Close()
	env := map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": collector.URL + "/", "OTEL_EXPORTER_OTLP_HEADERS": "x-key=a%20b", "OTEL_SERVICE_NAME": "svc"}
	cfg, err := FromEnvironment(func(k string) string { return env[k] })
	if err != nil {
		t.Fatal(err)
	}
	tr := New(cfg)
	ctx := tr.Continue(t.Context(), "", "Root=1-67891233-abcdef012345678912345678;Parent=53995c3f42cd8ad8;Sampled=1")
	ctx, outer := tr.Start(ctx, "invoke", slog.String("function", "fn"))
	header := tr.Header(ctx)
	_, inner := tr.Start(ctx, "launch", slog.Int("n", 3), slog.Bool("cold", true))
	inner.Set(slog.Float64("f", 1.5), slog.Duration("took", time.Second))
	inner.End(errors.New("boom"))
	outer.End(nil)
	if err := tr.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	v := <-got
	spans := v.ResourceSpans[0].ScopeSpans[0].Spans
	if len(spans) != 2 || *v.ResourceSpans[0].Resource.Attributes[1].Value.String != "svc" {
		t.Fatalf("exported: %+v", v)
	}
	launch, invoke := spans[0], spans[1]
	if invoke.TraceID != "67891233abcdef012345678912345678" || invoke.ParentSpanID != "53995c3f42cd8ad8" || invoke.Kind != 2 || invoke.Status.Code != 0 {
		t.Errorf("invoke: %+v", invoke)
	}
	if launch.TraceID != invoke.TraceID || launch.ParentSpanID != invoke.SpanID || launch.Kind != 1 || launch.Status != (otlpStatus{2, "boom"}) {
		t.Errorf("launch: %+v", launch)
	}
	if want := "Root=1-67891233-abcdef012345678912345678;Parent=" + invoke.SpanID + ";Sampled=1"; header != want {
		t.Errorf("Header = %s, want %s", header, want)
	}
	b, _ := json.Marshal(launch.Attributes)
	if d := cmp.Diff(`[{"key":"n","value":{"intValue":"3"}},{"key":"cold","value":{"boolValue":true}},{"key":"f","value":{"doubleValue":1.5}},{"key":"took","value":{"stringValue":"1s"}}]`, string(b)); d != "" {
		t.Errorf("attributes (-want +got):\n%s", d)
	}
}

// TestOff: nothing is recorded, and nothing fails.
func TestOff(t *testing.T) {
	tr := New(Config{})
	if tr != nil {
		t.Fatal("a tracer without an endpoint")
	}
	ctx := tr.Continue(t.Context(), "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "")
	ctx, s := tr.Start(ctx, "invoke")
	s.Set(slog.Int("n", 1))
	s.End(nil)
	if h := tr.Header(ctx); h != "" {
		t.Errorf("Header = %q", h)
	}
	if err := tr.Close(context.Background()); err != nil {
		t.Error(err)
	}
}

// TestCollectorDown: the server does not wait for a collector that is not there.
func TestCollectorDown(t *testing.T) {
	gone := httptest.NewServer(nil)
	gone.Close()
	tr := New(Config{Endpoint: gone.URL + "/v1/traces"})
	for range 100 {
		_, s := tr.Start(t.Context(), "x")
		s.End(nil)
	}
	if err := tr.Close(t.Context()); err != nil {
		t.Errorf("Close = %v", err)
	}
}

func TestContexts(t *testing.T) {
	const w3c = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	if sc, ok := parseTraceparent(w3c); !ok || sc.TraceID().String() != "0af7651916cd43dd8448eb211c80319c" || !sc.IsSampled() || !sc.IsRemote() {
		t.Errorf("traceparent: %v, %v", sc, ok)
	}
	if sc, ok := parseXRay("Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=0;Lineage=1:a:0"); !ok || sc.IsSampled() {
		t.Errorf("X-Ray, not sampled: %v, %v", sc, ok)
	}
	for _, bad := range []string{"", "x", "00-1-2-01", "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "00-00000000000000000000000000000000-b7ad6b7169203331-01"} {
		if _, ok := parseTraceparent(bad); ok {
			t.Errorf("traceparent %q was taken", bad)
		}
	}
	for _, bad := range []string{"", "Root=x", "Root=1-5759e988-bd862e3fe1be46a994272793", "Root=2-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8"} {
		if _, ok := parseXRay(bad); ok {
			t.Errorf("X-Ray header %q was taken", bad)
		}
	}
}

func TestFromEnvironment(t *testing.T) {
	for _, tt := range []struct {
		env  map[string]string
		want string // endpoint
		bad  bool
	}{
		{map[string]string{}, "", false},
		{map[string]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4318/x"}, "http://c:4318/x", false},
		{map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "https://c", "OTEL_TRACES_EXPORTER": "none"}, "", false},
		{map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "https://c", "OTEL_SDK_DISABLED": "true"}, "", false},
		{map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "c:4317"}, "", true},
		{map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "", true},
		{map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c", "OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "x"}, "", true},
	} {
		c, err := FromEnvironment(func(k string) string { return tt.env[k] })
		if (err != nil) != tt.bad || err == nil && c.Endpoint != tt.want {
			t.Errorf("FromEnvironment(%v) = %+v, %v", tt.env, c, err)
		}
	}
}
