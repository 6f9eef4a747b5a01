package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestDetectNamesTheFileWithoutHandler(t *testing.T) {
	for _, file := range []string{"lambda_function.py", "index.js", "index.mjs", "lambda_function.rb"} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, file), []byte("x = 1\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		_, err := detect(dir, "", "")
		if err == nil || !strings.Contains(err.Error(), file+" in "+dir+" defines no handler") {
			t.Errorf("%s: got error %v", file, err)
		}
	}
	if _, err := detect(t.TempDir(), "", ""); err == nil || !strings.Contains(err.Error(), "no function found") {
		t.Errorf("empty folder: got error %v", err)
	}
}
