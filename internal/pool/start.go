package pool

import (
	"context"
	"fmt"
	"time"

	"github.com/hearth-run/hearth/internal/backend"
	"github.com/hearth-run/hearth/internal/instance"
)

// crowded is how long a start keeps its slot at most: an INIT that takes longer
// waits for something else than this machine's CPUs.
const crowded = time.Second

// start brings up one instance for g, and gives it to the oldest event in line.
func (p *Pool) start(g *group) {
	select {
	case p.slots <- struct{}{}:
	case <-p.ctx.Done():
		p.started(g, nil, ErrDraining)
		return
	}
	slot := newOnce(func() { <-p.slots })
	defer slot.Do()

	// Released instances may have served the line while this start waited.
	p.mu.Lock()
	if len(g.line) == 0 || startsNeeded(len(g.line), g.starting-1, max(1, g.d.MaxConcurrency)) == 0 {
		g.starting--
		p.dropIfEmptyLocked(g)
		p.mu.Unlock()
		return
	}
	p.mu.Unlock()

	began := time.Now()
	name, m, err := p.launch(g)
	launched := time.Since(began)
	if err == nil {
		select {
		case <-m.in.Agent.Ready():
		case <-m.in.Agent.Ended():
		case <-p.ctx.Done():
		case <-time.After(crowded):
			slot.Do()
			select {
			case <-m.in.Agent.Ready():
			case <-m.in.Agent.Ended():
			case <-p.ctx.Done():
			}
		}
	}
	p.started(g, m, err)
	if p.cfg.Observe != nil {
		p.cfg.Observe(Start{Deployment: g.d, Backend: name, Launch: launched, Ready: time.Since(began), Err: err})
	}
}

// launch makes room, and launches an instance of g's deployment on the backend
// that it names.
func (p *Pool) launch(g *group) (name string, m *member, err error) {
	b, warning, err := p.cfg.Select(g.d)
	if err != nil {
		return "", nil, err
	}
	for try := 0; ; try++ {
		if err = p.reserve(g); err == nil {
			out := p.cfg.Output(g.d)
			var in *backend.Instance
			if in, err = b.Launch(p.ctx, g.d, out); err == nil {
				if in.Warning != "" {
					warning = in.Warning
				}
				if warning != "" && out.Logs != nil {
					out.Logs.WriteLog(instance.LogRecord{Time: time.Now(), Kind: instance.LogPlatform, Message: []byte("[HEARTH] " + warning)})
				}
				return b.Name(), &member{g: g, b: b, in: in}, nil
			}
			p.unreserve()
			if p.cfg.Instead != nil && p.ctx.Err() == nil {
				if other, why := p.cfg.Instead(g.d, b, err); other != nil {
					p.log.Info("another backend is tried", "function", g.d.Function, "deploy", g.id, "backend", other.Name(), "err", err)
					b, warning = other, why
					continue
				}
			}
		}
		if !noRoom(err) || try > 0 || !p.evict(g) {
			return b.Name(), nil, fmt.Errorf("launch %s on %s: %w", g.id, b.Name(), err)
		}
	}
}

// started takes a start's outcome: m, or why there is none.
func (p *Pool) started(g *group, m *member, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	g.starting--
	if err != nil {
		p.log.Debug("start failed", "function", g.d.Function, "deploy", g.id, "err", err)
		p.failLocked(g, err)
		p.dropIfEmptyLocked(g)
		return
	}
	g.members++
	p.log.Debug("instance started", "function", g.d.Function, "deploy", g.id, "instance", m.in.Handle)
	p.tasks.Go(func() { p.watch(m) })
	if ended(m) {
		// Gone before its first event. The watcher takes it away; an event in
		// line is told why, rather than started again and again.
		p.failLocked(g, fmt.Errorf("%w: %s", backend.ErrStartFailed, m.in.Agent.Reason().Detail))
		return
	}
	for m.room() > 0 && len(g.line) > 0 && !p.closed {
		w := g.line[0]
		g.line = g.line[1:]
		m.events++
		w.deliver(m, nil)
	}
	switch {
	case m.events == 0 && (g.outdated || p.closed || p.cfg.KeepAlive < 0):
		p.endLocked(m)
	case m.room() > 0:
		g.free = append(g.free, m)
		if m.events == 0 {
			p.idleLocked(m)
		}
	}
}

// watch terminates m when it has ended by itself.
func (p *Pool) watch(m *member) {
	select {
	case <-m.in.Agent.Ended():
	case <-p.ctx.Done():
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !m.gone && !p.closed {
		r := m.in.Agent.Reason()
		p.log.Info("instance ended", "function", m.g.d.Function, "deploy", m.g.id, "instance", m.in.Handle, "reason", r.Kind, "detail", r.Detail)
	}
	p.unfreeLocked(m)
	p.endLocked(m)
}

// endLocked begins m's termination, once. The caller has taken it out of free.
func (p *Pool) endLocked(m *member) {
	if m.gone {
		return
	}
	m.gone = true
	p.tasks.Go(func() {
		p.terminate(m)
		p.mu.Lock()
		defer p.mu.Unlock()
		p.instances--
		m.g.members--
		p.dropIfEmptyLocked(m.g)
	})
}

// terminate ends m, and tries again while the engine does not answer.
func (p *Pool) terminate(m *member) {
	for wait := time.Second; ; wait = min(2*wait, time.Minute) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(p.ctx), 30*time.Second)
		err := m.b.Terminate(ctx, m.in.Handle)
		cancel()
		if err == nil {
			return
		}
		p.log.Error("instance could not be terminated", "function", m.g.d.Function, "instance", m.in.Handle, "err", err)
		if p.ctx.Err() != nil {
			return // the next server's ReapStale ends it
		}
		select {
		case <-time.After(wait):
		case <-p.ctx.Done():
		}
	}
}

// newOnce is a function that can be called twice and acts once.
func newOnce(f func()) *once { return &once{f: f} }

type once struct{ f func() }

func (o *once) Do() {
	if f := o.f; f != nil {
		o.f = nil
		f()
	}
}
