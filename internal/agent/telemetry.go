package agent

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hearth-run/hearth/internal/instance"
)

// subscriptionAPI is one of the two APIs by which extensions subscribe.
type subscriptionAPI int

const (
	apiTelemetry subscriptionAPI = iota // 2022-07-01
	apiLogs                             // 2020-08-15
)

// telemetry sends events to the subscribers among an environment's extensions.
type telemetry struct {
	a      *Agent
	active atomic.Bool // there may be subscribers

	mu      sync.Mutex // guards what follows
	subs    []*subscription
	history []occurrence // platform events of an INIT that goes on, for those who subscribe during it
	open    bool
}

// occurrence is an event before it is put into a subscriber's form.
type occurrence struct {
	at     time.Time
	kind   string // "platform.start", "function", "extension"
	record any
}

const maxHistory = 1000

func newTelemetry(a *Agent) *telemetry {
	t := &telemetry{a: a, open: true}
	// Until the first INIT is over there may be subscribers.
	t.active.Store(a.spec.ExtensionsDir != "")
	return t
}

// platform sends a platform event.
func (t *telemetry) platform(at time.Time, kind string, record any) {
	if !t.active.Load() && kind != "platform.initStart" {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	o := occurrence{at, kind, record}
	if kind == "platform.initStart" || kind == "platform.restoreStart" {
		t.history, t.open = nil, true
	}
	if t.open && len(t.history) < maxHistory {
		t.history = append(t.history, o)
	}
	if kind == "platform.start" {
		t.history, t.open = nil, false
		t.active.Store(len(t.subs) > 0)
	}
	for _, s := range t.subs {
		s.add(o)
	}
}

// log sends a line of a function or an extension.
func (t *telemetry) log(kind instance.LogKind, at time.Time, message []byte) {
	if !t.active.Load() {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.subs) == 0 {
		return
	}
	var record any = string(message)
	if t.a.out.json && json.Valid(message) {
		record = json.RawMessage(bytes.Clone(message))
	}
	for _, s := range t.subs {
		s.add(occurrence{at, string(kind), record})
	}
}

// end ends the subscriptions of a generation, after what they were to get.
func (t *telemetry) end(ctx context.Context, e *environment) {
	t.mu.Lock()
	var mine []*subscription
	rest := t.subs[:0:0]
	for _, s := range t.subs {
		if s.env == e {
			mine = append(mine, s)
		} else {
			rest = append(rest, s)
		}
	}
	t.subs = rest
	t.mu.Unlock()
	for _, s := range mine {
		s.close()
	}
}

// close ends all subscriptions.
func (t *telemetry) close(context.Context) {
	t.mu.Lock()
	subs := t.subs
	t.subs = nil
	t.mu.Unlock()
	for _, s := range subs {
		s.close()
	}
}

// subscribeRequest is the body of a subscription, in both APIs.
type subscribeRequest struct {
	SchemaVersion string   `json:"schemaVersion"`
	Types         []string `json:"types"`
	Buffering     *struct {
		MaxItems  *int `json:"maxItems"`
		MaxBytes  *int `json:"maxBytes"`
		TimeoutMs *int `json:"timeoutMs"`
	} `json:"buffering"`
	Destination struct {
		Protocol string `json:"protocol"`
		URI      string `json:"URI"`
		Port     int    `json:"port"`
		Method   string `json:"method"`
		Encoding string `json:"encoding"`
	} `json:"destination"`
}

// subscription is one extension's subscription.
type subscription struct {
	t       *telemetry
	env     *environment
	name    string
	api     subscriptionAPI
	schema  string
	types   map[string]bool
	list    []string
	items   int
	size    int
	timeout time.Duration
	address string // host:port to dial
	tcp     bool
	method  string
	host    string
	path    string

	wake chan struct{} // has an element when a batch is full
	stop chan struct{}
	done chan struct{}
	once sync.Once

	mu      sync.Mutex // guards what follows
	batch   [][]byte
	bytes   int
	since   time.Time // of the batch's first event
	dropped int
	lost    int // bytes of the dropped
}

// subscribe answers a subscription.
func (e *environment) subscribe(h *httpConn, r *httpRequest, api subscriptionAPI) error {
	if r.method != "PUT" {
		return h.fail(405, "MethodNotAllowed", "method not allowed")
	}
	x, err := e.extension(h, r)
	if x == nil {
		return err
	}
	body, err := r.bytes(1 << 20)
	if err != nil && err != errTooLarge {
		return err
	}
	title, closed := "Telemetry", "Telemetry API subscription is closed"
	if api == apiLogs {
		title, closed = "Logs", "Logs API subscription is closed"
	}
	e.mu.Lock()
	over := e.regOver && e.initOver()
	e.mu.Unlock()
	if over {
		return h.fail(403, title+".SubscriptionClosed", closed)
	}
	if api == apiLogs && e.a.spec.MaxConcurrency > 1 {
		return h.fail(400, "ValidationError", "the Logs API is not supported for this function; use the Telemetry API")
	}
	s, err := e.newSubscription(x.name, body, api)
	if err != nil {
		return h.fail(400, "ValidationError", err.Error())
	}
	t := e.a.tel
	t.mu.Lock()
	state := "Subscribed"
	for i, old := range t.subs {
		if old.env != e || old.name != x.name {
			continue
		}
		if old.api != api {
			t.mu.Unlock()
			return h.fail(400, "ValidationError", "the extension is subscribed by the other API already")
		}
		state = "Already subscribed"
		t.subs = append(t.subs[:i], t.subs[i+1:]...)
		go old.close()
		break
	}
	if state == "Subscribed" {
		for _, o := range t.history {
			s.add(o)
		}
	}
	t.subs = append(t.subs, s)
	t.active.Store(true)
	t.mu.Unlock()
	e.a.bg.Go(s.run)
	e.a.out.subscribed(api, x.name, state, s.list)
	return h.reply(200, "application/json", []byte(`"OK"`))
}

// initOver reports whether INIT is over.
func (e *environment) initOver() bool {
	select {
	case <-e.over:
		return true
	default:
		return false
	}
}

func (e *environment) newSubscription(name string, body []byte, api subscriptionAPI) (*subscription, error) {
	var req subscribeRequest
	if err := json.Unmarshal(body, &req); err != nil {
		return nil, fmt.Errorf("the request is not valid: %w", err)
	}
	schemas := []string{"2022-07-01", "2022-12-13", "2025-01-29"}
	fallback := "2022-07-01"
	if api == apiLogs {
		schemas, fallback = []string{"2020-08-15", "2021-03-18"}, "2020-08-15"
		if req.SchemaVersion == "" {
			req.SchemaVersion = fallback
		}
	}
	known := false
	for _, v := range schemas {
		known = known || v == req.SchemaVersion
	}
	if !known {
		return nil, fmt.Errorf("schemaVersion must be one of %s", strings.Join(schemas, ", "))
	}
	s := &subscription{
		t: e.a.tel, env: e, name: name, api: api, schema: req.SchemaVersion, types: map[string]bool{},
		items: 10000, size: 262144, timeout: time.Second, method: "POST",
		wake: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{}),
	}
	if len(req.Types) == 0 {
		return nil, errors.New("types must not be empty")
	}
	for _, t := range req.Types {
		if t != "platform" && t != "function" && t != "extension" {
			return nil, fmt.Errorf("types: %q is none of platform, function, extension", t)
		}
		if !s.types[t] {
			s.types[t] = true
			s.list = append(s.list, t)
		}
	}
	if b := req.Buffering; b != nil {
		within := func(name string, v *int, lo, hi int, set func(int)) error {
			if v == nil {
				return nil
			}
			if *v < lo || *v > hi {
				return fmt.Errorf("buffering.%s must be between %d and %d", name, lo, hi)
			}
			set(*v)
			return nil
		}
		if err := errors.Join(
			within("maxItems", b.MaxItems, 1000, 10000, func(n int) { s.items = n }),
			within("maxBytes", b.MaxBytes, 262144, 1048576, func(n int) { s.size = n }),
			within("timeoutMs", b.TimeoutMs, 25, 30000, func(n int) { s.timeout = time.Duration(n) * time.Millisecond }),
		); err != nil {
			return nil, err
		}
	}
	d := &req.Destination
	switch strings.ToUpper(d.Protocol) {
	case "TCP":
		if d.Port < 1 || d.Port > 65535 {
			return nil, errors.New("destination.port must be between 1 and 65535")
		}
		s.tcp, s.address = true, "127.0.0.1:"+strconv.Itoa(d.Port)
	case "HTTP":
		u, err := url.Parse(d.URI)
		if err != nil || u.Scheme != "http" || u.Hostname() == "" {
			return nil, errors.New("destination.URI must be of the form http://sandbox.localdomain:PORT/PATH")
		}
		if m := strings.ToUpper(d.Method); m == "PUT" || m == "POST" {
			s.method = m
		} else if m != "" {
			return nil, errors.New("destination.method must be POST or PUT")
		}
		if d.Encoding != "" && !strings.EqualFold(d.Encoding, "JSON") {
			return nil, errors.New("destination.encoding must be JSON")
		}
		host, port := u.Hostname(), u.Port()
		switch host {
		case "sandbox.localdomain", "sandbox", "localhost", "127.0.0.1":
			host = "127.0.0.1"
		default:
			return nil, errors.New("destination.URI must name sandbox.localdomain")
		}
		if port == "" {
			port = "80"
		}
		s.address, s.host, s.path = net.JoinHostPort(host, port), u.Host, u.RequestURI()
		if port == "9001" {
			return nil, errors.New("destination.URI: port 9001 is reserved")
		}
	default:
		return nil, errors.New("destination.protocol must be HTTP or TCP")
	}
	return s, nil
}

// known says whether a subscription's schema has a platform event.
func (s *subscription) known(kind string) bool {
	if s.api == apiTelemetry {
		switch kind {
		case "platform.end", "platform.fault", "platform.logsSubscription":
			return false
		}
		return true
	}
	switch kind {
	case "platform.start", "platform.end", "platform.report", "platform.extension", "platform.fault", "platform.logsSubscription", "platform.logsDropped":
		return true
	case "platform.runtimeDone":
		return s.schema != "2020-08-15"
	}
	return false
}

// encode puts an occurrence into the subscription's form.
func (s *subscription) encode(o occurrence) []byte {
	record := o.record
	if s.api == apiLogs {
		switch r := record.(type) {
		case startRecord:
			record = startRecord{RequestID: r.RequestID, Version: r.Version}
		case runtimeDoneRecord:
			status := r.Status
			if status == statusError {
				status = "failure"
			}
			record = struct {
				RequestID string `json:"requestId"`
				Status    string `json:"status"`
			}{r.RequestID, status}
		case reportRecord:
			record = struct {
				RequestID string         `json:"requestId"`
				Metrics   reportMetrics  `json:"metrics"`
				Tracing   *tracingRecord `json:"tracing,omitempty"`
			}{r.RequestID, r.Metrics, r.Tracing}
		}
	}
	if r, ok := record.(initStartRecord); ok && s.schema != "2025-01-29" {
		r.InstanceID, r.InstanceMaxMemory = "", 0
		record = r
	}
	return eventJSON(o.at, o.kind, record)
}

// add takes an event, or counts it as dropped when the subscriber is too slow.
func (s *subscription) add(o occurrence) {
	category, _, _ := strings.Cut(o.kind, ".")
	if !s.types[category] || category == "platform" && !s.known(o.kind) {
		return
	}
	b := s.encode(o)
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.batch) >= 2*s.items || s.bytes+len(b) > 2*s.size && len(s.batch) > 0 {
		s.dropped++
		s.lost += len(b)
		s.signal()
		return
	}
	if s.dropped > 0 {
		s.noteDroppedLocked()
	}
	s.appendLocked(b)
	if len(s.batch) == 1 || len(s.batch) >= s.items || s.bytes >= s.size {
		s.signal()
	}
}

func (s *subscription) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *subscription) appendLocked(b []byte) {
	if len(s.batch) == 0 {
		s.since = time.Now()
	}
	s.batch = append(s.batch, b)
	s.bytes += len(b)
}

func (s *subscription) noteDroppedLocked() {
	if s.types["platform"] {
		s.appendLocked(eventJSON(time.Now(), "platform.logsDropped", droppedRecord{
			"Consumer seems to have fallen behind as it has not acknowledged receipt of logs.", s.dropped, s.lost}))
	}
	s.dropped, s.lost = 0, 0
}

// take returns the next batch if it is due, else how long to wait for it.
func (s *subscription) take(all bool) ([][]byte, time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if all && s.dropped > 0 {
		s.noteDroppedLocked()
	}
	if len(s.batch) == 0 {
		return nil, -1
	}
	if wait := time.Until(s.since.Add(s.timeout)); !all && wait > 0 && len(s.batch) < s.items && s.bytes < s.size {
		return nil, wait
	}
	n := min(len(s.batch), s.items)
	b := s.batch[:n:n]
	s.batch = append([][]byte(nil), s.batch[n:]...)
	for _, e := range b {
		s.bytes -= len(e)
	}
	s.since = time.Now()
	return b, 0
}

// run delivers batches until the subscription is closed.
func (s *subscription) run() {
	defer close(s.done)
	d := &delivery{s: s}
	defer d.drop()
	for {
		b, wait := s.take(false)
		if b != nil {
			s.deliver(d, b)
			continue
		}
		var due <-chan time.Time
		if wait >= 0 {
			due = time.After(wait)
		}
		select {
		case <-due:
		case <-s.wake:
		case <-s.stop:
			for {
				b, _ := s.take(true)
				if b == nil || d.send(b) != nil {
					return
				}
			}
		}
	}
}

// deliver tries until the batch is taken, longer and longer apart.
func (s *subscription) deliver(d *delivery, b [][]byte) {
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, 2*time.Second) {
		if d.send(b) == nil {
			return
		}
		select {
		case <-time.After(wait):
		case <-s.stop:
			return
		}
	}
}

// close ends the subscription after one try to deliver what is left.
func (s *subscription) close() {
	s.once.Do(func() { close(s.stop) })
	<-s.done
}

// delivery is a subscription's connection.
type delivery struct {
	s *subscription
	c net.Conn
	r *bufio.Reader
}

func (d *delivery) drop() {
	if d.c != nil {
		d.c.Close()
		d.c = nil
	}
}

const deliveryTimeout = 2 * time.Second

// send delivers one batch: an HTTP request with an array, or lines over TCP.
func (d *delivery) send(batch [][]byte) (err error) {
	reused := d.c != nil
	if err = d.try(batch); err != nil && reused {
		err = d.try(batch) // the subscriber may have closed an idle connection
	}
	return err
}

func (d *delivery) try(batch [][]byte) (err error) {
	defer func() {
		if err != nil {
			d.drop()
		}
	}()
	if d.c == nil {
		if d.c, err = net.DialTimeout("tcp4", d.s.address, deliveryTimeout); err != nil {
			return err
		}
		d.r = bufio.NewReader(d.c)
	}
	d.c.SetDeadline(time.Now().Add(deliveryTimeout))
	if d.s.tcp {
		_, err = d.c.Write(append(bytes.Join(batch, []byte{'\n'}), '\n'))
		return err
	}
	body := append(append([]byte{'['}, bytes.Join(batch, []byte{','})...), ']')
	head := fmt.Appendf(nil, "%s %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n", d.s.method, d.s.path, d.s.host, len(body))
	if _, err = (&net.Buffers{head, body}).WriteTo(d.c); err != nil {
		return err
	}
	return d.answer()
}

// answer reads an HTTP response. Only its status counts.
func (d *delivery) answer() error {
	h := &httpConn{r: d.r, c: d.c}
	line, err := h.line()
	if err != nil {
		return err
	}
	parts := strings.SplitN(string(line), " ", 3)
	if len(parts) < 2 || !strings.HasPrefix(parts[0], "HTTP/1.") {
		return errMalformed
	}
	status := parts[1]
	r := &httpRequest{conn: h, length: -2}
	if r.header, err = h.fields(); err != nil {
		return err
	}
	if err := r.frame(); err != nil {
		return err
	}
	keep := r.length != -2 && !r.close && parts[0] == "HTTP/1.1"
	if status == "204" || status == "304" {
		r.length, r.done, keep = 0, true, !r.close
	}
	if keep && r.body(func([]byte) error { return nil }) != nil {
		keep = false
	}
	if !keep {
		d.drop()
	}
	if status[0] != '2' {
		return fmt.Errorf("the subscriber answered %s", status)
	}
	return nil
}
