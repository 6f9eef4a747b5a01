package code_test

import (
	"testing"

	"github.com/hearth-run/hearth/internal/code"
	"github.com/hearth-run/hearth/internal/code/blobtest"
)

func TestFolder(t *testing.T) {
	f, err := code.NewFolder(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	blobtest.Test(t, f)
}
