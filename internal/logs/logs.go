// Package logs keeps what functions print: streams of events, in groups, as
// CloudWatch Logs has them.
//
//	Writer ─WriteLog─▶ pending ──flush──▶ segment files ─▶ Read, Filter, Follow
//
// WriteLog appends to memory and returns; one goroutine writes what is pending
// to the files every few milliseconds, so that a crash of a function loses nothing
// and a crash of the server loses what it printed within the last of them.
// Readers write what is pending first: they see everything that was
// written before they asked. A flood is dropped, and counted, rather than kept in memory.
//
// One process at a time may use a folder.
package logs

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hearth-run/hearth/internal/instance"
)

// Errors of the store's methods.
var (
	ErrNoGroup      = errors.New("log group does not exist")
	ErrNoStream     = errors.New("log stream does not exist")
	ErrGroupExists  = errors.New("log group exists already")
	ErrStreamExists = errors.New("log stream exists already")
	ErrBadToken     = errors.New("bad token")
)

// Scope is whose logs they are.
type Scope struct {
	Account string
	Region  string
}

// Event is one log event: a line, or several that belong together.
type Event struct {
	ID        string // unique and ordered as reads return them; 56 digits
	Stream    string
	Time      time.Time // as its writer said, in whole milliseconds
	Ingested  time.Time
	Kind      instance.LogKind
	RequestID string // or ""
	Message   []byte
}

// Config says how a Store works.
type Config struct {
	// FlushEvery is how long what was written may wait for the file, while
	// more comes. 0 means 5 ms.
	FlushEvery time.Duration
	// MaxPending bounds the bytes that wait, of all streams; more is dropped.
	// 0 means 32 MB.
	MaxPending int64
	// MaxBytes bounds the files' bytes; the oldest go beyond it. 0 means 4 GB.
	MaxBytes int64
	// SegmentSize is how large a file grows before the next begins, which is
	// the grain of retention. 0 means 4 MB.
	SegmentSize int64
	// Logger is told what goes wrong in the background. Nil discards.
	Logger *slog.Logger
}

// Store keeps log groups. Its methods may be called concurrently.
type Store struct {
	dir string
	cfg Config
	log *slog.Logger

	pending atomic.Int64 // bytes waiting in all streams
	dropped atomic.Int64 // events, ever
	bytes   atomic.Int64 // in the files, as far as they are counted

	dirtyMu sync.Mutex
	dirty   []*stream     // with something pending, each once
	idle    bool          // the flusher waits for wake
	wake    chan struct{} // capacity 1
	full    chan struct{} // capacity 1: the files hold too much
	stop    chan struct{}
	stopped sync.Once
	tasks   sync.WaitGroup

	mu     sync.Mutex // guards groups
	groups map[groupKey]*group
}

type groupKey struct {
	Scope
	name string
}

// Open returns the store in dir, which is made if it is not there.
func Open(dir string, cfg Config) (*Store, error) {
	if cfg.FlushEvery <= 0 {
		cfg.FlushEvery = 5 * time.Millisecond
	}
	if cfg.MaxPending <= 0 {
		cfg.MaxPending = 32 << 20
	}
	if cfg.MaxBytes <= 0 {
		cfg.MaxBytes = 4 << 30
	}
	if cfg.SegmentSize <= 0 {
		cfg.SegmentSize = 4 << 20
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("open logs: %w", err)
	}
	s := &Store{
		dir:    dir,
		cfg:    cfg,
		log:    cfg.Logger,
		wake:   make(chan struct{}, 1),
		full:   make(chan struct{}, 1),
		stop:   make(chan struct{}),
		groups: make(map[groupKey]*group),
	}
	s.tasks.Go(s.flusher)
	s.tasks.Go(s.sweeper)
	return s, nil
}

// Close writes what is pending and ends the store's goroutines. What is written
// to a Writer afterwards is lost.
func (s *Store) Close() error {
	s.stopped.Do(func() { close(s.stop) })
	s.tasks.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, g := range s.groups {
		g.close()
	}
	return nil
}

// Dropped returns how many events have been dropped because they came faster
// than the disk takes them.
func (s *Store) Dropped() int64 { return s.dropped.Load() }

// Writer returns a writer to a stream. The group and the stream are made with
// the first event, and again if they have been deleted. It does not touch the disk.
func (s *Store) Writer(sc Scope, group, stream string) instance.LogWriter {
	return &writer{s: s, sc: sc, group: group, name: stream}
}

type writer struct {
	s     *Store
	sc    Scope
	group string
	name  string
	to    atomic.Pointer[stream]
}

// WriteLog takes an event. It appends to memory alone.
func (w *writer) WriteLog(r instance.LogRecord) {
	for {
		to := w.to.Load()
		if to != nil && to.write(r) {
			return
		}
		// The first event, or the stream has been deleted.
		g, err := w.s.ensureGroup(w.sc, w.group)
		if err != nil {
			w.s.dropped.Add(1)
			w.s.log.Error("log event is lost", "group", w.group, "err", err)
			return
		}
		if to := g.ensureStream(w.name); to != nil {
			w.to.Store(to)
		}
	}
}

// flusher writes pending events to the files, at once after a quiet time and then
// every FlushEvery while more comes.
func (s *Store) flusher() {
	tick := time.NewTimer(time.Hour)
	defer tick.Stop()
	quiet := 0
	for {
		n := s.flushDirty()
		if n == 0 {
			quiet++
		} else {
			quiet = 0
		}
		if quiet > 20 {
			s.dirtyMu.Lock()
			s.idle = len(s.dirty) == 0
			s.dirtyMu.Unlock()
		}
		tick.Reset(s.cfg.FlushEvery)
		if s.isIdle() {
			tick.Stop()
		}
		select {
		case <-s.wake:
			quiet = 0
		case <-tick.C:
		case <-s.stop:
			s.flushDirty()
			return
		}
	}
}

func (s *Store) isIdle() bool {
	s.dirtyMu.Lock()
	defer s.dirtyMu.Unlock()
	return s.idle
}

func (s *Store) flushDirty() int {
	s.dirtyMu.Lock()
	dirty := s.dirty
	s.dirty = nil
	s.dirtyMu.Unlock()
	changed := map[*group]bool{}
	for _, st := range dirty {
		if err := st.flush(); err != nil {
			s.log.Error("log events are lost", "group", st.g.name, "stream", st.name, "err", err)
		}
		changed[st.g] = true
	}
	for g := range changed {
		g.notify()
	}
	return len(dirty)
}

// markDirty puts st, which has just got something pending, in line.
func (s *Store) markDirty(st *stream) {
	s.dirtyMu.Lock()
	s.dirty = append(s.dirty, st)
	wake := s.idle
	s.idle = false
	s.dirtyMu.Unlock()
	if wake {
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
}

// dirName is a name as the file system can take it, unique for each name.
func dirName(name string) string {
	sum := nameHash(name)
	clean := strings.Map(func(r rune) rune {
		if r == '-' || r == '_' || r == '.' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' {
			return r
		}
		return '-'
	}, name)
	clean = strings.Trim(clean, "-.")
	if len(clean) > 100 {
		clean = clean[:100]
	}
	return clean + "." + hex.EncodeToString(sum[:8])
}

// readJSON and writeJSON read and write small files whole.
func readJSON(path string, v any) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return json.Unmarshal(b, v)
}

func writeJSON(path string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(path+".new", b, 0o644); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

func (s *Store) scopeDir(sc Scope) string {
	return filepath.Join(s.dir, dirName(sc.Account), dirName(sc.Region))
}
