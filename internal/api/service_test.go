package api

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awslambda "github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"github.com/hearth-run/hearth/internal/code"
	"github.com/hearth-run/hearth/internal/hearthtest"
	"github.com/hearth-run/hearth/internal/lambda"
	"github.com/hearth-run/hearth/internal/store"
)

// lambdaService returns the real service, over a database of its own.
func lambdaService(t testing.TB) *lambda.Service {
	t.Helper()
	dir := t.TempDir()
	db, err := store.Open(t.Context(), store.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	archives, err := code.Open(filepath.Join(dir, "code"), code.Config{})
	if err != nil {
		t.Fatal(err)
	}
	s := lambda.New(lambda.Config{Store: db, Code: archives})
	s.Start()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := s.Stop(ctx); err != nil {
			t.Error(err)
		}
		if err := archives.Close(); err != nil {
			t.Error(err)
		}
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// TestControlPlane takes functions, versions, aliases, layers, policies and
// mappings through their lives with boto3, against the real service.
func TestControlPlane(t *testing.T) {
	python := hearthtest.Need(t, "python")
	if out, err := exec.Command(python, "-c", "import boto3").CombinedOutput(); err != nil {
		hearthtest.Skip(t, "boto3", string(out))
	}
	s := lambdaService(t)
	addr := serve(t, newHandler(Config{Lambda: s, Mounts: map[string]http.Handler{lambda.CodePath: s.Downloads()}}))
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, python, filepath.Join("testdata", "control_plane.py"), "http://"+addr).CombinedOutput()
	if err != nil || strings.TrimSpace(string(out)) != "ok" {
		t.Errorf("boto3: %v\n%s", err, out)
	}
}

// TestGoSDK creates, awaits, invokes, updates and deletes with the SDK for Go.
func TestGoSDK(t *testing.T) {
	client := sdkClient(serve(t, newHandler(Config{Lambda: lambdaService(t)})))
	ctx := t.Context()
	name := aws.String("f")
	fn, err := client.CreateFunction(ctx, &awslambda.CreateFunctionInput{
		FunctionName: name, Runtime: types.RuntimePython313, Role: aws.String("arn:aws:iam::123456789012:role/r"),
		Handler: aws.String("f.handler"), Code: &types.FunctionCode{ZipFile: archive(t, "f.py", "def handler(e, c): return e")},
	})
	if err != nil {
		t.Fatal(err)
	}
	if want := "arn:aws:lambda:eu-west-1:123456789012:function:f"; aws.ToString(fn.FunctionArn) != want || fn.State != types.StatePending {
		t.Errorf("created %s, %s, want %s, Pending", aws.ToString(fn.FunctionArn), fn.State, want)
	}
	get := &awslambda.GetFunctionInput{FunctionName: name}
	active := awslambda.NewFunctionActiveV2Waiter(client, func(o *awslambda.FunctionActiveV2WaiterOptions) { o.MinDelay = 10 * time.Millisecond })
	if err := active.Wait(ctx, get, 10*time.Second); err != nil {
		t.Fatal(err)
	}
	if out, err := client.Invoke(ctx, &awslambda.InvokeInput{FunctionName: name, Payload: []byte(`"event"`)}); err != nil || string(out.Payload) != `"event"` {
		t.Errorf("Invoke = %v, %v", out, err)
	}
	if _, err := client.UpdateFunctionCode(ctx, &awslambda.UpdateFunctionCodeInput{FunctionName: name, ZipFile: archive(t, "f.py", "")}); err != nil {
		t.Fatal(err)
	}
	updated := awslambda.NewFunctionUpdatedV2Waiter(client, func(o *awslambda.FunctionUpdatedV2WaiterOptions) { o.MinDelay = 10 * time.Millisecond })
	if err := updated.Wait(ctx, get, 10*time.Second); err != nil {
		t.Fatal(err)
	}
	if _, err := client.DeleteFunction(ctx, &awslambda.DeleteFunctionInput{FunctionName: name}); err != nil {
		t.Fatal(err)
	}
	var gone *types.ResourceNotFoundException
	if _, err := client.GetFunction(ctx, get); !errors.As(err, &gone) || aws.ToString(gone.Type) != "User" {
		t.Errorf("GetFunction after the end: %v, want ResourceNotFoundException", err)
	}
}

// archive returns a zip of one file.
func archive(t *testing.T, name, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	f, err := z.Create(name)
	if err == nil {
		_, err = io.WriteString(f, text)
	}
	if err == nil {
		err = z.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestTerraform applies, changes and destroys what testdata/main.tf describes.
// HEARTH_TERRAFORM_PLUGINS is a folder with the AWS provider, in the layout of Terraform's mirrors.
func TestTerraform(t *testing.T) {
	terraform := hearthtest.Need(t, "terraform")
	plugins := os.Getenv("HEARTH_TERRAFORM_PLUGINS")
	if plugins == "" {
		hearthtest.Skip(t, "terraform", "HEARTH_TERRAFORM_PLUGINS names no folder with the AWS provider")
	}
	addr := serve(t, newHandler(Config{Lambda: lambdaService(t)}))
	dir := t.TempDir()
	text, err := os.ReadFile(filepath.Join("testdata", "main.tf"))
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{"main.tf": text, "code.zip": archive(t, "index.js", "exports.handler = async e => e")} {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run := func(args ...string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, terraform, args...)
		cmd.Dir = dir
		cmd.Env = append(cmd.Environ(), "TF_IN_AUTOMATION=1", "TF_VAR_endpoint=http://"+addr)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("terraform %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	run("init", "-no-color", "-plugin-dir="+plugins)
	for _, timeout := range []string{"8", "9"} {
		run("apply", "-no-color", "-auto-approve", "-var=timeout="+timeout)
		run("plan", "-no-color", "-detailed-exitcode", "-var=timeout="+timeout) // 2 where the plan is not empty
	}
	run("destroy", "-no-color", "-auto-approve")
}
