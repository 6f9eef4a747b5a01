package store

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
)

// Config says where the records are. Exactly one of Dir and PostgresURL is set.
type Config struct {
	// Dir is the folder of an SQLite database, which is made if it is not
	// there. One Store at a time may use it.
	Dir string
	// PostgresURL names a PostgreSQL database, which several servers may share:
	// "postgres://user@host/database?sslmode=…".
	PostgresURL string
	// Logger takes what happens in the background. Nil discards.
	Logger *slog.Logger
}

// ErrInUse means that another process has the folder open.
var ErrInUse = errors.New("data folder is in use")

// Dialect is the database behind a Store.
type Dialect int

const (
	SQLite Dialect = iota
	PostgreSQL
)

// engine is what differs between the databases.
type engine interface {
	view(ctx context.Context, fn func(*Tx) error, whole bool) error
	update(ctx context.Context, fn func(*Tx) error, durable bool) error
	// live says whether changes that others have made are being heard of
	// within a second.
	live() bool
	close() error
}

// Store is an open database. Its methods may be called concurrently.
type Store struct {
	engine engine
	watch  watchers
}

// Open opens the database, and brings it to this program's schema. ctx bounds
// the opening. An error that wraps ErrInUse says who uses the folder.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Store{}
	var err error
	switch {
	case cfg.Dir != "" && cfg.PostgresURL != "":
		return nil, errors.New("store: a folder and a PostgreSQL database are configured: choose one")
	case cfg.PostgresURL != "":
		s.engine, err = openPostgres(ctx, cfg, &s.watch)
	case cfg.Dir != "":
		s.engine, err = openSQLite(ctx, cfg, &s.watch)
	default:
		return nil, errors.New("store: neither a folder nor a PostgreSQL database is configured")
	}
	if err != nil {
		return nil, err
	}
	return s, nil
}

// Close waits for running transactions and closes the database. It may be called more than once.
func (s *Store) Close() error { return s.engine.close() }

// View runs fn in a transaction that only reads, and sees one moment of the database.
func (s *Store) View(ctx context.Context, fn func(*Tx) error) error {
	return s.engine.view(ctx, fn, true)
}

// Read is View for what reads a single record: it begins no transaction, which
// is quicker. What fn reads with several statements may be of several moments.
func (s *Store) Read(ctx context.Context, fn func(*Tx) error) error {
	return s.engine.view(ctx, fn, false)
}

// Update runs fn in a transaction, and commits it if fn returns nil; when
// Update then returns nil, too, the writes are there for good. If fn returns an
// error, nothing is written, and Update returns that error as it is.
//
// fn may be called again, after its first writes were undone, when PostgreSQL
// wants that; it has no other effects than its writes. It must not
// call Update or View itself, and must not keep tx. ctx bounds the wait for the
// transaction's turn.
func (s *Store) Update(ctx context.Context, fn func(*Tx) error) error {
	return s.engine.update(ctx, fn, true)
}

// UpdateLazily is Update for what would be done again if it were lost: its
// writes survive kill -9, too, but a loss of power may undo them until a later Update has returned.
func (s *Store) UpdateLazily(ctx context.Context, fn func(*Tx) error) error {
	return s.engine.update(ctx, fn, false)
}

// Secret returns 32 random bytes that are made when they are first asked for,
// and are the same for all who open the database.
func (s *Store) Secret(ctx context.Context, name string) (secret []byte, err error) {
	err = s.Update(ctx, func(tx *Tx) error {
		fresh := make([]byte, 32)
		_, _ = rand.Read(fresh) // never fails
		if _, err := tx.Exec("INSERT INTO secrets (name, secret) VALUES (?, ?) ON CONFLICT (name) DO NOTHING", name, fresh); err != nil {
			return err
		}
		rows, err := tx.Query("SELECT secret FROM secrets WHERE name = ?", name)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			if err := rows.Scan(&secret); err != nil {
				return fmt.Errorf("store: read secret: %w", err)
			}
		}
		return rows.Err()
	})
	return secret, err
}

// PostgreSQL returns the database's connections for packages that keep tables
// of their own there, or nil if the database is another. They stay the store's.
func (s *Store) PostgreSQL() *sql.DB {
	if p, ok := s.engine.(*postgres); ok {
		return p.db
	}
	return nil
}

// Change says which record was written or removed.
type Change struct {
	// Table is the table's name: "functions", "versions", "aliases", … "" means that anything may have changed.
	Table string
	// Key is as much of the record's key as names an account, a region and a name.
	Key Key
}

// Watch calls fn after every commit for each record that it changed: for this
// server's own before Update returns, for those of other servers on PostgreSQL within a second while
// Live. fn must be quick, and may be called from several goroutines. cancel ends that; fn may run once more while cancel does.
func (s *Store) Watch(fn func(Change)) (cancel func()) { return s.watch.add(fn) }

// Live says whether Watch hears of other servers' changes at most a second
// after they were made. While it is false, caches that trust in Watch must be
// bypassed. Always true on SQLite, which has no other servers.
func (s *Store) Live() bool { return s.engine.live() }

type watchers struct {
	mu  sync.Mutex
	fns []*func(Change) // replaced, never changed
}

func (w *watchers) add(fn func(Change)) func() {
	p := &fn
	w.mu.Lock()
	w.fns = append(slices.Clip(w.fns), p)
	w.mu.Unlock()
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.fns = slices.DeleteFunc(slices.Clone(w.fns), func(q *func(Change)) bool { return q == p })
	}
}

func (w *watchers) tell(cs []Change) {
	w.mu.Lock()
	fns := w.fns
	w.mu.Unlock()
	for _, c := range cs {
		for _, fn := range fns {
			(*fn)(c)
		}
	}
}

// Tx is a transaction. It is used by one goroutine, until the function it was given to returns.
//
// Besides the tables of records it takes SQL, for tables that other packages
// own (their schema is among this package's migrations). Parameters are written
// as "?" on both databases.
type Tx struct {
	ctx     context.Context
	dialect Dialect
	run     runner
	locks   bool // reads by key lock, too
	changes []Change
}

// runner executes statements of one dialect's placeholders.
type runner interface {
	exec(ctx context.Context, query string, args []any) (sql.Result, error)
	query(ctx context.Context, query string, args []any) (*sql.Rows, error)
}

// Dialect returns the database that tx speaks to.
func (tx *Tx) Dialect() Dialect { return tx.dialect }

// Exec runs a statement and returns how many rows it changed.
func (tx *Tx) Exec(query string, args ...any) (int64, error) {
	res, err := tx.run.exec(tx.ctx, query, args)
	if err != nil {
		return 0, fmt.Errorf("store: %s: %w", firstWords(query), err)
	}
	return res.RowsAffected()
}

// Query runs a query. The caller closes the rows before it uses tx again.
func (tx *Tx) Query(query string, args ...any) (*sql.Rows, error) {
	rows, err := tx.run.query(tx.ctx, query, args)
	if err != nil {
		return nil, fmt.Errorf("store: %s: %w", firstWords(query), err)
	}
	return rows, nil
}

// firstWords returns enough of a statement to recognise it.
func firstWords(query string) string {
	if len(query) > 60 {
		query = query[:60] + "…"
	}
	return query
}

func (tx *Tx) changed(table string, key []any) {
	if table == tasks.name {
		return
	}
	c := Change{Table: table}
	for i, p := range []*string{&c.Key.AccountID, &c.Key.Region, &c.Key.Name} {
		if i < len(key) {
			*p = key[i].(string)
		}
	}
	if !slices.Contains(tx.changes, c) {
		tx.changes = append(tx.changes, c)
	}
}

// call runs fn, and makes its panic an error, so that it harms no other transaction.
func call(fn func(*Tx) error, tx *Tx) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("store: panic in a transaction: %v", r)
		}
	}()
	return fn(tx)
}
