package runtimestest

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// limit bounds one run.
const limit = 60 * time.Second

// Task writes c's files to a folder that all clients run it from, so that paths
// in what they print are equal.
func Task(t testing.TB, c Case) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "task")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range c.Files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if c.Setup != nil {
		if err := c.Setup(dir); err != nil {
			t.Fatalf("%s: %v", c.Name, err)
		}
	}
	return dir
}

// Run runs c, whose files are in task, through a client and returns the record.
func Run(t testing.TB, client Client, c Case, task string, mode Mode) Record {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	r, err := run(ctx, client, c, task, mode)
	if err != nil {
		t.Fatalf("%s through %s: %v\nuntil then: %+v", c.Name, client.Name, err, r)
	}
	return r
}

func run(ctx context.Context, client Client, c Case, task string, mode Mode) (Record, error) {
	p := &peer{events: c.Events, idle: make(chan struct{})}
	if p.events == nil {
		p.events = []Event{{}}
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return Record{}, err
	}
	server := &http.Server{Handler: p}
	defer server.Close()
	go server.Serve(listener)

	args, extra := client.Command(c, task)
	env := map[string]string{
		"AWS_LAMBDA_RUNTIME_API":          listener.Addr().String(),
		"AWS_LAMBDA_FUNCTION_NAME":        "function",
		"AWS_LAMBDA_FUNCTION_VERSION":     "$LATEST",
		"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "128",
		"AWS_LAMBDA_LOG_GROUP_NAME":       "/aws/lambda/function",
		"AWS_LAMBDA_LOG_STREAM_NAME":      "2026/11/25/[$LATEST]0123456789abcdef",
		"AWS_REGION":                      "us-east-1",
		"LAMBDA_TASK_ROOT":                task,
		"_HANDLER":                        c.Handler,
		"HOME":                            task,
		"LANG":                            "C.UTF-8",
		"PATH":                            "/usr/local/bin:/usr/bin:/bin",
		"TZ":                              ":UTC",
	}
	maps.Copy(env, extra)
	maps.Copy(env, c.Env)

	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir = task
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	out, outW, err := os.Pipe()
	if err != nil {
		return Record{}, err
	}
	defer out.Close()
	defer outW.Close()
	cmd.Stdout, cmd.Stderr = outW, outW

	var readers, framed sync.WaitGroup
	if mode.Framed {
		ours, theirs, err := socketpair()
		if err != nil {
			return Record{}, err
		}
		defer ours.Close()
		defer theirs.Close()
		env["_HEARTH_FD"] = strconv.Itoa(3 + len(cmd.ExtraFiles))
		env["_HEARTH_RUNTIME_API"] = env["AWS_LAMBDA_RUNTIME_API"]
		cmd.ExtraFiles = append(cmd.ExtraFiles, theirs)
		framed.Go(func() { p.serveFrames(ours) })
	}
	var frames []Frame
	if mode.Telemetry {
		r, w, err := os.Pipe()
		if err != nil {
			return Record{}, err
		}
		defer r.Close()
		defer w.Close()
		env["_LAMBDA_TELEMETRY_LOG_FD"] = strconv.Itoa(3 + len(cmd.ExtraFiles))
		cmd.ExtraFiles = append(cmd.ExtraFiles, w)
		readers.Go(func() { frames = readFrames(r) })
	}
	for k, v := range env {
		cmd.Env = append(cmd.Env, k+"="+v)
	}
	var output bytes.Buffer
	readers.Go(func() { io.Copy(&output, out) })
	if err := cmd.Start(); err != nil {
		return Record{}, err
	}
	outW.Close()
	for _, f := range cmd.ExtraFiles {
		f.Close()
	}
	ended := make(chan struct{})
	go func() {
		cmd.Wait()
		close(ended)
	}()
	exit := ""
	select {
	case <-p.idle:
		// Some clients ask for the next event before their answer is out.
		for until := time.Now().Add(time.Second); !p.answered() && time.Now().Before(until); {
			time.Sleep(time.Millisecond)
		}
	case <-ended:
		exit = cmd.ProcessState.String()
	}
	syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	<-ended
	readers.Wait()
	framed.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	r := Record{Answers: p.answers, Output: output.String(), Frames: frames, Exit: exit}
	if err := ctx.Err(); err != nil {
		return r, fmt.Errorf("not done in %s: %w", limit, err)
	}
	if p.broken != nil {
		return r, p.broken
	}
	return r, nil
}

func socketpair() (ours, theirs *os.File, err error) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err != nil {
		return nil, nil, err
	}
	syscall.CloseOnExec(fds[0])
	syscall.CloseOnExec(fds[1])
	return os.NewFile(uintptr(fds[0]), "agent"), os.NewFile(uintptr(fds[1]), "runtime"), nil
}

func readFrames(r io.Reader) (frames []Frame) {
	var head [16]byte
	for {
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return frames
		}
		message := make([]byte, binary.BigEndian.Uint32(head[4:]))
		if _, err := io.ReadFull(r, message); err != nil {
			return frames
		}
		frames = append(frames, Frame{binary.BigEndian.Uint32(head[:]), string(message)})
	}
}

// peer gives out events and takes answers.
type peer struct {
	mu      sync.Mutex
	events  []Event
	given   int
	answers []Answer
	broken  error
	idle    chan struct{} // closed when the client asks for an event beyond the last
	ended   bool
}

func (p *peer) answer(a Answer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answers = append(p.answers, a)
}

// answered reports whether there is an answer to each event.
func (p *peer) answered() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.answers) >= len(p.events)
}

func (p *peer) fault(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.broken = fmt.Errorf(format, args...)
}

// next returns the next event, or false when there is none.
func (p *peer) next() (Event, string, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.given == len(p.events) {
		if !p.ended {
			p.ended = true
			close(p.idle)
		}
		return Event{}, "", false
	}
	e := p.events[p.given]
	p.given++
	if e.Payload == "" {
		e.Payload = "{}"
	}
	return e, p.requestID(), true
}

func (p *peer) requestID() string { return fmt.Sprintf("8476a536-e9f4-11e8-9739-%012d", p.given) }

func deadline() string { return strconv.FormatInt(time.Now().Add(limit).UnixMilli(), 10) }

const functionARN = "arn:aws:lambda:us-east-1:000000000000:function:function"

func (p *peer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path, ok := strings.CutPrefix(r.URL.Path, "/2018-06-01/runtime/")
	if !ok {
		p.fault("%s %s", r.Method, r.URL.Path)
		http.NotFound(w, r)
		return
	}
	if path == "invocation/next" {
		e, id, ok := p.next()
		if !ok {
			<-r.Context().Done()
			return
		}
		h := w.Header()
		h.Set("Content-Type", "application/json")
		h.Set("Lambda-Runtime-Aws-Request-Id", id)
		h.Set("Lambda-Runtime-Deadline-Ms", deadline())
		h.Set("Lambda-Runtime-Invoked-Function-Arn", functionARN)
		for name, value := range map[string]string{
			"Lambda-Runtime-Trace-Id": e.TraceID, "Lambda-Runtime-Client-Context": e.ClientContext,
			"Lambda-Runtime-Cognito-Identity": e.CognitoIdentity, "Lambda-Runtime-Aws-Tenant-Id": e.TenantID,
		} {
			if value != "" {
				h.Set(name, value)
			}
		}
		io.WriteString(w, e.Payload)
		return
	}
	if path == "restore/next" {
		return // At once: nothing is snapshotted.
	}
	body, err := io.ReadAll(r.Body)
	a := Answer{ContentType: r.Header.Get("Content-Type"), ErrorType: r.Header.Get("Lambda-Runtime-Function-Error-Type"), Body: string(body)}
	parts := strings.Split(path, "/")
	switch {
	case err != nil && r.Context().Err() == nil:
		p.fault("read %s: %v", path, err)
	case path == "init/error", path == "restore/error":
		a.Kind = strings.Replace(path, "/", " ", 1)
		p.answer(a)
	case len(parts) == 3 && parts[2] == "response" && r.Header.Get("Lambda-Runtime-Function-Response-Mode") == "streaming":
		a.Kind, a.RequestID = "stream", parts[1]
		a.ErrorType = ""
		a.StreamErrorType = r.Trailer.Get("Lambda-Runtime-Function-Error-Type")
		data, err := base64.StdEncoding.DecodeString(r.Trailer.Get("Lambda-Runtime-Function-Error-Body"))
		if err != nil {
			p.fault("error trailer: %v", err)
		}
		a.StreamErrorBody = string(data)
		p.answer(a)
	case len(parts) == 3 && (parts[2] == "response" || parts[2] == "error"):
		a.Kind, a.RequestID = parts[2], parts[1]
		p.answer(a)
	default:
		p.fault("%s %s", r.Method, r.URL.Path)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusAccepted)
	io.WriteString(w, `{"status":"OK"}`)
}

// serveFrames is the agent's end of the framed socket.
func (p *peer) serveFrames(conn *os.File) {
	var stream *Answer
	id := ""
	for {
		kind, body, err := readFrame(conn)
		if err != nil {
			if !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) {
				p.fault("framed socket: %v", err)
			}
			return
		}
		first, rest, _ := strings.Cut(body, "\x00")
		done := true
		switch kind {
		case 'N':
		case 'I':
			p.answer(Answer{Kind: "init error", ContentType: "application/json", ErrorType: first, Body: rest})
			continue
		case 'D':
			p.answer(Answer{Kind: "error", RequestID: id, ContentType: "application/json", ErrorType: first, Body: rest})
			continue
		case 'R':
			p.answer(Answer{Kind: "response", RequestID: id, ContentType: "application/json", Body: body})
		case 'T':
			p.answer(Answer{Kind: "response", RequestID: id, ContentType: first, Body: rest})
		case 'F':
			p.answer(Answer{Kind: "error", RequestID: id, ContentType: "application/json", ErrorType: first, Body: rest})
		case 'S':
			stream, done = &Answer{Kind: "stream", RequestID: id, ContentType: body}, false
		case 'C', 'Z', 'X':
			if stream == nil {
				p.fault("a frame of type %c outside of a stream", kind)
				return
			}
			switch kind {
			case 'C':
				stream.Body += body
				done = false
			case 'X':
				stream.StreamErrorType, stream.StreamErrorBody = first, rest
			}
			if done {
				p.answer(*stream)
				stream = nil
			}
		default:
			p.fault("a frame of type %q", kind)
			return
		}
		if !done {
			continue
		}
		e, next, ok := p.next()
		if !ok {
			continue
		}
		id = next
		head := strings.Join([]string{id, deadline(), functionARN, e.TraceID, e.ClientContext, e.CognitoIdentity, e.TenantID}, "\x00")
		frame := binary.BigEndian.AppendUint32(nil, uint32(1+4+len(head)+len(e.Payload)))
		frame = append(frame, 'E')
		frame = binary.BigEndian.AppendUint32(frame, uint32(len(head)))
		frame = append(append(frame, head...), e.Payload...)
		if _, err := conn.Write(frame); err != nil && !errors.Is(err, syscall.EPIPE) {
			p.fault("framed socket: %v", err)
			return
		}
	}
}

func readFrame(r io.Reader) (kind byte, body string, err error) {
	var size [4]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return 0, "", err
	}
	n := binary.BigEndian.Uint32(size[:])
	if n == 0 || n > 6_291_556+65_536 {
		return 0, "", fmt.Errorf("a frame of %d bytes", n)
	}
	data := make([]byte, n)
	if _, err := io.ReadFull(r, data); err != nil {
		return 0, "", err
	}
	return data[0], string(data[1:]), nil
}
