package store

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
)

const (
	// channel is where servers tell each other of changes.
	channel = "hearth_changes"
	// staleAfter is how old another server's change may be before it is heard of.
	staleAfter = time.Second
	// pulse is how often the listener proves that it still hears.
	pulse = 300 * time.Millisecond
	// maxNotice is the most that PostgreSQL takes in one notification, in bytes.
	maxNotice = 7900
)

// postgres is the engine of several servers that share a database.
type postgres struct {
	id    string // this server's, in notifications
	db    *sql.DB
	watch *watchers
	log   *slog.Logger

	heard  atomic.Int64 // when the listener last surely heard everything, in Unix nanoseconds
	cancel context.CancelFunc
	done   chan struct{} // closed when the listener has ended
	once   sync.Once
	err    error // of close
}

var _ engine = (*postgres)(nil)

func openPostgres(ctx context.Context, cfg Config, w *watchers) (*postgres, error) {
	conf, err := pgx.ParseConfig(cfg.PostgresURL)
	if err != nil {
		return nil, fmt.Errorf("store: %w", err) // pgx leaves the password out
	}
	if conf.RuntimeParams["application_name"] == "" {
		conf.RuntimeParams["application_name"] = "hearth"
	}
	p := &postgres{id: rand.Text(), db: stdlib.OpenDB(*conf), watch: w, log: cfg.Logger, done: make(chan struct{})}
	p.db.SetMaxOpenConns(16)
	p.db.SetMaxIdleConns(8)
	p.db.SetConnMaxIdleTime(time.Minute)
	if err := migrate(ctx, p.db, PostgreSQL); err != nil {
		p.db.Close()
		return nil, err
	}
	listen, cancel := context.WithCancel(context.Background())
	p.cancel = cancel
	first := make(chan struct{})
	go p.listen(listen, conf, first)
	select {
	case <-first:
	case <-ctx.Done():
		p.close()
		return nil, fmt.Errorf("store: listen for changes: %w", ctx.Err())
	}
	return p, nil
}

// rebound keeps statements with their parameters written as "$1", by those written as "?".
var rebound sync.Map

func rebind(query string) string {
	if q, ok := rebound.Load(query); ok {
		return q.(string)
	}
	var b strings.Builder
	n := 0
	quoted := false
	for _, r := range query {
		switch {
		case r == '\'':
			quoted = !quoted
		case r == '?' && !quoted:
			n++
			b.WriteString("$" + strconv.Itoa(n))
			continue
		}
		b.WriteRune(r)
	}
	rebound.Store(query, b.String())
	return b.String()
}

// pgRunner runs statements in a transaction, or each on its own.
type pgRunner struct {
	tx interface {
		ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
		QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	}
}

func (r pgRunner) exec(ctx context.Context, query string, args []any) (sql.Result, error) {
	return r.tx.ExecContext(ctx, rebind(query), args...)
}

func (r pgRunner) query(ctx context.Context, query string, args []any) (*sql.Rows, error) {
	return r.tx.QueryContext(ctx, rebind(query), args...)
}

func (p *postgres) view(ctx context.Context, fn func(*Tx) error, whole bool) error {
	if !whole {
		return call(fn, &Tx{ctx: ctx, dialect: PostgreSQL, run: pgRunner{p.db}})
	}
	t, err := p.db.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true})
	if err != nil {
		return fmt.Errorf("store: begin: %w", err)
	}
	defer t.Rollback()
	return call(fn, &Tx{ctx: ctx, dialect: PostgreSQL, run: pgRunner{t}})
}

// update runs fn under READ COMMITTED. What fn reads by key is locked, and
// what it counts lies in one row of usage, so that no stronger isolation is
// needed; a deadlock is tried again.
func (p *postgres) update(ctx context.Context, fn func(*Tx) error, durable bool) error {
	for attempt := 1; ; attempt++ {
		tx, err := p.try(ctx, fn, durable)
		if err == nil {
			p.watch.tell(tx.changes)
			return nil
		}
		var e *pgconn.PgError
		if !errors.As(err, &e) || e.Code != "40P01" && e.Code != "40001" || attempt == 10 {
			return err
		}
		select {
		case <-time.After(time.Duration(attempt) * 2 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (p *postgres) try(ctx context.Context, fn func(*Tx) error, durable bool) (*Tx, error) {
	t, err := p.db.BeginTx(ctx, nil)
	if err != nil {
		return nil, fmt.Errorf("store: begin: %w", err)
	}
	defer t.Rollback()
	tx := &Tx{ctx: ctx, dialect: PostgreSQL, run: pgRunner{t}, locks: true}
	if !durable {
		if _, err := tx.Exec("SET LOCAL synchronous_commit = off"); err != nil {
			return nil, err
		}
	}
	if err := call(fn, tx); err != nil {
		return nil, err
	}
	if len(tx.changes) > 0 {
		if _, err := tx.Exec("SELECT pg_notify(?, ?)", channel, notice(p.id, tx.changes)); err != nil {
			return nil, err
		}
	}
	if err := t.Commit(); err != nil {
		return nil, fmt.Errorf("store: commit: %w", err)
	}
	return tx, nil
}

// notified is the text of a notification.
type notified struct {
	Server  string
	Changes []Change
}

func notice(id string, cs []Change) string {
	b, err := json.Marshal(notified{id, cs})
	if err != nil || len(b) > maxNotice {
		b, _ = json.Marshal(notified{id, []Change{{}}})
	}
	return string(b)
}

func (p *postgres) live() bool {
	return time.Now().UnixNano()-p.heard.Load() < int64(staleAfter)
}

// listen keeps a connection that hears of other servers' changes, until ctx
// ends. It closes first once it has tried for the first time.
func (p *postgres) listen(ctx context.Context, conf *pgx.ConnConfig, first chan struct{}) {
	defer close(p.done)
	started := sync.OnceFunc(func() { close(first) })
	defer started()
	down := false
	for ctx.Err() == nil {
		err := p.hear(ctx, conf, func() {
			if down {
				p.log.Info("hears of other servers' changes again")
				down = false
			}
			p.watch.tell([]Change{{}}) // what happened meanwhile is unknown
			started()
		})
		if ctx.Err() != nil {
			return
		}
		p.heard.Store(0)
		if !down {
			p.log.Warn("hears no changes of other servers: caches are bypassed", "err", err)
			down = true
		}
		started()
		select {
		case <-time.After(pulse):
		case <-ctx.Done():
		}
	}
}

// hear listens on one connection until that breaks; it calls up once it hears.
func (p *postgres) hear(ctx context.Context, conf *pgx.ConnConfig, up func()) error {
	dial, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	conn, err := pgx.ConnectConfig(dial, conf.Copy())
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(dial))
	if _, err := conn.Exec(dial, "LISTEN "+channel); err != nil {
		return err
	}
	p.heard.Store(time.Now().UnixNano())
	up()
	for {
		wait, cancel := context.WithTimeout(ctx, pulse)
		n, err := conn.WaitForNotification(wait)
		cancel()
		switch {
		case err == nil:
			p.tell(n.Payload)
			if time.Now().UnixNano()-p.heard.Load() < int64(pulse) {
				continue
			}
		case ctx.Err() != nil:
			return ctx.Err()
		case conn.IsClosed() || !errors.Is(err, context.DeadlineExceeded):
			return err
		}
		// An answer to a question asked now comes after all that was committed before.
		asked := time.Now()
		ask, cancel := context.WithTimeout(ctx, staleAfter)
		err = conn.Ping(ask)
		cancel()
		if err != nil {
			return err
		}
		p.heard.Store(asked.UnixNano())
	}
}

func (p *postgres) tell(payload string) {
	var n notified
	if err := json.Unmarshal([]byte(payload), &n); err != nil {
		n.Changes = []Change{{}}
	}
	if n.Server != p.id {
		p.watch.tell(n.Changes)
	}
}

func (p *postgres) close() error {
	p.once.Do(func() {
		p.cancel()
		<-p.done
		p.err = p.db.Close()
	})
	return p.err
}
