// Package metrics counts what functions do, under the names that CloudWatch
// gives the same things, in the format of Prometheus: Invocations is
// lambda_invocations_total, and so on.
//
// A function costs nothing before its first event, and then a few kilobytes
// until it is forgotten.
package metrics

import (
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Key names a function.
type Key struct {
	Account string
	Region  string
	Name    string
}

// Metrics holds all counters. Its methods may be called concurrently, and on a
// nil *Metrics, which counts nothing.
type Metrics struct {
	registry *prometheus.Registry

	invocations, errors, throttles           *prometheus.CounterVec
	asyncReceived, asyncDropped, deadLetter  *prometheus.CounterVec
	destination, provisioned, spillover      *prometheus.CounterVec
	recursive                                *prometheus.CounterVec
	duration, initDuration, asyncAge, launch *prometheus.HistogramVec
	concurrent                               *prometheus.GaugeVec

	mu        sync.RWMutex // guards functions
	functions map[Key]*Function

	process sync.Once // registers the process's own metrics
}

// New returns metrics without any function.
func New() *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry(), functions: make(map[Key]*Function)}
	labels := []string{"account", "region", "function"}
	counter := func(name, help string) *prometheus.CounterVec {
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
		m.registry.MustRegister(v)
		return v
	}
	histogram := func(name, help string, labels []string, buckets ...float64) *prometheus.HistogramVec {
		v := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}, labels)
		m.registry.MustRegister(v)
		return v
	}
	m.invocations = counter("lambda_invocations_total", "Invocations: how often the function's code ran, well or badly.")
	m.errors = counter("lambda_errors_total", "Errors: invocations that ended in an error of the function or its runtime.")
	m.throttles = counter("lambda_throttles_total", "Throttles: invocations that were refused for want of concurrency.")
	m.asyncReceived = counter("lambda_async_events_received_total", "AsyncEventsReceived: events that were put into the queue.")
	m.asyncDropped = counter("lambda_async_events_dropped_total", "AsyncEventsDropped: events that were given up without a run that succeeded.")
	m.deadLetter = counter("lambda_dead_letter_errors_total", "DeadLetterErrors: events that could not be sent to a dead-letter queue.")
	m.destination = counter("lambda_destination_delivery_failures_total", "DestinationDeliveryFailures: events that could not be sent to a destination.")
	m.provisioned = counter("lambda_provisioned_concurrency_invocations_total", "ProvisionedConcurrencyInvocations: invocations on provisioned concurrency.")
	m.spillover = counter("lambda_provisioned_concurrency_spillover_invocations_total", "ProvisionedConcurrencySpilloverInvocations: invocations beside provisioned concurrency that was all in use.")
	m.recursive = counter("lambda_recursive_invocations_dropped_total", "RecursiveInvocationsDropped: invocations that were stopped because the function invoked itself.")
	m.duration = histogram("lambda_duration_milliseconds", "Duration: of the function's work on an event, without INIT.", labels, 1, 5, 25, 100, 500, 2_500, 10_000, 60_000, 900_000)
	m.initDuration = histogram("lambda_init_duration_milliseconds", "InitDuration: of INIT, where an event waited for it.", labels, 10, 50, 100, 250, 500, 1_000, 2_500, 10_000)
	m.asyncAge = histogram("lambda_async_event_age_milliseconds", "AsyncEventAge: from an event's arrival in the queue to its run.", labels, 10, 100, 1_000, 10_000, 60_000, 600_000, 3_600_000, 21_600_000)
	m.concurrent = prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "lambda_concurrent_executions", Help: "ConcurrentExecutions: events that the function works on now."}, labels)
	m.registry.MustRegister(m.concurrent)
	m.launch = histogram("hearth_launch_milliseconds", "From the decision to start an instance until its INIT was over.", []string{"backend", "result"}, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 10_000, 60_000)
	return m
}

// Function is what is counted of one function. Whoever works for it often keeps it.
type Function struct {
	invocations, errors, throttles prometheus.Counter
	duration                       prometheus.Observer
	concurrent                     prometheus.Gauge
	m                              *Metrics
	labels                         []string
}

// Function returns the counters of k, which are made with the first call.
func (m *Metrics) Function(k Key) *Function {
	if m == nil {
		return nil
	}
	m.mu.RLock()
	f := m.functions[k]
	m.mu.RUnlock()
	if f != nil {
		return f
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if f = m.functions[k]; f == nil {
		l := []string{k.Account, k.Region, k.Name}
		f = &Function{
			invocations: m.invocations.WithLabelValues(l...),
			errors:      m.errors.WithLabelValues(l...),
			throttles:   m.throttles.WithLabelValues(l...),
			duration:    m.duration.WithLabelValues(l...),
			concurrent:  m.concurrent.WithLabelValues(l...),
			m:           m,
			labels:      l,
		}
		m.functions[k] = f
	}
	return f
}

// Forget drops the counters of k: the function was deleted.
func (m *Metrics) Forget(k Key) {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.functions, k)
	for _, v := range []interface{ DeleteLabelValues(...string) bool }{
		m.invocations, m.errors, m.throttles, m.asyncReceived, m.asyncDropped, m.deadLetter, m.destination,
		m.provisioned, m.spillover, m.recursive, m.duration, m.initDuration, m.asyncAge, m.concurrent,
	} {
		v.DeleteLabelValues(k.Account, k.Region, k.Name)
	}
}

// The methods of a nil *Function count nothing.

// Began counts an event that the function starts to work on.
func (f *Function) Began() {
	if f != nil {
		f.concurrent.Inc()
	}
}

// Ended counts the same event's end: an invocation, and an error if it failed.
// init is 0 when the event did not wait for INIT.
func (f *Function) Ended(failed bool, duration, init time.Duration) {
	if f == nil {
		return
	}
	f.concurrent.Dec()
	f.invocations.Inc()
	if failed {
		f.errors.Inc()
	}
	f.duration.Observe(ms(duration))
	if init > 0 {
		f.m.initDuration.WithLabelValues(f.labels...).Observe(ms(init))
	}
}

// Lost counts the end of an event that began and never reached the function's code.
func (f *Function) Lost() {
	if f != nil {
		f.concurrent.Dec()
	}
}

// Throttled counts an event that was refused for want of concurrency.
func (f *Function) Throttled() {
	if f != nil {
		f.throttles.Inc()
	}
}

// Async counts an event that was put into the queue.
func (f *Function) Async() {
	if f != nil {
		f.m.asyncReceived.WithLabelValues(f.labels...).Inc()
	}
}

// AsyncAge notes how long an event was in the queue before its run.
func (f *Function) AsyncAge(age time.Duration) {
	if f != nil {
		f.m.asyncAge.WithLabelValues(f.labels...).Observe(ms(age))
	}
}

// AsyncDropped counts a queued event that was given up.
func (f *Function) AsyncDropped() {
	if f != nil {
		f.m.asyncDropped.WithLabelValues(f.labels...).Inc()
	}
}

// DeadLetterError counts an event that its dead-letter queue did not take.
func (f *Function) DeadLetterError() {
	if f != nil {
		f.m.deadLetter.WithLabelValues(f.labels...).Inc()
	}
}

// DestinationFailure counts an event that its destination did not take.
func (f *Function) DestinationFailure() {
	if f != nil {
		f.m.destination.WithLabelValues(f.labels...).Inc()
	}
}

// Provisioned counts an invocation on provisioned concurrency, or one that
// spilled over because all of it was in use.
func (f *Function) Provisioned(spilled bool) {
	switch {
	case f == nil:
	case spilled:
		f.m.spillover.WithLabelValues(f.labels...).Inc()
	default:
		f.m.provisioned.WithLabelValues(f.labels...).Inc()
	}
}

// RecursionDropped counts an invocation that was stopped as a loop.
func (f *Function) RecursionDropped() {
	if f != nil {
		f.m.recursive.WithLabelValues(f.labels...).Inc()
	}
}

// Launched counts an instance's start on a backend, which took so long.
func (m *Metrics) Launched(backend string, took time.Duration, err error) {
	if m == nil {
		return
	}
	result := "ok"
	if err != nil {
		result = "error"
	}
	m.launch.WithLabelValues(backend, result).Observe(ms(took))
}

// Gauge shows what f returns whenever somebody looks: the pool's instances, for
// example. Each name may be given once.
func (m *Metrics) Gauge(name, help string, f func() float64) {
	if m != nil {
		m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, f))
	}
}

// Handler answers GET /metrics, with the process's own figures, too.
func (m *Metrics) Handler() http.Handler {
	h := promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{EnableOpenMetrics: true})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m.process.Do(func() {
			m.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
		})
		h.ServeHTTP(w, r)
	})
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
