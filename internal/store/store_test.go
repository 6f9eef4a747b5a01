package store_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hearth-run/hearth/internal/store"
	"github.com/hearth-run/hearth/internal/store/storetest"
)

func TestSQLite(t *testing.T)     { storetest.Run(t, "sqlite") }
func TestPostgreSQL(t *testing.T) { storetest.Run(t, "postgres") }

// A folder has one user at a time, and the error names it.
func TestFolderInUse(t *testing.T) {
	cfg := storetest.Config(t, "sqlite")
	s := storetest.Open(t, cfg)
	_, err := store.Open(t.Context(), cfg)
	if !errors.Is(err, store.ErrInUse) || !strings.Contains(err.Error(), fmt.Sprintf("process %d", os.Getpid())) {
		t.Errorf("second Open = %v, want ErrInUse by process %d", err, os.Getpid())
	}
	s.Close()
	storetest.Open(t, cfg)
}

// Servers on one PostgreSQL hear of each other's changes within a second.
func TestWatchOtherServer(t *testing.T) {
	cfg := storetest.Config(t, "postgres")
	a, b := storetest.Open(t, cfg), storetest.Open(t, cfg)
	heard := make(chan store.Change, 10)
	b.Watch(func(c store.Change) { heard <- c })
	f := storetest.Function("f")
	start := time.Now()
	err := a.Update(t.Context(), func(tx *store.Tx) error { return tx.Functions().Insert(f) })
	if err != nil {
		t.Fatal(err)
	}
	want := store.Change{Table: "functions", Key: f.Key}
	for timeout := time.After(5 * time.Second); ; {
		select {
		case c := <-heard:
			if c != want {
				continue // another test's, in the same database
			}
			if d := time.Since(start); d > time.Second {
				t.Errorf("heard after %v, want within a second", d)
			}
			return
		case <-timeout:
			t.Fatal("the other server heard nothing")
		}
	}
}

// While the listener is cut off, Live says so; when it is back, anything may have changed.
func TestListenerLost(t *testing.T) {
	cfg := storetest.Config(t, "postgres")
	cfg.PostgresURL += "&application_name=lost-" + fmt.Sprint(os.Getpid())
	s := storetest.Open(t, cfg)
	if !s.Live() {
		t.Fatal("Live = false after Open")
	}
	back := make(chan bool, 100)
	s.Watch(func(c store.Change) {
		if c.Table == "" {
			back <- true
		}
	})
	kill := func(tx *store.Tx) error {
		_, err := tx.Exec(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = ? AND pid <> pg_backend_pid()`, "lost-"+fmt.Sprint(os.Getpid()))
		return err
	}
	if err := s.Update(t.Context(), kill); err != nil {
		t.Fatal(err)
	}
	select {
	case <-back:
	case <-time.After(10 * time.Second):
		t.Fatal("the listener did not come back")
	}
	if !s.Live() {
		t.Error("Live = false after the listener is back")
	}
}

// What Update acknowledged survives kill -9.
func TestKill(t *testing.T) {
	if dir := os.Getenv("STORE_TEST_KILL_DIR"); dir != "" {
		writeUntilKilled(dir)
	}
	cfg := storetest.Config(t, "sqlite")
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKill$")
	cmd.Env = append(os.Environ(), "STORE_TEST_KILL_DIR="+cfg.Dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	var acknowledged []string
	for len(acknowledged) < 300 && lines.Scan() {
		acknowledged = append(acknowledged, lines.Text())
	}
	cmd.Process.Kill()
	for lines.Scan() {
		acknowledged = append(acknowledged, lines.Text())
	}
	_ = cmd.Wait()
	if len(acknowledged) < 300 {
		t.Fatalf("the writer ended after %d writes", len(acknowledged))
	}
	s := storetest.Open(t, cfg)
	err = s.View(t.Context(), func(tx *store.Tx) error {
		for _, name := range acknowledged {
			if _, err := tx.Functions().Get(storetest.Function(name).Key); err != nil {
				t.Errorf("%s was acknowledged: %v", name, err)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func writeUntilKilled(dir string) {
	s, err := store.Open(context.Background(), store.Config{Dir: dir})
	if err != nil {
		panic(err)
	}
	var n atomic.Int64
	for range 8 {
		go func() {
			for {
				name := fmt.Sprintf("f%d", n.Add(1))
				err := s.Update(context.Background(), func(tx *store.Tx) error { return tx.Functions().Insert(storetest.Function(name)) })
				if err != nil {
					panic(err)
				}
				os.Stdout.WriteString(name + "\n")
			}
		}()
	}
	select {}
}

// BenchmarkStore measures what the control plane does most, with 10,000 functions there.
func BenchmarkStore(b *testing.B) {
	for _, database := range []string{"sqlite", "postgres"} {
		b.Run(database, func(b *testing.B) {
			cfg := storetest.Config(b, database)
			s := storetest.Open(b, cfg)
			fill(b, s, 10_000)
			b.Run("Get", func(b *testing.B) {
				for i := range b.N {
					k := storetest.Function(fmt.Sprintf("fill%05d", i%10_000)).Key
					err := s.View(b.Context(), func(tx *store.Tx) error {
						_, err := tx.Functions().Get(k)
						return err
					})
					if err != nil {
						b.Fatal(err)
					}
				}
			})
			b.Run("ListPage", func(b *testing.B) {
				for range b.N {
					err := s.View(b.Context(), func(tx *store.Tx) error {
						_, err := tx.Functions().List(store.Range[store.Key]{Within: store.In(store.Scope{AccountID: "000000000000", Region: "us-east-1"}), Limit: 50})
						return err
					})
					if err != nil {
						b.Fatal(err)
					}
				}
			})
			var n atomic.Int64
			insert := func(b *testing.B) {
				f := storetest.Function(fmt.Sprintf("new%d", n.Add(1)))
				if err := s.Update(b.Context(), func(tx *store.Tx) error { return tx.Functions().Insert(f) }); err != nil {
					b.Error(err)
				}
			}
			b.Run("Insert", func(b *testing.B) {
				for range b.N {
					insert(b)
				}
			})
			b.Run("InsertParallel", func(b *testing.B) {
				b.SetParallelism(8)
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						insert(b)
					}
				})
			})
			b.Run("Open", func(b *testing.B) {
				s.Close()
				for range b.N {
					s, err := store.Open(b.Context(), cfg)
					if err != nil {
						b.Fatal(err)
					}
					s.Close()
				}
			})
		})
	}
}

func fill(tb testing.TB, s *store.Store, n int) {
	for i := 0; i < n; i += 1000 {
		err := s.Update(tb.Context(), func(tx *store.Tx) error {
			for j := i; j < min(n, i+1000); j++ {
				if err := tx.Functions().Insert(storetest.Function(fmt.Sprintf("fill%05d", j))); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			tb.Fatal(err)
		}
	}
}
