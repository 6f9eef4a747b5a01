package instance

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// scripted is an Agent that does as its events say.
type scripted struct {
	logs  LogWriter
	ready chan struct{}
	ended chan struct{}
	once  sync.Once
}

func (a *scripted) Ready() <-chan struct{} { return a.ready }
func (a *scripted) Ended() <-chan struct{} { return a.ended }
func (a *scripted) Reason() EndReason      { return EndReason{Kind: EndShutdown, ExitCode: -1} }
func (a *scripted) Shutdown(context.Context) error {
	a.once.Do(func() {
		a.logs.WriteLog(LogRecord{Time: time.Now(), Kind: LogPlatform, Message: []byte("last words")})
		close(a.ended)
	})
	return nil
}

func (a *scripted) Invoke(ctx context.Context, e *Event, sink Sink) (*Result, error) {
	switch p := string(e.Payload); {
	case p == `"refuse"`:
		return nil, fmt.Errorf("%w: busy", ErrNotHandedOver)
	case p == `"break"`:
		return nil, ErrEnded
	case e.Stream:
		if err := sink.Begin("text/plain"); err != nil {
			return nil, err
		}
		for i := range 3 {
			fmt.Fprintf(sink, "piece %d;", i)
		}
		return &Result{ContentType: "text/plain", Report: Report{Status: "success"}}, nil
	}
	for i := range 100 {
		a.logs.WriteLog(LogRecord{Time: time.Now(), Kind: LogFunction, RequestID: e.RequestID, Message: fmt.Appendf(nil, "%s line %d", e.RequestID, i)})
	}
	settled := make(chan struct{})
	res := &Result{ContentType: "application/json", Payload: e.Payload, Settled: settled}
	go func() {
		res.Report = Report{RequestID: e.RequestID, Duration: 3 * time.Millisecond, MaxMemoryUsed: 7, Status: "success"}
		close(settled)
	}()
	return res, nil
}

type records struct {
	mu    sync.Mutex
	lines []string
}

func (r *records) WriteLog(l LogRecord) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = append(r.lines, string(l.Message))
}

type buffer struct {
	contentType string
	bytes.Buffer
}

func (b *buffer) Begin(t string) error { b.contentType = t; return nil }

// serveScripted serves a scripted agent, and returns its end of the wire and a
// function that breaks all connections.
func serveScripted(t *testing.T, grace time.Duration) (ClientConfig, func(), <-chan error) {
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s, err := NewServer(ServerConfig{Secret: []byte("secret"), Grace: grace, Start: func(_ context.Context, spec Spec, logs LogWriter) (Agent, error) {
		if spec.FunctionName == "bad" {
			return nil, errors.New("no such function")
		}
		a := &scripted{logs: logs, ready: make(chan struct{}), ended: make(chan struct{})}
		logs.WriteLog(LogRecord{Time: time.Now(), Kind: LogPlatform, Message: []byte("INIT_START")})
		close(a.ready)
		return a, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(ln) }()
	var mu sync.Mutex
	var conns []net.Conn
	cut := func() {
		mu.Lock()
		defer mu.Unlock()
		for _, c := range conns {
			c.Close()
		}
		conns = nil
	}
	t.Cleanup(func() { ln.Close(); cut() })
	return ClientConfig{Secret: []byte("secret"), Dial: func(ctx context.Context) (net.Conn, error) {
		c, err := (&net.Dialer{}).DialContext(ctx, "tcp4", ln.Addr().String())
		if err == nil {
			mu.Lock()
			conns = append(conns, c)
			mu.Unlock()
		}
		return c, err
	}}, cut, served
}

func wait(t *testing.T, what string, c <-chan struct{}) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(10 * time.Second):
		t.Fatalf("%s did not come", what)
	}
}

func TestWire(t *testing.T) {
	cfg, cut, served := serveScripted(t, 5*time.Second)
	logs := &records{}
	c, err := Connect(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Invoke(t.Context(), &Event{RequestID: "early", Payload: []byte("1")}, nil); !errors.Is(err, ErrNotHandedOver) {
		t.Errorf("Invoke before Start = %v, want ErrNotHandedOver", err)
	}
	if err := c.Start(Spec{FunctionName: "f"}, logs); err != nil {
		t.Fatal(err)
	}
	wait(t, "Ready", c.Ready())

	// Many events at once, each with its own answer; the connections break in the middle of the logs.
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			id := fmt.Sprint("r", i)
			res, err := c.Invoke(t.Context(), &Event{RequestID: id, Payload: []byte(id)}, nil)
			if err != nil || string(res.Payload) != id {
				t.Errorf("Invoke(%s) = %v, %v", id, res, err)
				return
			}
			wait(t, "Settled", res.Settled)
			if res.Report.MaxMemoryUsed != 7 || res.Report.RequestID != id {
				t.Errorf("report of %s = %+v", id, res.Report)
			}
		})
	}
	wg.Wait()
	cut()
	for _, tt := range []struct {
		payload string
		want    error
	}{{`"refuse"`, ErrNotHandedOver}, {`"break"`, ErrEnded}} {
		if _, err := c.Invoke(t.Context(), &Event{Payload: []byte(tt.payload)}, nil); err != nil && errors.Is(err, tt.want) {
			continue
		}
		// A cut idle connection is no proof that the event was not seen.
		if _, err := c.Invoke(t.Context(), &Event{Payload: []byte(tt.payload)}, nil); !errors.Is(err, tt.want) {
			t.Errorf("Invoke(%s) = %v, want %v", tt.payload, err, tt.want)
		}
	}
	sink := &buffer{}
	res, err := c.Invoke(t.Context(), &Event{Stream: true, Payload: []byte("1")}, sink)
	if err != nil || sink.String() != "piece 0;piece 1;piece 2;" || sink.contentType != "text/plain" || res.Settled != nil {
		t.Errorf("streamed = %q %q, %v, %v", sink.contentType, sink.String(), res, err)
	}
	if err := c.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	wait(t, "Ended", c.Ended())
	if r := c.Reason(); r.Kind != EndShutdown {
		t.Errorf("Reason() = %+v", r)
	}
	if err := <-served; err != nil {
		t.Errorf("Serve() = %v", err)
	}
	logs.mu.Lock()
	defer logs.mu.Unlock()
	if n := len(logs.lines); n != 20*100+2 || logs.lines[0] != "INIT_START" || logs.lines[n-1] != "last words" {
		t.Errorf("%d records, first %q, last %q", n, logs.lines[0], logs.lines[n-1])
	}
	next := map[string]int{}
	for _, l := range logs.lines[1 : len(logs.lines)-1] {
		id, n, _ := strings.Cut(l, " line ")
		if n != fmt.Sprint(next[id]) {
			t.Fatalf("record %q came out of order", l)
		}
		next[id]++
	}
}

func TestWrongSecret(t *testing.T) {
	cfg, _, _ := serveScripted(t, 5*time.Second)
	cfg.Secret = []byte("guess")
	if _, err := Connect(t.Context(), cfg); !errors.Is(err, errSecret) {
		t.Errorf("Connect with a wrong secret = %v", err)
	}
}

// An agent that has lost its server ends itself.
func TestGrace(t *testing.T) {
	cfg, _, served := serveScripted(t, 50*time.Millisecond)
	c, err := Connect(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(Spec{}, &records{}); err != nil {
		t.Fatal(err)
	}
	wait(t, "Ready", c.Ready())
	c.Close()
	select {
	case err := <-served:
		if err != nil {
			t.Errorf("Serve() = %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the server lives on without its client")
	}
}

func TestRefusedSpec(t *testing.T) {
	cfg, _, _ := serveScripted(t, 5*time.Second)
	c, err := Connect(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Start(Spec{FunctionName: "bad"}, &records{}); err != nil {
		t.Fatal(err)
	}
	wait(t, "Ended", c.Ended())
	if r := c.Reason(); r.Kind != EndCrash || !strings.Contains(r.Detail, "no such function") {
		t.Errorf("Reason() = %+v", r)
	}
}

func FuzzWire(f *testing.F) {
	f.Add(appendEvent(nil, &Event{RequestID: "r", Payload: []byte("{}")}))
	f.Add(appendLog(nil, 1, LogRecord{Message: []byte("m")})[5:])
	f.Add(appendResult(nil, &Result{Payload: []byte("{}")}))
	f.Fuzz(func(t *testing.T, b []byte) {
		parseEvent(b)
		parseLog(b)
		parseResult(b)
		if e, err := parseEvent(b); err == nil {
			again, err := parseEvent(append(appendEvent(nil, e), e.Payload...))
			if err != nil || again.RequestID != e.RequestID || !bytes.Equal(again.Payload, e.Payload) {
				t.Errorf("parse(append(%v)) = %v, %v", e, again, err)
			}
		}
	})
}
