package logs

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// addBytes counts what the files hold, and wakes the sweeper when it is too much.
func (s *Store) addBytes(n int64) {
	if s.bytes.Add(n) > s.cfg.MaxBytes && n > 0 {
		select {
		case s.full <- struct{}{}:
		default:
		}
	}
}

// sweeper closes files that are not written to, and removes what is too old or
// too much.
func (s *Store) sweeper() {
	// Not at once: a start is to be quick, and counts nothing.
	next := time.NewTimer(time.Minute)
	defer next.Stop()
	for counted := false; ; {
		select {
		case <-next.C:
		case <-s.full:
		case <-s.stop:
			return
		}
		if !counted {
			s.count()
			counted = true
		}
		s.closeUnused(time.Now().Add(-time.Minute))
		s.Sweep(time.Now())
		next.Reset(time.Minute)
	}
}

// count finds out how many bytes the files of former processes hold.
func (s *Store) count() {
	var sum int64
	filepath.WalkDir(s.dir, func(p string, d fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(p, ".log") {
			if st, err := d.Info(); err == nil {
				sum += st.Size()
			}
		}
		return nil
	})
	s.bytes.Store(sum)
}

// loadedGroups returns the groups that are known.
func (s *Store) loadedGroups() []*group {
	s.mu.Lock()
	defer s.mu.Unlock()
	groups := make([]*group, 0, len(s.groups))
	for _, g := range s.groups {
		groups = append(groups, g)
	}
	return groups
}

// closeUnused closes the files that have not been written to since then, and
// forgets the streams that have not been for much longer: their files tell all.
func (s *Store) closeUnused(since time.Time) {
	forget := since.Add(-10 * time.Minute)
	for _, g := range s.loadedGroups() {
		g.mu.Lock()
		for name, st := range g.streams {
			st.mu.Lock()
			if len(st.buf) == 0 && !st.queued && st.used.Before(since) {
				st.closeLocked()
				st.spare = nil
				if st.used.Before(forget) && len(st.segs) > 0 {
					st.gone = true
					delete(g.streams, name)
					g.loaded = false
				}
			}
			st.mu.Unlock()
		}
		g.mu.Unlock()
	}
}

// Sweep removes the segments whose events are all older than their group's
// retention, and the oldest of all while there is too much. The store does so
// by itself every minute.
func (s *Store) Sweep(now time.Time) {
	tooMuch := s.bytes.Load() > s.cfg.MaxBytes
	type old struct {
		st  *stream
		end int64
	}
	var all []old
	for _, sc := range s.scopes() {
		groups, err := s.allGroups(sc)
		if err != nil {
			s.log.Warn("log groups could not be listed", "err", err)
			continue
		}
		for _, g := range groups {
			days := g.describe().RetentionDays
			if days == 0 && !tooMuch {
				continue
			}
			streams, err := g.all()
			if err != nil {
				s.log.Warn("log streams could not be listed", "group", g.name, "err", err)
				continue
			}
			limit := now.AddDate(0, 0, -days).UnixMilli()
			for _, st := range streams {
				if days > 0 {
					s.expire(st, limit)
				}
				st.mu.Lock()
				for _, seg := range st.segs {
					all = append(all, old{st, seg.Last})
				}
				st.mu.Unlock()
			}
		}
	}
	if !tooMuch {
		return
	}
	slices.SortFunc(all, func(a, b old) int { return cmpInt(a.end, b.end) })
	for _, o := range all {
		if s.bytes.Load() <= s.cfg.MaxBytes {
			return
		}
		o.st.mu.Lock()
		if len(o.st.segs) > 0 {
			if err := o.st.dropFirstLocked(); err != nil {
				s.log.Warn("log segment could not be removed", "err", err)
			}
		}
		o.st.mu.Unlock()
	}
}

// expire removes the stream's segments that end before limit.
func (s *Store) expire(st *stream, limit int64) {
	st.mu.Lock()
	defer st.mu.Unlock()
	for len(st.segs) > 0 && st.segs[0].Count > 0 && max(st.segs[0].Max, st.segs[0].Last) < limit {
		if err := st.dropFirstLocked(); err != nil {
			s.log.Warn("log segment could not be removed", "group", st.g.name, "stream", st.name, "err", err)
			return
		}
	}
}

// scopes returns the scopes that have a folder with a group.
func (s *Store) scopes() []Scope {
	seen := map[Scope]bool{}
	for _, g := range s.loadedGroups() {
		seen[g.sc] = true
	}
	metas, _ := filepath.Glob(filepath.Join(s.dir, "*", "*", "scope.json"))
	for _, p := range metas {
		var sc Scope
		if readJSON(p, &sc) == nil {
			seen[sc] = true
		}
	}
	var scopes []Scope
	for sc := range seen {
		scopes = append(scopes, sc)
	}
	return scopes
}

// noteScope makes the scope's folder tell whose it is.
func (s *Store) noteScope(sc Scope) error {
	p := filepath.Join(s.scopeDir(sc), "scope.json")
	if _, err := os.Stat(p); err == nil {
		return nil
	}
	return writeJSON(p, sc)
}
