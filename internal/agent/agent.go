// Package agent runs a function in its execution environment: it serves the
// Runtime, Extensions and Telemetry APIs, drives the phases INIT, INVOKE and
// SHUTDOWN with AWS's limits, writes the platform's log lines, and supervises
// the environment's processes.
//
// Agent implements instance.Agent. The server uses it directly for local
// processes; cmd/hearth-agent hosts it everywhere else. How it works is told in
// docs/agent.md.
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
	Supervisor Supervisor         // owned by the Agent once Start succeeded: it closes it
	Logs       instance.LogWriter // takes the function's, the extensions' and the platform's records
	// Listen is the address of the APIs. "" means a free port of 127.0.0.1.
	Listen string
	// ExtensionsDir is where this process finds what the environment sees at
	// Spec.ExtensionsDir. "" means at the same path.
	ExtensionsDir string
	Logger        *slog.Logger // nil discards
}

// Agent is one execution environment. Its methods may be called concurrently.
type Agent struct {
	cfg  Config
	spec instance.Spec
	sup  Supervisor
	out  *output
	tel  *telemetry
	log  *slog.Logger
	api  *apiServer

	ready chan struct{}
	ended chan struct{}
	turns chan struct{} // one for each event at a time
	bg    sync.WaitGroup
	renew sync.Mutex // held while a broken environment is replaced

	mem memory

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
	if s.InitType == "" {
		s.InitType = initOnDemand
	}
	if s.InitTimeout == 0 {
		s.InitTimeout = 10 * time.Second
		if s.InitType != initOnDemand {
			// AWS: 130 s or the function's timeout, whichever is longer.
			s.InitTimeout = max(130*time.Second, s.Timeout)
		}
	}
	s.MaxConcurrency = max(1, s.MaxConcurrency)
	if cfg.ExtensionsDir == "" {
		cfg.ExtensionsDir = s.ExtensionsDir
	}
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
	a.tel = newTelemetry(a)
	a.out = newOutput(cfg.Logs, a.tel, &a.spec)
	return a, nil
}

const (
	initOnDemand = "on-demand"
	initSnap     = "snap-start"
)

// Start opens the APIs' listener and begins INIT. On error nothing runs. ctx
// bounds the start alone.
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
			a.current().fail(errGone)
		case <-a.ended:
		}
	})
	a.mu.Lock()
	env := a.newEnvironmentLocked(phaseInit)
	a.mu.Unlock()
	a.bg.Go(func() {
		env.init(time.Now().Add(a.spec.InitTimeout))
		a.pause()
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

func (a *Agent) current() *environment {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.env
}

// Shutdown implements instance.Agent.
func (a *Agent) Shutdown(ctx context.Context) error {
	a.mu.Lock()
	a.stopping = true
	env := a.env
	a.mu.Unlock()
	if env != nil {
		if a.spec.PauseIdle {
			a.sup.Resume()
		}
		env.reset(ctx, reasonSpindown)
	}
	err := a.sup.Close()
	a.end(instance.EndReason{Kind: instance.EndShutdown, ExitCode: -1})
	a.tel.close(ctx)
	done := make(chan struct{})
	go func() {
		a.bg.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
		return errors.Join(err, ctx.Err())
	}
	return err
}

// end declares the instance ended, once.
func (a *Agent) end(r instance.EndReason) {
	a.mu.Lock()
	defer a.mu.Unlock()
	select {
	case <-a.ended:
		return
	default:
	}
	a.stopping = true
	a.reason = r
	close(a.ended)
	a.api.close()
}

// pause stops the environment's processes between events, if that is asked for.
func (a *Agent) pause() {
	if !a.spec.PauseIdle {
		return
	}
	if err := a.sup.Pause(); err != nil {
		a.log.Warn("environment not paused", "function", a.spec.FunctionName, "err", err)
	}
}

func (a *Agent) resume() {
	if !a.spec.PauseIdle {
		return
	}
	if err := a.sup.Resume(); err != nil {
		a.log.Error("environment not resumed", "function", a.spec.FunctionName, "err", err)
	}
}
