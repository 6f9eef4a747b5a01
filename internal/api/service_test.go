package api

import (
	"context"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

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
