// Package floor has the least programs that do what a server of functions must:
// a bare HTTP front with idle processes behind it. Benchmarks compare Hearth
// with them on the same machine in the same minute; nothing else uses it.
//
//   - Floor A: the front, and a framed Unix socket to a loop in the function's language.
//   - Floor B: the front, and a bare Runtime API with AWS's own client.
package floor

import (
	_ "embed"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"syscall"
)

// Loops that answer each event with itself, the frame's payload on descriptor 3:
// 4 bytes of length, then JSON.
var (
	//go:embed loop.py
	PythonLoop []byte
	//go:embed loop.js
	NodeLoop []byte
)

// Programs that import what a runtime over HTTP needs and answer one event of
// AWS_LAMBDA_RUNTIME_API: what a cold start costs at least.
var (
	//go:embed once.py
	PythonOnce []byte
	//go:embed once.js
	NodeOnce []byte
)

// An Instance answers one event at a time.
type Instance interface {
	Invoke(payload []byte) ([]byte, error)
	io.Closer
}

// process is a child that is killed with its instance.
type process struct {
	cmd *exec.Cmd
}

func (p process) Close() error {
	syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL) // it may be a shell's child
	p.cmd.Wait()
	return nil
}

func start(args, env []string, extra ...*os.File) (process, error) {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME")}, env...)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.ExtraFiles = extra
	if err := cmd.Start(); err != nil {
		return process{}, err
	}
	return process{cmd}, nil
}

// framed speaks to a loop over its descriptor 3.
type framed struct {
	process
	conn net.Conn
	buf  []byte
}

// StartFramed starts a loop.
func StartFramed(args, env []string) (Instance, error) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err != nil {
		return nil, err
	}
	syscall.CloseOnExec(fds[0])
	theirs := os.NewFile(uintptr(fds[1]), "loop")
	defer theirs.Close()
	ours := os.NewFile(uintptr(fds[0]), "front")
	defer ours.Close()
	conn, err := net.FileConn(ours)
	if err != nil {
		return nil, err
	}
	p, err := start(args, env, theirs)
	if err != nil {
		conn.Close()
		return nil, err
	}
	return &framed{process: p, conn: conn, buf: make([]byte, 64<<10)}, nil
}

func (f *framed) Invoke(payload []byte) ([]byte, error) {
	frame := binary.BigEndian.AppendUint32(f.buf[:0], uint32(len(payload)))
	if _, err := f.conn.Write(append(frame, payload...)); err != nil {
		return nil, err
	}
	if _, err := io.ReadFull(f.conn, f.buf[:4]); err != nil {
		return nil, err
	}
	answer := make([]byte, binary.BigEndian.Uint32(f.buf))
	_, err := io.ReadFull(f.conn, answer)
	return answer, err
}

func (f *framed) Close() error {
	f.conn.Close()
	return f.process.Close()
}

// runtimeAPI serves the Runtime API to one client.
type runtimeAPI struct {
	process
	listener net.Listener
	server   *http.Server
	events   chan []byte
	answers  chan []byte
	ended    chan struct{}
}

// StartRuntimeAPI starts a client of the Runtime API, which is told where that is.
func StartRuntimeAPI(args, env []string) (Instance, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &runtimeAPI{listener: listener, events: make(chan []byte), answers: make(chan []byte), ended: make(chan struct{})}
	r.server = &http.Server{Handler: r}
	go r.server.Serve(listener)
	r.process, err = start(args, append(env, "AWS_LAMBDA_RUNTIME_API="+listener.Addr().String()))
	if err != nil {
		r.server.Close()
		return nil, err
	}
	return r, nil
}

func (r *runtimeAPI) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if req.URL.Path == "/2018-06-01/runtime/invocation/next" {
		select {
		case e := <-r.events:
			h := w.Header()
			h["Content-Type"] = []string{"application/json"}
			h["Lambda-Runtime-Aws-Request-Id"] = []string{"8476a536-e9f4-11e8-9739-2dfe598c3fcd"}
			h["Lambda-Runtime-Deadline-Ms"] = []string{"4102444800000"}
			h["Lambda-Runtime-Invoked-Function-Arn"] = []string{"arn:aws:lambda:us-east-1:000000000000:function:floor"}
			w.Write(e)
		case <-req.Context().Done():
		}
		return
	}
	body, err := io.ReadAll(req.Body)
	w.WriteHeader(http.StatusAccepted)
	if err == nil {
		select {
		case r.answers <- body:
		case <-r.ended:
		}
	}
}

func (r *runtimeAPI) Invoke(payload []byte) ([]byte, error) {
	r.events <- payload
	answer, ok := <-r.answers
	if !ok {
		return nil, errors.New("closed")
	}
	return answer, nil
}

func (r *runtimeAPI) Close() error {
	// The client goes first: it would complain of a server that is gone.
	err := r.process.Close()
	close(r.ended)
	r.server.Close()
	return err
}

// Front is a bare HTTP server with instances behind it.
type Front struct {
	URL       string
	idle      chan Instance
	instances []Instance
	server    *http.Server
}

// NewFront serves n instances that start makes.
func NewFront(n int, start func() (Instance, error)) (*Front, error) {
	f := &Front{idle: make(chan Instance, n)}
	for range n {
		i, err := start()
		if err != nil {
			f.Close()
			return nil, err
		}
		f.instances = append(f.instances, i)
	}
	// All are up before anything is measured.
	var wg sync.WaitGroup
	errs := make([]error, n)
	for k, i := range f.instances {
		wg.Go(func() { _, errs[k] = i.Invoke([]byte(`{}`)) })
		f.idle <- i
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		f.Close()
		return nil, fmt.Errorf("first event: %w", err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		f.Close()
		return nil, err
	}
	f.URL = "http://" + listener.Addr().String() + "/"
	f.server = &http.Server{Handler: f}
	go f.server.Serve(listener)
	return f, nil
}

func (f *Front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	payload, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	i := <-f.idle
	answer, err := i.Invoke(payload)
	f.idle <- i
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(answer)))
	w.Write(answer)
}

// Close ends the front and its instances.
func (f *Front) Close() {
	if f.server != nil {
		f.server.Close()
	}
	for _, i := range f.instances {
		i.Close()
	}
}
