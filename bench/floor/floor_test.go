package floor

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hearth-run/hearth/internal/hearthtest"
)

// Floors answer events, else the ratios to them mean nothing.
func TestFloors(t *testing.T) {
	for _, c := range []struct {
		what, name string
		text       []byte
		start      func(args, env []string) (Instance, error)
		events     int
	}{
		{"python", "loop.py", PythonLoop, StartFramed, 3},
		{"python", "once.py", PythonOnce, StartRuntimeAPI, 1},
		{"node", "loop.js", NodeLoop, StartFramed, 3},
		{"node", "once.js", NodeOnce, StartRuntimeAPI, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			interpreter := hearthtest.Need(t, c.what)
			file := filepath.Join(t.TempDir(), c.name)
			if err := os.WriteFile(file, c.text, 0o644); err != nil {
				t.Fatal(err)
			}
			i, err := c.start([]string{interpreter, file}, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer i.Close()
			for range c.events {
				got, err := i.Invoke([]byte(`{"a":"é"}`))
				if err != nil || string(got) != `{"a":"é"}` && string(got) != `{"a": "\u00e9"}` {
					t.Fatalf("answer %s, %v", got, err)
				}
			}
		})
	}
}

func TestFrontAndLoad(t *testing.T) {
	interpreter := hearthtest.Need(t, "python")
	file := filepath.Join(t.TempDir(), "loop.py")
	if err := os.WriteFile(file, PythonLoop, 0o644); err != nil {
		t.Fatal(err)
	}
	f, err := NewFront(2, func() (Instance, error) { return StartFramed([]string{interpreter, file}, nil) })
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	got, err := Load(f.URL, []byte(`{}`), 4, 100*time.Millisecond)
	if err != nil || got.N < 4 || got.P50 <= 0 || got.P99 < got.P50 || got.Rate <= 0 {
		t.Errorf("Load = %+v, %v", got, err)
	}
}
