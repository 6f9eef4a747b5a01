package runtimestest

import (
	"encoding/binary"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/hearth-run/hearth/internal/runtimes"
)

var echoes = map[string]Case{
	"python": {Files: map[string]string{"app.py": "def handler(event, context):\n    return event\n"}, Handler: "app.handler"},
	"nodejs": {Files: map[string]string{"app.js": "exports.handler = async (event) => event;\n"}, Handler: "app.handler"},
}

// benchmarkEach runs f for each interpreter that is here in exactly its version.
func benchmarkEach(b *testing.B, f func(b *testing.B, start func() (*os.File, func()))) {
	all, err := runtimes.All(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	for _, i := range all {
		c, ok := echoes[i.Language]
		if !ok {
			continue
		}
		b.Run(i.Runtime, func(b *testing.B) {
			dir, err := i.Install(b.Context(), b.TempDir())
			if err != nil {
				b.Fatal(err)
			}
			var cpu time.Duration
			task := Task(b, c)
			cmd := i.Command(runtimes.Layout{Bootstrap: dir, TaskRoot: task, Opt: "/opt"})
			f(b, func() (*os.File, func()) {
				ours, theirs, err := socketpair()
				if err != nil {
					b.Fatal(err)
				}
				p := exec.Command(cmd.Args[0], cmd.Args[1:]...)
				p.Dir = task
				p.ExtraFiles = []*os.File{theirs}
				p.Env = []string{"_HEARTH_FD=3", "_HEARTH_RUNTIME_API=127.0.0.1:1", "AWS_LAMBDA_RUNTIME_API=127.0.0.1:1",
					"LAMBDA_TASK_ROOT=" + task, "_HANDLER=" + c.Handler, "AWS_EXECUTION_ENV=AWS_Lambda_" + i.Runtime}
				p.Stderr = os.Stderr
				if err := p.Start(); err != nil {
					b.Fatal(err)
				}
				theirs.Close()
				return ours, func() {
					p.Process.Kill()
					p.Wait()
					ours.Close()
					cpu += p.ProcessState.UserTime() + p.ProcessState.SystemTime()
				}
			})
			// Steadier than the time on a busy machine.
			b.ReportMetric(cpu.Seconds()*1e3/float64(b.N), "cpu-ms/op")
		})
	}
}

// BenchmarkCold measures a start up to the first answer.
func BenchmarkCold(b *testing.B) {
	benchmarkEach(b, func(b *testing.B, start func() (*os.File, func())) {
		for b.Loop() {
			conn, stop := start()
			if kind, _, err := readFrame(conn); err != nil || kind != 'N' {
				b.Fatalf("first frame %c, %v", kind, err)
			}
			roundTrip(b, conn)
			stop()
		}
	})
}

// BenchmarkWarm measures an event of 100 bytes and its answer.
func BenchmarkWarm(b *testing.B) {
	benchmarkEach(b, func(b *testing.B, start func() (*os.File, func())) {
		conn, stop := start()
		defer stop()
		if kind, _, err := readFrame(conn); err != nil || kind != 'N' {
			b.Fatalf("first frame %c, %v", kind, err)
		}
		for b.Loop() {
			roundTrip(b, conn)
		}
	})
}

func roundTrip(b *testing.B, conn io.ReadWriter) {
	head := strings.Join([]string{"8476a536-e9f4-11e8-9739-2dfe598c3fcd", "4102444800000", functionARN, "", "", "", ""}, "\x00")
	payload := `{"message":"` + strings.Repeat("x", 86) + `"}`
	frame := binary.BigEndian.AppendUint32(nil, uint32(1+4+len(head)+len(payload)))
	frame = append(frame, 'E')
	frame = binary.BigEndian.AppendUint32(frame, uint32(len(head)))
	frame = append(append(frame, head...), payload...)
	if _, err := conn.Write(frame); err != nil {
		b.Fatal(err)
	}
	if kind, _, err := readFrame(conn); err != nil || kind != 'R' {
		b.Fatalf("answer %c, %v", kind, err)
	}
}
