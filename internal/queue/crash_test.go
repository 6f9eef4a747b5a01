package queue

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// TestMain is the process that TestKilled kills, when the environment says so.
func TestMain(m *testing.M) {
	if path := os.Getenv("HEARTH_QUEUE_TEST_DB"); path != "" {
		putForever(path)
	}
	os.Exit(m.Run())
}

// putForever puts items from several goroutines and says which were taken.
func putForever(path string) {
	db, err := OpenSQLite(path)
	if err != nil {
		panic(err)
	}
	q, err := Open(context.Background(), Config{DB: db, Owner: "child", Alone: true})
	if err != nil {
		panic(err)
	}
	for g := range 8 {
		go func() {
			for i := 0; ; i++ {
				id := fmt.Sprintf("%d-%d-%d", os.Getpid(), g, i)
				if err := q.Put(context.Background(), Item{ID: id, Key: fmt.Sprint(g), Body: make([]byte, 100+i%8000)}); err != nil {
					panic(err)
				}
				fmt.Println(id) // one write each
			}
		}()
	}
	for {
		if _, err := q.Lease(context.Background(), 3, time.Hour); err != nil {
			panic(err)
		}
	}
}

// TestKilled: what Put took is there after kill -9, and due at once for who is alone.
func TestKilled(t *testing.T) {
	path := filepath.Join(t.TempDir(), "queue.db")
	taken := map[string]bool{}
	for range 3 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "HEARTH_QUEUE_TEST_DB="+path)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for n := 0; lines.Scan(); n++ {
			if n == 100 {
				cmd.Process.Kill()
			}
			taken[lines.Text()] = true
		}
		cmd.Wait()
	}
	if len(taken) < 300 {
		t.Fatalf("%d items taken before the kills", len(taken))
	}
	db, err := OpenSQLite(path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	q := maker{db: db}.open(t, "heir", alone)
	for {
		items := lease(t, q, 100, time.Hour)
		if len(items) == 0 {
			break
		}
		for i := range items {
			delete(taken, items[i].ID)
			if err := q.Done(t.Context(), &items[i]); err != nil {
				t.Fatal(err)
			}
		}
	}
	if len(taken) > 0 {
		t.Errorf("%d items are lost", len(taken))
	}
}
