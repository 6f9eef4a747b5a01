package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// TestUpToDate: what is committed is what the generator writes.
func TestUpToDate(t *testing.T) {
	for _, svc := range services {
		files, err := generate("../models", svc)
		if err != nil {
			t.Fatal(err)
		}
		for name, want := range files {
			got, err := os.ReadFile(filepath.Join("..", svc.name, name))
			if err != nil {
				t.Error(err)
			} else if !bytes.Equal(got, want) {
				t.Errorf("%s/%s is not what the generator writes: run go run ./internal/awsapi/gen", svc.name, name)
			}
		}
		found, err := filepath.Glob("../" + svc.name + "/*.go")
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range found {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if files[filepath.Base(path)] == nil && bytes.HasPrefix(text, []byte("// Code generated")) {
				t.Errorf("%s is generated, but no more by this generator", path)
			}
		}
	}
}
