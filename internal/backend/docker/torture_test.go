package docker

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/moby/moby/client"

	"github.com/hearth-run/hearth/internal/backend"
	"github.com/hearth-run/hearth/internal/backend/backendtest"
	"github.com/hearth-run/hearth/internal/code"
	"github.com/hearth-run/hearth/internal/hearthtest"
)

// serverJob is what a server in a process of its own does: see TestMain.
type serverJob struct {
	Host, Dir, Owner, Code, Hash string
	Remote                       bool
	Launches                     int
}

// TestMain is a server, too: one that launches instances, prints their handles,
// and waits to be killed.
func TestMain(m *testing.M) {
	job := os.Getenv("HEARTH_TEST_SERVER")
	if job == "" {
		backendtest.Main(m, harness)
	}
	if err := beServer(job); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func beServer(text string) error {
	var job serverJob
	if err := json.Unmarshal([]byte(text), &job); err != nil {
		return err
	}
	ctx := context.Background()
	e, err := Open(ctx, job.Host)
	if err != nil {
		return err
	}
	store, err := code.Open(job.Code, code.Config{})
	if err != nil {
		return err
	}
	b, err := New(Config{
		Engine: e, Dir: job.Dir, Owner: job.Owner, Code: store, Pull: PullNever, Remote: job.Remote,
		Agent: agent,
	})
	if err != nil {
		return err
	}
	f := &fixture{hash: job.Hash}
	for range job.Launches {
		in, err := b.Launch(ctx, f.deployment(), backend.Output{Logs: &records{}})
		if err != nil {
			return err
		}
		line, _ := json.Marshal(in.Handle)
		fmt.Println(string(line))
	}
	fmt.Println("{}")
	// Launches go on until the end, so that the kill finds half-made ones.
	for {
		in, err := b.Launch(ctx, f.deployment(), backend.Output{Logs: &records{}})
		if err == nil {
			err = b.Terminate(ctx, in.Handle)
		}
		if err != nil {
			return err
		}
	}
}

// startServer starts a server in another process, and returns its handles once all are launched.
func (f *fixture) startServer(host string, remote bool, launches int) (*exec.Cmd, string, []backend.Handle) {
	f.t.Helper()
	owner := "test-other-" + newID()
	job, _ := json.Marshal(serverJob{Host: host, Dir: f.cfg.Dir, Owner: owner, Code: filepath.Join(filepath.Dir(f.cfg.Dir), "code"), Hash: f.hash, Remote: remote, Launches: launches})
	self, err := os.Executable()
	if err != nil {
		f.t.Fatal(err)
	}
	cmd := exec.Command(self)
	agent, err := nativeAgent()
	if err != nil {
		f.t.Fatal(err)
	}
	cmd.Env = append(os.Environ(), "HEARTH_TEST_SERVER="+string(job), "HEARTH_TEST_AGENT="+agent)
	cmd.Stderr = f.t.Output()
	out, err := cmd.StdoutPipe()
	if err != nil {
		f.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	var handles []backend.Handle
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		var h backend.Handle
		if err := json.Unmarshal(lines.Bytes(), &h); err != nil {
			f.t.Fatalf("server: %s", lines.Text())
		}
		if h.ID == "" {
			return cmd, owner, handles
		}
		handles = append(handles, h)
	}
	f.t.Fatal("the server ended before it had launched")
	return nil, "", nil
}

func (f *fixture) exists(id string) bool {
	f.t.Helper()
	r, err := f.engine.Client.ContainerInspect(context.Background(), id, client.ContainerInspectOptions{})
	return err == nil && r.Container.State.Running
}

// A live server's instances are left alone; those of one that was killed are
// ended, with all that was half-made. Another server can end one by its handle.
func TestOwners(t *testing.T) {
	engines(t, func(t *testing.T, open func(*testing.T) *Engine) {
		for _, remote := range []bool{false, true} {
			t.Run(fmt.Sprintf("remote=%t", remote), func(t *testing.T) {
				e := open(t)
				f := newFixture(t, e, func(c *Config) { c.Remote = remote })
				mine, _ := f.launch(f.deployment())
				defer f.terminate(mine)
				server, owner, handles := f.startServer(e.Host, remote, 2)
				if err := f.ReapStale(t.Context()); err != nil {
					t.Errorf("ReapStale() = %v, want nil", err)
				}
				for _, h := range append(handles, mine.Handle) {
					if !f.exists(h.ID) {
						t.Errorf("ReapStale ended %v, whose server lives", h)
					}
				}
				if err := f.Terminate(t.Context(), handles[0]); err != nil || f.exists(handles[0].ID) {
					t.Errorf("Terminate(%v) = %v, and it exists: %t; want it gone", handles[0], err, f.exists(handles[0].ID))
				}
				server.Process.Kill()
				server.Wait()
				f.reapAll(owner)
				ask[map[string]any](t, mine, `{}`)
				if _, err := os.Stat(filepath.Join(f.cfg.Dir, owner)); !os.IsNotExist(err) {
					t.Errorf("the dead server's folder is still there (%v)", err)
				}
			})
		}
	})
}

// reapAll reaps until nothing of owner's is left: its last request may still be
// under way in the engine when it is dead.
func (f *fixture) reapAll(owner string) {
	f.t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(200 * time.Millisecond) {
		err := f.ReapStale(context.Background())
		list, listErr := f.engine.Client.ContainerList(context.Background(), client.ContainerListOptions{All: true, Filters: make(client.Filters).Add("label", labelOwner+"="+owner)})
		volumes, volumesErr := f.engine.Client.VolumeList(context.Background(), client.VolumeListOptions{Filters: make(client.Filters).Add("label", labelOwner+"="+owner)})
		_, dirErr := os.Stat(filepath.Join(f.cfg.Dir, owner))
		if err = errors.Join(err, listErr, volumesErr); err == nil && len(list.Items) == 0 && len(volumes.Items) == 0 && os.IsNotExist(dirErr) {
			return
		}
		if time.Now().After(end) {
			f.t.Fatalf("after 20 s ReapStale() = %v, with %d containers and %d volumes of %s left", err, len(list.Items), len(volumes.Items), owner)
		}
	}
}

// line is a way to the engine that can be cut.
type line struct {
	ln   net.Listener
	to   string
	mu   sync.Mutex
	cut  bool
	open map[net.Conn]bool
}

func newLine(t *testing.T, e *Engine) *line {
	path, ok := strings.CutPrefix(e.Host, "unix://")
	if !ok {
		t.Skip("the engine is at no Unix socket: " + e.Host)
	}
	dir, err := os.MkdirTemp("", "line")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	ln, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	l := &line{ln: ln, to: path, open: map[net.Conn]bool{}}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go l.carry(c)
		}
	}()
	return l
}

func (l *line) host() string { return "unix://" + l.ln.Addr().String() }

func (l *line) carry(c net.Conn) {
	defer c.Close()
	there, err := net.Dial("unix", l.to)
	if err != nil {
		return
	}
	defer there.Close()
	l.mu.Lock()
	if l.cut {
		l.mu.Unlock()
		return
	}
	l.open[c], l.open[there] = true, true
	l.mu.Unlock()
	var wg sync.WaitGroup
	for _, p := range [][2]net.Conn{{c, there}, {there, c}} {
		wg.Go(func() {
			io.Copy(p[0], p[1])
			p[0].(*net.UnixConn).CloseWrite()
		})
	}
	wg.Wait()
	l.mu.Lock()
	delete(l.open, c)
	delete(l.open, there)
	l.mu.Unlock()
}

// set cuts the line, with all that is under way, or joins it again.
func (l *line) set(cut bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut = cut
	if cut {
		for c := range l.open {
			c.Close()
		}
	}
}

// An engine that goes away for a while costs no instance that lives on, and
// launches meanwhile fail as unreachable.
func TestEngineAway(t *testing.T) {
	engines(t, func(t *testing.T, open func(*testing.T) *Engine) {
		l := newLine(t, open(t))
		e, err := Open(t.Context(), l.host())
		if err != nil {
			t.Fatal(err)
		}
		f := newFixture(t, e)
		in, _ := f.launch(f.deployment())
		ask[map[string]any](t, in, `{}`)
		l.set(true)
		if _, err := f.Launch(t.Context(), f.deployment(), backend.Output{Logs: &records{}}); !errors.Is(err, backend.ErrUnreachable) {
			t.Errorf("Launch() without an engine = %v, want ErrUnreachable", err)
		}
		if err := f.ReapStale(t.Context()); !errors.Is(err, backend.ErrUnreachable) {
			t.Errorf("ReapStale() without an engine = %v, want ErrUnreachable", err)
		}
		if !f.remote { // its wire does not go through the engine
			ask[map[string]any](t, in, `{}`)
		}
		l.set(false)
		ask[map[string]any](t, in, `{}`)
		again, _ := f.launch(f.deployment())
		f.terminate(again)
		f.terminate(in)
		if err := f.ReapStale(t.Context()); err != nil {
			t.Errorf("ReapStale() = %v, want nil", err)
		}
	})
}

// Launches and ends by the hundred, given up at random, with an engine that
// comes and goes and servers that are killed, leave nothing; and another server's
// instances serve on.
func TestTorture(t *testing.T) {
	rounds := 200
	if testing.Short() {
		rounds = 24
	}
	engines(t, func(t *testing.T, open func(*testing.T) *Engine) {
		if strings.HasSuffix(t.Name(), "podman-rootless") && !hearthtest.Required("torture-rootless") {
			t.Skip("Podman's rootful torture covers it; HEARTH_TEST_REQUIRE=torture-rootless runs it, too")
		}
		e := open(t)
		bystander := newFixture(t, e)
		theirs, _ := bystander.launch(bystander.deployment())
		defer bystander.terminate(theirs)

		l := newLine(t, e)
		victim, err := Open(t.Context(), l.host())
		if err != nil {
			t.Fatal(err)
		}
		f := newFixture(t, victim, func(c *Config) { c.Prepared = 1 })

		stop := make(chan struct{})
		var disturb sync.WaitGroup
		disturb.Go(func() {
			for {
				select {
				case <-stop:
					return
				case <-time.After(time.Duration(1000+rand.IntN(5000)) * time.Millisecond):
					l.set(true)
					time.Sleep(time.Duration(rand.IntN(60)) * time.Millisecond)
					l.set(false)
				}
			}
		})
		disturb.Go(func() {
			for range 3 {
				server, owner, _ := bystander.startServer(e.Host, false, 1)
				time.Sleep(time.Duration(rand.IntN(500)) * time.Millisecond)
				server.Process.Kill()
				server.Wait()
				bystander.reapAll(owner)
			}
		})
		var launched, failed, late int
		var mu sync.Mutex
		turns := make(chan struct{}, 4)
		var wg sync.WaitGroup
		for range rounds {
			turns <- struct{}{}
			wg.Go(func() {
				defer func() { <-turns }()
				ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
				if rand.IntN(3) == 0 {
					cancel()
					ctx, cancel = context.WithTimeout(t.Context(), time.Duration(rand.IntN(600))*time.Millisecond)
				}
				defer cancel()
				in, err := f.Launch(ctx, f.deployment(), backend.Output{Logs: &records{}})
				mu.Lock()
				switch {
				case err == nil:
					launched++
				case ctx.Err() != nil:
					late++
				default:
					failed++
					t.Logf("failed: %v", err)
				}
				mu.Unlock()
				if err != nil {
					time.Sleep(30 * time.Millisecond)
					if ctx.Err() == nil && !errors.Is(err, backend.ErrUnreachable) && !errors.Is(err, backend.ErrStartFailed) {
						t.Errorf("Launch() = %v, want ErrUnreachable or ErrStartFailed", err)
					}
					return
				}
				if rand.IntN(2) == 0 {
					try(ctx, in, `{}`)
				}
				for {
					ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
					err := f.Terminate(ctx, in.Handle)
					cancel()
					if err == nil {
						return
					}
					if !errors.Is(err, backend.ErrUnreachable) {
						t.Errorf("Terminate() = %v, want nil or ErrUnreachable", err)
						return
					}
					time.Sleep(20 * time.Millisecond)
				}
			})
		}
		wg.Wait()
		close(stop)
		disturb.Wait()
		l.set(false)
		t.Logf("%d launched, %d given up, %d failed for the engine", launched, late, failed)
		if launched < rounds/4 {
			t.Errorf("only %d of %d launches succeeded", launched, rounds)
		}
		if err := f.close(); err != nil {
			t.Errorf("Close() = %v, want nil", err)
		}
		f.wantNothing(f.owner)
		ask[map[string]any](t, theirs, `{}`)
		entries, _ := os.ReadDir(f.cfg.Dir)
		for _, e := range entries {
			t.Errorf("the folder %s is left", e.Name())
		}
	})
}
