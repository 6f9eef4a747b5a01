//go:build linux

package confine

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hearth-run/hearth/internal/agent"
)

// serverVariable makes the test binary a server that starts a supervisor and waits
// to be killed.
const serverVariable = "HEARTH_CONFINE_SERVER"

func TestMain(m *testing.M) {
	if folder := os.Getenv(serverVariable); folder != "" {
		if err := serveUntilKilled(folder); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
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
			for _, dir := range s.Groups() {
				if _, err := os.Stat(dir); err == nil {
					t.Errorf("control group %s is left", dir)
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

// A supervisor whose server is killed ends all processes and removes what the
// environment had, without anybody's help.
func TestKilledServer(t *testing.T) {
	t.Run("before setup", func(t *testing.T) { testKilledServer(t, "early") })
	t.Run("after setup", func(t *testing.T) { testKilledServer(t, "late") })
}

func testKilledServer(t *testing.T, when string) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	folder := filepath.Join(t.TempDir(), "instance")
	if err := os.MkdirAll(filepath.Join(folder, "tmp", "locked"), 0o777); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), serverVariable+"="+when+":"+folder)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	var supervisor, orphan int
	var groups string
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Sscanf(line, "%d %d %s", &supervisor, &orphan, &groups); err != nil && groups != "" {
		t.Fatalf("the server printed %q: %v", line, err)
	}
	cmd.Process.Kill()
	fd, err := unix.PidfdOpen(supervisor, 0)
	if err == nil { // else it is gone already
		p := os.NewFile(uintptr(fd), "supervisor")
		defer p.Close()
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 10_000)
		for err == unix.EINTR {
			n, err = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 10_000)
		}
		if n != 1 {
			t.Fatalf("the supervisor lives on: %v", err)
		}
	}
	if err := syscall.Kill(orphan, 0); err != syscall.ESRCH {
		t.Errorf("the orphan is there: %v", err)
	}
	for _, dir := range append(strings.Split(groups, ","), folder) {
		if _, err := os.Stat(dir); dir != "" && err == nil {
			t.Errorf("%s is left", dir)
		}
	}
}

func serveUntilKilled(spec string) error {
	when, folder, _ := strings.Cut(spec, ":")
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	s, err := Start(context.Background(), Config{Program: exe, Args: []string{"supervise"}, Name: fmt.Sprintf("hearth-test-%d", os.Getpid()), Folder: folder})
	if err != nil {
		return err
	}
	if when == "early" {
		fmt.Println(s.PID(), 1<<30, strings.Join(s.Groups(), ","))
		select {}
	}
	if _, err := s.Setup(context.Background(), Setup{Tmp: filepath.Join(folder, "tmp")}); err != nil {
		return err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	// A folder that can't be read, and a process that has left its session.
	_, err = s.Start(context.Background(), agent.Command{Name: "sh", Path: "/bin/sh", Dir: "/", Stdout: w, Stderr: w, Env: []string{"PATH=/usr/bin:/bin"},
		Args: []string{"-c", "mkdir -p /tmp/locked/in; chmod 0 /tmp/locked; setsid sh -c 'echo started; exec sleep 1000'"}})
	if err != nil {
		return err
	}
	if _, err := bufio.NewReader(r).ReadString('\n'); err != nil {
		return err
	}
	all := descendants(s.PID())
	fmt.Println(s.PID(), all[len(all)-1], strings.Join(s.Groups(), ","))
	select {}
}

// What is kept stays where it is, although it lies where the environment has
// its own folders; other files of the machine don't.
func TestKeep(t *testing.T) {
	kept, other := t.TempDir(), t.TempDir() // in /tmp, usually
	if !strings.HasPrefix(kept, "/tmp/") {
		t.Skip("the folder for temporary files is not /tmp")
	}
	for _, dir := range []string{kept, other} {
		if err := os.WriteFile(filepath.Join(dir, "file"), []byte("here\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, size := range []int64{0, 8 << 20} {
		modes(t, Setup{Keep: []string{kept, filepath.Join(kept, "file"), "/nonexistent", "/usr"}, TmpSize: size}, func(t *testing.T, s *env) {
			if !s.layout.Isolated {
				return
			}
			out, _ := run(t, s, "cat "+kept+"/file; test -e "+other+" || echo hidden; echo x >"+kept+"/new || echo read-only; head -c 10000000 /dev/zero >/tmp/big && echo fits")
			want := "here\nhidden\n"
			if !strings.HasPrefix(out, want) || !strings.Contains(out, "read-only\n") {
				t.Errorf("got %q, want it to begin with %q and to tell of a read-only file", out, want)
			}
			if full := !strings.Contains(out, "fits"); full != (size > 0) {
				t.Errorf("10 MB in a /tmp of %d bytes: %q", size, out)
			}
		})
	}
}

// Layers and what is kept below /opt share it, read-only.
func TestKeepInOpt(t *testing.T) {
	entries, err := os.ReadDir("/opt")
	if err != nil || len(entries) == 0 {
		t.Skip("this machine has nothing in /opt")
	}
	kept := "/opt/" + entries[0].Name()
	layer := t.TempDir()
	if err := os.WriteFile(filepath.Join(layer, "layer"), []byte("layer\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	modes(t, Setup{Opt: layer, Keep: []string{kept}}, func(t *testing.T, s *env) {
		if !s.layout.Isolated {
			return
		}
		out, _ := run(t, s, "cat /opt/layer; test -e "+kept+" && echo kept; ls /opt | wc -l; touch /opt/new || echo read-only")
		if !strings.HasPrefix(out, "layer\nkept\n2\n") || !strings.HasSuffix(out, "read-only\n") {
			t.Errorf("got %q, want the layer and %s alone, read-only", out, kept)
		}
	})
}

// What processes print to is blocking, as they expect, and arrives whole.
func TestOutput(t *testing.T) {
	modes(t, Setup{}, func(t *testing.T, s *env) {
		out, exit := run(t, s, "head -c 1000000 /dev/zero; sleep 0.05; head -c 1000000 /dev/zero")
		if len(out) != 2_000_000 || exit.Code != 0 {
			t.Errorf("%d bytes of 2000000 arrived, %+v", len(out), exit)
		}
	})
}

// Somebody else's SIGTERM is told to the server, which ends the environment in order.
func TestAsked(t *testing.T) {
	modes(t, Setup{}, func(t *testing.T, s *env) {
		if err := syscall.Kill(s.PID(), syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		select {
		case <-s.Asked():
		case <-time.After(5 * time.Second):
			t.Error("the server is not told")
		}
		if out, _ := run(t, s, "echo still here"); out != "still here\n" {
			t.Errorf("got %q", out)
		}
	})
}

// Processes that start others without end are ended, too.
func TestForks(t *testing.T) {
	modes(t, Setup{MaxProcesses: 200}, func(t *testing.T, s *env) {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		_, err = s.Start(t.Context(), agent.Command{Path: "/bin/sh", Dir: "/", Stdout: w, Stderr: w, Env: []string{"PATH=/usr/bin:/bin"},
			Args: []string{"-c", "f() { sleep 0.01; f & f & wait; }; f & f & echo forking; wait"}})
		w.Close()
		if err != nil {
			t.Fatal(err)
		}
		in := bufio.NewReader(r)
		if line, err := in.ReadString('\n'); err != nil {
			t.Fatalf("read %q, %v", line, err)
		}
		time.Sleep(30 * time.Millisecond) // let it grow
		ctx, cancel := context.WithTimeout(t.Context(), 8*time.Second)
		defer cancel()
		if err := s.KillAll(ctx); err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, in) // ends when nobody holds the other end
		if left := descendants(s.PID()); len(left) > 0 {
			t.Errorf("processes %v are left", left)
		}
	})
}

// Stopped processes stand still, and go on where they were.
func TestPause(t *testing.T) {
	modes(t, Setup{}, func(t *testing.T, s *env) {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		p, err := s.Start(t.Context(), agent.Command{Path: "/bin/sh", Dir: "/", Stdout: w, Stderr: w, Env: []string{"PATH=/usr/bin:/bin"},
			Args: []string{"-c", "while echo tick; do sleep 0.002; done"}})
		w.Close()
		if err != nil {
			t.Fatal(err)
		}
		in := bufio.NewReader(r)
		read := func() error {
			r.SetReadDeadline(time.Now().Add(5 * time.Second))
			_, err := in.ReadString('\n')
			return err
		}
		if err := read(); err != nil {
			t.Fatal(err)
		}
		if err := s.Pause(); err != nil {
			t.Fatal(err)
		}
		stopped := func() bool {
			for _, pid := range descendants(s.PID()) {
				b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
				// A shell whose child was stopped before its exec waits for that (D).
				if _, state, ok := strings.Cut(string(b), ") "); ok && !strings.ContainsAny(state[:1], "TZD") {
					return false
				}
			}
			return true
		}
		for began := time.Now(); !stopped(); time.Sleep(time.Millisecond) {
			if time.Since(began) > 5*time.Second {
				t.Fatal("processes run although paused")
			}
		}
		if err := s.Resume(); err != nil {
			t.Fatal(err)
		}
		for range in.Buffered()/5 + 10 {
			if err := read(); err != nil {
				t.Fatalf("after Resume: %v", err)
			}
		}
		if err := p.Signal(syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		<-p.Done()
		if got := p.Exit(); got.Signal != "killed" || got.OOM {
			t.Errorf("exit %+v, want killed, and not for memory", got)
		}
	})
}

func TestMemory(t *testing.T) {
	modes(t, Setup{MemoryLimit: 64 << 20}, func(t *testing.T, s *env) {
		if !s.layout.MemoryLimited {
			t.Skip("this machine has no control groups for us")
		}
		_, exit := run(t, s, "exec dd if=/dev/zero of=/dev/null bs=200M count=1")
		if s.OOMKills() == 0 || !exit.OOM {
			t.Errorf("%d processes were killed for memory, exit %+v", s.OOMKills(), exit)
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
