package agent

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hearth-run/hearth/internal/hearthtest"
	"github.com/hearth-run/hearth/internal/instance"
)

// shell starts an agent whose runtime is a shell script.
func shell(t *testing.T, logs instance.LogWriter, script string, change func(*instance.Spec)) *Agent {
	t.Helper()
	spec := instance.Spec{FunctionName: "f", FunctionVersion: "$LATEST", MemoryMB: 128, Timeout: 3 * time.Second,
		Command: []string{hearthtest.Need(t, "sh"), "-c", script}, WorkDir: t.TempDir(), Environment: map[string]string{"PATH": os.Getenv("PATH")}}
	if change != nil {
		change(&spec)
	}
	a, err := New(Config{Spec: spec, Supervisor: newLocal(), Logs: logs})
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Shutdown(context.Background()) })
	return a
}

// Runtimes that do wrong get their callers AWS's error, within the time there is.
func TestBadRuntimes(t *testing.T) {
	for _, tt := range []struct{ name, script, errorType, message string }{
		{"exits", "exit 7", "Runtime.ExitError", "Error: Runtime exited with error: exit status 7"},
		{"exits well", "exit 0", "Runtime.ExitError", "Error: Runtime exited without providing a reason"},
		{"is killed", "kill -9 $$", "Runtime.ExitError", "Error: Runtime exited with error: signal: killed"},
		{"never answers", "sleep 100", "Sandbox.Timedout", "Error: Task timed out after 0.50 seconds"},
		{"writes no frames", "printf 'GARBAGE GARBAGE' >&3; sleep 100", "Runtime.Unknown", "the runtime sent a frame that is none"},
		{"begins with a wrong frame", `printf '\000\000\000\001Q' >&3; sleep 100`, "Runtime.Unknown", "the runtime began with a frame of type 'Q'"},
		{"answers with garbage", `printf '\000\000\000\001N' >&3; sleep 0.2; printf '\377\377\377\377R' >&3; sleep 100`, "Runtime.Unknown", "the runtime sent a frame that is none"},
		{"reports and exits", `printf '\000\000\000\010IErr\000{"}' >&3; exit 1`, "Err", `{"}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			logs := &logBuffer{}
			a := shell(t, logs, tt.script, func(s *instance.Spec) { s.InitTimeout = 500 * time.Millisecond })
			select {
			case <-a.Ready():
			case <-time.After(10 * time.Second):
				t.Fatal("INIT does not end")
			}
			res, err := a.Invoke(t.Context(), &instance.Event{RequestID: "r", Payload: []byte("{}"), Timeout: 500 * time.Millisecond, Tail: true}, nil)
			if err != nil {
				t.Fatal(err)
			}
			if res.ErrorType != tt.errorType || !strings.Contains(string(res.Payload), tt.message) || res.FunctionError != instance.Unhandled {
				t.Errorf("answer = %s %s, want %s %s", res.ErrorType, res.Payload, tt.errorType, tt.message)
			}
			for _, line := range []string{"START RequestId: r", "END RequestId: r", "REPORT RequestId: r"} {
				if !strings.Contains(string(res.LogTail), line) {
					t.Errorf("the log's tail has no %q:\n%s", line, res.LogTail)
				}
			}
		})
	}
}

type counter struct{ bytes, records atomic.Int64 }

func (c *counter) WriteLog(r instance.LogRecord) {
	c.bytes.Add(int64(len(r.Message)))
	c.records.Add(1)
}

// A flood of output costs bounded memory, loses nothing, and holds up no timeout.
func TestLogFlood(t *testing.T) {
	var c counter
	a := shell(t, &c, `printf '\000\000\000\001N' >&3; exec yes 'a line of the flood, long enough to count'`, nil)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	res, err := a.Invoke(t.Context(), &instance.Event{RequestID: "r", Payload: []byte("{}"), Timeout: 700 * time.Millisecond}, nil)
	if err != nil || res.ErrorType != "Sandbox.Timedout" {
		t.Fatalf("Invoke = %v, want a timeout", err)
	}
	if res.Settled != nil {
		select {
		case <-res.Settled:
		case <-time.After(10 * time.Second):
			t.Fatal("the environment is not reset")
		}
	}
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 32<<20 {
		t.Errorf("the heap grew by %d MB", grown>>20)
	}
	if c.bytes.Load() < 1<<20 {
		t.Errorf("only %d bytes were logged", c.bytes.Load())
	}
	t.Logf("%d MB in %d records", c.bytes.Load()>>20, c.records.Load())
}

type keeper struct{ c chan []byte }

func (k *keeper) WriteLog(r instance.LogRecord) {
	if r.Kind == instance.LogFunction {
		k.c <- bytes.Clone(r.Message)
	}
}

// Output may be any bytes; a line without an end is cut, not collected for ever.
func TestBinaryOutput(t *testing.T) {
	k := &keeper{make(chan []byte, 100)}
	shell(t, k, `printf '\000\001\377\376 binary\n'; head -c 600000 /dev/zero; echo; printf '\000\000\000\001N' >&3; sleep 100`, nil)
	want := []int{11, maxRecord, maxRecord}
	for _, n := range want {
		select {
		case b := <-k.c:
			if len(b) < n || len(b) > n+pieceSize {
				t.Errorf("record of %d bytes, want about %d", len(b), n)
			}
		case <-time.After(10 * time.Second):
			t.Fatal("records are missing")
		}
	}
}

// An extension that ends takes the environment with it, in AWS's words.
func TestExtensionCrash(t *testing.T) {
	for script, want := range map[string]struct{ errorType, message string }{
		"exit 3":  {"Extension.Crash", "RequestId: r Error: exit status 3"},
		"exit 0":  {"Extension.Crash", "RequestId: r Error: exit code 0"},
		"missing": {"Extension.LaunchError", "RequestId: r Error: fork/exec "},
	} {
		dir := t.TempDir()
		text := "#!/bin/sh\n" + script + "\n"
		if script == "missing" {
			text = "#!/nonexistent/interpreter\n"
		}
		if err := os.WriteFile(filepath.Join(dir, "ext"), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
		a := shell(t, &logBuffer{}, "sleep 100", func(s *instance.Spec) { s.ExtensionsDir = dir })
		res, err := a.Invoke(t.Context(), &instance.Event{RequestID: "r", Payload: []byte("{}"), Timeout: 3 * time.Second}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if res.ErrorType != want.errorType || !strings.Contains(string(res.Payload), want.message) {
			t.Errorf("%s: %s %s, want %v", script, res.ErrorType, res.Payload, want)
		}
	}
}

func FuzzTelemetryFrames(f *testing.F) {
	f.Add([]byte("\xa5\x5a\x00\x03\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00\x01hi"))
	f.Add([]byte("plain text\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		spec := &instance.Spec{}
		o := newOutput(&counter{}, newTelemetry(&Agent{}), spec)
		p := &pipe{out: o, kind: instance.LogFunction, framed: true}
		for len(b) > 0 {
			n := min(len(b), 7)
			p.takeLocked(b[:n])
			b = b[n:]
		}
		if len(p.partial) > 16<<20 {
			t.Error(fmt.Sprint("kept ", len(p.partial)))
		}
	})
}
