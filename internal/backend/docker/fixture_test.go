package docker

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/moby/moby/client"

	"github.com/hearth-run/hearth/internal/backend"
	"github.com/hearth-run/hearth/internal/backend/process"
	"github.com/hearth-run/hearth/internal/code"
	"github.com/hearth-run/hearth/internal/hearthtest"
	"github.com/hearth-run/hearth/internal/instance"
)

// handler answers what the tests ask of a function.
const handler = `
import json, os, socket, subprocess, sys, time, urllib.request

def handler(event, context):
    do = event.get("do", "echo")
    if do == "env":
        return dict(os.environ)
    if do == "read":
        return open(event["path"]).read()
    if do == "write":
        try:
            open(event["path"], "w").write("x")
            return "written"
        except OSError as e:
            return type(e).__name__ + " " + str(e.errno)
    if do == "fill":
        n = 0
        try:
            with open("/tmp/fill", "wb", buffering=0) as f:
                while True:
                    n += f.write(b"x" * (1 << 20))
        except OSError:
            os.remove("/tmp/fill")
            return n >> 20
    if do == "id":
        return [os.getuid(), os.getgid(), os.getcwd(), open("/proc/1/cmdline").read().replace("\0", " ")]
    if do == "status":
        return dict(l.split(":\t", 1) for l in open("/proc/self/status").read().splitlines() if ":\t" in l)
    if do == "memory":
        x = bytearray(event["mb"] << 20)
        for i in range(0, len(x), 4096):
            x[i] = 1
        return len(x)
    if do == "get":
        return urllib.request.urlopen(event["url"], timeout=5).read().decode()
    if do == "resolve":
        return socket.gethostbyname(event["host"])
    if do == "print":
        print(event["text"])
        return "printed"
    if do == "kill agent":
        os.kill(1, 9)
        time.sleep(5)
    if do == "sleep":
        time.sleep(event["s"])
    return event
`

// engines runs f on each engine that is there.
func engines(t *testing.T, f func(t *testing.T, open func(t *testing.T) *Engine)) {
	for _, name := range []string{"docker", "podman", "podman-rootless"} {
		t.Run(name, func(t *testing.T) {
			f(t, func(t *testing.T) *Engine { return openEngine(t, name) })
		})
	}
}

func openEngine(t testing.TB, name string) *Engine {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	var e *Engine
	var err error
	if name == "podman-rootless" {
		host := os.Getenv("HEARTH_TEST_ROOTLESS")
		if host == "" {
			hearthtest.Skip(t, name, "HEARTH_TEST_ROOTLESS names no socket")
		}
		e, err = Open(ctx, host)
	} else {
		e, err = Find(ctx, name)
	}
	if err != nil {
		hearthtest.Skip(t, name, err.Error())
	}
	t.Cleanup(func() { e.Client.Close() })
	if _, err := e.Client.ImageInspect(ctx, python); err != nil {
		hearthtest.Skip(t, name, "it has no "+python)
	}
	return e
}

const python = "public.ecr.aws/lambda/python:3.12"

// agent returns the agent for all tests alike, though its sources may change while they run.
func agent(ctx context.Context, goarch string) (string, error) {
	if goarch != runtime.GOARCH {
		return process.AgentFor(ctx, "linux", goarch)
	}
	return nativeAgent()
}

var nativeAgent = sync.OnceValues(func() (string, error) {
	if path := os.Getenv("HEARTH_TEST_AGENT"); path != "" {
		return path, nil // of the test that this is a server for
	}
	return process.AgentFor(context.Background(), "linux", runtime.GOARCH)
})

// fixture is a backend with a function.
type fixture struct {
	*Backend
	t     testing.TB
	code  *code.Store
	hash  string
	owner string
	close func() error // once
}

func newFixture(t testing.TB, e *Engine, change ...func(*Config)) *fixture {
	t.Helper()
	f := &fixture{t: t, owner: "test-" + newID()}
	dir := t.TempDir()
	var err error
	f.code, err = code.Open(filepath.Join(dir, "code"), code.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.code.Close() })
	f.hash = f.put(map[string]string{"app.py": handler})
	cfg := Config{
		Engine: e, Dir: filepath.Join(dir, "instances"), Owner: f.owner, Code: f.code,
		Agent: agent,
		Pull:  PullNever,
	}
	if testing.Verbose() {
		cfg.Logger = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	for _, c := range change {
		c(&cfg)
	}
	f.Backend, err = New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	f.close = sync.OnceValue(f.Close)
	t.Cleanup(func() {
		if err := f.close(); err != nil {
			t.Errorf("Close() = %v, want nil", err)
		}
		f.wantNothing(f.owner)
	})
	return f
}

// wantNothing checks that the engine has nothing of an owner's.
func (f *fixture) wantNothing(owner string) {
	f.t.Helper()
	e := openSame(f.t, f.engine)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	filter := make(client.Filters).Add("label", labelOwner+"="+owner)
	list, err := e.Client.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: filter})
	if err != nil {
		f.t.Fatal(err)
	}
	for _, c := range list.Items {
		f.t.Errorf("the engine still has %s container %v (%s)", c.Labels[labelKind], c.Names, c.State)
	}
	volumes, err := e.Client.VolumeList(ctx, client.VolumeListOptions{Filters: filter})
	if err != nil {
		f.t.Fatal(err)
	}
	for _, v := range volumes.Items {
		f.t.Errorf("the engine still has volume %s", v.Name)
	}
}

// openSame opens e's API again.
func openSame(t testing.TB, e *Engine) *Engine {
	t.Helper()
	again, err := Open(context.Background(), e.Host)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { again.Client.Close() })
	return again
}

// put stores an archive of files.
func (f *fixture) put(files map[string]string) string {
	f.t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for name, text := range files {
		h := &zip.FileHeader{Name: name, Method: zip.Deflate}
		h.SetMode(0o755)
		w, err := z.CreateHeader(h)
		if err != nil {
			f.t.Fatal(err)
		}
		w.Write([]byte(text))
	}
	z.Close()
	info, err := f.code.Put(f.t.Context(), &b, code.Limits{})
	if err != nil {
		f.t.Fatal(err)
	}
	return info.Hash
}

func (f *fixture) deployment() backend.Deployment {
	return backend.Deployment{
		Partition: "aws", AccountID: "000000000000", Region: "us-east-1", Function: "docker-test", FunctionID: "1", Version: "$LATEST",
		Runtime: "python3.12", Handler: "app.handler", CodeHash: f.hash,
		MemoryMB: 256, EphemeralMB: 512, Timeout: 10 * time.Second, LogGroup: "/aws/lambda/docker-test", LogFormat: "Text",
	}
}

// records keeps log records.
type records struct {
	mu  sync.Mutex
	all []string
}

func (r *records) WriteLog(l instance.LogRecord) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, string(l.Message))
}

func (r *records) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.all, "\n")
}

func (f *fixture) launch(d backend.Deployment) (*backend.Instance, *records) {
	f.t.Helper()
	logs := &records{}
	ctx, cancel := context.WithTimeout(f.t.Context(), time.Minute)
	defer cancel()
	in, err := f.Launch(ctx, d, backend.Output{Stream: "2026/01/01/[$LATEST]0123456789abcdef", Logs: logs})
	if err != nil {
		f.t.Fatalf("Launch() = %v, want nil", err)
	}
	return in, logs
}

func (f *fixture) terminate(in *backend.Instance) {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := f.Terminate(ctx, in.Handle); err != nil {
		f.t.Errorf("Terminate(%v) = %v, want nil", in.Handle, err)
	}
}

// try sends an event and returns the answer.
func try(ctx context.Context, in *backend.Instance, event string) (*instance.Result, error) {
	return in.Agent.Invoke(ctx, &instance.Event{
		RequestID: "00000000-0000-4000-8000-" + newID()[:12], Payload: []byte(event), Timeout: 10 * time.Second,
		FunctionARN: "arn:aws:lambda:us-east-1:000000000000:function:docker-test", Tail: true,
	}, nil)
}

// ask sends an event that must succeed and decodes its answer.
func ask[T any](t testing.TB, in *backend.Instance, event string) T {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	res, err := try(ctx, in, event)
	if err != nil {
		if errors.Is(err, instance.ErrEnded) || errors.Is(err, instance.ErrNotHandedOver) {
			select {
			case <-in.Agent.Ended():
				err = fmt.Errorf("%w; it ended: %+v", err, in.Agent.Reason())
			case <-time.After(2 * time.Second):
			}
		}
		t.Fatalf("Invoke(%s) = %v, want nil", event, err)
	}
	var v T
	if res.FunctionError != "" {
		t.Fatalf("Invoke(%s) = %s %s\n%s, want success", event, res.FunctionError, res.Payload, res.LogTail)
	}
	if err := json.Unmarshal(res.Payload, &v); err != nil {
		t.Fatalf("Invoke(%s) = %s: %v", event, res.Payload, err)
	}
	return v
}
