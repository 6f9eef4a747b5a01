package process

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hearth-run/hearth/internal/agent/confine"
	"github.com/hearth-run/hearth/internal/backend"
	"github.com/hearth-run/hearth/internal/backend/backendtest"
	"github.com/hearth-run/hearth/internal/code"
	"github.com/hearth-run/hearth/internal/instance"
)

func TestMain(m *testing.M) {
	backendtest.Main(m, func() (backendtest.Harness, error) { return harness(os.Getenv("HEARTH_TEST_PLAIN") != "", -1), nil })
}

func harness(plain bool, spare int) backendtest.Harness {
	return backendtest.Harness{
		New: func(dir, owner string, store *code.Store) (backend.Backend, error) {
			return New(Config{Dir: filepath.Join(dir, "instances"), Cache: filepath.Join(dir, "cache"), Owner: owner, Code: store, Plain: plain, Spare: spare})
		},
		Left:          left,
		ReadOnlyCode:  !plain,
		MemoryLimited: confine.LimitsMemory(),
	}
}

// left lists what is there of a server's instances: folders, processes, control groups.
func left(dir, owner string) []string {
	var all []string
	folders, _ := filepath.Glob(filepath.Join(dir, "instances", owner, "*", "tmp"))
	all = append(all, folders...)
	filepath.WalkDir("/sys/fs/cgroup", func(p string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && strings.HasPrefix(d.Name(), groupName(owner, "")) {
			all = append(all, p)
		}
		return nil
	})
	environs, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, e := range environs {
		// Every process of an instance has its function's ID, which is the owner's, in its tree's path or here.
		if b, err := os.ReadFile(e); err == nil && strings.Contains(string(b), "AWS_LAMBDA_FUNCTION_NAME=suite\x00") && strings.Contains(string(b), "HEARTH_TEST_OWNER="+owner+"\x00") {
			all = append(all, e)
		}
	}
	return all
}

func TestSuite(t *testing.T) {
	t.Run("isolated", func(t *testing.T) { backendtest.Run(t, harness(false, -1)) })
	t.Run("plain", func(t *testing.T) {
		t.Setenv("HEARTH_TEST_PLAIN", "1")
		backendtest.Run(t, harness(true, -1))
	})
}

// open returns a backend of its own, with an empty store.
func open(t *testing.T, cfg Config) *Backend {
	t.Helper()
	store, err := code.Open(t.TempDir(), code.Config{})
	if err != nil {
		t.Fatal(err)
	}
	cfg.Dir, cfg.Owner, cfg.Code = filepath.Join(t.TempDir(), "instances"), "test-"+filepath.Base(t.TempDir()), store
	b, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Errorf("Close() = %v", err)
		}
		if _, err := os.Stat(b.mark.dir); err == nil {
			t.Errorf("%s is left", b.mark.dir)
		}
		store.Close()
	})
	return b
}

// function returns a deployment of a shell script that is used in place.
func function(t *testing.T, script string) backend.Deployment {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "bootstrap"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	return backend.Deployment{Partition: "aws", AccountID: "000000000000", Region: "us-east-1", Function: "f", Version: "$LATEST",
		Runtime: "provided.al2023", Handler: "h", CodeDir: dir, MemoryMB: 128, EphemeralMB: 512, Timeout: 3 * time.Second, LogFormat: "Text"}
}

func TestCanRun(t *testing.T) {
	b := open(t, Config{})
	foreign := "arm64"
	if runtime.GOARCH == "arm64" {
		foreign = "x86_64"
	}
	for _, tt := range []struct {
		name string
		d    backend.Deployment
		want string // part of the error
	}{
		{"an image", backend.Deployment{Image: "repo:tag"}, "container engine"},
		{"dotnet", backend.Deployment{Runtime: "dotnet8"}, "container image"},
		{"an unknown runtime", backend.Deployment{Runtime: "cobol74"}, "cobol74"},
		{"an executable for another processor", backend.Deployment{Runtime: "provided.al2023", Architecture: foreign}, foreign},
		{"an executable", backend.Deployment{Runtime: "provided.al2023"}, ""},
	} {
		err := b.CanRun(tt.d)
		if tt.want == "" && err != nil {
			t.Errorf("CanRun(%s) = %v, want nil", tt.name, err)
		}
		if tt.want != "" && (!errors.Is(err, backend.ErrUnsupportedRuntime) || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("CanRun(%s) = %v, want ErrUnsupportedRuntime with %q", tt.name, err, tt.want)
		}
	}
}

// A launch takes the supervisor that waits, one that was killed meanwhile is
// no loss, and Close ends those that nobody took.
func TestSpare(t *testing.T) {
	b := open(t, Config{Spare: 1})
	waiting := func() *shell {
		t.Helper()
		for began := time.Now(); ; time.Sleep(time.Millisecond) {
			b.mu.Lock()
			if len(b.spares) == 1 && !b.refilling {
				s := b.spares[0]
				b.mu.Unlock()
				return s
			}
			b.mu.Unlock()
			if time.Since(began) > 10*time.Second {
				t.Fatal("no supervisor is started ahead")
			}
		}
	}
	b.Warm()
	d := function(t, "#!/bin/sh\nexit 1\n")
	for range 2 {
		s := waiting()
		in, err := b.Launch(t.Context(), d, backend.Output{})
		if err != nil {
			t.Fatal(err)
		}
		if in.Handle.ID != s.id {
			t.Errorf("a launch used %s, while %s was waiting", in.Handle.ID, s.id)
		}
		if err := b.Terminate(t.Context(), in.Handle); err != nil {
			t.Errorf("Terminate() = %v", err)
		}
	}
	s := waiting()
	syscall.Kill(s.sup.PID(), syscall.SIGKILL)
	<-s.sup.Lost()
	in, err := b.Launch(t.Context(), d, backend.Output{})
	if err != nil || in.Handle.ID == s.id {
		t.Errorf("after the waiting supervisor was killed, Launch = %v, %v", in, err)
	}
	if _, err := os.Stat(s.dir); err == nil {
		t.Errorf("%s of the killed supervisor is left", s.dir)
	}
	waiting()
}

// Close ends what is being launched, and later launches are refused.
func TestCloseDuringLaunches(t *testing.T) {
	b := open(t, Config{})
	d := function(t, "#!/bin/sh\nsleep 100\n")
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			_, err := b.Launch(context.Background(), d, backend.Output{})
			if err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, backend.ErrNoCapacity) {
				t.Errorf("Launch while closing = %v", err)
			}
		})
	}
	time.Sleep(3 * time.Millisecond) // some have begun, which of them is all the same
	if err := b.Close(); err != nil {
		t.Errorf("Close() = %v", err)
	}
	wg.Wait()
	if _, err := b.Launch(t.Context(), d, backend.Output{}); !errors.Is(err, backend.ErrNoCapacity) {
		t.Errorf("Launch after Close = %v, want ErrNoCapacity", err)
	}
}

// A supervisor that is killed ends its instance, whose agent says so.
func TestKilledSupervisor(t *testing.T) {
	for _, plain := range []bool{false, true} {
		b := open(t, Config{Plain: plain, Spare: -1})
		in, err := b.Launch(t.Context(), function(t, "#!/bin/sh\nsleep 1000\n"), backend.Output{})
		if err != nil {
			t.Fatal(err)
		}
		syscall.Kill(b.instances[in.Handle.ID].shell.sup.PID(), syscall.SIGKILL)
		select {
		case <-in.Agent.Ended():
		case <-time.After(10 * time.Second):
			t.Fatal("the instance does not end")
		}
		if r := in.Agent.Reason(); r.Kind != instance.EndCrash {
			t.Errorf("reason %+v, want a crash", r)
		}
		if err := b.Terminate(t.Context(), in.Handle); err != nil {
			t.Errorf("Terminate() = %v", err)
		}
		if left := left(filepath.Dir(b.cfg.Dir), b.cfg.Owner); len(left) > 0 {
			t.Errorf("%v are left", left)
		}
	}
}

// How long a launch takes until the function's process runs, against starting
// that process barely.
func BenchmarkLaunch(b *testing.B) {
	store, err := code.Open(b.TempDir(), code.Config{})
	if err != nil {
		b.Fatal(err)
	}
	dir := b.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "bootstrap"), []byte("#!/bin/sh\nexit 1\n"), 0o755); err != nil {
		b.Fatal(err)
	}
	d := backend.Deployment{Function: "f", Version: "$LATEST", Runtime: "provided.al2023", CodeDir: dir, MemoryMB: 128, Timeout: time.Second}
	b.Run("exec", func(b *testing.B) {
		for b.Loop() {
			exec.Command(filepath.Join(dir, "bootstrap")).Run()
		}
	})
	for name, spare := range map[string]int{"launch": -1, "launch with a spare": 1} {
		b.Run(name, func(b *testing.B) {
			back, err := New(Config{Dir: filepath.Join(b.TempDir(), "instances"), Owner: "bench", Code: store, Spare: spare})
			if err != nil {
				b.Fatal(err)
			}
			defer back.Close()
			for b.Loop() {
				b.StopTimer()
				if spare > 0 {
					back.refill()
				}
				b.StartTimer()
				in, err := back.Launch(b.Context(), d, backend.Output{})
				if err != nil {
					b.Fatal(err)
				}
				<-in.Agent.Ready()
				b.StopTimer()
				back.Terminate(b.Context(), in.Handle)
				b.StartTimer()
			}
		})
	}
}
