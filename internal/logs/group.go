package logs

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// group is a log group: its settings, and its streams, which are known once
// somebody asked for all of them.
type group struct {
	s    *Store
	sc   Scope
	name string
	dir  string

	mu      sync.Mutex // guards what follows
	meta    meta
	deleted bool
	loaded  bool // streams holds all that are on disk
	streams map[string]*stream
	changed chan struct{} // closed with the next events; nil while nobody waits
}

// meta is a group's settings as meta.json holds them.
type meta struct {
	Name          string
	Created       int64 // ms
	RetentionDays int   `json:",omitempty"`
	Class         string
	KMSKey        string            `json:",omitempty"`
	Protected     bool              `json:",omitempty"`
	Tags          map[string]string `json:",omitempty"`
}

// Group describes a log group.
type Group struct {
	Name          string
	Created       time.Time
	RetentionDays int    // 0: kept for ever
	Class         string // "STANDARD", "INFREQUENT_ACCESS" or "DELIVERY"
	KMSKey        string
	Protected     bool // against deletion
	StoredBytes   int64
}

// Stream describes a log stream. Its times are zero while it is empty.
type Stream struct {
	Name         string
	Created      time.Time
	FirstEvent   time.Time
	LastEvent    time.Time
	LastIngested time.Time
	StoredBytes  int64
}

// GroupOptions are settings of a new group.
type GroupOptions struct {
	Class     string // "" means STANDARD
	KMSKey    string
	Protected bool
	Tags      map[string]string
}

// CreateGroup makes a group. ErrGroupExists if it is there.
func (s *Store) CreateGroup(sc Scope, name string, o GroupOptions) error {
	_, made, err := s.openGroup(sc, name, &o)
	if err == nil && !made {
		err = ErrGroupExists
	}
	return err
}

func (s *Store) ensureGroup(sc Scope, name string) (*group, error) {
	g, _, err := s.openGroup(sc, name, &GroupOptions{})
	return g, err
}

func (s *Store) group(sc Scope, name string) (*group, error) {
	g, _, err := s.openGroup(sc, name, nil)
	return g, err
}

// openGroup returns a group, which it makes with o unless o is nil.
func (s *Store) openGroup(sc Scope, name string, o *GroupOptions) (g *group, made bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := groupKey{sc, name}
	if g := s.groups[key]; g != nil {
		return g, false, nil
	}
	g = &group{s: s, sc: sc, name: name, dir: filepath.Join(s.scopeDir(sc), dirName(name)), streams: make(map[string]*stream)}
	err = readJSON(filepath.Join(g.dir, "meta.json"), &g.meta)
	switch {
	case err == nil:
	case o == nil && errors.Is(err, fs.ErrNotExist):
		return nil, false, ErrNoGroup
	case o == nil:
		return nil, false, fmt.Errorf("log group %s: %w", name, err)
	default:
		g.meta = meta{Name: name, Created: time.Now().UnixMilli(), Class: cmp.Or(o.Class, "STANDARD"), KMSKey: o.KMSKey, Protected: o.Protected, Tags: maps.Clone(o.Tags)}
		g.loaded = errors.Is(err, fs.ErrNotExist) // nothing is there
		made = true
		if err := errors.Join(s.noteScope(sc), g.saveLocked()); err != nil {
			return nil, false, fmt.Errorf("create log group %s: %w", name, err)
		}
	}
	s.groups[key] = g
	return g, made, nil
}

// saveLocked writes the settings, whole or not at all.
func (g *group) saveLocked() error { return writeJSON(filepath.Join(g.dir, "meta.json"), g.meta) }

// change changes a group's settings.
func (s *Store) change(sc Scope, name string, f func(*meta)) error {
	g, err := s.group(sc, name)
	if err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.deleted {
		return ErrNoGroup
	}
	old := g.meta
	g.meta.Tags = maps.Clone(old.Tags)
	if f(&g.meta); g.meta.Tags == nil {
		g.meta.Tags = map[string]string{}
	}
	if err := g.saveLocked(); err != nil {
		g.meta = old
		return fmt.Errorf("log group %s: %w", name, err)
	}
	return nil
}

// SetRetention keeps the group's events for so many days; 0 means for ever.
func (s *Store) SetRetention(sc Scope, group string, days int) error {
	return s.change(sc, group, func(m *meta) { m.RetentionDays = days })
}

// SetKMSKey notes a key with the group. Events are not encrypted with it.
func (s *Store) SetKMSKey(sc Scope, group, key string) error {
	return s.change(sc, group, func(m *meta) { m.KMSKey = key })
}

// SetProtected protects the group against deletion through the API, or no longer.
func (s *Store) SetProtected(sc Scope, group string, on bool) error {
	return s.change(sc, group, func(m *meta) { m.Protected = on })
}

// Tag sets tags of the group and leaves its others.
func (s *Store) Tag(sc Scope, group string, tags map[string]string) error {
	return s.change(sc, group, func(m *meta) {
		if m.Tags == nil {
			m.Tags = map[string]string{}
		}
		maps.Copy(m.Tags, tags)
	})
}

// Untag removes tags of the group.
func (s *Store) Untag(sc Scope, group string, keys []string) error {
	return s.change(sc, group, func(m *meta) {
		for _, k := range keys {
			delete(m.Tags, k)
		}
	})
}

// Tags returns the group's tags, which are the caller's.
func (s *Store) Tags(sc Scope, group string) (map[string]string, error) {
	g, err := s.group(sc, group)
	if err != nil {
		return nil, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	tags := map[string]string{}
	maps.Copy(tags, g.meta.Tags)
	return tags, nil
}

// Group describes one group, without its StoredBytes.
func (s *Store) Group(sc Scope, name string) (Group, error) {
	g, err := s.group(sc, name)
	if err != nil {
		return Group{}, err
	}
	return g.describe(), nil
}

func (g *group) describe() Group {
	g.mu.Lock()
	defer g.mu.Unlock()
	m := g.meta
	return Group{Name: m.Name, Created: time.UnixMilli(m.Created), RetentionDays: m.RetentionDays, Class: m.Class, KMSKey: m.KMSKey, Protected: m.Protected}
}

// Groups lists the groups for which match is true (nil matches all) in the
// order of their names, after the name after, at most limit.
func (s *Store) Groups(sc Scope, match func(name string) bool, after string, limit int) (groups []Group, more bool, err error) {
	all, err := s.allGroups(sc)
	if err != nil {
		return nil, false, err
	}
	for _, g := range all {
		if g.name <= after && after != "" || match != nil && !match(g.name) {
			continue
		}
		if len(groups) == limit {
			return groups, true, nil
		}
		d := g.describe()
		streams, err := g.all()
		if err != nil {
			return nil, false, err
		}
		for _, st := range streams {
			d.StoredBytes += st.describe().StoredBytes
		}
		groups = append(groups, d)
	}
	return groups, false, nil
}

// allGroups returns the scope's groups, by name.
func (s *Store) allGroups(sc Scope) ([]*group, error) {
	dirs, err := os.ReadDir(s.scopeDir(sc))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list log groups: %w", err)
	}
	s.mu.Lock()
	known := map[string]bool{}
	var all []*group
	for k, g := range s.groups {
		if k.Scope == sc {
			known[filepath.Base(g.dir)] = true
			all = append(all, g)
		}
	}
	s.mu.Unlock()
	for _, d := range dirs {
		if known[d.Name()] {
			continue
		}
		var m meta
		if readJSON(filepath.Join(s.scopeDir(sc), d.Name(), "meta.json"), &m) != nil || dirName(m.Name) != d.Name() {
			continue // no group, or one that is being deleted
		}
		if g, err := s.group(sc, m.Name); err == nil {
			all = append(all, g)
		}
	}
	slices.SortFunc(all, func(a, b *group) int { return cmp.Compare(a.name, b.name) })
	return slices.Compact(all), nil
}

// DeleteGroup removes a group with all its streams.
func (s *Store) DeleteGroup(sc Scope, name string) error {
	g, err := s.group(sc, name)
	if err != nil {
		return err
	}
	streams, err := g.all()
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.deleted {
		return ErrNoGroup
	}
	// The settings first: without them it is no group any more.
	if err := os.Remove(filepath.Join(g.dir, "meta.json")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("delete log group %s: %w", name, err)
	}
	g.deleted = true
	delete(s.groups, groupKey{sc, name})
	for _, st := range g.streams {
		streams = append(streams, st)
	}
	for _, st := range streams {
		if err := st.delete(); err != nil {
			return fmt.Errorf("delete log group %s: %w", name, err)
		}
	}
	g.notifyLocked()
	return os.RemoveAll(g.dir)
}

// ensureStream returns the stream, which it makes if it is not there, or nil if
// the group has been deleted.
func (g *group) ensureStream(name string) *stream {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.deleted {
		return nil
	}
	st := g.streams[name]
	if st == nil {
		st = g.newStream(name)
		st.loaded = g.loaded // else its files may be there
		g.streams[name] = st
	}
	return st
}

func (g *group) newStream(name string) *stream {
	sum := nameHash(name)
	return &stream{g: g, name: name, id: binary.BigEndian.Uint64(sum[:]), created: time.Now().UnixMilli()}
}

// all returns all streams of the group, those that are only on disk, too.
func (g *group) all() ([]*stream, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.loaded && !g.deleted {
		if err := g.loadLocked(); err != nil {
			return nil, fmt.Errorf("log group %s: %w", g.name, err)
		}
	}
	return slices.Collect(maps.Values(g.streams)), nil
}

// loadLocked learns the group's streams from the disk.
func (g *group) loadLocked() error {
	files, err := os.ReadDir(g.dir)
	if err != nil {
		return err
	}
	known := make(map[uint64]bool, len(g.streams))
	for _, st := range g.streams {
		known[st.id] = true
		st.mu.Lock()
		if !st.loaded {
			err = st.loadLocked()
		}
		st.mu.Unlock()
		if err != nil {
			return err
		}
	}
	numbers := map[uint64][]uint32{} // in order, as the names are
	for _, f := range files {
		var id uint64
		var no uint32
		if !strings.HasSuffix(f.Name(), ".log") {
			continue
		}
		if _, err := fmt.Sscanf(f.Name(), "%016x-%08x.log", &id, &no); err == nil && !known[id] {
			numbers[id] = append(numbers[id], no)
		}
	}
	for id, n := range numbers {
		st := &stream{g: g, id: id}
		st.mu.Lock()
		err := st.loadSegmentsLocked(n)
		st.mu.Unlock()
		if err != nil {
			return err
		}
		if len(st.segs) > 0 {
			g.streams[st.name] = st
		}
	}
	g.loaded = true
	return nil
}

// stream returns a stream that is there.
func (s *Store) stream(sc Scope, group, name string) (*stream, error) {
	g, err := s.group(sc, group)
	if err != nil {
		return nil, err
	}
	g.mu.Lock()
	st := g.streams[name]
	g.mu.Unlock()
	if st != nil {
		return st, nil
	}
	if _, err := g.all(); err != nil {
		return nil, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if st = g.streams[name]; st == nil {
		return nil, ErrNoStream
	}
	return st, nil
}

// CreateStream makes a stream. ErrNoGroup, ErrStreamExists.
func (s *Store) CreateStream(sc Scope, group, name string) error {
	if _, err := s.stream(sc, group, name); err == nil {
		return ErrStreamExists
	} else if !errors.Is(err, ErrNoStream) {
		return err
	}
	g, err := s.group(sc, group)
	if err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.streams[name] != nil {
		return ErrStreamExists
	}
	st := g.newStream(name)
	st.mu.Lock()
	defer st.mu.Unlock()
	if err := st.openLocked(); err != nil {
		return fmt.Errorf("create log stream %s: %w", name, err)
	}
	g.streams[name] = st
	return nil
}

// DeleteStream removes a stream. ErrNoGroup, ErrNoStream.
func (s *Store) DeleteStream(sc Scope, group, name string) error {
	st, err := s.stream(sc, group, name)
	if err != nil {
		return err
	}
	g := st.g
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.streams, name)
	if err := st.delete(); err != nil {
		return fmt.Errorf("delete log stream %s: %w", name, err)
	}
	return nil
}

// Streams returns the group's streams for which match is true (nil matches
// all), by name or, if byTime, by their last event.
func (s *Store) Streams(sc Scope, group string, match func(name string) bool, byTime bool) ([]Stream, error) {
	g, err := s.group(sc, group)
	if err != nil {
		return nil, err
	}
	all, err := g.all()
	if err != nil {
		return nil, err
	}
	var streams []Stream
	for _, st := range all {
		if match == nil || match(st.name) {
			streams = append(streams, st.describe())
		}
	}
	slices.SortFunc(streams, func(a, b Stream) int {
		if byTime {
			if c := a.LastEvent.Compare(b.LastEvent); c != 0 {
				return c
			}
		}
		return cmp.Compare(a.Name, b.Name)
	})
	return streams, nil
}

func (st *stream) describe() Stream {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.flushLogged()
	d := Stream{Name: st.name, Created: time.UnixMilli(st.created)}
	for _, seg := range st.segs {
		if seg.Count == 0 {
			continue
		}
		first, last := time.UnixMilli(seg.Min), time.UnixMilli(seg.Max)
		if d.FirstEvent.IsZero() || first.Before(d.FirstEvent) {
			d.FirstEvent = first
		}
		if last.After(d.LastEvent) {
			d.LastEvent = last
		}
		d.LastIngested = time.UnixMilli(seg.Last)
		d.StoredBytes += seg.Bytes
	}
	return d
}

// flushLogged is flushLocked for readers, who have no use for its error.
func (st *stream) flushLogged() {
	queued := st.queued
	if err := st.flushLocked(); err != nil {
		st.g.s.log.Error("log events are lost", "group", st.g.name, "stream", st.name, "err", err)
	}
	st.queued = queued // the store's list still has it, and must wake who follows
}

// notify wakes those who wait for events of the group.
func (g *group) notify() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.notifyLocked()
}

func (g *group) notifyLocked() {
	if g.changed != nil {
		close(g.changed)
		g.changed = nil
	}
}

// next returns a channel that is closed after the next events have been written.
func (g *group) next() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.changed == nil {
		g.changed = make(chan struct{})
	}
	return g.changed
}

func (g *group) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, st := range g.streams {
		st.mu.Lock()
		st.closeLocked()
		st.mu.Unlock()
	}
}
