package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"

	_ "modernc.org/sqlite" // the driver "sqlite"
)

const (
	maxReaders = 4   // connections that read at once
	maxBatch   = 256 // transactions in one commit
)

// sqlite is the engine of one server: a file, one writer, a few readers.
//
// Transactions that wait while another commits share the next commit, each in
// its own savepoint, so that the price of a durable write is shared, too.
type sqlite struct {
	lock  *os.File
	db    *sql.DB
	watch *watchers

	jobs    chan *job
	done    chan struct{} // closed when the writer has ended
	readers chan struct{} // a token for each reader that may be in use

	mu     sync.RWMutex // held for reading by those who send on jobs
	closed bool

	idleMu sync.Mutex
	idle   []*session // guarded by idleMu
}

var _ engine = (*sqlite)(nil)

// job is an Update that waits for its turn.
type job struct {
	ctx     context.Context
	fn      func(*Tx) error
	durable bool // waits for the disk
	done    chan error
	tx      Tx
	err     error
}

func openSQLite(ctx context.Context, cfg Config, w *watchers) (_ *sqlite, err error) {
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("store: make data folder: %w", err)
	}
	lock, err := lockDir(cfg.Dir)
	if err != nil {
		return nil, err
	}
	s := &sqlite{lock: lock, watch: w, jobs: make(chan *job, maxBatch), done: make(chan struct{}), readers: make(chan struct{}, maxReaders)}
	defer func() {
		if err != nil {
			if s.db != nil {
				s.db.Close()
			}
			lock.Close()
		}
	}()
	// cache_size is in KiB when negative. Readers map the file, which costs no memory of their own.
	pragmas := url.Values{"_pragma": {"busy_timeout(10000)", "journal_mode(WAL)", "synchronous(FULL)", "cache_size(-1024)", "mmap_size(268435456)", "foreign_keys(0)"}}
	dsn := url.URL{Scheme: "file", Opaque: (&url.URL{Path: filepath.Join(cfg.Dir, "hearth.db")}).EscapedPath(), RawQuery: pragmas.Encode()}
	if s.db, err = sql.Open("sqlite", dsn.String()); err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	s.db.SetMaxIdleConns(maxReaders + 1)
	if err := migrate(ctx, s.db, SQLite); err != nil {
		return nil, err
	}
	writer, err := s.session(ctx)
	if err != nil {
		return nil, err
	}
	go s.write(writer)
	return s, nil
}

// lockDir makes dir this process's own for as long as the file is open.
func lockDir(dir string) (*os.File, error) {
	path := filepath.Join(dir, "hearth.lock")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("store: lock data folder: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("store: lock data folder: %w", err)
		}
		holder := "another process"
		if pid, err := os.ReadFile(path); err == nil && len(pid) > 0 {
			holder = "process " + strings.TrimSpace(string(pid))
		}
		return nil, fmt.Errorf("%w: %s by %s", ErrInUse, dir, holder)
	}
	if err := errors.Join(f.Truncate(0), writePID(f)); err != nil {
		f.Close()
		return nil, fmt.Errorf("store: lock data folder: %w", err)
	}
	return f, nil
}

func writePID(f *os.File) error {
	_, err := fmt.Fprintf(f, "%d\n", os.Getpid())
	return err
}

// session is a connection with its prepared statements. One goroutine at a time uses it.
type session struct {
	conn  *sql.Conn
	stmts map[string]*sql.Stmt
}

func (s *sqlite) session(ctx context.Context) (*session, error) {
	conn, err := s.db.Conn(ctx)
	if err != nil {
		return nil, fmt.Errorf("store: connect: %w", err)
	}
	return &session{conn: conn, stmts: map[string]*sql.Stmt{}}, nil
}

// Statements of SQLite take microseconds and are not interrupted: they run
// under this context, whatever the caller's says.
var always = context.Background()

func (c *session) prepare(query string) (*sql.Stmt, error) {
	if st := c.stmts[query]; st != nil {
		return st, nil
	}
	st, err := c.conn.PrepareContext(always, query)
	if err == nil {
		c.stmts[query] = st
	}
	return st, err
}

func (c *session) exec(_ context.Context, query string, args []any) (sql.Result, error) {
	st, err := c.prepare(query)
	if err != nil {
		return nil, err
	}
	return st.ExecContext(always, args...)
}

func (c *session) query(_ context.Context, query string, args []any) (*sql.Rows, error) {
	st, err := c.prepare(query)
	if err != nil {
		return nil, err
	}
	return st.QueryContext(always, args...)
}

// do runs a statement without parameters.
func (c *session) do(query string) error {
	_, err := c.exec(always, query, nil)
	return err
}

func (s *sqlite) view(ctx context.Context, fn func(*Tx) error, whole bool) error {
	select {
	case s.readers <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-s.readers }()

	s.idleMu.Lock()
	var c *session
	if n := len(s.idle); n > 0 {
		c, s.idle = s.idle[n-1], s.idle[:n-1]
	}
	s.idleMu.Unlock()
	if c == nil {
		var err error
		if c, err = s.session(ctx); err != nil {
			return err
		}
	}
	tx := &Tx{ctx: ctx, dialect: SQLite, run: c}
	var err, end error
	if !whole {
		err = call(fn, tx)
	} else if end = c.do("BEGIN"); end == nil {
		err = call(fn, tx)
		end = c.do("ROLLBACK")
	}
	if end != nil {
		c.conn.Close() // in what state it is, is unknown
		return errors.Join(err, fmt.Errorf("store: read: %w", end))
	}
	s.idleMu.Lock()
	s.idle = append(s.idle, c)
	s.idleMu.Unlock()
	return err
}

func (s *sqlite) update(ctx context.Context, fn func(*Tx) error, durable bool) error {
	j := &job{ctx: ctx, fn: fn, durable: durable, done: make(chan error, 1)}
	s.mu.RLock()
	if s.closed {
		s.mu.RUnlock()
		return errors.New("store: closed")
	}
	select {
	case s.jobs <- j:
		s.mu.RUnlock()
	case <-ctx.Done():
		s.mu.RUnlock()
		return ctx.Err()
	}
	return <-j.done
}

// write runs all updates, until jobs is closed.
func (s *sqlite) write(c *session) {
	defer close(s.done)
	defer c.conn.Close()
	var batch []*job
	for j := range s.jobs {
		batch = append(batch[:0], j)
	more:
		for len(batch) < maxBatch {
			select {
			case j, ok := <-s.jobs:
				if !ok {
					break more
				}
				batch = append(batch, j)
			default:
				break more
			}
		}
		err := s.commit(c, batch)
		for _, j := range batch {
			if j.err == nil {
				j.err = err
			}
			if j.err == nil {
				s.watch.tell(j.tx.changes)
			}
		}
		for i, j := range batch {
			j.done <- j.err
			batch[i] = nil
		}
	}
}

// commit runs the batch in one transaction. Its error is that of all jobs
// that have none of their own.
func (s *sqlite) commit(c *session, batch []*job) error {
	durable := slices.ContainsFunc(batch, func(j *job) bool { return j.durable })
	if !durable {
		// The log is written, and forced to the disk together with the next commit that asks for it.
		if err := c.do("PRAGMA synchronous = NORMAL"); err != nil {
			return fmt.Errorf("store: begin: %w", err)
		}
		defer c.do("PRAGMA synchronous = FULL")
	}
	if err := c.do("BEGIN IMMEDIATE"); err != nil {
		return fmt.Errorf("store: begin: %w", err)
	}
	undo := func(err error) error {
		_ = c.do("ROLLBACK") // fails when SQLite has done so itself, as on a full disk
		return err
	}
	alone := len(batch) == 1
	wrote := false
	for _, j := range batch {
		if j.err = j.ctx.Err(); j.err != nil {
			continue
		}
		if !alone {
			if err := c.do("SAVEPOINT job"); err != nil {
				return undo(fmt.Errorf("store: begin: %w", err))
			}
		}
		j.tx = Tx{ctx: j.ctx, dialect: SQLite, run: c}
		j.err = call(j.fn, &j.tx)
		switch {
		case j.err != nil && alone:
			return undo(j.err)
		case j.err != nil:
			if err := errors.Join(c.do("ROLLBACK TO job"), c.do("RELEASE job")); err != nil {
				return undo(fmt.Errorf("store: undo after %w: %w", j.err, err))
			}
		default:
			wrote = true
			if !alone {
				if err := c.do("RELEASE job"); err != nil {
					return undo(fmt.Errorf("store: commit: %w", err))
				}
			}
		}
	}
	if !wrote {
		return undo(nil)
	}
	if err := c.do("COMMIT"); err != nil {
		return undo(fmt.Errorf("store: commit: %w", err))
	}
	return nil
}

func (s *sqlite) live() bool { return true }

func (s *sqlite) close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	close(s.jobs)
	s.mu.Unlock()
	<-s.done
	for range maxReaders {
		s.readers <- struct{}{} // no reader is left, and none comes
	}
	for range maxReaders {
		<-s.readers
	}
	s.idleMu.Lock()
	for _, c := range s.idle {
		c.conn.Close()
	}
	s.idle = nil
	s.idleMu.Unlock()
	return errors.Join(s.db.Close(), s.lock.Close())
}
