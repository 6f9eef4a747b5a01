// Package e2e tests the hearth program with clients that nobody here wrote.
package e2e

import (
	"archive/zip"
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hearth-run/hearth/internal/hearthtest"
)

var program string // hearth, built once

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "hearth-e2e-")
	if err != nil {
		panic(err)
	}
	code := 1
	if out, err := exec.Command("go", "build", "-o", dir, "../cmd/hearth", "../cmd/hearth-agent").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build hearth: %v\n%s", err, out)
	} else {
		program = filepath.Join(dir, "hearth")
		code = m.Run()
	}
	os.RemoveAll(dir)
	os.Exit(code)
}

// server is a running hearth serve.
type server struct {
	cmd  *exec.Cmd
	url  string
	data string
	err  *bytes.Buffer
}

// serve starts a server on data, which ends with the test.
func serve(t *testing.T, data string, args ...string) *server {
	t.Helper()
	s := &server{data: data, err: &bytes.Buffer{}}
	s.cmd = exec.Command(program, append([]string{"serve", "--listen", "127.0.0.1:0", "--data", data}, args...)...)
	s.cmd.Stderr = s.err
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.stop(t) })
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if url, ok := strings.CutPrefix(lines.Text(), "Hearth listens on "); ok {
			s.url = url
			break
		}
	}
	go io.Copy(io.Discard, out)
	if s.url == "" {
		s.cmd.Wait()
		t.Fatalf("hearth serve did not start: %s", s.err)
	}
	return s
}

func (s *server) stop(t *testing.T) {
	if s.cmd.ProcessState != nil {
		return
	}
	s.cmd.Process.Signal(syscall.SIGTERM)
	done := make(chan error, 1)
	go func() { done <- s.cmd.Wait() }()
	select {
	case err := <-done:
		if err != nil {
			t.Errorf("hearth serve ended with %v: %s", err, s.err)
		}
	case <-time.After(60 * time.Second):
		s.cmd.Process.Kill()
		t.Errorf("hearth serve did not end: %s", s.err)
	}
}

// env is the environment that points AWS's clients at s.
func (s *server) env() []string {
	return append(os.Environ(), "AWS_ENDPOINT_URL="+s.url, "AWS_REGION=us-east-1", "AWS_DEFAULT_REGION=us-east-1",
		"AWS_ACCESS_KEY_ID=hearth", "AWS_SECRET_ACCESS_KEY=hearth", "AWS_EC2_METADATA_DISABLED=true", "AWS_PAGER=", "AWS_CONFIG_FILE=/nonexistent")
}

// run runs a program against s and returns what it printed.
func (s *server) run(t *testing.T, dir, name string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env, cmd.Dir = s.env(), dir
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (s *server) must(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	out, err := s.run(t, dir, name, args...)
	if err != nil {
		t.Fatalf("%s %s: %v\n%s\nserver: %s", name, strings.Join(args, " "), err, out, s.err)
	}
	return out
}

// archive writes a zip of one file and returns its path.
func archive(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "code.zip")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	z := zip.NewWriter(f)
	w, err := z.Create(name)
	if err == nil {
		_, err = io.WriteString(w, text)
	}
	if err == nil {
		err = z.Close()
	}
	if err == nil {
		err = f.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return path
}

const handler = `
import os, subprocess, time
def handler(event, context):
    print("got", event)
    if event.get("orphan"):
        subprocess.Popen(["setsid", "sleep", event["orphan"]], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(event.get("sleep", 0))
    if event.get("touch"):
        open(event["touch"], "a").write("x")
    return {"hello": event.get("name"), "v": VERSION}
VERSION = 1
`

func TestAWSCommand(t *testing.T) {
	aws := hearthtest.Need(t, "aws")
	hearthtest.Need(t, "python")
	s := serve(t, t.TempDir())
	dir := t.TempDir()
	zip1 := archive(t, "app.py", handler)
	zip2 := archive(t, "app.py", strings.Replace(handler, "VERSION = 1", "VERSION = 2", 1))
	created := s.must(t, dir, aws, "lambda", "create-function", "--function-name", "f", "--runtime", "python3.13", "--handler", "app.handler",
		"--role", "arn:aws:iam::000000000000:role/r", "--zip-file", "fileb://"+zip1)
	if !strings.Contains(created, `"State": "Pending"`) {
		t.Errorf("create-function answered %s", created)
	}
	s.must(t, dir, aws, "lambda", "wait", "function-active-v2", "--function-name", "f")
	os.WriteFile(filepath.Join(dir, "event.json"), []byte(`{"name":"Ada"}`), 0o644)
	invoke := func(want string) {
		t.Helper()
		out := s.must(t, dir, aws, "lambda", "invoke", "--function-name", "f", "--log-type", "Tail", "--payload", "fileb://event.json", "answer.json")
		var answer struct{ LogResult, FunctionError string }
		if err := json.Unmarshal([]byte(out), &answer); err != nil || answer.LogResult == "" || answer.FunctionError != "" {
			t.Errorf("invoke answered %s", out)
		}
		if got, _ := os.ReadFile(filepath.Join(dir, "answer.json")); string(got) != want {
			t.Errorf("the function answered %s, want %s", got, want)
		}
	}
	invoke(`{"hello": "Ada", "v": 1}`)
	s.must(t, dir, aws, "lambda", "update-function-code", "--function-name", "f", "--zip-file", "fileb://"+zip2)
	s.must(t, dir, aws, "lambda", "wait", "function-updated-v2", "--function-name", "f")
	invoke(`{"hello": "Ada", "v": 2}`)
	if out := s.must(t, dir, aws, "lambda", "list-functions", "--query", "Functions[].FunctionName", "--output", "text"); strings.TrimSpace(out) != "f" {
		t.Errorf("list-functions answered %q", out)
	}
	if out := s.must(t, dir, aws, "logs", "filter-log-events", "--log-group-name", "/aws/lambda/f", "--query", "events[].message"); strings.Count(out, "got {'name': 'Ada'}") != 2 || strings.Count(out, "REPORT RequestId") != 2 {
		t.Errorf("filter-log-events answered %s", out)
	}
	s.must(t, dir, aws, "lambda", "delete-function", "--function-name", "f")
	if out, err := s.run(t, dir, aws, "lambda", "invoke", "--function-name", "f", "out"); err == nil || !strings.Contains(out, "(ResourceNotFoundException)") {
		t.Errorf("invoke after delete-function: %v, %s", err, out)
	}
}

const boto = `
import boto3, json, sys, io
c = boto3.client("lambda")
code = open(sys.argv[1], "rb").read()
r = c.create_function(FunctionName="b", Runtime="python3.13", Handler="app.handler", Role="arn:aws:iam::000000000000:role/r", Code={"ZipFile": code})
assert r["State"] == "Pending" and r["ResponseMetadata"]["HTTPStatusCode"] == 201, r
c.get_waiter("function_active_v2").wait(FunctionName="b")
r = c.invoke(FunctionName="b", Payload=json.dumps({"name": "ü"}), LogType="Tail")
assert json.load(r["Payload"]) == {"hello": "ü", "v": 1}, r
v = c.publish_version(FunctionName="b")["Version"]
assert v == "1", v
assert c.publish_version(FunctionName="b")["Version"] == "1"
c.create_alias(FunctionName="b", Name="live", FunctionVersion=v)
r = c.invoke(FunctionName="b", Qualifier="live", Payload=b"{}")
assert r["ExecutedVersion"] == "1", r
r = c.invoke(FunctionName="b", InvocationType="DryRun")
assert r["StatusCode"] == 204, r
r = c.invoke(FunctionName="b", InvocationType="Event", Payload=b"{}")
assert r["StatusCode"] == 202, r
parts = [e for e in c.invoke_with_response_stream(FunctionName="b", Payload=b"{}")["EventStream"]]
assert b"".join(e["PayloadChunk"]["Payload"] for e in parts if "PayloadChunk" in e) == b'{"hello": null, "v": 1}', parts
assert "InvokeComplete" in parts[-1], parts
try:
    c.invoke(FunctionName="b", Payload=b"{bad")
    assert False
except c.exceptions.InvalidRequestContentException as e:
    assert "Could not parse request body into json" in str(e), e
import urllib.request
url = c.get_function(FunctionName="b")["Code"]["Location"]
assert urllib.request.urlopen(url).read() == code
layer = c.publish_layer_version(LayerName="l", Content={"ZipFile": code})["LayerVersionArn"]
c.get_waiter("function_updated_v2").wait(FunctionName="b")
c.update_function_configuration(FunctionName="b", Layers=[layer], Environment={"Variables": {"KEY": "V"}})
c.get_waiter("function_updated_v2").wait(FunctionName="b")
assert json.load(c.invoke(FunctionName="b", Payload=b"{}")["Payload"])["v"] == 1
c.tag_resource(Resource=r["ResponseMetadata"] and c.get_function(FunctionName="b")["Configuration"]["FunctionArn"], Tags={"a": "b"})
assert c.list_tags(Resource=c.get_function(FunctionName="b")["Configuration"]["FunctionArn"])["Tags"] == {"a": "b"}
assert c.get_account_settings()["AccountUsage"]["FunctionCount"] == 1
c.put_function_concurrency(FunctionName="b", ReservedConcurrentExecutions=0)
try:
    c.invoke(FunctionName="b")
    assert False
except c.exceptions.TooManyRequestsException as e:
    assert e.response["Reason"] == "ReservedFunctionConcurrentInvocationLimitExceeded", e.response
c.delete_function(FunctionName="b")
assert c.list_functions()["Functions"] == []
print("ok")
`

func TestBoto3(t *testing.T) {
	python := hearthtest.Need(t, "python")
	if exec.Command(python, "-c", "import boto3").Run() != nil {
		hearthtest.Skip(t, "aws", "Python has no boto3")
	}
	s := serve(t, t.TempDir())
	script := filepath.Join(t.TempDir(), "flow.py")
	if err := os.WriteFile(script, []byte(boto), 0o644); err != nil {
		t.Fatal(err)
	}
	if out := s.must(t, "", python, script, archive(t, "app.py", handler)); strings.TrimSpace(out) != "ok" {
		t.Errorf("the script printed %s", out)
	}
}

// A server that is killed in the middle of 100 invocations leaves no process,
// not even one that left its session; the next one has all functions, and runs
// what was queued.
func TestKill(t *testing.T) {
	hearthtest.Need(t, "python")
	hearthtest.Need(t, "setsid")
	data, dir := t.TempDir(), t.TempDir()
	s := serve(t, data)
	source := filepath.Join(dir, "fn")
	os.Mkdir(source, 0o755)
	os.WriteFile(filepath.Join(source, "app.py"), []byte(handler), 0o644)
	const functions = 5
	for i := range functions {
		s.must(t, dir, program, "deploy", source, "--name", fmt.Sprint("f", i), "--timeout", "60")
	}
	marker := fmt.Sprintf("%d.25", 3_000_000+os.Getpid())
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() {
			body := fmt.Sprintf(`{"orphan":%q,"sleep":30}`, marker)
			res, err := http.Post(fmt.Sprintf("%s/2015-03-31/functions/f%d/invocations", s.url, i%functions), "application/json", strings.NewReader(body))
			if err == nil {
				res.Body.Close()
			}
		})
	}
	deadline := time.Now().Add(60 * time.Second)
	for len(running(marker)) < 100 && time.Now().Before(deadline) {
		time.Sleep(50 * time.Millisecond)
	}
	if n := len(running(marker)); n < 100 {
		t.Fatalf("%d of 100 invocations run: %s", n, s.err)
	}
	// This one is accepted, and has no instance yet.
	req, _ := http.NewRequest("POST", s.url+"/2015-03-31/functions/f0/invocations", strings.NewReader(`{"name":"queued"}`))
	req.Header.Set("X-Amz-Invocation-Type", "Event")
	if res, err := http.DefaultClient.Do(req); err != nil || res.StatusCode != 202 {
		t.Fatalf("asynchronous invocation: %v, %v", res, err)
	}
	s.cmd.Process.Kill()
	s.cmd.Wait()
	wg.Wait()

	next := serve(t, data)
	deadline = time.Now().Add(15 * time.Second)
	for len(running(marker)) > 0 && time.Now().Before(deadline) {
		time.Sleep(20 * time.Millisecond)
	}
	if left := running(marker); len(left) > 0 {
		t.Errorf("%d processes of the killed server are left", len(left))
	}
	for i := range functions {
		if out := next.must(t, dir, program, "invoke", fmt.Sprint("f", i), "--event", `{"name":"again"}`); !strings.Contains(out, "again") {
			t.Errorf("f%d answered %s", i, out)
		}
	}
	for {
		out := next.must(t, dir, program, "logs", "f0", "--since", "1h")
		if strings.Contains(out, "got {'name': 'queued'}") {
			break
		}
		if time.Now().After(deadline.Add(15 * time.Second)) {
			t.Fatalf("the queued event never ran: %s", out)
		}
		time.Sleep(100 * time.Millisecond)
	}
	for {
		owners, _ := filepath.Glob(filepath.Join(data, "instances", "process", "*"))
		if len(owners) == 1 {
			break
		}
		if time.Now().After(deadline.Add(30 * time.Second)) {
			t.Fatalf("folders of servers: %v, want the live one's alone", owners)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// running lists the processes whose last argument is marker.
func running(marker string) []string {
	var found []string
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, f := range files {
		if b, _ := os.ReadFile(f); strings.HasPrefix(string(b), "sleep\x00"+marker) {
			found = append(found, f)
		}
	}
	return found
}

// hearth run answers on standard output, logs on standard error, and its
// status tells of a function's error.
func TestRun(t *testing.T) {
	hearthtest.Need(t, "python")
	dir := t.TempDir()
	os.WriteFile(filepath.Join(dir, "lambda_function.py"), []byte("def lambda_handler(e, c):\n    print('log')\n    return 1 / e['n']\n"), 0o644)
	for _, tt := range []struct {
		event, out string
		fails      bool
	}{
		{`{"n":2}`, "0.5\n", false},
		{`{"n":0}`, `"errorType": "ZeroDivisionError"`, true},
	} {
		cmd := exec.Command(program, "run", dir, "--event", "-")
		cmd.Stdin = strings.NewReader(tt.event)
		var out, log bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &log
		err := cmd.Run()
		if (err != nil) != tt.fails || !strings.Contains(out.String(), tt.out) {
			t.Errorf("hearth run with %s: %v, %s", tt.event, err, out.String())
		}
		for _, line := range []string{"START RequestId: ", "log\n", "END RequestId: ", "REPORT RequestId: "} {
			if !strings.Contains(log.String(), line) {
				t.Errorf("its log has no %q: %s", line, log.String())
			}
		}
	}
}
