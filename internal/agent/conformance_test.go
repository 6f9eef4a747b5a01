package agent

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/hearth-run/hearth/internal/agent/agenttest"
	"github.com/hearth-run/hearth/internal/hearthtest"
	"github.com/hearth-run/hearth/internal/instance"
)

func silent(t *testing.T, concurrency int) instance.Spec {
	return instance.Spec{FunctionName: "f", FunctionVersion: "$LATEST", MemoryMB: 128, Timeout: 3 * time.Second, MaxConcurrency: concurrency,
		Command: []string{hearthtest.Need(t, "sleep"), "1000"}, WorkDir: t.TempDir(), Environment: map[string]string{}}
}

func TestConformance(t *testing.T) {
	agenttest.Run(t, func(t *testing.T, concurrency int) agenttest.Subject {
		a, err := New(Config{Spec: silent(t, concurrency), Supervisor: newLocal(), Logs: &logBuffer{}})
		if err != nil {
			t.Fatal(err)
		}
		if err := a.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { a.Shutdown(context.Background()) })
		return agenttest.Subject{Agent: a, API: a.Addr()}
	})
}

// The same over the wire, as in a container.
func TestConformanceOverWire(t *testing.T) {
	agenttest.Run(t, func(t *testing.T, concurrency int) agenttest.Subject {
		ln, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		agents := make(chan *Agent, 1)
		s, err := instance.NewServer(instance.ServerConfig{Secret: []byte("0123456789abcdef"), Start: func(ctx context.Context, spec instance.Spec, logs instance.LogWriter) (instance.Agent, error) {
			a, err := New(Config{Spec: spec, Supervisor: newLocal(), Logs: logs})
			if err == nil {
				err = a.Start(ctx)
			}
			if err == nil {
				agents <- a
			}
			return a, err
		}})
		if err != nil {
			t.Fatal(err)
		}
		served := make(chan error, 1)
		go func() { served <- s.Serve(ln) }()
		c, err := instance.Connect(t.Context(), instance.ClientConfig{Secret: []byte("0123456789abcdef"), Dial: func(ctx context.Context) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp4", ln.Addr().String())
		}})
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Start(silent(t, concurrency), &logBuffer{}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			c.Shutdown(context.Background())
			c.Close()
			<-served
		})
		return agenttest.Subject{Agent: c, API: (<-agents).Addr()}
	})
}
