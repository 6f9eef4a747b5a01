package logs

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/hearth-run/hearth/internal/instance"
)

// TestMain is the process that TestKilled kills, when the environment says so.
func TestMain(m *testing.M) {
	if dir := os.Getenv("HEARTH_LOGS_TEST_DIR"); dir != "" {
		s, err := Open(dir, Config{SegmentSize: 10_000})
		if err != nil {
			panic(err)
		}
		w := s.Writer(scope, "g", fmt.Sprint("s", os.Getpid()))
		for i := 0; ; i++ {
			w.WriteLog(instance.LogRecord{Message: fmt.Appendf(nil, "%d %s", i, strings.Repeat("x", i%300))})
			if i%200 == 199 {
				time.Sleep(20 * time.Millisecond) // several times what the store may wait
				fmt.Println(i)
			}
		}
	}
	os.Exit(m.Run())
}

// TestKilled: after kill -9 of the server, all but its last milliseconds is
// there, in order and without a gap.
func TestKilled(t *testing.T) {
	dir := t.TempDir()
	least := map[string]int{} // events by stream
	for range 4 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "HEARTH_LOGS_TEST_DIR="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		last := 0
		lines := bufio.NewScanner(out)
		for n := 0; lines.Scan(); n++ {
			if n == 10 {
				cmd.Process.Kill()
			}
			fmt.Sscan(lines.Text(), &last)
		}
		cmd.Wait()
		least[fmt.Sprint("s", cmd.Process.Pid)] = last + 1
	}
	s := open(t, dir, Config{})
	for stream, want := range least {
		got := filter(t, s, "g", Query{Streams: []string{stream}})
		if len(got) < want {
			t.Errorf("%d events of %s are left, want at least %d", len(got), stream, want)
		}
		for i, m := range got {
			if !strings.HasPrefix(m, fmt.Sprintf("%d ", i)) {
				t.Fatalf("event %d of %s is %q", i, stream, m)
			}
		}
	}
}

// FuzzRecord: no bytes make a reader panic, and what was written is read.
func FuzzRecord(f *testing.F) {
	f.Add([]byte("x"), "r", []byte{})
	f.Add(appendRecord(nil, 1, 2, instance.LogPlatform, "r", []byte("m")), "", []byte("tail"))
	f.Fuzz(func(t *testing.T, message []byte, request string, junk []byte) {
		parseRecord(junk)
		parseRecord(message)
		b := appendRecord(nil, 1, 2, instance.LogExtension, request, message)
		r, need, err := parseRecord(append(b, junk...))
		if err != nil || need > 0 || string(r.message) != string(message) || string(r.requestID) != request[:min(len(request), 255)] || r.kind != instance.LogExtension || r.size != int64(len(b)) {
			t.Errorf("record %+v, %d, %v", r, need, err)
		}
	})
}
