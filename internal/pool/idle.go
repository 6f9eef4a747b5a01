package pool

import "time"

// idleLocked notes that m has no event, and has it ended when that lasts.
func (p *Pool) idleLocked(m *member) {
	m.idleSince = time.Now()
	if p.sweepAt.IsZero() && !p.closed {
		p.scheduleLocked(m.idleSince.Add(p.cfg.KeepAlive))
	}
}

func (p *Pool) scheduleLocked(at time.Time) {
	p.sweepAt = at
	if p.sweeper == nil {
		p.sweeper = time.AfterFunc(time.Until(at), p.sweep)
		return
	}
	p.sweeper.Reset(time.Until(at))
}

// sweep ends the instances that have been idle for KeepAlive, and comes back
// when the next will be.
func (p *Pool) sweep() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sweepAt = time.Time{}
	if p.closed {
		return
	}
	now := time.Now()
	var next time.Time
	for _, g := range p.groups {
		kept := g.free[:0]
		for _, m := range g.free {
			due := m.idleSince.Add(p.cfg.KeepAlive)
			if m.events == 0 && !due.After(now) {
				p.endLocked(m)
				continue
			}
			if m.events == 0 && (next.IsZero() || due.Before(next)) {
				next = due
			}
			kept = append(kept, m)
		}
		clear(g.free[len(kept):])
		g.free = kept
	}
	if !next.IsZero() {
		p.scheduleLocked(next)
	}
}

// reserve takes room for one more instance of g's deployment.
func (p *Pool) reserve(g *group) error {
	memory := MemoryPlenty
	if p.cfg.Memory != nil {
		memory = p.cfg.Memory()
	}
	if memory > MemoryPlenty && p.evict(g) {
		memory--
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if memory == MemoryFull && p.instances > 0 || p.cfg.MaxInstances > 0 && p.instances >= p.cfg.MaxInstances {
		return ErrFull
	}
	p.instances++
	return nil
}

func (p *Pool) unreserve() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.instances--
}

// evict ends the instance that has been idle for longest, for the good of g,
// and returns when it is gone. It reports whether there was one.
func (p *Pool) evict(g *group) bool {
	p.mu.Lock()
	var victim *member
	for _, other := range p.groups {
		if other == g {
			continue
		}
		for _, m := range other.free {
			if m.events == 0 && (victim == nil || m.idleSince.Before(victim.idleSince)) {
				victim = m
			}
		}
	}
	if victim == nil {
		p.mu.Unlock()
		return false
	}
	victim.gone = true
	p.unfreeLocked(victim)
	p.mu.Unlock()

	p.terminate(victim)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.instances--
	victim.g.members--
	p.dropIfEmptyLocked(victim.g)
	return true
}
