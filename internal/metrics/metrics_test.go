package metrics

import (
	"errors"
	"io"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

func scrape(t *testing.T, m *Metrics) string {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	b, _ := io.ReadAll(w.Body)
	if w.Code != 200 {
		t.Fatalf("GET /metrics = %d: %s", w.Code, b)
	}
	return string(b)
}

func TestMetrics(t *testing.T) {
	m := New()
	k := Key{"000000000000", "us-east-1", "fn"}
	m.Gauge("hearth_instances", "Instances.", func() float64 { return 7 })
	var wg sync.WaitGroup
	for i := range 10 {
		wg.Go(func() {
			f := m.Function(k)
			f.Began()
			f.Ended(i%5 == 0, 3*time.Millisecond, 0)
		})
	}
	wg.Wait()
	f := m.Function(k)
	f.Began()
	f.Began()
	f.Lost()
	f.Throttled()
	f.Async()
	f.AsyncAge(2 * time.Second)
	f.AsyncDropped()
	f.DeadLetterError()
	f.DestinationFailure()
	f.Provisioned(true)
	f.Provisioned(false)
	f.RecursionDropped()
	m.Launched("process", 20*time.Millisecond, nil)
	m.Launched("process", 20*time.Millisecond, errors.New("boom"))
	got := scrape(t, m)
	const l = `{account="000000000000",function="fn",region="us-east-1"}`
	for _, want := range []string{
		"lambda_invocations_total" + l + " 10",
		"lambda_errors_total" + l + " 2",
		"lambda_throttles_total" + l + " 1",
		"lambda_concurrent_executions" + l + " 1",
		"lambda_duration_milliseconds_sum" + l + " 30",
		"lambda_async_events_received_total" + l + " 1",
		"lambda_async_event_age_milliseconds_count" + l + " 1",
		"lambda_async_events_dropped_total" + l + " 1",
		"lambda_dead_letter_errors_total" + l + " 1",
		"lambda_destination_delivery_failures_total" + l + " 1",
		"lambda_provisioned_concurrency_invocations_total" + l + " 1",
		"lambda_provisioned_concurrency_spillover_invocations_total" + l + " 1",
		"lambda_recursive_invocations_dropped_total" + l + " 1",
		`hearth_launch_milliseconds_count{backend="process",result="ok"} 1`,
		`hearth_launch_milliseconds_count{backend="process",result="error"} 1`,
		"hearth_instances 7",
		"go_goroutines ",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	m.Forget(k)
	if got := scrape(t, m); strings.Contains(got, `function="fn"`) {
		t.Errorf("after Forget:\n%s", got)
	}

	var none *Metrics // counts nothing
	none.Function(k).Began()
	none.Function(k).Ended(true, 0, time.Second)
	none.Launched("x", 0, nil)
	none.Forget(k)
}

func BenchmarkInvocation(b *testing.B) {
	m := New()
	k := Key{"000000000000", "us-east-1", "fn"}
	for b.Loop() {
		f := m.Function(k)
		f.Began()
		f.Ended(false, time.Millisecond, 0)
	}
}
