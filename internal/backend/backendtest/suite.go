package backendtest

import (
	"archive/zip"
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hearth-run/hearth/internal/backend"
	"github.com/hearth-run/hearth/internal/code"
	"github.com/hearth-run/hearth/internal/instance"
)

// Harness is what a backend brings to the suite.
type Harness struct {
	// New returns a backend of a new server with the given ID. All of a test
	// share the engine, and the folder dir for whatever the backend keeps there.
	New func(dir, owner string, code *code.Store) (backend.Backend, error)
	// Left lists what is left, in dir and on the engine, of the server with that
	// ID: containers, processes, folders, control groups. nil means nothing.
	Left func(dir, owner string) []string
	// ReadOnlyCode says whether a function can't write into its code here,
	// whoever runs it.
	ReadOnlyCode bool
	// MemoryLimited says whether memory limits are enforced here.
	MemoryLimited bool
	// Scripted says that instances are values of the test's own process, which
	// handle the suite's events as Handle does: checks of processes and files
	// don't apply.
	Scripted bool
}

// helperVariable makes a test binary a server of its own, to be killed.
const helperVariable = "HEARTH_BACKENDTEST_SERVER"

// Main runs m. The TestMain of a package that runs the suite calls it, so that
// its test binary can be a server that dies.
func Main(m *testing.M, h func() (Harness, error)) {
	if spec := os.Getenv(helperVariable); spec != "" {
		fmt.Fprintln(os.Stderr, serveAndWait(spec, h)) // it returns to say what went wrong
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// helperSpec is what a server that will be killed runs.
type helperSpec struct {
	Dir, Owner string
	Deployment backend.Deployment
}

func serveAndWait(spec string, newHarness func() (Harness, error)) error {
	var s helperSpec
	if err := json.Unmarshal([]byte(spec), &s); err != nil {
		return err
	}
	h, err := newHarness()
	if err != nil {
		return err
	}
	store, err := code.Open(filepath.Join(s.Dir, "code"), code.Config{})
	if err != nil {
		return err
	}
	b, err := h.New(s.Dir, s.Owner, store)
	if err != nil {
		return err
	}
	in, err := b.Launch(context.Background(), s.Deployment, backend.Output{Stream: "s", Logs: &Log{}})
	if err != nil {
		return err
	}
	if _, err := in.Agent.Invoke(context.Background(), event(`{"Do":"linger","Text":"x"}`, time.Minute), nil); err != nil {
		return err
	}
	if err := json.NewEncoder(os.Stdout).Encode(in.Handle); err != nil {
		return err
	}
	select {}
}

// Log keeps what an instance prints.
type Log struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// WriteLog implements instance.LogWriter.
func (l *Log) WriteLog(r instance.LogRecord) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text.Write(r.Message)
	l.text.WriteByte('\n')
}

// has says whether text is in the log, or comes within ten seconds: records
// take their own way to the server, and may arrive behind an answer.
func (l *Log) has(text string) bool {
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		if strings.Contains(l.String(), text) {
			return true
		}
		if time.Now().After(deadline) {
			return false
		}
	}
}

func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// bootstrap is the suite's function, built once, or by whoever runs the suite
// where there is no Go: HEARTH_BACKENDTEST_BOOTSTRAP names it then.
var bootstrap = sync.OnceValues(func() ([]byte, error) {
	if built := os.Getenv("HEARTH_BACKENDTEST_BOOTSTRAP"); built != "" {
		return os.ReadFile(built)
	}
	dir, err := os.MkdirTemp("", "hearth-backendtest-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	out := filepath.Join(dir, "bootstrap")
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", out, "github.com/hearth-run/hearth/internal/backend/backendtest/function")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux")
	if text, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build the suite's function: %w: %s", err, text)
	}
	return os.ReadFile(out)
})

// suite is one test's servers and code.
type suite struct {
	t     *testing.T
	h     Harness
	dir   string
	code  *code.Store
	b     backend.Backend
	owner string
}

func newSuite(t *testing.T, h Harness) *suite {
	t.Helper()
	s := &suite{t: t, h: h, dir: t.TempDir()}
	// The function's user may be another one.
	for _, dir := range []string{s.dir, filepath.Dir(s.dir)} {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	var err error
	if s.code, err = code.Open(filepath.Join(s.dir, "code"), code.Config{}); err != nil {
		t.Fatal(err)
	}
	s.owner = fmt.Sprintf("test-%d-%d", os.Getpid(), time.Now().UnixNano())
	s.b = s.server(s.owner)
	return s
}

// server returns another server's backend, which is closed with the test.
func (s *suite) server(owner string) backend.Backend {
	s.t.Helper()
	b, err := s.h.New(s.dir, owner, s.code)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		if err := b.Close(); err != nil {
			s.t.Errorf("Close() = %v", err)
		}
		if left := s.h.Left(s.dir, owner); len(left) > 0 {
			s.t.Errorf("after Close, these are left: %v", left)
		}
	})
	return b
}

// put keeps an archive of files, executables all.
func (s *suite) put(files map[string]string) string {
	s.t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for name, text := range files {
		head := &zip.FileHeader{Name: name, Method: zip.Store}
		head.SetMode(0o755 | fs.FileMode(0))
		w, err := z.CreateHeader(head)
		if err == nil {
			_, err = w.Write([]byte(text))
		}
		if err != nil {
			s.t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		s.t.Fatal(err)
	}
	info, err := s.code.Put(s.t.Context(), bytes.NewReader(b.Bytes()), code.Limits{})
	if err != nil {
		s.t.Fatal(err)
	}
	return info.Hash
}

// deployment returns one of the suite's function, with further files beside it.
func (s *suite) deployment(files map[string]string) backend.Deployment {
	s.t.Helper()
	boot, err := bootstrap()
	if err != nil {
		s.t.Fatal(err)
	}
	all := map[string]string{"bootstrap": string(boot)}
	for name, text := range files {
		all[name] = text
	}
	architecture := "x86_64"
	if runtime.GOARCH == "arm64" {
		architecture = "arm64"
	}
	return backend.Deployment{
		Partition: "aws", AccountID: "000000000000", Region: "us-east-1", Function: "suite", FunctionID: s.owner, Version: "$LATEST",
		Runtime: "provided.al2023", Handler: "h", Architecture: architecture, CodeHash: s.put(all),
		MemoryMB: 256, EphemeralMB: 512, Timeout: 5 * time.Second, Tracing: "PassThrough", LogGroup: "/aws/lambda/suite", LogFormat: "Text",
		Environment: map[string]string{"COLOUR": "blue", "HEARTH_TEST_OWNER": s.owner},
	}
}

func (s *suite) launch(d backend.Deployment) (*backend.Instance, *Log) {
	s.t.Helper()
	log := &Log{}
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	defer cancel()
	in, err := s.b.Launch(ctx, d, backend.Output{Stream: "2026/11/24/[$LATEST]0123", Logs: log})
	if err != nil {
		s.t.Fatalf("Launch() = %v", err)
	}
	return in, log
}

func (s *suite) terminate(in *backend.Instance) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := s.b.Terminate(ctx, in.Handle); err != nil {
		s.t.Errorf("Terminate(%v) = %v", in.Handle, err)
	}
}

func event(payload string, timeout time.Duration) *instance.Event {
	return &instance.Event{RequestID: fmt.Sprintf("00000000-0000-4000-8000-%012d", time.Now().UnixNano()%1e12), Payload: []byte(payload), Timeout: timeout, Tail: true}
}

// ask runs an event and returns the answer, which must not be the function's error.
func (s *suite) ask(in *backend.Instance, payload string) string {
	s.t.Helper()
	res := s.try(in, payload, 10*time.Second)
	if res.FunctionError != "" {
		s.t.Fatalf("event %s failed: %s", payload, res.Payload)
	}
	return string(res.Payload)
}

func (s *suite) try(in *backend.Instance, payload string, timeout time.Duration) *instance.Result {
	s.t.Helper()
	res, err := in.Agent.Invoke(s.t.Context(), event(payload, timeout), nil)
	if err != nil {
		s.t.Fatalf("Invoke(%s) = %v", payload, err)
	}
	return res
}

// nothingLeft checks that all that the instances had is gone.
func (s *suite) nothingLeft(when string) {
	s.t.Helper()
	if left := s.h.Left(s.dir, s.owner); len(left) > 0 {
		s.t.Errorf("%s, these are left: %v", when, left)
	}
}

// scripted are the checks that need neither processes nor files.
var scripted = map[string]bool{
	"Life": true, "Parallel": true, "Cancel": true, "TerminateRace": true, "TerminateByHandle": true, "ReapSparesTheLiving": true, "Reset": true, "Errors": true,
}

// Run checks that a backend keeps the contract.
func Run(t *testing.T, h Harness) {
	for name, check := range map[string]func(*testing.T, *suite){
		"Life": testLife, "Parallel": testParallel, "Cancel": testCancel, "TerminateRace": testTerminateRace,
		"TerminateByHandle": testTerminateByHandle, "ReapSparesTheLiving": testReapSpares, "ReapDead": testReapDead,
		"Environment": testEnvironment, "Files": testFiles, "Layers": testLayers, "Reset": testReset, "Orphans": testOrphans,
		"Memory": testMemory, "FailedStart": testFailedStart, "Errors": testErrors,
	} {
		t.Run(name, func(t *testing.T) {
			if h.Scripted && !scripted[name] {
				t.Skip("it has no processes and files")
			}
			check(t, newSuite(t, h))
		})
	}
}

// Launch gives an instance whose agent answers; what it prints reaches the
// log; Terminate ends it, is idempotent, and leaves nothing.
func testLife(t *testing.T, s *suite) {
	in, log := s.launch(s.deployment(nil))
	if in.Handle.Backend != s.b.Name() || in.Handle.Owner != s.owner || in.Handle.ID == "" {
		t.Errorf("handle %+v of backend %s and owner %s", in.Handle, s.b.Name(), s.owner)
	}
	select {
	case <-in.Agent.Ready():
	case <-time.After(20 * time.Second):
		t.Fatal("INIT does not end")
	}
	if got := s.ask(in, `{"Do":"print","Text":"printed"}`); got != `"printed"` {
		t.Errorf("answer %s", got)
	}
	for _, line := range []string{"START RequestId: ", "\nprinted\n", "END RequestId: ", "REPORT RequestId: "} {
		if !log.has(line) {
			t.Errorf("the log has no %q: %s", line, log)
		}
	}
	for range 3 {
		s.terminate(in)
		s.nothingLeft("after Terminate")
	}
	select {
	case <-in.Agent.Ended():
	case <-time.After(5 * time.Second):
		t.Error("Ended is not closed after Terminate")
	}
	if _, err := in.Agent.Invoke(t.Context(), event(`{}`, time.Second), nil); !errors.Is(err, instance.ErrNotHandedOver) {
		t.Errorf("Invoke after Terminate = %v, want ErrNotHandedOver", err)
	}
}

// Equal deployments launch in parallel, each its own instance.
func testParallel(t *testing.T, s *suite) {
	d := s.deployment(nil)
	const n = 6
	var wg sync.WaitGroup
	ins := make([]*backend.Instance, n)
	for i := range n {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			in, err := s.b.Launch(ctx, d, backend.Output{Stream: "s", Logs: &Log{}})
			if err != nil {
				t.Errorf("Launch() = %v", err)
				return
			}
			ins[i] = in
			if res, err := in.Agent.Invoke(t.Context(), event(`{"Do":"print","Text":"x"}`, 10*time.Second), nil); err != nil || string(res.Payload) != `"x"` {
				t.Errorf("Invoke() = %v, %v", res, err)
			}
		})
	}
	wg.Wait()
	seen := map[string]bool{}
	for _, in := range ins {
		if in == nil {
			continue
		}
		if seen[in.Handle.ID] {
			t.Errorf("two instances have the handle %v", in.Handle)
		}
		seen[in.Handle.ID] = true
		wg.Go(func() { s.terminate(in) })
	}
	wg.Wait()
	s.nothingLeft("after all were terminated")
}

// A Launch that is cancelled midway leaves nothing.
func testCancel(t *testing.T, s *suite) {
	d := s.deployment(nil)
	for _, after := range []time.Duration{0, time.Millisecond, 3 * time.Millisecond, 10 * time.Millisecond, 50 * time.Millisecond, 150 * time.Millisecond, 250 * time.Millisecond} {
		ctx, cancel := context.WithTimeout(t.Context(), after)
		in, err := s.b.Launch(ctx, d, backend.Output{Stream: "s", Logs: &Log{}})
		cancel()
		if err == nil {
			s.terminate(in)
		} else if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Launch() cancelled after %v = %v, want ctx's error", after, err)
		}
		s.nothingLeft(fmt.Sprintf("after a launch was cancelled after %v", after))
	}
}

// Callers that race to terminate an instance all succeed.
func testTerminateRace(t *testing.T, s *suite) {
	in, _ := s.launch(s.deployment(nil))
	var wg sync.WaitGroup
	for range 5 {
		wg.Go(func() { s.terminate(in) })
	}
	wg.Wait()
	s.nothingLeft("after five terminated at once")
}

// Another server that has only the handle can terminate an instance.
func testTerminateByHandle(t *testing.T, s *suite) {
	in, _ := s.launch(s.deployment(nil))
	s.ask(in, `{"Do":"print","Text":"x"}`)
	other := s.server(s.owner + "-other")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for range 2 {
		if err := other.Terminate(ctx, in.Handle); err != nil {
			t.Errorf("Terminate by another server = %v", err)
		}
	}
	select {
	case <-in.Agent.Ended():
	case <-time.After(10 * time.Second):
		t.Error("its own server does not learn that the instance ended")
	}
	s.terminate(in)
	s.nothingLeft("after another server terminated it")
}

// ReapStale touches no instance of a live server.
func testReapSpares(t *testing.T, s *suite) {
	in, _ := s.launch(s.deployment(nil))
	other := s.server(s.owner + "-other")
	for _, b := range []backend.Backend{other, s.b} {
		if err := b.ReapStale(t.Context()); err != nil {
			t.Errorf("ReapStale() = %v", err)
		}
	}
	if got := s.ask(in, `{"Do":"print","Text":"alive"}`); got != `"alive"` {
		t.Errorf("after ReapStale the instance answers %s", got)
	}
	s.terminate(in)
}

// ReapStale ends what a killed server left.
func testReapDead(t *testing.T, s *suite) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dead := s.owner + "-dead"
	spec, err := json.Marshal(helperSpec{Dir: s.dir, Owner: dead, Deployment: s.deployment(nil)})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), helperVariable+"="+string(spec))
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
	var h backend.Handle
	if line, err := bufio.NewReader(out).ReadBytes('\n'); err != nil || json.Unmarshal(line, &h) != nil {
		t.Fatalf("the other server printed %q, %v", line, err)
	}
	if err := s.b.ReapStale(t.Context()); err != nil {
		t.Errorf("ReapStale() = %v", err)
	}
	if left := s.h.Left(s.dir, dead); len(left) == 0 {
		t.Fatal("ReapStale ended an instance of a live server")
	}
	cmd.Process.Kill()
	cmd.Wait()
	// An engine may learn of a death a moment later; servers reap again and again.
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if err := s.b.ReapStale(t.Context()); err != nil {
			t.Errorf("ReapStale() after its death = %v", err)
		}
		left := s.h.Left(s.dir, dead)
		if len(left) == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Errorf("ReapStale left %v of a dead server", left)
			break
		}
	}
	if err := s.b.Terminate(t.Context(), h); err != nil {
		t.Errorf("Terminate of a reaped instance = %v", err)
	}
}

// The environment is Lambda's, with the function's own variables, which win
// over those that AWS does not reserve.
func testEnvironment(t *testing.T, s *suite) {
	d := s.deployment(nil)
	d.Environment["AWS_LAMBDA_FUNCTION_NAME"] = "another"
	d.Environment["LAMBDA_TASK_ROOT"] = "/elsewhere"
	d.Environment["TZ"] = "Asia/Tokyo"
	in, _ := s.launch(d)
	defer s.terminate(in)
	var env map[string]string
	if err := json.Unmarshal([]byte(s.ask(in, `{"Do":"env"}`)), &env); err != nil {
		t.Fatal(err)
	}
	for k, v := range map[string]string{
		"COLOUR": "blue", "AWS_LAMBDA_FUNCTION_NAME": "suite", "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256",
		"AWS_REGION": "us-east-1", "AWS_DEFAULT_REGION": "us-east-1", "_HANDLER": "h", "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/suite",
		"AWS_LAMBDA_LOG_STREAM_NAME": "2026/11/24/[$LATEST]0123", "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand", "TZ": "Asia/Tokyo",
	} {
		if env[k] != v {
			t.Errorf("%s = %q, want %q", k, env[k], v)
		}
	}
	for _, k := range []string{"AWS_LAMBDA_RUNTIME_API", "LAMBDA_TASK_ROOT", "LAMBDA_RUNTIME_DIR", "PATH", "LD_LIBRARY_PATH"} {
		if env[k] == "" {
			t.Errorf("%s is not set", k)
		}
	}
	if env["LAMBDA_TASK_ROOT"] == "/elsewhere" {
		t.Error("a function's own variable replaced LAMBDA_TASK_ROOT")
	}
	if got := s.ask(in, `{"Do":"dir"}`); got != fmt.Sprintf("%q", env["LAMBDA_TASK_ROOT"]) {
		t.Errorf("the working folder is %s, want %s", got, env["LAMBDA_TASK_ROOT"])
	}
}

// Code is there and read-only; /tmp is writable, stays, and is the instance's own.
func testFiles(t *testing.T, s *suite) {
	d := s.deployment(map[string]string{"data/file": "content"})
	one, _ := s.launch(d)
	defer s.terminate(one)
	two, _ := s.launch(d)
	defer s.terminate(two)
	if got := s.ask(one, `{"Do":"read","Path":"$LAMBDA_TASK_ROOT/data/file"}`); got != `"content"` {
		t.Errorf("the code's file reads %s", got)
	}
	if res := s.try(one, `{"Do":"write","Path":"$LAMBDA_TASK_ROOT/new","Text":"x"}`, 5*time.Second); s.h.ReadOnlyCode && res.FunctionError == "" {
		t.Error("a function could write into its code")
	}
	var temp string
	if err := json.Unmarshal([]byte(s.ask(one, `{"Do":"temp"}`)), &temp); err != nil {
		t.Fatal(err)
	}
	s.ask(one, `{"Do":"write","Path":"`+temp+`/kept","Text":"kept"}`)
	if res := s.try(two, `{"Do":"read","Path":"`+temp+`/kept"}`, 5*time.Second); res.FunctionError == "" && temp == "/tmp" {
		t.Error("another instance reads this one's /tmp")
	}
	s.try(one, `{"Do":"exit","N":1}`, 5*time.Second)
	if got := s.ask(one, `{"Do":"read","Path":"`+temp+`/kept"}`); got != `"kept"` {
		t.Errorf("after a crash, the file in /tmp reads %s", got)
	}
}

// Layers lie in /opt in attach order: the later wins.
func testLayers(t *testing.T, s *suite) {
	d := s.deployment(nil)
	d.Layers = []backend.Layer{
		{ARN: "arn:1", CodeHash: s.put(map[string]string{"both": "first", "one": "first"})},
		{ARN: "arn:2", CodeHash: s.put(map[string]string{"both": "second", "two": "second"})},
	}
	in, _ := s.launch(d)
	defer s.terminate(in)
	var env map[string]string
	if err := json.Unmarshal([]byte(s.ask(in, `{"Do":"env"}`)), &env); err != nil {
		t.Fatal(err)
	}
	// Where there are no private paths, PATH names the layers' folder.
	opt := "/opt"
	if !strings.HasSuffix(env["PATH"], ":/opt/bin") && !strings.Contains(env["PATH"], ":/opt/bin:") {
		opt = strings.TrimSuffix(env["PATH"][strings.LastIndexByte(env["PATH"], ':')+1:], "/bin")
	}
	for name, want := range map[string]string{"both": "second", "one": "first", "two": "second"} {
		if got := s.ask(in, `{"Do":"read","Path":"`+opt+"/"+name+`"}`); got != fmt.Sprintf("%q", want) {
			t.Errorf("/opt/%s reads %s, want %q", name, got, want)
		}
	}
}

// A timeout and a crash are the function's errors, and the same instance goes on.
func testReset(t *testing.T, s *suite) {
	in, log := s.launch(s.deployment(nil))
	defer s.terminate(in)
	res := s.try(in, `{"Do":"sleep","N":20000}`, time.Second)
	if res.ErrorType != "Sandbox.Timedout" || !strings.Contains(string(res.Payload), "Task timed out after 1.00 seconds") {
		t.Errorf("a timeout gives %s %s", res.ErrorType, res.Payload)
	}
	if got := s.ask(in, `{"Do":"print","Text":"on"}`); got != `"on"` {
		t.Errorf("after a timeout the instance answers %s", got)
	}
	res = s.try(in, `{"Do":"exit","N":3}`, 5*time.Second)
	if res.ErrorType != "Runtime.ExitError" || !strings.Contains(string(res.Payload), "exit status 3") {
		t.Errorf("a crash gives %s %s", res.ErrorType, res.Payload)
	}
	if got := s.ask(in, `{"Do":"print","Text":"on"}`); got != `"on"` {
		t.Errorf("after a crash the instance answers %s", got)
	}
	if !log.has("Task timed out after 1.00 seconds") {
		t.Errorf("the log does not tell of the timeout: %s", log)
	}
}

// What left its session ends with its instance.
func testOrphans(t *testing.T, s *suite) {
	in, _ := s.launch(s.deployment(nil))
	s.ask(in, `{"Do":"linger","Text":"orphan"}`)
	s.terminate(in)
	s.nothingLeft("after an instance with an orphan was terminated")
}

// A function that takes more memory than it may is killed, and told of as such.
func testMemory(t *testing.T, s *suite) {
	if !s.h.MemoryLimited {
		t.Skip("memory limits are not enforced here")
	}
	d := s.deployment(nil)
	d.MemoryMB = 128
	in, _ := s.launch(d)
	defer s.terminate(in)
	res := s.try(in, `{"Do":"alloc","N":400}`, 20*time.Second)
	if res.FunctionError == "" || !strings.Contains(string(res.Payload), "signal: killed") {
		t.Errorf("400 MB in 128 MB: %s %s", res.ErrorType, res.Payload)
	}
	if got := s.ask(in, `{"Do":"print","Text":"on"}`); got != `"on"` {
		t.Errorf("after that the instance answers %s", got)
	}
}

// A bootstrap that exits at once fails the event, with AWS's words, and the log
// has what it printed.
func testFailedStart(t *testing.T, s *suite) {
	in, log := s.launch(s.deployment(map[string]string{"fail": ""}))
	defer s.terminate(in)
	res := s.try(in, `{"Do":"print"}`, 5*time.Second)
	if res.ErrorType != "Runtime.ExitError" || !strings.Contains(string(res.Payload), "exit status 5") {
		t.Errorf("a bootstrap that exits gives %s %s", res.ErrorType, res.Payload)
	}
	if !log.has("this bootstrap fails on purpose") {
		t.Errorf("the log does not have what it printed: %s", log)
	}
}

// Errors have classes.
func testErrors(t *testing.T, s *suite) {
	d := s.deployment(nil)
	d.CodeHash = strings.Repeat("0", 64)
	if _, err := s.b.Launch(t.Context(), d, backend.Output{Stream: "s", Logs: &Log{}}); !errors.Is(err, backend.ErrNoCode) {
		t.Errorf("Launch without code = %v, want ErrNoCode", err)
	}
	d = s.deployment(nil)
	d.Runtime = "cobol74"
	if err := s.b.CanRun(d); !errors.Is(err, backend.ErrUnsupportedRuntime) {
		t.Errorf("CanRun of an unknown runtime = %v, want ErrUnsupportedRuntime", err)
	}
	s.nothingLeft("after failed launches")
}
