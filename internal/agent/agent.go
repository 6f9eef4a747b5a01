// Package agent runs a function in its execution environment: it serves the
// Runtime, Extensions and Telemetry APIs, drives the phases INIT, INVOKE and
// SHUTDOWN with AWS's limits, writes the platform's log lines, and supervises
// the environment's processes.
//
// Agent implements instance.Agent. The server uses it directly for local
// processes; cmd/hearth-agent hosts it everywhere else.
package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/hearth-run/hearth/internal/instance"
)

// Config is what an Agent needs.
type Config struct {
	Spec       instance.Spec
	Supervisor Supervisor         // owned by the Agent from New on: it closes it
	Logs       instance.LogWriter // takes the function's, the extensions' and the platform's records
	// Listen is the address of the APIs. "" means a free port of 127.0.0.1.
	Listen string
	Logger *slog.Logger // nil discards
}

// Agent is one execution environment. Its methods may be called concurrently.
type Agent struct {
	cfg  Config
	spec instance.Spec
	sup  Supervisor
	out  *output
	log  *slog.Logger
	api  *apiServer

	ready chan struct{}
	ended chan struct{}
	turns chan struct{} // one for each event at a time
	bg    sync.WaitGroup

	mu       sync.Mutex // guards what follows
	env      *environment
	inits    int // INITs begun
	reason   instance.EndReason
	stopping bool
}

var _ instance.Agent = (*Agent)(nil)

// New returns an agent that starts nothing until Start.
func New(cfg Config) (*Agent, error) {
	s := cfg.Spec
	if len(s.Command) == 0 {
		return nil, errors.New("agent: the spec has no command")
	}
	if s.InitTimeout == 0 {
		s.InitTimeout = 10 * time.Second
	}
	if s.InitType == "" {
		s.InitType = "on-demand"
	}
	s.MaxConcurrency = max(1, s.MaxConcurrency)
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	a := &Agent{
		cfg:   cfg,
		spec:  s,
		sup:   cfg.Supervisor,
		log:   cfg.Logger,
		ready: make(chan struct{}),
		ended: make(chan struct{}),
		turns: make(chan struct{}, s.MaxConcurrency),
	}
	a.out = newOutput(cfg.Logs)
	return a, nil
}

// Start opens the APIs' listener and begins INIT. On error nothing runs.
func (a *Agent) Start(ctx context.Context) error {
	listen := a.cfg.Listen
	if listen == "" {
		listen = "127.0.0.1:0"
	}
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp4", listen)
	if err != nil {
		return fmt.Errorf("agent: listen for the Runtime API: %w", err)
	}
	a.api = newAPIServer(a, ln)
	a.bg.Go(a.api.serve)
	a.bg.Go(func() {
		select {
		case <-a.sup.Lost():
			a.end(instance.EndReason{Kind: instance.EndCrash, ExitCode: -1, Detail: "the instance's supervisor is gone"})
		case <-a.ended:
		}
	})
	a.mu.Lock()
	env := a.newEnvironmentLocked()
	a.mu.Unlock()
	a.bg.Go(func() {
		env.init(phaseInit, time.Now().Add(a.spec.InitTimeout), "")
		close(a.ready)
	})
	return nil
}

// Addr returns the APIs' address, host:port.
func (a *Agent) Addr() string { return a.api.ln.Addr().String() }

// Ready implements instance.Agent.
func (a *Agent) Ready() <-chan struct{} { return a.ready }

// Ended implements instance.Agent.
func (a *Agent) Ended() <-chan struct{} { return a.ended }

// Reason implements instance.Agent.
func (a *Agent) Reason() instance.EndReason {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.reason
}
