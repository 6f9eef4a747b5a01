package agent

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hearth-run/hearth/internal/hearthtest"
	"github.com/hearth-run/hearth/internal/instance"
)

// rawRuntime is the cheapest client of the Runtime API: it answers every event
// with "1". It is the same for the agent and for the floor.
func rawRuntime(addr string) error {
	c, err := net.Dial("tcp4", addr)
	if err != nil {
		return err
	}
	defer c.Close()
	r := bufio.NewReader(c)
	read := func() (id string, err error) {
		length := 0
		for {
			line, err := r.ReadString('\n')
			if err != nil {
				return "", err
			}
			if line == "\r\n" {
				break
			}
			name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
			switch {
			case strings.EqualFold(name, "Content-Length"):
				fmt.Sscan(value, &length)
			case strings.EqualFold(name, "Lambda-Runtime-Aws-Request-Id"):
				id = value
			}
		}
		_, err = r.Discard(length)
		return id, err
	}
	for {
		if _, err := io.WriteString(c, "GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			return err
		}
		id, err := read()
		if err != nil {
			return err
		}
		if _, err := io.WriteString(c, "POST /2018-06-01/runtime/invocation/"+id+"/response HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n1"); err != nil {
			return err
		}
		if _, err := read(); err != nil {
			return err
		}
	}
}

// cpu returns the CPU time of this process.
func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

type nowhere struct{}

func (nowhere) WriteLog(instance.LogRecord) {}

func quietAgent(b *testing.B) *Agent {
	b.Helper()
	a, err := New(Config{Spec: instance.Spec{FunctionName: "f", FunctionVersion: "$LATEST", MemoryMB: 128,
		Command: []string{hearthtest.Need(b, "sleep"), "1000"}, WorkDir: b.TempDir()}, Supervisor: newLocal(), Logs: nowhere{}})
	if err != nil {
		b.Fatal(err)
	}
	if err := a.Start(b.Context()); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { a.Shutdown(context.Background()) })
	return a
}

// BenchmarkInvoke compares the agent's CPU for a warm event with that of two
// bare net/http handlers, and the same client of both.
func BenchmarkInvoke(b *testing.B) {
	payload := []byte(`{"key":"` + strings.Repeat("x", 90) + `"}`)
	b.Run("floor", func(b *testing.B) {
		events, answers := make(chan []byte), make(chan struct{})
		mux := http.NewServeMux()
		mux.HandleFunc("GET /2018-06-01/runtime/invocation/next", func(w http.ResponseWriter, r *http.Request) {
			select {
			case e := <-events:
				w.Header().Set("Lambda-Runtime-Aws-Request-Id", "id")
				w.Header().Set("Content-Type", "application/json")
				w.Write(e)
			case <-r.Context().Done():
			}
		})
		mux.HandleFunc("POST /2018-06-01/runtime/invocation/{id}/response", func(w http.ResponseWriter, r *http.Request) {
			io.ReadAll(r.Body)
			w.WriteHeader(202)
			answers <- struct{}{}
		})
		ln, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		s := &http.Server{Handler: mux}
		go s.Serve(ln)
		defer s.Close()
		go rawRuntime(ln.Addr().String())
		begun := cpu(b)
		for b.Loop() {
			events <- payload
			<-answers
		}
		b.ReportMetric(float64(cpu(b)-begun)/float64(b.N), "cpu-ns/op")
	})
	b.Run("agent", func(b *testing.B) {
		a := quietAgent(b)
		go rawRuntime(a.Addr())
		begun := cpu(b)
		for b.Loop() {
			res, err := a.Invoke(context.Background(), &instance.Event{RequestID: "id", Payload: payload, Timeout: 10 * time.Second}, nil)
			if err != nil || len(res.Payload) != 1 {
				b.Fatal(res, err)
			}
		}
		b.ReportMetric(float64(cpu(b)-begun)/float64(b.N), "cpu-ns/op")
	})
}

type discardSink struct{ n int64 }

func (d *discardSink) Begin(string) error          { return nil }
func (d *discardSink) Write(b []byte) (int, error) { d.n += int64(len(b)); return len(b), nil }

// BenchmarkStream compares a streamed response of 200 MB with loopback's rate.
func BenchmarkStream(b *testing.B) {
	const size = 200 << 20
	chunk := make([]byte, 64<<10)
	b.Run("loopback", func(b *testing.B) {
		s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body) })}
		ln, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		go s.Serve(ln)
		defer s.Close()
		b.SetBytes(size)
		for b.Loop() {
			res, err := http.Post("http://"+ln.Addr().String(), "x/y", io.LimitReader(zeros{}, size))
			if err != nil {
				b.Fatal(err)
			}
			res.Body.Close()
		}
	})
	b.Run("agent", func(b *testing.B) {
		a := quietAgent(b)
		b.SetBytes(size)
		for b.Loop() {
			go func() {
				c, err := net.Dial("tcp4", a.Addr())
				if err != nil {
					return
				}
				defer c.Close()
				r := bufio.NewReader(c)
				io.WriteString(c, "GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: x\r\n\r\n")
				if res, err := http.ReadResponse(r, nil); err == nil {
					io.Copy(io.Discard, res.Body)
				}
				fmt.Fprintf(c, "POST /2018-06-01/runtime/invocation/id/response HTTP/1.1\r\nHost: x\r\nLambda-Runtime-Function-Response-Mode: streaming\r\nContent-Length: %d\r\n\r\n", size)
				for range size / len(chunk) {
					if _, err := c.Write(chunk); err != nil {
						return
					}
				}
				if res, err := http.ReadResponse(r, nil); err == nil {
					io.Copy(io.Discard, res.Body)
				}
				// The next request ends the event.
				io.WriteString(c, "GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: x\r\n\r\n")
				r.ReadByte()
			}()
			sink := &discardSink{}
			res, err := a.Invoke(context.Background(), &instance.Event{RequestID: "id", Payload: []byte("1"), Timeout: 30 * time.Second, Stream: true}, sink)
			if err != nil || sink.n != size {
				b.Fatal(sink.n, res, err)
			}
			if res.Settled != nil {
				<-res.Settled
			}
		}
	})
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { return len(b), nil }
