package agent

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hearth-run/hearth/internal/hearthtest"
	"github.com/hearth-run/hearth/internal/instance"
	"github.com/hearth-run/hearth/internal/runtimes"
)

// extensionSource is an external extension: it registers, subscribes to
// telemetry, and writes down all that it is told.
const extensionSource = `#!/usr/bin/env python3
import json, os, sys, threading, urllib.request
from http.server import BaseHTTPRequestHandler, HTTPServer

out = open(os.environ["EXTENSION_OUT"], "a", buffering=1)
api = "http://" + os.environ["AWS_LAMBDA_RUNTIME_API"]

class Sink(BaseHTTPRequestHandler):
    def do_POST(self):
        for e in json.loads(self.rfile.read(int(self.headers["Content-Length"]))):
            out.write("telemetry " + json.dumps(e) + "\n")
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()
    def log_message(self, *a): pass

server = HTTPServer(("0.0.0.0", 0), Sink)
threading.Thread(target=server.serve_forever, daemon=True).start()

def call(method, path, body=None, **headers):
    r = urllib.request.Request(api + path, method=method, data=None if body is None else json.dumps(body).encode(), headers={k.replace("_", "-"): v for k, v in headers.items()})
    with urllib.request.urlopen(r) as f:
        return f.headers, f.read()

h, b = call("POST", "/2020-01-01/extension/register", {"events": ["INVOKE", "SHUTDOWN"]}, Lambda_Extension_Name=os.path.basename(sys.argv[0]), Lambda_Extension_Accept_Feature="accountId")
out.write("registered " + b.decode() + "\n")
id = h["Lambda-Extension-Identifier"]
h, b = call("PUT", "/2022-07-01/telemetry", {"schemaVersion": "2022-12-13", "types": ["platform", "function"], "buffering": {"maxItems": 1000, "maxBytes": 262144, "timeoutMs": 25},
    "destination": {"protocol": "HTTP", "URI": "http://sandbox.localdomain:%d" % server.server_port}}, Lambda_Extension_Identifier=id)
out.write("subscribed " + b.decode() + "\n")
print("extension printed this", flush=True)
while True:
    h, b = call("GET", "/2020-01-01/extension/event/next", Lambda_Extension_Identifier=id)
    out.write("event " + b.decode() + "\n")
    if json.loads(b)["eventType"] == "SHUTDOWN":
        break
`

// An external extension takes part in all phases, and hears the telemetry.
func TestExtension(t *testing.T) {
	hearthtest.Need(t, "python")
	dir := t.TempDir()
	extensions := filepath.Join(dir, "extensions")
	heard := filepath.Join(dir, "heard")
	os.MkdirAll(extensions, 0o755)
	os.WriteFile(filepath.Join(extensions, "watcher"), []byte(extensionSource), 0o755)
	os.WriteFile(filepath.Join(dir, "f.py"), []byte("def handler(e, c):\n    print('function printed this')\n    return 1\n"), 0o644)
	i, err := runtimes.Find(t.Context(), "python3.13")
	if err != nil {
		t.Fatal(err)
	}
	boot, err := i.Install(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	cmd := i.Command(runtimes.Layout{Bootstrap: boot, TaskRoot: dir, Opt: "/nonexistent"})
	env := map[string]string{"_HANDLER": "f.handler", "LAMBDA_TASK_ROOT": dir, "AWS_LAMBDA_FUNCTION_NAME": "f", "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
		"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "128", "AWS_LAMBDA_LOG_GROUP_NAME": "g", "AWS_LAMBDA_LOG_STREAM_NAME": "s", "PATH": os.Getenv("PATH"), "HOME": os.Getenv("HOME")}
	for k, v := range cmd.Env {
		env[k] = v
	}
	logs := &logBuffer{}
	a, err := New(Config{Spec: instance.Spec{FunctionName: "f", FunctionVersion: "$LATEST", AccountID: "123456789012", Runtime: "python3.13", Handler: "f.handler",
		MemoryMB: 128, Timeout: 3 * time.Second, Command: cmd.Args, WorkDir: dir, Environment: env, ExtensionsDir: extensions,
		ExtensionEnvironment: map[string]string{"EXTENSION_OUT": heard, "PATH": os.Getenv("PATH"), "HOME": os.Getenv("HOME")}}, Supervisor: newLocal(), Logs: logs})
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	res, err := a.Invoke(t.Context(), &instance.Event{RequestID: "r1", Payload: []byte("{}"), Timeout: 3 * time.Second, FunctionARN: "arn:f"}, nil)
	if err != nil || string(res.Payload) != "1" {
		t.Fatalf("Invoke() = %v, %v; log: %s", res, err, logs)
	}
	if res.Settled != nil {
		<-res.Settled
	}
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if b, _ := os.ReadFile(heard); strings.Contains(string(b), `"platform.report"`) {
			break // the last of what the event causes
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := a.Shutdown(ctx); err != nil {
		t.Errorf("Shutdown() = %v", err)
	}
	b, _ := os.ReadFile(heard)
	got := string(b)
	for _, want := range []string{
		`registered {`, `"functionName":"f"`, `"accountId":"123456789012"`, `subscribed "OK"`,
		`event {"eventType":"INVOKE"`, `"requestId":"r1"`, `event {"eventType":"SHUTDOWN"`, `"shutdownReason":"spindown"`,
		`"type": "platform.initStart"`, `"type": "platform.initRuntimeDone"`, `"type": "platform.initReport"`, `"type": "platform.start"`, `"type": "platform.runtimeDone"`,
		`"type": "platform.report"`, `"type": "platform.extension"`, `"type": "platform.telemetrySubscription"`, `"type": "function"`, `function printed this`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("the extension did not hear %s", want)
		}
	}
	for _, want := range []string{"EXTENSION\tName: watcher\tState: Ready\tEvents: [", "TELEMETRY\tName: watcher\tState: Subscribed\tTypes: [", "extension printed this"} {
		if !strings.Contains(logs.String(), want) {
			t.Errorf("the log has no %q", want)
		}
	}
	for line := range strings.Lines(got) {
		if rest, ok := strings.CutPrefix(line, "telemetry "); ok {
			var e struct{ Time, Type string }
			if err := json.Unmarshal([]byte(rest), &e); err != nil || e.Time == "" || e.Type == "" {
				t.Errorf("telemetry event %s: %v", rest, err)
			}
		}
	}
	if t.Failed() {
		t.Logf("heard:\n%s\nlog:\n%s", got, logs)
	}
}
