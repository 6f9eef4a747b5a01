package backendtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hearth-run/hearth/internal/backend"
	"github.com/hearth-run/hearth/internal/code"
	"github.com/hearth-run/hearth/internal/instance"
)

// Memory keeps the contract, too.
func TestMemoryContract(t *testing.T) {
	m := NewMemory(Script{
		LaunchTime: 2 * time.Millisecond, InitTime: time.Millisecond,
		CanRun: func(d backend.Deployment) error {
			if d.Runtime != "provided.al2023" {
				return fmt.Errorf("%w: %s", backend.ErrUnsupportedRuntime, d.Runtime)
			}
			return nil
		},
		Launch: func(_ context.Context, _ int, d backend.Deployment) error {
			if d.CodeHash == strings.Repeat("0", 64) {
				return fmt.Errorf("%w: %s", backend.ErrNoCode, d.CodeHash)
			}
			return nil
		},
		Handle: func(c Call) Answer {
			var ask struct {
				Do, Text string
				N        int
			}
			json.Unmarshal(c.Event.Payload, &ask)
			switch ask.Do {
			case "sleep":
				wait(c.Context, time.Duration(ask.N)*time.Millisecond)
			case "exit":
				return Answer{Crash: true, Status: ask.N}
			}
			b, _ := json.Marshal(ask.Text)
			return Answer{Payload: b, Print: []string{ask.Text}}
		},
	})
	Run(t, Harness{
		Scripted: true,
		New:      func(_, owner string, _ *code.Store) (backend.Backend, error) { return m.engine.joinAs(owner), nil },
		Left: func(_, owner string) (left []string) {
			for _, h := range m.Live() {
				if h.Owner == owner {
					left = append(left, h.String())
				}
			}
			return left
		},
	})
}

// What a dead server left is reaped; a live one's is not.
func TestMemoryReap(t *testing.T) {
	m := NewMemory(Script{})
	dead, live := m.Peer(), m.Peer()
	for _, b := range []*Memory{dead, live} {
		if _, err := b.Launch(t.Context(), backend.Deployment{}, backend.Output{}); err != nil {
			t.Fatal(err)
		}
	}
	dead.Die()
	if err := m.ReapStale(t.Context()); err != nil {
		t.Fatal(err)
	}
	if left := m.Live(); len(left) != 1 || left[0].Owner != live.owner {
		t.Errorf("after ReapStale there are %v, want the one of %s", left, live.owner)
	}
}

func TestMemoryTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory(Script{LaunchTime: time.Second, InitTime: 2 * time.Second, SettleTime: time.Second, Handle: func(c Call) Answer {
			switch string(c.Event.Payload) {
			case `"hang"`:
				<-c.Context.Done()
				return Answer{}
			case `"crash"`:
				return Answer{Crash: true}
			case `"end"`:
				return Answer{End: &instance.EndReason{Kind: instance.EndOutOfMemory}}
			}
			time.Sleep(time.Second)
			return Answer{Payload: []byte(`"done"`)}
		}})
		began := time.Now()
		elapsed := func() time.Duration { d := time.Since(began); began = time.Now(); return d }
		in, err := m.Launch(t.Context(), backend.Deployment{}, backend.Output{})
		if err != nil || elapsed() != time.Second {
			t.Fatalf("Launch = %v after %v, want success after a second", err, time.Since(began))
		}
		for _, tt := range []struct {
			payload, errorType string
			takes              time.Duration
		}{
			{`1`, "", 3 * time.Second}, // INIT and a second of work
			{`"hang"`, "Sandbox.Timedout", 5 * time.Second},
			{`"crash"`, "Runtime.ExitError", 2 * time.Second},
			{`1`, "", 3 * time.Second}, // INIT again
			{`1`, "", time.Second},
		} {
			res, err := in.Agent.Invoke(t.Context(), &instance.Event{RequestID: "r", Payload: []byte(tt.payload), Timeout: 5 * time.Second}, nil)
			if err != nil || res.ErrorType != tt.errorType || elapsed() != tt.takes {
				t.Errorf("Invoke(%s) = %v, %v; want error type %q after %v", tt.payload, res, err, tt.errorType, tt.takes)
			}
			<-res.Settled
			if d := elapsed(); d != time.Second {
				t.Errorf("settled after %v, want a second", d)
			}
		}
		_, err = in.Agent.Invoke(t.Context(), &instance.Event{Payload: []byte(`"end"`), Timeout: time.Second}, nil)
		if !errors.Is(err, instance.ErrEnded) || in.Agent.Reason().Kind != instance.EndOutOfMemory {
			t.Errorf("Invoke of an instance that ends = %v, %v", err, in.Agent.Reason())
		}
		if _, err := in.Agent.Invoke(t.Context(), &instance.Event{}, nil); !errors.Is(err, instance.ErrNotHandedOver) {
			t.Errorf("Invoke of an ended instance = %v, want ErrNotHandedOver", err)
		}
		if err := m.Close(); err != nil || len(m.Live()) != 0 {
			t.Errorf("Close = %v, %d instances left", err, len(m.Live()))
		}
	})
}

func TestMemoryCancelledLaunch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory(Script{LaunchTime: time.Second})
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if _, err := m.Launch(ctx, backend.Deployment{}, backend.Output{}); !errors.Is(err, context.DeadlineExceeded) || len(m.Live()) != 0 {
			t.Errorf("Launch = %v, leaving %v", err, m.Live())
		}
	})
}
