package queue

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hearth-run/hearth/internal/hearthtest"
	_ "github.com/jackc/pgx/v5/stdlib"
)

// maker opens queues on one fresh database.
type maker struct {
	db       *sql.DB
	postgres bool
}

func (m maker) open(t testing.TB, owner string, change ...func(*Config)) *Queue {
	t.Helper()
	cfg := Config{DB: m.db, Postgres: m.postgres, Owner: owner}
	for _, f := range change {
		f(&cfg)
	}
	q, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { q.Close() })
	return q
}

func alone(c *Config) { c.Alone = true }

// run runs the test on both databases.
func run(t *testing.T, f func(t *testing.T, m maker)) {
	t.Run("sqlite", func(t *testing.T) { f(t, sqlite(t)) })
	t.Run("postgres", func(t *testing.T) { f(t, postgres(t)) })
}

func sqlite(t testing.TB) maker {
	db, err := OpenSQLite(filepath.Join(t.TempDir(), "queue.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return maker{db: db}
}

func postgres(t testing.TB) maker {
	url := os.Getenv("TESTBED_POSTGRES")
	if url == "" {
		hearthtest.Skip(t, "postgres", "TESTBED_POSTGRES is not set (testbed/services.sh env postgres)")
	}
	// A schema of its own.
	admin, err := sql.Open("pgx", url)
	if err != nil {
		t.Fatal(err)
	}
	name := strings.ToLower(fmt.Sprintf("queue_%d_%d", os.Getpid(), time.Now().UnixNano()))
	if _, err := admin.Exec("CREATE SCHEMA " + name); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("pgx", url+"&search_path="+name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		db.Close()
		admin.Exec("DROP SCHEMA " + name + " CASCADE")
		admin.Close()
	})
	return maker{db: db, postgres: true}
}

func put(t testing.TB, q *Queue, key string, ids ...string) {
	t.Helper()
	for _, id := range ids {
		if err := q.Put(t.Context(), Item{ID: id, Key: key, Body: []byte("body of " + id)}); err != nil {
			t.Fatal(err)
		}
	}
}

// lease leases what is due, without waiting for long.
func lease(t testing.TB, q *Queue, n int, visibility time.Duration) []Item {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	items, err := q.Lease(ctx, n, visibility)
	if err != nil && !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	return items
}

func ids(items []Item) string {
	var s []string
	for _, it := range items {
		s = append(s, it.ID)
	}
	return strings.Join(s, " ")
}

func TestLife(t *testing.T) {
	run(t, func(t *testing.T, m maker) {
		q := m.open(t, "a")
		long := bytes.Repeat([]byte("x"), 1<<20)
		before := time.Now().Truncate(time.Millisecond)
		if err := q.Put(t.Context(), Item{ID: "1", Key: "f", Body: []byte(`{"a":1}`)}, Item{ID: "2", Key: "f", Body: long}, Item{ID: "3", Key: "f"}); err != nil {
			t.Fatal(err)
		}
		if err := q.Put(t.Context(), Item{Body: make([]byte, MaxBody+1)}); err == nil {
			t.Error("Put took a body beyond the limit")
		}
		got := lease(t, q, 10, time.Minute)
		if ids(got) != "1 2 3" || string(got[0].Body) != `{"a":1}` || !bytes.Equal(got[1].Body, long) || len(got[2].Body) != 0 {
			t.Fatalf("Lease = %s", ids(got))
		}
		for _, it := range got {
			if it.Key != "f" || it.Deliveries != 1 || it.Attempts != 0 || it.Created.Before(before) || time.Until(it.Due) < 50*time.Second {
				t.Errorf("item %s: %+v", it.ID, it)
			}
		}
		if again := lease(t, q, 10, time.Minute); len(again) > 0 {
			t.Errorf("leased again: %s", ids(again))
		}
		if s, err := q.Stats(t.Context(), ""); err != nil || s.Items != 3 || s.Leased != 3 || s.Oldest.Before(before) {
			t.Errorf("Stats = %+v, %v", s, err)
		}
		if err := q.Done(t.Context(), &got[0]); err != nil {
			t.Error(err)
		}
		if err := q.Done(t.Context(), &got[0]); !errors.Is(err, ErrLost) {
			t.Errorf("Done again = %v, want ErrLost", err)
		}
		if err := q.Retry(t.Context(), &got[1], time.Now(), true, "boom"); err != nil {
			t.Error(err)
		}
		if err := q.Retry(t.Context(), &got[2], time.Now().Add(time.Hour), false, "throttled"); err != nil {
			t.Error(err)
		}
		if err := q.Extend(t.Context(), &got[1], time.Now()); !errors.Is(err, ErrLost) {
			t.Errorf("Extend of what was given back = %v, want ErrLost", err)
		}
		got = lease(t, q, 10, time.Minute)
		if ids(got) != "2" || got[0].Attempts != 1 || got[0].Deliveries != 2 || got[0].Reason != "boom" || !bytes.Equal(got[0].Body, long) {
			t.Fatalf("after Retry: %s", ids(got))
		}
		if err := q.Done(t.Context(), &got[0]); err != nil {
			t.Error(err)
		}
		var bodies int
		if err := m.db.QueryRow(`SELECT count(*) FROM hearth_queue_body`).Scan(&bodies); err != nil || bodies != 0 {
			t.Errorf("%d long bodies left, %v", bodies, err)
		}
		if n, err := q.Drop(t.Context(), "f"); n != 1 || err != nil {
			t.Errorf("Drop = %d, %v", n, err)
		}
		if s, err := q.Stats(t.Context(), "f"); err != nil || s.Items != 0 || !s.Oldest.IsZero() {
			t.Errorf("Stats of nothing = %+v, %v", s, err)
		}
	})
}

// TestFair: a key with a thousand items does not keep another's one waiting.
func TestFair(t *testing.T) {
	run(t, func(t *testing.T, m maker) {
		q := m.open(t, "a")
		var many []Item
		for i := range 1000 {
			many = append(many, Item{ID: fmt.Sprint("a", i), Key: "a"})
		}
		if err := q.Put(t.Context(), many...); err != nil {
			t.Fatal(err)
		}
		put(t, q, "b", "b0", "b1")
		put(t, q, "c", "c0")
		if got := ids(lease(t, q, 6, time.Minute)); got != "a0 a1 b0 b1 c0 a2" {
			t.Errorf("first lease: %s", got)
		}
		put(t, q, "b", "b2")
		if got := ids(lease(t, q, 1, time.Minute)); got != "b2" {
			t.Errorf("second lease: %s, want b2: a had its turn", got)
		}
		q.Hold("a", time.Now().Add(time.Hour))
		if got := ids(lease(t, q, 6, time.Minute)); got != "" {
			t.Errorf("leased %s while its key is held", got)
		}
		put(t, q, "b", "b3")
		if got := ids(lease(t, q, 6, time.Minute)); got != "b3" {
			t.Errorf("leased %s, want b3: only a is held", got)
		}
		q.Unhold("a")
		if got := ids(lease(t, q, 2, time.Minute)); got != "a3 a4" {
			t.Errorf("leased %s after the hold", got)
		}
	})
}

// TestOwners: each item goes to one owner; what a dead one had comes back when its lease ends.
func TestOwners(t *testing.T) {
	run(t, func(t *testing.T, m maker) {
		a, b := m.open(t, "a"), m.open(t, "b")
		for i := range 50 {
			put(t, a, fmt.Sprint("k", i%3), fmt.Sprint(i))
		}
		var mu sync.Mutex
		seen := map[string]int{}
		var wg sync.WaitGroup
		for _, q := range []*Queue{a, b, a, b} {
			wg.Go(func() {
				for {
					items := lease(t, q, 3, time.Minute)
					if len(items) == 0 {
						return
					}
					for i := range items {
						mu.Lock()
						seen[items[i].ID]++
						mu.Unlock()
						if err := q.Done(t.Context(), &items[i]); err != nil {
							t.Error(err)
						}
					}
				}
			})
		}
		wg.Wait()
		if len(seen) != 50 {
			t.Errorf("%d items seen, want 50", len(seen))
		}
		for id, n := range seen {
			if n != 1 {
				t.Errorf("item %s was leased %d times", id, n)
			}
		}

		put(t, a, "k", "x")
		dead := lease(t, a, 1, 50*time.Millisecond)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		taken, err := b.Lease(ctx, 1, time.Minute)
		if err != nil || ids(taken) != "x" || taken[0].Deliveries != 2 {
			t.Fatalf("Lease of a dead owner's = %v, %v", taken, err)
		}
		if err := a.Done(t.Context(), &dead[0]); !errors.Is(err, ErrLost) {
			t.Errorf("Done by the one given up = %v, want ErrLost", err)
		}
		if err := b.Extend(t.Context(), &taken[0], time.Now().Add(time.Hour)); err != nil {
			t.Error(err)
		}
		if err := b.Done(t.Context(), &taken[0]); err != nil {
			t.Error(err)
		}
	})
}

// TestReopen: items and their leases survive; alone, a new server takes over at once.
func TestReopen(t *testing.T) {
	run(t, func(t *testing.T, m maker) {
		q := m.open(t, "a", alone)
		put(t, q, "k", "1", "2")
		lease(t, q, 1, time.Hour)
		q.Close()
		if err := q.Put(t.Context(), Item{ID: "3"}); !errors.Is(err, ErrClosed) {
			t.Errorf("Put after Close = %v, want ErrClosed", err)
		}
		if got := ids(lease(t, m.open(t, "b"), 5, time.Hour)); got != "2" {
			t.Errorf("beside a's lease: %s, want 2", got)
		}
		if got := ids(lease(t, m.open(t, "c", alone), 5, time.Hour)); got != "1 2" {
			t.Errorf("alone: %s, want both", got)
		}
	})
}

// TestPutTogether: many callers share transactions, and all is there afterwards.
func TestPutTogether(t *testing.T) {
	run(t, func(t *testing.T, m maker) {
		q := m.open(t, "a")
		var wg sync.WaitGroup
		for i := range 200 {
			wg.Go(func() { put(t, q, fmt.Sprint(i%10), fmt.Sprint(i)) })
		}
		wg.Wait()
		if s, err := q.Stats(t.Context(), ""); err != nil || s.Items != 200 {
			t.Errorf("Stats = %+v, %v, want 200 items", s, err)
		}
		// One that the database refuses does not spoil the others'.
		errs := make(chan error, 20)
		for i := range 20 {
			go func() {
				it := Item{ID: "good", Key: "k"}
				if i == 7 && m.postgres {
					it.ID = "bad\x00"
				}
				errs <- q.Put(t.Context(), it)
			}()
		}
		bad := 0
		for range 20 {
			if <-errs != nil {
				bad++
			}
		}
		if want := map[bool]int{true: 1}[m.postgres]; bad != want {
			t.Errorf("%d of 20 were refused, want %d", bad, want)
		}
	})
}

// TestTime: Lease waits for just as long as it must.
func TestTime(t *testing.T) {
	m := sqlite(t)
	m.db.Close()
	synctest.Test(t, func(t *testing.T) {
		db, err := OpenSQLite(filepath.Join(t.TempDir(), "queue.db"))
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		q, err := Open(t.Context(), Config{DB: db, Owner: "a", Alone: true})
		if err != nil {
			t.Fatal(err)
		}
		defer q.Close()
		began := time.Now()
		at := func(want time.Duration, what string) {
			t.Helper()
			if got := time.Since(began); got != want {
				t.Errorf("%s after %v, want %v", what, got, want)
			}
		}
		must := func(items []Item, err error) *Item {
			t.Helper()
			if err != nil || len(items) != 1 {
				t.Fatalf("Lease = %v, %v", items, err)
			}
			return &items[0]
		}
		go func() {
			time.Sleep(10 * time.Second)
			q.Put(context.Background(), Item{ID: "1", Key: "k"})
		}()
		it := must(q.Lease(t.Context(), 1, time.Minute))
		at(10*time.Second, "Lease woke")
		if err := q.Retry(t.Context(), it, time.Now().Add(time.Minute), true, ""); err != nil {
			t.Fatal(err)
		}
		it = must(q.Lease(t.Context(), 1, 30*time.Second))
		at(70*time.Second, "retry")
		time.Sleep(20 * time.Second)
		if err := q.Extend(t.Context(), it, time.Now().Add(40*time.Second)); err != nil {
			t.Fatal(err)
		}
		must(q.Lease(t.Context(), 1, time.Second))
		at(130*time.Second, "end of the extended lease")
		q.Hold("k", time.Now().Add(time.Hour))
		it = must(q.Lease(t.Context(), 1, time.Second))
		at(130*time.Second+time.Hour, "end of the hold")
		if it.Attempts != 1 || it.Deliveries != 4 {
			t.Errorf("item = %+v, want 1 attempt and 4 deliveries", it)
		}
		if err := q.Done(t.Context(), it); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 24*time.Hour)
		defer cancel()
		if _, err := q.Lease(ctx, 1, time.Second); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Lease of nothing = %v", err)
		}
		go func() {
			time.Sleep(time.Second)
			q.Close()
		}()
		if _, err := q.Lease(context.Background(), 1, time.Second); !errors.Is(err, ErrClosed) {
			t.Errorf("Lease while the queue is closed = %v", err)
		}
	})
}

func BenchmarkPut(b *testing.B) {
	for _, callers := range []int{1, 64} {
		b.Run(fmt.Sprint(callers), func(b *testing.B) {
			q := sqlite(b).open(b, "a", alone)
			b.SetParallelism(callers)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					put(b, q, "k", "id")
				}
			})
		})
	}
}
