package runtimes

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// fakePython writes an interpreter that only answers the probe, and counts how
// often it is run.
func fakePython(t *testing.T, path, version string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	script := fmt.Sprintf("#!/bin/sh\necho run >>%[1]s.runs\necho %[2]s\necho %[1]s\necho %[3]s\n", path, version, filepath.Dir(filepath.Dir(path)))
	if err := os.WriteFile(path, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
}

func runs(path string) int {
	data, _ := os.ReadFile(path + ".runs")
	return strings.Count(string(data), "run")
}

// alone makes a machine that has only what the test puts in home.
func alone(t *testing.T) (home string) {
	home, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("HOME", home)
	t.Setenv("XDG_CACHE_HOME", filepath.Join(home, "cache"))
	t.Setenv("PATH", filepath.Join(home, ".pyenv/shims")+":/usr/bin:/bin")
	t.Setenv("VIRTUAL_ENV", "")
	return home
}

func TestFind(t *testing.T) {
	home := alone(t)
	v39, v310 := filepath.Join(home, ".pyenv/versions/3.9.1/bin/python3"), filepath.Join(home, ".pyenv/versions/3.10.2/bin/python3")
	v97, v99 := filepath.Join(home, ".pyenv/versions/3.97.0/bin/python3"), filepath.Join(home, ".pyenv/versions/3.99.0/bin/python3")
	fakePython(t, v39, "3.9.1")
	fakePython(t, v310, "3.10.2")
	fakePython(t, v97, "3.97.0")
	fakePython(t, v99, "3.99.0")
	finder = searcher{}
	defer func() { finder = searcher{} }()

	i, err := Find(context.Background(), "python3.9")
	if err != nil || i.Path != v39 || i.Version != "3.9.1" || i.Warning != "" {
		t.Fatalf("Find(python3.9) = %+v, %v, want %s without a warning", i, err, v39)
	}
	if runs(v310) != 0 {
		t.Errorf("Find ran %s though an exact version was named", v310)
	}
	// Learnt once, also for the next process.
	finder = searcher{}
	if i, err = Find(context.Background(), "python3.9"); err != nil || i.Path != v39 || runs(v39) != 1 {
		t.Errorf("second Find(python3.9) = %+v, %v after %d runs, want it from the cache", i, err, runs(v39))
	}
	// A changed file is asked again.
	fakePython(t, v39, "3.9.25")
	if i, err = Find(context.Background(), "python3.9"); err != nil || i.Version != "3.9.25" {
		t.Errorf("Find(python3.9) after an upgrade = %+v, %v, want 3.9.25", i, err)
	}
}

func TestFindPrefersTheVirtualEnvironment(t *testing.T) {
	home := alone(t)
	venv := filepath.Join(home, "venv", "bin", "python3")
	fakePython(t, filepath.Join(home, ".pyenv/versions/3.9.1/bin/python3"), "3.9.1")
	fakePython(t, venv, "3.9.9")
	t.Setenv("VIRTUAL_ENV", filepath.Join(home, "venv"))
	finder = searcher{}
	defer func() { finder = searcher{} }()
	if i, err := Find(context.Background(), "python3.9"); err != nil || i.Path != venv {
		t.Errorf("Find(python3.9) = %+v, %v, want %s", i, err, venv)
	}
	// Not for another version.
	fakePython(t, filepath.Join(home, ".pyenv/versions/3.10.1/bin/python3"), "3.10.1")
	if i, err := Find(context.Background(), "python3.10"); err != nil || i.Path == venv {
		t.Errorf("Find(python3.10) = %+v, %v, want one that is no 3.9", i, err)
	}
}

func TestNearest(t *testing.T) {
	have := func(versions ...string) (found []facts) {
		for _, v := range versions {
			found = append(found, facts{Version: v, Executable: "/" + v})
		}
		return found
	}
	for _, c := range []struct {
		lang       *language
		want       string
		have       []facts
		best, note string
	}{
		{&python, "3.12", have("3.11.1", "3.12.4", "3.13.0"), "3.12.4", "the exact one"},
		{&python, "3.12", have("3.12.4", "3.12.9"), "3.12.4", "the first of equals"},
		{&python, "3.12", have("3.11.1", "3.13.0"), "3.13.0", "the newer of two as near"},
		{&python, "3.12", have("3.10.1", "3.11.1", "3.15.0"), "3.11.1", "the nearest"},
		{&python, "3.9", have("2.7.18", "3.8.1"), "", "none that the bootstrap can't run on"},
		{&java, "11", have("8.0.1", "25.0.1"), "25.0.1", "a newer Java runs what an older one's compiler made"},
		{&java, "25", have("8.0.1", "17.0.1"), "17.0.1", "else the nearest older"},
		{&nodejs, "22", have("20.1.0", "23.0.0"), "23.0.0", "the nearest"},
	} {
		got, ok := nearest(c.lang, c.have, parseVersion(c.want))
		if got.Version != c.best || ok != (c.best != "") {
			t.Errorf("%s %s of %v: got %q, want %q: %s", c.lang.name, c.want, c.have, got.Version, c.best, c.note)
		}
	}
}

func TestFindRefuses(t *testing.T) {
	for runtime, words := range map[string]string{
		"dotnet8":     "container image",
		"go1.x":       "provided.al2023",
		"python2.7":   "python3.13",
		"":            "no runtime",
		"nodejs22":    "nodejs22.x",
		"provided.x":  "provided.al2",
		"python3.99":  "no runtime",
		"python3.13 ": "no runtime",
	} {
		i, err := Find(context.Background(), runtime)
		if !errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), words) {
			t.Errorf("Find(%q) = %v, %v, want ErrUnsupported with %q", runtime, i, err, words)
		}
	}
}

func TestFindEndsWithItsContext(t *testing.T) {
	home := alone(t)
	fakePython(t, filepath.Join(home, ".pyenv/versions/3.9.1/bin/python3"), "3.9.1")
	finder = searcher{}
	defer func() { finder = searcher{} }()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Find(ctx, "python3.9"); !errors.Is(err, context.Canceled) || errors.Is(err, ErrUnsupported) {
		t.Errorf("Find with a dead context = %v, want context.Canceled", err)
	}
	// It has learnt nothing wrong from that.
	if i, err := Find(context.Background(), "python3.9"); err != nil || i.Version != "3.9.1" {
		t.Errorf("Find after it = %+v, %v, want 3.9.1", i, err)
	}
}

func TestMissingSaysWhatToInstall(t *testing.T) {
	alone(t)
	t.Setenv("PATH", "/nowhere")
	finder = searcher{}
	defer func() { finder = searcher{} }()
	lang := python
	lang.locate = func(m machine) []candidate { return m.onPath("python3") }
	found, err := finder.search(context.Background(), &lang, version{3, 12})
	if err != nil || len(found) != 0 {
		t.Fatalf("search = %v, %v, want nothing", found, err)
	}
	if words := python.install("3.12"); !strings.Contains(words, "3.12") {
		t.Errorf("install(3.12) = %q, want the version in it", words)
	}
}

func TestHint(t *testing.T) {
	for path, want := range map[string]string{
		"/root/.pyenv/versions/3.11.7/bin/python3":      "3.11.7",
		"/usr/bin/python3.12":                           "3.12",
		"/usr/bin/python3":                              "",
		"/usr/lib/jvm/temurin-25-jdk-amd64/bin/java":    "25",
		"/home/a/.nvm/versions/node/v22.3.1/bin/node":   "22.3.1",
		"/opt/homebrew/opt/python@3.13/bin/python3.13":  "3.13",
		"/usr/lib/jvm/java-1.17.0-openjdk-a64/bin/java": "",
	} {
		if got := hint(path).String(); got != want {
			t.Errorf("hint(%s) = %q, want %q", path, got, want)
		}
	}
}

func TestCommandOfProvided(t *testing.T) {
	i, err := Find(context.Background(), "provided.al2023")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ there, want string }{
		{"/var/task/bootstrap", "/var/task/bootstrap"},
		{"/opt/bootstrap", "/opt/bootstrap"},
		{"", "/var/task/bootstrap"},
	} {
		got := i.Command(Layout{TaskRoot: "/var/task", Opt: "/opt", Has: func(p string) bool { return p == c.there }})
		if len(got.Args) != 1 || got.Args[0] != c.want {
			t.Errorf("Command where there is %q = %q, want %s", c.there, got.Args, c.want)
		}
	}
}

func TestCommandLeavesTheFunctionsOwnVariables(t *testing.T) {
	i := &Interpreter{Runtime: "nodejs22.x", Language: "nodejs", Path: "/n", Version: "22.1.0", lang: &nodejs}
	c := i.Command(Layout{Bootstrap: "/b", TaskRoot: "/t", Opt: "/o", Env: map[string]string{"NODE_PATH": "/mine", "AWS_LAMBDA_EXEC_WRAPPER": "/opt/wrap"}})
	if _, set := c.Env["NODE_PATH"]; set {
		t.Errorf("Command sets NODE_PATH=%s over the function's own", c.Env["NODE_PATH"])
	}
	if c.Env["_HEARTH_OPT"] != "/o" || c.Env["AWS_EXECUTION_ENV"] != "AWS_Lambda_nodejs22.x" {
		t.Errorf("Command.Env = %v", c.Env)
	}
	if c.Args[0] != "/bin/sh" || c.Args[4] != "/n" {
		t.Errorf("Command.Args = %q, want the wrapper's script before the interpreter", c.Args)
	}
}

func TestInstall(t *testing.T) {
	dir := t.TempDir()
	i := &Interpreter{Runtime: "nodejs22.x", Language: "nodejs", Path: "/n", Version: "22.1.0", lang: &nodejs}
	at, err := i.Install(context.Background(), dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range nodejs.files() {
		if got, err := os.ReadFile(filepath.Join(at, f.name)); err != nil || string(got) != string(f.data) {
			t.Errorf("%s = %d bytes, %v, want the embedded %d", f.name, len(got), err, len(f.data))
		}
	}
	again, err := i.Install(context.Background(), dir)
	if err != nil || again != at {
		t.Errorf("second Install = %s, %v, want %s", again, err, at)
	}
	left, _ := filepath.Glob(filepath.Join(dir, ".new-*"))
	if len(left) != 0 {
		t.Errorf("Install left %v", left)
	}
}
