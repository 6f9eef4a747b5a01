package process

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"testing/fstest"
)

// A release's agent is unpacked once, and is then what it was.
func TestEmbeddedAgent(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	t.Setenv("HOME", t.TempDir())
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	z.Write([]byte("#!/bin/sh\n"))
	z.Close()
	files := fstest.MapFS{"agents/hearth-agent-linux-arm64.gz": {Data: b.Bytes()}}
	first, err := embeddedAgent(files, "linux", "arm64")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(first); err != nil || string(got) != "#!/bin/sh\n" || !isProgram(first) {
		t.Errorf("unpacked %q, %v, want an executable with what was packed", got, err)
	}
	before, _ := os.Stat(first)
	second, err := embeddedAgent(files, "linux", "arm64")
	if after, _ := os.Stat(first); err != nil || second != first || !os.SameFile(before, after) {
		t.Errorf("the second time %s, %v, want %s as it was", second, err, first)
	}
	if left, _ := os.ReadDir(filepath.Dir(first)); len(left) != 1 {
		t.Errorf("%d files are in its folder, want 1", len(left))
	}
	if _, err := embeddedAgent(files, "linux", "amd64"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an agent that is not carried: %v, want ErrNotExist", err)
	}
}
