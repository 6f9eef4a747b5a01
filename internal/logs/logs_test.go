package logs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hearth-run/hearth/internal/instance"
)

var scope = Scope{"000000000000", "us-east-1"}

func open(t testing.TB, dir string, cfg Config) *Store {
	t.Helper()
	s, err := Open(dir, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func logLine(w instance.LogWriter, at int, request, message string) {
	w.WriteLog(instance.LogRecord{Time: time.UnixMilli(int64(at)), Kind: instance.LogFunction, RequestID: request, Message: []byte(message)})
}

func messages(events []Event) (m []string) {
	for _, e := range events {
		m = append(m, string(e.Message))
	}
	return m
}

func filter(t testing.TB, s *Store, group string, q Query) []string {
	t.Helper()
	var all []Event
	for {
		events, next, err := s.Filter(t.Context(), scope, group, q)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, events...)
		if next == "" {
			break
		}
		q.After = next
	}
	for i := 1; i < len(all); i++ {
		if all[i].ID <= all[i-1].ID {
			t.Errorf("event %s follows %s", all[i].ID, all[i-1].ID)
		}
	}
	return messages(all)
}

func TestWriteAndFilter(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Config{})
	a := s.Writer(scope, "/aws/lambda/f", "2026/11/25/[$LATEST]aaaa")
	b := s.Writer(scope, "/aws/lambda/f", "2026/11/25/[$LATEST]bbbb")
	for i := range 10 {
		logLine(a, 1000+2*i, "ra", fmt.Sprint("a", i))
		logLine(b, 1001+2*i, "rb", fmt.Sprint("b", i))
	}
	check := func(s *Store) {
		t.Helper()
		for _, tt := range []struct {
			q    Query
			want string
		}{
			{Query{}, "a0 b0 a1 b1 a2 b2 a3 b3 a4 b4 a5 b5 a6 b6 a7 b7 a8 b8 a9 b9"},
			{Query{Limit: 3}, "a0 b0 a1 b1 a2 b2 a3 b3 a4 b4 a5 b5 a6 b6 a7 b7 a8 b8 a9 b9"},
			{Query{MaxBytes: 1}, "a0 b0 a1 b1 a2 b2 a3 b3 a4 b4 a5 b5 a6 b6 a7 b7 a8 b8 a9 b9"},
			{Query{RequestID: "rb", Start: time.UnixMilli(1010)}, "b5 b6 b7 b8 b9"},
			{Query{Start: time.UnixMilli(1004), End: time.UnixMilli(1007)}, "a2 b2 a3"},
			{Query{Streams: []string{"2026/11/25/[$LATEST]bbbb"}, End: time.UnixMilli(1004)}, "b0 b1"},
			{Query{StreamPrefix: "2026/11/25/[$LATEST]a", End: time.UnixMilli(1004)}, "a0 a1"},
			{Query{StreamPrefix: "none"}, ""},
		} {
			if got := strings.Join(filter(t, s, "/aws/lambda/f", tt.q), " "); got != tt.want {
				t.Errorf("Filter(%+v) = %s, want %s", tt.q, got, tt.want)
			}
		}
	}
	check(s)
	s.Close()
	check(open(t, dir, Config{})) // from the disk alone

	if _, _, err := s.Filter(t.Context(), scope, "none", Query{}); !errors.Is(err, ErrNoGroup) {
		t.Errorf("Filter of no group = %v", err)
	}
	if _, _, err := s.Filter(t.Context(), scope, "/aws/lambda/f", Query{Streams: []string{"none"}}); !errors.Is(err, ErrNoStream) {
		t.Errorf("Filter of no stream = %v", err)
	}
	if _, _, err := s.Filter(t.Context(), scope, "/aws/lambda/f", Query{After: "x"}); !errors.Is(err, ErrBadToken) {
		t.Errorf("Filter with a bad token = %v", err)
	}
	if _, _, err := s.Filter(t.Context(), Scope{"111111111111", "us-east-1"}, "/aws/lambda/f", Query{}); !errors.Is(err, ErrNoGroup) {
		t.Errorf("Filter of another account's group = %v", err)
	}
}

// TestRead pages through a stream of several segments, both ways.
func TestRead(t *testing.T) {
	s := open(t, t.TempDir(), Config{SegmentSize: 200})
	w := s.Writer(scope, "g", "s")
	var want []string
	for i := range 50 {
		want = append(want, fmt.Sprint("m", i))
		logLine(w, 1000+i/3, "", want[i])
		if i%7 == 0 {
			s.Filter(t.Context(), scope, "g", Query{}) // flush
		}
	}
	for _, limit := range []int{1, 3, 7, 50, 1000} {
		q := Query{Limit: limit}
		var got []string
		p, err := s.Read(t.Context(), scope, "g", "s", q, "", true)
		for ; err == nil && len(p.Events) > 0; p, err = s.Read(t.Context(), scope, "g", "s", q, p.Forward, true) {
			got = append(got, messages(p.Events)...)
		}
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("forward by %d: %q, %v", limit, got, err)
		}
		again, err := s.Read(t.Context(), scope, "g", "s", q, p.Forward, true)
		if err != nil || again.Forward != p.Forward || len(again.Events) > 0 {
			t.Errorf("at the end: %+v, %v, want the token %s again", again, err, p.Forward)
		}
		got = nil
		p, err = s.Read(t.Context(), scope, "g", "s", q, "", false)
		end := p.Forward
		for ; err == nil && len(p.Events) > 0; p, err = s.Read(t.Context(), scope, "g", "s", q, p.Backward, false) {
			got = append(messages(p.Events), got...)
		}
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("backward by %d: %q, %v", limit, got, err)
		}
		if p, err = s.Read(t.Context(), scope, "g", "s", q, end, true); err != nil || len(p.Events) > 0 {
			t.Errorf("behind the last page: %+v, %v", p, err)
		}
	}
	p, err := s.Read(t.Context(), scope, "g", "s", Query{Start: time.UnixMilli(1003), End: time.UnixMilli(1005)}, "", false)
	if got := messages(p.Events); err != nil || !slices.Equal(got, want[9:15]) {
		t.Errorf("between: %q, %v, want %q", got, err, want[9:15])
	}
	empty := "e"
	s.CreateStream(scope, "g", empty)
	p, err = s.Read(t.Context(), scope, "g", empty, Query{}, "", true)
	if err != nil || len(p.Events) > 0 || p.Forward == "" {
		t.Errorf("empty stream: %+v, %v", p, err)
	}
	s.Put(scope, "g", empty, []Event{{Time: time.UnixMilli(5), Message: []byte("x")}})
	if p, err = s.Read(t.Context(), scope, "g", empty, Query{}, p.Forward, true); err != nil || len(p.Events) != 1 {
		t.Errorf("what came into an empty stream: %+v, %v", p, err)
	}
	for _, token := range []string{"x", "f/", "f/1", "x/" + (position{}).id(), "f/" + strings.Repeat("x", 56)} {
		if _, err := s.Read(t.Context(), scope, "g", "s", Query{}, token, true); !errors.Is(err, ErrBadToken) {
			t.Errorf("token %q: %v, want ErrBadToken", token, err)
		}
	}
}

// TestTorn: what a crash left of a record is dropped, and the stream goes on.
func TestTorn(t *testing.T) {
	for name, spoil := range map[string]func([]byte) []byte{
		"cut":     func(b []byte) []byte { return b[:len(b)-3] },
		"zeros":   func(b []byte) []byte { return append(b[:len(b)-5], make([]byte, 100)...) },
		"garbage": func(b []byte) []byte { b[len(b)-1] ^= 1; return append(b, "garbage"...) },
	} {
		dir := t.TempDir()
		s := open(t, dir, Config{})
		w := s.Writer(scope, "g", "s")
		logLine(w, 1, "", "whole")
		logLine(w, 2, "", "torn")
		s.Close()
		files, _ := filepath.Glob(filepath.Join(dir, "*/*/*/*.log"))
		if len(files) != 1 {
			t.Fatalf("files: %q", files)
		}
		b, _ := os.ReadFile(files[0])
		os.WriteFile(files[0], spoil(b), 0o644)

		s = open(t, dir, Config{})
		w = s.Writer(scope, "g", "s")
		logLine(w, 3, "", "next")
		if got := filter(t, s, "g", Query{}); !slices.Equal(got, []string{"whole", "next"}) {
			t.Errorf("%s: %q, want whole, next", name, got)
		}
		s.Close()
		if got := filter(t, open(t, dir, Config{}), "g", Query{}); !slices.Equal(got, []string{"whole", "next"}) {
			t.Errorf("%s, again: %q, want whole, next", name, got)
		}
	}
	// A file that was made but never got its header.
	dir := t.TempDir()
	s := open(t, dir, Config{SegmentSize: 1})
	w := s.Writer(scope, "g", "s")
	logLine(w, 1, "", "one")
	logLine(w, 2, "", "two")
	s.Close()
	files, _ := filepath.Glob(filepath.Join(dir, "*/*/*/*.log"))
	os.WriteFile(files[1], []byte("HLO"), 0o644)
	s = open(t, dir, Config{})
	logLine(s.Writer(scope, "g", "s"), 3, "", "three")
	if got := filter(t, s, "g", Query{}); !slices.Equal(got, []string{"one", "three"}) {
		t.Errorf("torn header: %q, want one, three", got)
	}
}

func TestFollow(t *testing.T) {
	s := open(t, t.TempDir(), Config{SegmentSize: 500})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	const writers, lines = 5, 400
	got := make(chan Event, writers*lines)
	var wg sync.WaitGroup
	wg.Go(func() { // begins before there is a group
		n := 0
		for e, err := range s.Follow(ctx, scope, "g", Query{}) {
			if err != nil {
				t.Error(err)
				return
			}
			got <- e
			if n++; n == writers*lines {
				return
			}
		}
	})
	for i := range writers {
		wg.Go(func() {
			w := s.Writer(scope, "g", fmt.Sprint("s", i))
			for j := range lines {
				w.WriteLog(instance.LogRecord{Time: time.Now(), Message: fmt.Appendf(nil, "%d", j)})
				if j%50 == 0 {
					time.Sleep(time.Millisecond)
				}
			}
		})
	}
	wg.Wait()
	close(got)
	next := map[string]int{}
	ids := map[string]bool{}
	for e := range got {
		if string(e.Message) != fmt.Sprint(next[e.Stream]) {
			t.Fatalf("stream %s: %s, want %d", e.Stream, e.Message, next[e.Stream])
		}
		next[e.Stream]++
		ids[e.ID] = true
	}
	if len(ids) != writers*lines {
		t.Errorf("%d events with different IDs, want %d", len(ids), writers*lines)
	}
	all, _, err := s.Filter(t.Context(), scope, "g", Query{})
	if err != nil || len(all) != writers*lines {
		t.Fatalf("Filter = %d events, %v", len(all), err)
	}
	for _, e := range all {
		if !ids[e.ID] {
			t.Fatalf("Filter says %s, which Follow did not", e.ID)
		}
	}
}

// TestFlood: more than the store takes is dropped, counted and told; memory stays bounded.
func TestFlood(t *testing.T) {
	s := open(t, t.TempDir(), Config{MaxPending: 10_000, FlushEvery: time.Hour})
	w := s.Writer(scope, "g", "s")
	time.Sleep(time.Millisecond)
	for range 1000 {
		logLine(w, 1, "", strings.Repeat("x", 100))
	}
	if p := s.pending.Load(); p > 11_000 {
		t.Errorf("%d bytes pending, want about 10,000", p)
	}
	got := filter(t, s, "g", Query{})
	told := got[len(got)-1]
	if s.Dropped() == 0 || int64(len(got)-1)+s.Dropped() != 1000 || !strings.Contains(told, fmt.Sprint(s.Dropped())) {
		t.Errorf("%d events kept, %d dropped, told %q", len(got)-1, s.Dropped(), told)
	}
}

func TestLongMessage(t *testing.T) {
	s := open(t, t.TempDir(), Config{})
	long := bytes.Repeat([]byte("0123456789"), maxMessage/4)
	s.Writer(scope, "g", "s").WriteLog(instance.LogRecord{Message: long})
	var got []byte
	n := 0
	for _, m := range filter(t, s, "g", Query{}) {
		got = append(got, m...)
		n++
	}
	if !bytes.Equal(got, long) || n != 3 {
		t.Errorf("a message of %d bytes came back as %d in %d pieces", len(long), len(got), n)
	}
}

func TestGroups(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Config{})
	for _, name := range []string{"/aws/lambda/b", "/aws/lambda/a", "other"} {
		if err := s.CreateGroup(scope, name, GroupOptions{Tags: map[string]string{"k": name}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.CreateGroup(scope, "other", GroupOptions{}); !errors.Is(err, ErrGroupExists) {
		t.Errorf("CreateGroup again = %v", err)
	}
	if err := errors.Join(s.SetRetention(scope, "other", 7), s.Tag(scope, "other", map[string]string{"x": "y"}), s.Untag(scope, "other", []string{"k"})); err != nil {
		t.Fatal(err)
	}
	logLine(s.Writer(scope, "/aws/lambda/a", "s1"), 1000, "", "hello")
	logLine(s.Writer(scope, "/aws/lambda/a", "s2"), 500, "", "hello")
	for range 2 {
		names := func(match func(string) bool, after string, limit int) string {
			groups, more, err := s.Groups(scope, match, after, limit)
			if err != nil {
				t.Fatal(err)
			}
			var n []string
			for _, g := range groups {
				n = append(n, g.Name)
			}
			return fmt.Sprint(n, more)
		}
		prefix := func(n string) bool { return strings.HasPrefix(n, "/aws/") }
		for _, tt := range []struct{ got, want string }{
			{names(nil, "", 50), "[/aws/lambda/a /aws/lambda/b other] false"},
			{names(nil, "", 2), "[/aws/lambda/a /aws/lambda/b] true"},
			{names(nil, "/aws/lambda/b", 2), "[other] false"},
			{names(prefix, "", 50), "[/aws/lambda/a /aws/lambda/b] false"},
		} {
			if tt.got != tt.want {
				t.Errorf("Groups = %s, want %s", tt.got, tt.want)
			}
		}
		g, err := s.Group(scope, "other")
		if err != nil || g.RetentionDays != 7 || g.Class != "STANDARD" || g.Created.IsZero() {
			t.Errorf("Group = %+v, %v", g, err)
		}
		tags, err := s.Tags(scope, "other")
		if d := cmp.Diff(map[string]string{"x": "y"}, tags); d != "" || err != nil {
			t.Errorf("Tags (-want +got):\n%s%v", d, err)
		}
		streams, err := s.Streams(scope, "/aws/lambda/a", nil, true)
		if err != nil || len(streams) != 2 || streams[0].Name != "s2" || streams[1].LastEvent.UnixMilli() != 1000 || streams[1].StoredBytes != 5+overhead {
			t.Errorf("Streams by time = %+v, %v", streams, err)
		}
		s.Close()
		s = open(t, dir, Config{})
	}
	if err := s.DeleteStream(scope, "/aws/lambda/a", "s1"); err != nil {
		t.Fatal(err)
	}
	if err := s.DeleteStream(scope, "/aws/lambda/a", "s1"); !errors.Is(err, ErrNoStream) {
		t.Errorf("DeleteStream again = %v", err)
	}
	if err := s.CreateStream(scope, "/aws/lambda/a", "s2"); !errors.Is(err, ErrStreamExists) {
		t.Errorf("CreateStream again = %v", err)
	}
	w := s.Writer(scope, "/aws/lambda/a", "s2")
	logLine(w, 1, "", "old")
	if err := s.DeleteGroup(scope, "/aws/lambda/a"); err != nil {
		t.Fatal(err)
	}
	if err := s.DeleteGroup(scope, "/aws/lambda/a"); !errors.Is(err, ErrNoGroup) {
		t.Errorf("DeleteGroup again = %v", err)
	}
	logLine(w, 2, "", "new") // makes group and stream again
	if got := filter(t, s, "/aws/lambda/a", Query{}); !slices.Equal(got, []string{"new"}) {
		t.Errorf("after the group was deleted: %q, want new", got)
	}
}

// TestRetention: old segments go, and streams that are forgotten come back from the disk.
func TestRetention(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Config{SegmentSize: 1})
	w := s.Writer(scope, "g", "s")
	now := time.Now()
	logLine(w, int(now.UnixMilli()), "", "one")
	logLine(w, int(now.UnixMilli()), "", "two")
	s.SetRetention(scope, "g", 3)
	s.Sweep(now.Add(24 * time.Hour))
	if got := filter(t, s, "g", Query{}); !slices.Equal(got, []string{"one", "two"}) {
		t.Errorf("within retention: %q", got)
	}
	s.closeUnused(now.Add(time.Hour))
	logLine(w, int(now.UnixMilli()), "", "three")
	if got := filter(t, s, "g", Query{}); !slices.Equal(got, []string{"one", "two", "three"}) {
		t.Errorf("after it was forgotten: %q", got)
	}
	s.Sweep(now.Add(4 * 24 * time.Hour))
	if got := filter(t, s, "g", Query{}); len(got) > 0 {
		t.Errorf("beyond retention: %q", got)
	}
	logLine(w, int(now.UnixMilli()), "", "four")
	if got := filter(t, s, "g", Query{}); !slices.Equal(got, []string{"four"}) {
		t.Errorf("after all was removed: %q", got)
	}
	s.count()
	if n := s.bytes.Load(); n < 20 || n > 500 {
		t.Errorf("%d bytes counted", n)
	}
	for i := range 20 {
		logLine(w, int(now.UnixMilli()), "", fmt.Sprint("m", i))
	}
	filter(t, s, "g", Query{})
	s.cfg.MaxBytes = 500
	s.Sweep(now)
	if got := filter(t, s, "g", Query{}); len(got) == 0 || len(got) > 10 || got[len(got)-1] != "m19" {
		t.Errorf("with too much: %q, want the last few", got)
	}
}

// TestMaxBytes: a flood into the files does not wait for the next minute.
func TestMaxBytes(t *testing.T) {
	s := open(t, t.TempDir(), Config{SegmentSize: 10_000, MaxBytes: 100_000})
	w := s.Writer(scope, "g", "s")
	for i := range 10_000 {
		logLine(w, i, "", strings.Repeat("x", 100))
	}
	filter(t, s, "g", Query{Streams: []string{"s"}})
	for deadline := time.Now().Add(10 * time.Second); s.bytes.Load() > 100_000; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d bytes are kept", s.bytes.Load())
		}
	}
	if got := filter(t, s, "g", Query{}); len(got) < 100 || len(got) > 1000 {
		t.Errorf("%d events are kept, want what 100,000 bytes hold", len(got))
	}
}

func TestPrinter(t *testing.T) {
	var b bytes.Buffer
	w := Printer(&b)
	for _, m := range []string{"a", "b\n", "", "c\nd"} {
		w.WriteLog(instance.LogRecord{Message: []byte(m)})
	}
	if got, want := b.String(), "a\nb\n\nc\nd\n"; got != want {
		t.Errorf("printed %q, want %q", got, want)
	}
}

// TestConcurrent writes, reads, deletes and sweeps at once.
func TestConcurrent(t *testing.T) {
	s := open(t, t.TempDir(), Config{SegmentSize: 1000, FlushEvery: time.Millisecond})
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			w := s.Writer(scope, "g", fmt.Sprint("s", i))
			for j := range 500 {
				logLine(w, j, "", fmt.Sprint(j))
			}
		})
		wg.Go(func() {
			for j := range 50 {
				s.Filter(t.Context(), scope, "g", Query{})
				s.Streams(scope, "g", nil, true)
				s.Read(t.Context(), scope, "g", fmt.Sprint("s", i), Query{}, "", j%2 == 0)
				s.closeUnused(time.Now().Add(time.Hour))
				s.Sweep(time.Now())
				if j%10 == 0 {
					s.DeleteStream(scope, "g", fmt.Sprint("s", i))
				}
				if j == 25 && i == 0 {
					s.DeleteGroup(scope, "g")
				}
			}
		})
	}
	wg.Wait()
	w := s.Writer(scope, "g", "last")
	logLine(w, 1, "", "last")
	if got := filter(t, s, "g", Query{Streams: []string{"last"}}); !slices.Equal(got, []string{"last"}) {
		t.Errorf("at the end: %q", got)
	}
	if p := s.pending.Load(); p != 0 {
		t.Errorf("%d bytes pending at the end", p)
	}
}

func BenchmarkWriteLog(b *testing.B) {
	s := open(b, b.TempDir(), Config{})
	w := s.Writer(scope, "g", "s")
	r := instance.LogRecord{Time: time.Now(), Kind: instance.LogPlatform, RequestID: "6f3a1f3e-0000-4000-8000-123456789012",
		Message: []byte("REPORT RequestId: 6f3a1f3e-0000-4000-8000-123456789012\tDuration: 1.00 ms\tBilled Duration: 1 ms\tMemory Size: 128 MB\tMax Memory Used: 30 MB")}
	b.ReportAllocs()
	for b.Loop() {
		w.WriteLog(r)
	}
	b.ReportMetric(float64(s.Dropped())/float64(b.N), "dropped/op")
}
