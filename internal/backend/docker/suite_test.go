package docker

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/moby/moby/client"

	"github.com/hearth-run/hearth/internal/backend"
	"github.com/hearth-run/hearth/internal/backend/backendtest"
	"github.com/hearth-run/hearth/internal/code"
)

// suiteHost names the engine to a server that the suite starts in another process.
const suiteHost = "HEARTH_TEST_SUITE_HOST"

func TestSuite(t *testing.T) {
	engines(t, func(t *testing.T, open func(*testing.T) *Engine) {
		e := open(t)
		agent, err := nativeAgent()
		if err != nil {
			t.Fatal(err)
		}
		t.Setenv(suiteHost, e.Host)
		t.Setenv("HEARTH_TEST_AGENT", agent)
		h, err := harness()
		if err != nil {
			t.Fatal(err)
		}
		h.MemoryLimited = !e.Rootless
		backendtest.Run(t, h)
	})
}

// harness brings the engine at suiteHost to the suite.
func harness() (backendtest.Harness, error) {
	host := os.Getenv(suiteHost)
	return backendtest.Harness{
		New: func(dir, owner string, store *code.Store) (backend.Backend, error) {
			e, err := Open(context.Background(), host)
			if err != nil {
				return nil, err
			}
			return New(Config{Engine: e, Dir: filepath.Join(dir, "docker"), Owner: owner, Code: store, Pull: PullNever, Agent: agent})
		},
		Left:         func(dir, owner string) []string { return left(host, dir, owner) },
		ReadOnlyCode: true, MemoryLimited: true,
	}, nil
}

// left lists what is left of a server.
func left(host, dir, owner string) (all []string) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if _, err := os.Stat(filepath.Join(dir, "docker", owner)); err == nil {
		files, _ := filepath.Glob(filepath.Join(dir, "docker", owner, "*"))
		for _, f := range files {
			if filepath.Base(f) != lockName {
				all = append(all, f)
			}
		}
	}
	e, err := Open(ctx, host)
	if err != nil {
		return append(all, err.Error())
	}
	defer e.Client.Close()
	filter := make(client.Filters).Add("label", labelOwner+"="+owner)
	containers, err := e.Client.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: filter})
	if err != nil {
		return append(all, err.Error())
	}
	for _, c := range containers.Items {
		if c.Labels[labelKind] != "owner" { // it goes with its server
			all = append(all, c.Labels[labelKind]+" container "+short(c.ID)+" "+string(c.State))
		}
	}
	return all
}
