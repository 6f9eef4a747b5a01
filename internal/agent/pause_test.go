package agent

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hearth-run/hearth/internal/hearthtest"
	"github.com/hearth-run/hearth/internal/instance"
)

// pausing is a supervisor that counts.
type pausing struct {
	*local
	paused, resumed atomic.Int64
}

func (p *pausing) Pause() error  { p.paused.Add(1); return nil }
func (p *pausing) Resume() error { p.resumed.Add(1); return nil }

// Processes are stopped after INIT and after each event, and continued before the next.
func TestPauseIdle(t *testing.T) {
	sup := &pausing{local: newLocal()}
	a, err := New(Config{Spec: instance.Spec{FunctionName: "f", FunctionVersion: "$LATEST", PauseIdle: true,
		Command: []string{hearthtest.Need(t, "sh"), "-c", `printf '\000\000\000\001N' >&3; while :; do sleep 0.05; printf '\000\000\000\002R1' >&3; done`}, WorkDir: t.TempDir()},
		Supervisor: sup, Logs: nowhere{}})
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer a.Shutdown(t.Context())
	<-a.Ready()
	for i := int64(1); i <= 3; i++ {
		if p, r := sup.paused.Load(), sup.resumed.Load(); p != i || r != i-1 {
			t.Fatalf("before event %d: paused %d times, resumed %d", i, p, r)
		}
		res, err := a.Invoke(t.Context(), &instance.Event{RequestID: "r", Payload: []byte("1"), Timeout: 5 * time.Second}, nil)
		if err != nil || string(res.Payload) != "1" {
			t.Fatal(res, err)
		}
		if res.Settled != nil {
			<-res.Settled
		}
	}
}

// The JSON format writes the platform's events as records, and leaves out
// what is below the function's levels.
func TestJSONFormat(t *testing.T) {
	logs := &logBuffer{}
	a := shell(t, logs, `echo '{"level":"DEBUG","timestamp":"2026-01-01T00:00:00Z","message":"quiet"}'; echo '{"level":"ERROR","timestamp":"2026-01-01T00:00:00Z","message":"loud"}'; echo plain
printf '\000\000\000\001N' >&3; sleep 0.2; printf '\000\000\000\002R1' >&3; sleep 100`, func(s *instance.Spec) {
		s.LogFormat, s.AppLogLevel, s.SysLogLevel = "JSON", "WARN", "INFO"
	})
	if _, err := a.Invoke(t.Context(), &instance.Event{RequestID: "r", Payload: []byte("1"), Timeout: 5 * time.Second, Tail: true}, nil); err != nil {
		t.Fatal(err)
	}
	text := logs.String()
	for _, want := range []string{`"loud"`, "plain\n", `"type":"platform.start"`, `"type":"platform.report"`, `"status":"success"`, `"billedDurationMs":`} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
	for _, bad := range []string{"quiet", "START RequestId", "platform.runtimeDone", "platform.initReport"} {
		if strings.Contains(text, bad) {
			t.Errorf("%s in\n%s", bad, text)
		}
	}
}

// A debugger's time does not count.
func TestClock(t *testing.T) {
	c := clock{began: time.Now(), limit: time.Second}
	if left := c.left(); left <= 0 || left > time.Second {
		t.Errorf("left() = %v", left)
	}
	c.debug = &debugger{total: time.Hour}
	if left := c.left(); left < 59*time.Minute {
		t.Errorf("left() = %v with an hour in the debugger", left)
	}
}
