package agent

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hearth-run/hearth/internal/hearthtest"
	"github.com/hearth-run/hearth/internal/instance"
	"github.com/hearth-run/hearth/internal/runtimes"
)

// local is a Supervisor over os/exec, for tests.
type local struct {
	mu    sync.Mutex
	procs []*localProcess
	lost  chan struct{}
}

type localProcess struct {
	cmd  *exec.Cmd
	done chan struct{}
	exit ExitStatus
}

func newLocal() *local { return &local{lost: make(chan struct{})} }

func (l *local) Start(_ context.Context, c Command) (Process, error) {
	cmd := &exec.Cmd{Path: c.Path, Args: append([]string{c.Path}, c.Args...), Env: c.Env, Dir: c.Dir, Stdout: c.Stdout, Stderr: c.Stderr, ExtraFiles: c.Extra,
		SysProcAttr: &syscall.SysProcAttr{Setpgid: true}}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &localProcess{cmd: cmd, done: make(chan struct{})}
	go func() {
		cmd.Wait()
		ws := cmd.ProcessState.Sys().(syscall.WaitStatus)
		p.exit = ExitStatus{Code: ws.ExitStatus()}
		if ws.Signaled() {
			p.exit.Signal = ws.Signal().String()
		}
		close(p.done)
	}()
	l.mu.Lock()
	l.procs = append(l.procs, p)
	l.mu.Unlock()
	return p, nil
}

func (p *localProcess) Done() <-chan struct{} { return p.done }
func (p *localProcess) Exit() ExitStatus      { return p.exit }
func (p *localProcess) Signal(s os.Signal) error {
	return syscall.Kill(-p.cmd.Process.Pid, s.(syscall.Signal))
}

func (l *local) KillAll(context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range l.procs {
		syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
		<-p.done
	}
	l.procs = nil
	return nil
}
func (l *local) Memory() int64         { return 10 << 20 }
func (l *local) ResetMemory()          {}
func (l *local) OOMKills() int64       { return 0 }
func (l *local) Pause() error          { return nil }
func (l *local) Resume() error         { return nil }
func (l *local) Lost() <-chan struct{} { return l.lost }
func (l *local) Close() error          { return l.KillAll(context.Background()) }

type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) WriteLog(r instance.LogRecord) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fmt.Fprintf(&l.b, "%s\n", r.Message)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// python starts an agent with a Python function.
func python(t *testing.T, source string, env map[string]string) (*Agent, *logBuffer) {
	t.Helper()
	hearthtest.Need(t, "python")
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "f.py"), []byte(source), 0o644); err != nil {
		t.Fatal(err)
	}
	i, err := runtimes.Find(t.Context(), "python3.13")
	if err != nil {
		t.Fatal(err)
	}
	boot, err := i.Install(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	cmd := i.Command(runtimes.Layout{Bootstrap: boot, TaskRoot: dir, Opt: "/nonexistent", Env: env})
	full := map[string]string{"_HANDLER": "f.handler", "LAMBDA_TASK_ROOT": dir, "AWS_LAMBDA_FUNCTION_NAME": "f", "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
		"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "128", "AWS_LAMBDA_LOG_GROUP_NAME": "g", "AWS_LAMBDA_LOG_STREAM_NAME": "s", "PATH": os.Getenv("PATH")}
	for k, v := range cmd.Env {
		full[k] = v
	}
	for k, v := range env {
		full[k] = v
	}
	logs := &logBuffer{}
	a, err := New(Config{Spec: instance.Spec{FunctionName: "f", FunctionVersion: "$LATEST", Runtime: "python3.13", MemoryMB: 128, Timeout: 3 * time.Second,
		Command: cmd.Args, WorkDir: dir, Environment: full}, Supervisor: newLocal(), Logs: logs})
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Shutdown(context.Background()) })
	return a, logs
}

func TestPython(t *testing.T) {
	a, logs := python(t, `
import os, time, sys
def handler(event, context):
    print("hello", event)
    if event.get("exit"): sys.exit(3)
    if event.get("sleep"): time.sleep(event["sleep"])
    if event.get("raise"): raise ValueError("bad")
    return {"got": event, "id": context.aws_request_id}
`, nil)
	for _, tt := range []struct{ payload, want, errorType string }{
		{`{"a":1}`, `{"got": {"a": 1}, "id": "r"}`, ""},
		{`{"raise":1}`, `"errorType": "ValueError"`, "ValueError"},
		{`{"exit":1}`, `Runtime exited with error: exit status 3`, "Runtime.ExitError"},
		{`{"sleep":9}`, `{"errorType":"Sandbox.Timedout","errorMessage":"RequestId: r Error: Task timed out after 1.00 seconds"}`, "Sandbox.Timedout"},
		{`{"b":1}`, `{"got": {"b": 1}, "id": "r"}`, ""},
	} {
		res, err := a.Invoke(t.Context(), &instance.Event{RequestID: "r", Payload: []byte(tt.payload), Timeout: time.Second, Tail: true}, nil)
		if err != nil {
			t.Fatalf("Invoke(%s) = %v", tt.payload, err)
		}
		if !strings.Contains(string(res.Payload), tt.want) || !strings.Contains(res.ErrorType, tt.errorType) {
			t.Errorf("Invoke(%s) = %s %s, want %s", tt.payload, res.Payload, res.ErrorType, tt.want)
		}
	}
	t.Log(logs)
}
