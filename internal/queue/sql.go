package queue

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	_ "modernc.org/sqlite" // the driver "sqlite"
)

// The tables. Bodies that are long are apart, so that a lease, which writes its
// row, does not write them again. An item that is leased is due when its lease ends, so a
// dead owner's items need nobody to find them.
const inlineBody = 4 << 10

var schema = []string{
	`CREATE TABLE IF NOT EXISTS hearth_queue (
		seq        SERIAL_KEY,
		id         TEXT NOT NULL,
		key        TEXT NOT NULL,
		due        BIGINT NOT NULL,
		created    BIGINT NOT NULL,
		attempts   INTEGER NOT NULL DEFAULT 0,
		deliveries INTEGER NOT NULL DEFAULT 0,
		owner      TEXT NOT NULL DEFAULT '',
		reason     TEXT NOT NULL DEFAULT '',
		body       BYTES)`,
	`CREATE INDEX IF NOT EXISTS hearth_queue_due ON hearth_queue (key, due, seq)`,
	`CREATE TABLE IF NOT EXISTS hearth_queue_body (
		seq  BIGINT NOT NULL PRIMARY KEY,
		body BYTES NOT NULL)`,
}

// OpenSQLite opens the SQLite database in the file path as a queue needs it: what is committed
// is on the disk.
func OpenSQLite(path string) (*sql.DB, error) {
	u := url.URL{Scheme: "file", Path: path, RawQuery: url.Values{
		"_pragma": {"journal_mode(WAL)", "synchronous(FULL)", "busy_timeout(10000)", "journal_size_limit(16777216)"},
		"_txlock": {"immediate"},
	}.Encode()}
	db, err := sql.Open("sqlite", u.String())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(2) // one writes, one counts
	return db, nil
}

func (q *Queue) migrate(ctx context.Context) error {
	types := strings.NewReplacer("SERIAL_KEY", "INTEGER PRIMARY KEY AUTOINCREMENT", "BYTES", "BLOB")
	if q.cfg.Postgres {
		types = strings.NewReplacer("SERIAL_KEY", "BIGSERIAL PRIMARY KEY", "BYTES", "BYTEA")
	}
	tx, err := q.cfg.DB.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if q.cfg.Postgres {
		// Servers that start at once must not make the tables at once.
		if _, err := tx.ExecContext(ctx, `SELECT pg_advisory_xact_lock(5128674231)`); err != nil {
			return err
		}
	}
	for _, s := range schema {
		if _, err := tx.ExecContext(ctx, types.Replace(s)); err != nil {
			return err
		}
	}
	return tx.Commit()
}

// sql turns ? into the database's own placeholders.
func (q *Queue) sql(s string) string {
	if !q.cfg.Postgres {
		return s
	}
	var b strings.Builder
	n := 0
	for {
		i := strings.IndexByte(s, '?')
		if i < 0 {
			b.WriteString(s)
			return b.String()
		}
		n++
		b.WriteString(s[:i])
		b.WriteString("$" + strconv.Itoa(n))
		s = s[i+1:]
	}
}

func (q *Queue) insert(ctx context.Context, tx *sql.Tx, it *Item, now time.Time) error {
	due := it.Due
	if due.IsZero() {
		due = now
	}
	var body []byte
	if len(it.Body) <= inlineBody {
		body = append([]byte{}, it.Body...)
	}
	var seq int64
	err := tx.QueryRowContext(ctx, q.sql(`INSERT INTO hearth_queue (id, key, due, created, attempts, reason, body) VALUES (?, ?, ?, ?, ?, ?, ?) RETURNING seq`),
		it.ID, it.Key, due.UnixMilli(), now.UnixMilli(), it.Attempts, it.Reason, body).Scan(&seq)
	if err != nil || body != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, q.sql(`INSERT INTO hearth_queue_body (seq, body) VALUES (?, ?)`), seq, it.Body)
	return err
}

// keys returns all keys that have items, by jumping from one to the next in the index.
func (q *Queue) keys(ctx context.Context, tx *sql.Tx) ([]string, error) {
	rows, err := tx.QueryContext(ctx, `WITH RECURSIVE k(key) AS (
		SELECT min(key) FROM hearth_queue
		UNION ALL
		SELECT (SELECT min(key) FROM hearth_queue WHERE key > k.key) FROM k WHERE k.key IS NOT NULL)
		SELECT key FROM k WHERE key IS NOT NULL`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var keys []string
	for rows.Next() {
		var key string
		if err := rows.Scan(&key); err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	return keys, rows.Err()
}

// leaseKey leases up to n items of key that are due.
func (q *Queue) leaseKey(ctx context.Context, tx *sql.Tx, key string, n int, now, until time.Time) ([]Item, error) {
	in, skip := "IN (", ")"
	if q.cfg.Postgres {
		// An array, since a subquery with a limit might be run again for each row.
		in, skip = "= ANY (ARRAY(", " FOR UPDATE SKIP LOCKED))"
	}
	rows, err := tx.QueryContext(ctx, q.sql(`UPDATE hearth_queue SET owner = ?, due = ?, deliveries = deliveries + 1
		WHERE seq `+in+`SELECT seq FROM hearth_queue WHERE key = ? AND due <= ? ORDER BY due, seq LIMIT ?`+skip+`
		RETURNING seq, id, created, attempts, deliveries, reason, body`),
		q.cfg.Owner, until.UnixMilli(), key, now.UnixMilli(), n)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var items []Item
	for rows.Next() {
		it := Item{Key: key, Due: until}
		var created int64
		if err := rows.Scan(&it.seq, &it.ID, &created, &it.Attempts, &it.Deliveries, &it.Reason, &it.Body); err != nil {
			return nil, err
		}
		it.Created = time.UnixMilli(created)
		items = append(items, it)
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	rows.Close()
	for i := range items {
		if items[i].Body != nil {
			continue
		}
		err := tx.QueryRowContext(ctx, q.sql(`SELECT body FROM hearth_queue_body WHERE seq = ?`), items[i].seq).Scan(&items[i].Body)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return nil, err
		}
	}
	sortItems(items)
	return items, nil
}

// nextDue returns when the next item of key falls due after now.
func (q *Queue) nextDue(ctx context.Context, tx *sql.Tx, key string, now time.Time) (time.Time, error) {
	var due sql.NullInt64
	err := tx.QueryRowContext(ctx, q.sql(`SELECT min(due) FROM hearth_queue WHERE key = ? AND due > ?`), key, now.UnixMilli()).Scan(&due)
	if err != nil || !due.Valid {
		return never, err
	}
	return time.UnixMilli(due.Int64), nil
}

// op is one caller's part of a transaction. It may run more than once.
type op struct {
	f    func(context.Context, *sql.Tx) error
	done chan error
}

// maxBatch is how many callers share a transaction at most.
const maxBatch = 256

// opTimeout bounds a transaction: a database that hangs must not hang all callers for ever.
const opTimeout = 30 * time.Second

// do runs f in a transaction, together with other callers', and returns its
// error once the transaction is committed or f has failed.
func (q *Queue) do(ctx context.Context, f func(context.Context, *sql.Tx) error) error {
	o := &op{f: f, done: make(chan error, 1)}
	select {
	case q.ops <- o:
	case <-ctx.Done():
		return ctx.Err()
	case <-q.stop:
		return ErrClosed
	}
	select {
	case err := <-o.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-q.stop:
		// The committer finishes what it has begun.
		q.tasks.Wait()
		select {
		case err := <-o.done:
			return err
		default:
			return ErrClosed
		}
	}
}

// committer runs what callers ask for, all that has come meanwhile in one transaction.
func (q *Queue) committer() {
	batch := make([]*op, 0, maxBatch)
	for {
		batch = batch[:0]
		select {
		case o := <-q.ops:
			batch = append(batch, o)
		case <-q.stop:
			return
		}
	more:
		for len(batch) < maxBatch {
			select {
			case o := <-q.ops:
				batch = append(batch, o)
			default:
				break more
			}
		}
		q.commit(batch)
	}
}

func (q *Queue) commit(batch []*op) {
	errs, err := q.run(batch)
	if err != nil && len(batch) > 1 {
		// One may have spoilt it for the others: each for itself.
		for _, o := range batch {
			errs, err := q.run([]*op{o})
			if err == nil {
				err = errs[0]
			}
			o.done <- err
		}
		return
	}
	for i, o := range batch {
		if err != nil {
			o.done <- err
		} else {
			o.done <- errs[i]
		}
	}
}

// run runs the batch in one transaction. errs are refusals, which leave the
// transaction as it was; err means that nothing of it has happened.
func (q *Queue) run(batch []*op) (errs []error, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), opTimeout)
	defer cancel()
	tx, err := q.cfg.DB.BeginTx(ctx, nil)
	if err != nil {
		return nil, err
	}
	defer tx.Rollback()
	errs = make([]error, len(batch))
	for i, o := range batch {
		if errs[i] = o.f(ctx, tx); errs[i] != nil && !errors.Is(errs[i], ErrLost) {
			return nil, errs[i]
		}
	}
	if err := tx.Commit(); err != nil {
		return nil, fmt.Errorf("commit: %w", err)
	}
	return errs, nil
}
