//go:build linux

package confine

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hearth-run/hearth/internal/agent"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "supervise" {
		if err := Supervise(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// modes runs f with namespaces, if the machine has them, and without.
func modes(t *testing.T, setup Setup, f func(t *testing.T, s *env)) {
	for _, plain := range []bool{false, true} {
		t.Run(map[bool]string{false: "isolated", true: "plain"}[plain], func(t *testing.T) {
			exe, err := os.Executable()
			if err != nil {
				t.Fatal(err)
			}
			folder := filepath.Join(t.TempDir(), "instance")
			setup := setup
			setup.Tmp = filepath.Join(folder, "tmp")
			if err := os.MkdirAll(setup.Tmp, 0o777); err != nil {
				t.Fatal(err)
			}
			s, err := Start(t.Context(), Config{Program: exe, Args: []string{"supervise"}, Plain: plain, Folder: folder, Name: fmt.Sprintf("hearth-test-%d", os.Getpid())})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			l, err := s.Setup(t.Context(), setup)
			if err != nil {
				t.Fatal(err)
			}
			if l.Isolated == plain {
				t.Skipf("this machine has no namespaces for us: %v", l.Notes)
			}
			f(t, &env{s, l, setup})
			if err := s.Close(); err != nil {
				t.Errorf("Close() = %v", err)
			}
			if _, err := os.Stat(folder); err == nil {
				t.Errorf("folder %s is left", folder)
			}
			for _, ref := range s.group.dirs {
				if _, err := os.Stat(ref.Dir); err == nil {
					t.Errorf("control group %s is left", ref.Dir)
				}
			}
		})
	}
}

// env is an environment under test.
type env struct {
	*Supervisor
	layout Layout
	setup  Setup
}

// run runs a shell script in the environment and returns what it printed.
func run(t *testing.T, s *env, script string) (string, agent.ExitStatus) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	p, err := s.Start(t.Context(), agent.Command{Name: "sh", Path: "/bin/sh", Args: []string{"-c", script}, Env: []string{"PATH=/usr/bin:/bin"}, Dir: "/", Stdout: w, Stderr: w})
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	b, _ := io.ReadAll(r)
	<-p.Done()
	return string(b), p.Exit()
}

func TestExit(t *testing.T) {
	modes(t, Setup{MaxFiles: 1024}, func(t *testing.T, s *env) {
		out, exit := run(t, s, "echo hello; ulimit -n; exit 7")
		if out != "hello\n1024\n" || exit != (agent.ExitStatus{Code: 7}) {
			t.Errorf("got %q, %+v", out, exit)
		}
		if _, exit := run(t, s, "kill -SEGV $$"); exit != (agent.ExitStatus{Code: -1, Signal: "segmentation fault"}) {
			t.Errorf("after SIGSEGV: %+v", exit)
		}
		if _, err := s.Start(t.Context(), agent.Command{Path: "/nonexistent", Stdout: os.Stdout, Stderr: os.Stderr}); err == nil || !strings.Contains(err.Error(), "no such file") {
			t.Errorf("Start of a missing program = %v", err)
		}
	})
}

// Nothing outlives KillAll or Close, not even what left its session.
func TestOrphans(t *testing.T) {
	modes(t, Setup{}, func(t *testing.T, s *env) {
		marker := fmt.Sprintf("%d.%d", 10_000_000+os.Getpid(), time.Now().UnixNano()%1e6)
		running := func() bool {
			dirs, _ := filepath.Glob("/proc/[0-9]*/cmdline")
			for _, d := range dirs {
				if b, _ := os.ReadFile(d); strings.Contains(string(b), marker) && strings.HasPrefix(string(b), "sleep") {
					return true
				}
			}
			return false
		}
		for _, end := range []func() error{
			func() error { return s.KillAll(context.Background()) },
			s.Close,
		} {
			run(t, s, "setsid sh -c 'sleep "+marker+" >/dev/null 2>&1 &'; sleep 0.05")
			if !running() {
				t.Fatal("the orphan does not run")
			}
			if err := end(); err != nil {
				t.Fatal(err)
			}
			if running() {
				t.Error("the orphan runs on")
			}
		}
	})
}

// The environment sees its own folders at Lambda's paths, and no other is writable.
func TestIsolation(t *testing.T) {
	task, opt := t.TempDir(), t.TempDir()
	os.WriteFile(filepath.Join(task, "code"), []byte("code\n"), 0o644)
	os.WriteFile(filepath.Join(opt, "layer"), []byte("layer\n"), 0o644)
	modes(t, Setup{TaskRoot: task, Opt: opt}, func(t *testing.T, s *env) {
		if !s.layout.Isolated {
			return
		}
		out, _ := run(t, s, "cat /var/task/code /opt/layer; echo x >/tmp/x && cat /tmp/x; touch /var/task/y || echo read-only; touch /usr/y || echo read-only; ls /proc | grep -c '^[0-9]'")
		if want := "code\nlayer\nx\n"; !strings.HasPrefix(out, want) || strings.Count(out, "read-only\n") != 2 {
			t.Errorf("got %q, want it to begin with %q and two refusals", out, want)
		}
		if _, err := os.Stat(filepath.Join(s.setup.Tmp, "x")); err != nil {
			t.Errorf("what was written to /tmp is not in its folder: %v", err)
		}
	})
}

func TestMemory(t *testing.T) {
	modes(t, Setup{MemoryLimit: 64 << 20}, func(t *testing.T, s *env) {
		if !s.layout.MemoryLimited {
			t.Skip("this machine has no control groups for us")
		}
		_, exit := run(t, s, "head -c 200000000 /dev/zero | tail >/dev/null")
		if s.OOMKills() == 0 {
			t.Errorf("nothing was killed for memory: %+v", exit)
		}
		if m := s.Memory(); m < 32<<20 || m > 80<<20 {
			t.Errorf("Memory() = %d MB", m>>20)
		}
	})
}

func BenchmarkStart(b *testing.B) {
	exe, _ := os.Executable()
	for _, plain := range []bool{false, true} {
		b.Run(map[bool]string{false: "isolated", true: "plain"}[plain], func(b *testing.B) {
			tmp := b.TempDir()
			for b.Loop() {
				s, err := Start(context.Background(), Config{Program: exe, Args: []string{"supervise"}, Plain: plain, Name: "hearth-bench"})
				if err != nil {
					b.Fatal(err)
				}
				if _, err := s.Setup(context.Background(), Setup{Tmp: tmp, MemoryLimit: 128 << 20, MaxProcesses: 1024, MaxFiles: 1024}); err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				s.Close()
				b.StartTimer()
			}
		})
	}
}
