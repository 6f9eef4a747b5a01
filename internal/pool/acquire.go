package pool

import (
	"context"
	"errors"
	"slices"

	"github.com/hearth-run/hearth/internal/backend"
)

// want is an event in line for an instance. Whoever takes it out of its
// group's line, under the pool's lock, decides it.
type want struct {
	decided chan struct{} // closed after m or err is set
	m       *member
	err     error
}

func (w *want) deliver(m *member, err error) {
	w.m, w.err = m, err
	close(w.decided)
}

// acquire returns a member of d's group with a place for one event taken.
func (p *Pool) acquire(ctx context.Context, d *backend.Deployment, id string) (*member, error) {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil, ErrDraining
	}
	g := p.groupLocked(d, id)
	for n := len(g.free); n > 0; n = len(g.free) {
		m := g.free[n-1]
		if ended(m) {
			g.free = g.free[:n-1] // its watcher terminates it
			continue
		}
		m.events++
		if m.room() == 0 {
			g.free = g.free[:n-1]
		}
		p.mu.Unlock()
		return m, nil
	}
	w := &want{decided: make(chan struct{})}
	g.line = append(g.line, w)
	for range startsNeeded(len(g.line), g.starting, max(1, d.MaxConcurrency)) {
		g.starting++
		p.tasks.Go(func() { p.start(g) })
	}
	p.mu.Unlock()

	select {
	case <-w.decided:
	case <-ctx.Done():
		if p.abandon(g, w) {
			return nil, ctx.Err()
		}
		<-w.decided // lost the race: an instance is ours already
		if w.m != nil {
			p.release(w.m)
		}
		return nil, ctx.Err()
	case <-p.ctx.Done():
		if p.abandon(g, w) {
			return nil, ErrDraining
		}
		<-w.decided
	}
	return w.m, w.err
}

// startsNeeded returns how many starts to add for a group with waiting events
// in line, starting starts under way, and room events in each instance.
func startsNeeded(waiting, starting, room int) int {
	return max(0, (waiting+room-1)/room-starting)
}

// abandon takes w out of line, and reports whether it was still undecided.
func (p *Pool) abandon(g *group, w *want) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	i := slices.Index(g.line, w)
	if i < 0 {
		return false
	}
	g.line = slices.Delete(g.line, i, i+1)
	p.dropIfEmptyLocked(g)
	return true
}

// groupLocked returns d's group. A new one makes those of older deployments of
// the same function version outdated.
func (p *Pool) groupLocked(d *backend.Deployment, id string) *group {
	line := lineage(d)
	g := p.groups[id]
	if g != nil && !g.outdated {
		return g
	}
	if g == nil {
		g = &group{id: id, d: *d}
		p.groups[id] = g
	}
	g.outdated = false // a function may go back to an earlier deployment
	if old := p.lineages[line]; old != nil && old != g {
		p.retireLocked(old)
	}
	p.lineages[line] = g
	return g
}

// lineage names what deployments replace each other: the function version, for
// one tenant and one way to start.
func lineage(d *backend.Deployment) string {
	return d.ARN() + ":" + d.Version + "/" + d.TenantID + "/" + d.InitType
}

// retireLocked ends g's idle instances now and the others when they are free.
func (p *Pool) retireLocked(g *group) {
	g.outdated = true
	g.free = slices.DeleteFunc(g.free, func(m *member) bool {
		if m.events > 0 {
			return false
		}
		p.endLocked(m)
		return true
	})
	p.dropIfEmptyLocked(g)
}

// Forget ends the instances of a function (all versions) that are idle, and the
// others when they are free: it was deleted or changed.
func (p *Pool) Forget(arn string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, g := range p.groups {
		if g.d.ARN() == arn {
			p.retireLocked(g)
		}
	}
}

// release gives back one place of m: to the oldest event in line, to the
// group's free members, or, when m must not serve again, to its end.
func (p *Pool) release(m *member) {
	p.mu.Lock()
	defer p.mu.Unlock()
	g := m.g
	wasFull := m.room() == 0
	m.events--
	if m.gone {
		return
	}
	if ended(m) {
		p.unfreeLocked(m) // its watcher terminates it
		return
	}
	if len(g.line) > 0 && !p.closed && p.cfg.KeepAlive >= 0 {
		w := g.line[0]
		g.line = slices.Delete(g.line, 0, 1)
		m.events++
		w.deliver(m, nil)
		return
	}
	if m.events == 0 && (g.outdated || p.closed || p.cfg.KeepAlive < 0) {
		p.unfreeLocked(m)
		p.endLocked(m)
		return
	}
	if wasFull {
		g.free = append(g.free, m)
	}
	if m.events == 0 {
		p.idleLocked(m)
	}
}

func ended(m *member) bool {
	select {
	case <-m.in.Agent.Ended():
		return true
	default:
		return false
	}
}

func (p *Pool) unfreeLocked(m *member) {
	if i := slices.Index(m.g.free, m); i >= 0 {
		m.g.free = slices.Delete(m.g.free, i, i+1)
	}
}

// discard ends m, which failed in a way that is no answer of its function.
func (p *Pool) discard(m *member) {
	p.mu.Lock()
	defer p.mu.Unlock()
	m.events--
	p.unfreeLocked(m)
	p.endLocked(m)
}

// dropIfEmptyLocked forgets g when nothing of it is left.
func (p *Pool) dropIfEmptyLocked(g *group) {
	if g.members > 0 || g.starting > 0 || len(g.line) > 0 || p.groups[g.id] != g {
		return
	}
	delete(p.groups, g.id)
	if line := lineage(&g.d); p.lineages[line] == g {
		delete(p.lineages, line)
	}
}

// failLocked tells the events in line for which no start is left that no
// instance came for them, the oldest first.
func (p *Pool) failLocked(g *group, err error) {
	for startsNeeded(len(g.line), g.starting, max(1, g.d.MaxConcurrency)) > 0 {
		w := g.line[0]
		g.line = slices.Delete(g.line, 0, 1)
		w.deliver(nil, err)
	}
}

// noRoom says whether err means that another instance would fit later.
func noRoom(err error) bool {
	return errors.Is(err, backend.ErrNoCapacity) || errors.Is(err, ErrFull)
}
