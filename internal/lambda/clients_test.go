package lambda_test

import (
	"net/http/httptest"
	"os/exec"
	"testing"

	"github.com/hearth-run/hearth/internal/hearthtest"
)

// boto3 takes every operation that it knows through its life, on both databases.
func TestBoto3(t *testing.T) {
	python := hearthtest.Need(t, "python")
	if out, err := exec.Command(python, "-c", "import boto3").CombinedOutput(); err != nil {
		hearthtest.Skip(t, "boto3", string(out))
	}
	onBoth(t, func(t *testing.T, database string) {
		s := newServer(t, database, nil)
		srv := httptest.NewServer(s.api)
		defer srv.Close()
		out, err := exec.CommandContext(t.Context(), python, "testdata/operations.py", srv.URL).CombinedOutput()
		if err != nil {
			t.Fatalf("operations.py: %v\n%s", err, out)
		}
		t.Logf("%s", out)
	})
}
