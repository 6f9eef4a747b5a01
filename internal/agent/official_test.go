package agent

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hearth-run/hearth/internal/hearthtest"
	"github.com/hearth-run/hearth/internal/instance"
	"github.com/hearth-run/hearth/internal/runtimes"
	"github.com/hearth-run/hearth/internal/runtimes/runtimestest"
)

// official starts an agent whose runtime is one of AWS's own clients.
func official(t *testing.T, command []string, env map[string]string) (*Agent, *logBuffer) {
	t.Helper()
	dir := t.TempDir()
	full := map[string]string{"_HANDLER": "f.handler", "LAMBDA_TASK_ROOT": dir, "AWS_LAMBDA_FUNCTION_NAME": "f", "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
		"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "128", "AWS_LAMBDA_LOG_GROUP_NAME": "g", "AWS_LAMBDA_LOG_STREAM_NAME": "s", "PATH": os.Getenv("PATH")}
	for k, v := range env {
		full[k] = v
	}
	logs := &logBuffer{}
	a, err := New(Config{Spec: instance.Spec{FunctionName: "f", FunctionVersion: "$LATEST", MemoryMB: 128, Timeout: 3 * time.Second,
		Command: command, WorkDir: dir, Environment: full}, Supervisor: newLocal(), Logs: logs})
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Shutdown(context.Background()) })
	return a, logs
}

// checkOfficial gives a function that echoes, fails, exits and sleeps as its
// event says to one of AWS's clients.
func checkOfficial(t *testing.T, a *Agent, logs *logBuffer, failType string) {
	for _, tt := range []struct{ payload, want, errorType string }{
		{`{"do":"echo"}`, `"echo"`, ""},
		{`{"do":"fail"}`, `on purpose`, failType},
		{`{"do":"echo"}`, `"echo"`, ""},
		{`{"do":"exit"}`, `Runtime exited with error: exit status 3`, "Runtime.ExitError"},
		{`{"do":"sleep"}`, `Task timed out after 2.00 seconds`, "Sandbox.Timedout"},
		{`{"do":"echo"}`, `"echo"`, ""},
	} {
		res, err := a.Invoke(t.Context(), &instance.Event{RequestID: "8476a536-e9f4-11e8-9739-2dfe598c3fcd", FunctionARN: "arn:aws:lambda:us-east-1:000000000000:function:f",
			Payload: []byte(tt.payload), Timeout: 2 * time.Second, Tail: true}, nil)
		if err != nil {
			t.Fatalf("Invoke(%s) = %v", tt.payload, err)
		}
		if !strings.Contains(string(res.Payload), tt.want) || res.ErrorType != tt.errorType || !strings.Contains(string(res.LogTail), "REPORT RequestId: 8476a536") {
			t.Errorf("Invoke(%s) = %s %s, want %s %s; log:\n%s", tt.payload, res.ErrorType, res.Payload, tt.errorType, tt.want, res.LogTail)
		}
		if res.Settled != nil {
			<-res.Settled
		}
	}
	if t.Failed() {
		t.Log(logs)
	}
}

func TestAWSLambdaRIC(t *testing.T) {
	hearthtest.Need(t, "python")
	i, err := runtimes.Find(t.Context(), "python3.14")
	if err != nil {
		hearthtest.Skip(t, "python", err.Error())
	}
	minor := strings.Join(strings.Split(i.Version, ".")[:2], ".")
	dir := runtimestest.Cache(t, "awslambdaric-4.2.2-python"+minor)
	err = runtimestest.Fetch(dir, func(tmp string) error {
		return runtimestest.Do(tmp, nil, i.Path, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input",
			"--only-binary", ":all:", "--target", tmp, "awslambdaric==4.2.2")
	})
	if err != nil {
		hearthtest.Skip(t, "awslambdaric", err.Error())
	}
	task := t.TempDir()
	const source = `
import sys, time
def handler(event, context):
    print("got", event)
    do = event["do"]
    if do == "fail": raise ValueError("on purpose")
    if do == "exit": import os; os._exit(3)
    if do == "sleep": time.sleep(30)
    return do
`
	if err := os.WriteFile(filepath.Join(task, "f.py"), []byte(source), 0o644); err != nil {
		t.Fatal(err)
	}
	a, logs := official(t, []string{i.Path, "-m", "awslambdaric", "f.handler"}, map[string]string{"PYTHONPATH": dir + ":" + task})
	checkOfficial(t, a, logs, "ValueError")
}

func TestAWSLambdaGo(t *testing.T) {
	goTool := hearthtest.Need(t, "go")
	const version = "v1.55.1"
	dir := runtimestest.Cache(t, "aws-lambda-go-"+version)
	err := runtimestest.Fetch(dir, func(tmp string) error {
		for name, text := range map[string]string{
			"go.mod": "module f\n\ngo 1.21\n\nrequire github.com/aws/aws-lambda-go " + version + "\n",
			"main.go": `package main

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
)

type event struct {
	Do string ` + "`json:\"do\"`" + `
}

func main() {
	lambda.Start(func(_ context.Context, e event) (string, error) {
		switch e.Do {
		case "fail":
			return "", errors.New("on purpose")
		case "exit":
			os.Exit(3)
		case "sleep":
			time.Sleep(30 * time.Second)
		}
		return e.Do, nil
	})
}
`} {
			if err := os.WriteFile(filepath.Join(tmp, name), []byte(text), 0o644); err != nil {
				return err
			}
		}
		cmd := exec.Command(goTool, "build", "-mod=mod", "-o", "bootstrap", ".")
		cmd.Dir = tmp
		cmd.Env = append(os.Environ(), "GOFLAGS=", "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return &exec.Error{Name: string(out), Err: err}
		}
		return nil
	})
	if err != nil {
		hearthtest.Skip(t, "aws-lambda-go", err.Error())
	}
	a, logs := official(t, []string{filepath.Join(dir, "bootstrap")}, nil)
	checkOfficial(t, a, logs, "errorString")
}
