// Package queue keeps events that are to be worked off later: durably, in the
// order in which they fall due, fairly between keys.
//
//	Put ─▶ due ◀─────────────── Retry ──┐
//	        │                           │
//	        └─Lease─▶ leased ──Extend──▶ leased ──▶ Done
//	            ▲        │
//	            └────────┘ the lease runs out: its owner is dead
//
// An item that Put has taken is handed out at least once, whatever dies. At
// most one owner has an item's lease at a time, but one that was given up for
// dead may still be at work; its Done and Retry then say ErrLost.
//
// Items live in a database: SQLite for one server, PostgreSQL for several. What
// many callers write at once is written in one transaction, so that they
// share the wait for the disk.
package queue

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"sync"
	"time"
)

// MaxBody is the longest body that Put takes, in bytes: AWS's largest
// asynchronous event, and room for what belongs to it.
const MaxBody = 2 << 20

// Errors of the queue's methods.
var (
	// ErrLost: the item's lease has run out and another has it, or it is gone.
	ErrLost = errors.New("lease is lost")
	// ErrClosed: the queue has been closed.
	ErrClosed = errors.New("queue is closed")
)

// Item is one event.
type Item struct {
	ID         string    // the caller's, for logs; need not be unique
	Key        string    // what it is fair between: a function
	Body       []byte    // the caller's, who must not change it
	Created    time.Time // when Put took it, in whole milliseconds
	Due        time.Time // Put: not before then; zero means now. Lease: when the lease ends
	Attempts   int       // as Retry has counted them
	Deliveries int       // leases so far, this one included
	Reason     string    // of the last Retry

	seq int64
}

// Config says where a queue's items are.
type Config struct {
	// DB holds them. The queue makes its tables there, and does not close it.
	DB *sql.DB
	// Postgres says that DB is PostgreSQL, else SQLite.
	Postgres bool
	// Owner names this server in leases. It must differ from that of every
	// other that lives.
	Owner string
	// Alone says that no other server uses the tables: what is leased
	// when the queue is opened is due at once, since its owner is dead.
	Alone bool
	// Poll is how often Lease looks for what other servers have put. 0 means
	// a second; Alone needs none.
	Poll time.Duration
	// Logger is told what goes wrong in the background. Nil discards.
	Logger *slog.Logger
}

// Queue is a durable queue. Its methods may be called concurrently.
type Queue struct {
	cfg   Config
	log   *slog.Logger
	ops   chan *op
	stop  chan struct{}
	once  sync.Once
	tasks sync.WaitGroup

	mu    sync.Mutex
	held  map[string]time.Time // keys that are not to be leased until then
	last  string               // the key that the last Lease ended with
	wakes chan struct{}        // closed when something may have become due
}

// Open returns the queue in cfg.DB, whose tables it makes if they are not there.
func Open(ctx context.Context, cfg Config) (*Queue, error) {
	if cfg.Poll <= 0 {
		cfg.Poll = time.Second
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	q := &Queue{
		cfg:   cfg,
		log:   cfg.Logger,
		ops:   make(chan *op, maxBatch),
		stop:  make(chan struct{}),
		held:  make(map[string]time.Time),
		wakes: make(chan struct{}),
	}
	if err := q.migrate(ctx); err != nil {
		return nil, fmt.Errorf("open queue: %w", err)
	}
	if cfg.Alone {
		if _, err := cfg.DB.ExecContext(ctx, q.sql(`UPDATE hearth_queue SET owner = '', due = ? WHERE owner <> ''`), time.Now().UnixMilli()); err != nil {
			return nil, fmt.Errorf("open queue: %w", err)
		}
	}
	q.tasks.Go(q.committer)
	return q, nil
}

// Close ends the queue's work; items stay where they are. Calls under way
// return ErrClosed. Leases run out by themselves, or at once when a queue that
// is Alone opens the tables again.
func (q *Queue) Close() error {
	q.once.Do(func() { close(q.stop) })
	q.tasks.Wait()
	return nil
}

// Put adds items, all or none. When it returns nil they survive whatever
// happens; when ctx ends first, they may be in the queue or not.
func (q *Queue) Put(ctx context.Context, items ...Item) error {
	now := time.Now()
	for i := range items {
		if len(items[i].Body) > MaxBody {
			return fmt.Errorf("put %s: a body of %d bytes is longer than %d", items[i].ID, len(items[i].Body), MaxBody)
		}
	}
	err := q.do(ctx, func(ctx context.Context, tx *sql.Tx) error {
		for i := range items {
			if err := q.insert(ctx, tx, &items[i], now); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("put into queue: %w", err)
	}
	q.wake()
	return nil
}

// Lease waits until items are due, and hands out at most n of them to this
// owner alone, for so long. Each key that has items due gets its share of n. It
// returns an error when ctx ends before anything is due.
func (q *Queue) Lease(ctx context.Context, n int, visibility time.Duration) ([]Item, error) {
	for {
		q.mu.Lock()
		wakes := q.wakes
		q.mu.Unlock()
		now := time.Now()
		items, next, err := q.claim(ctx, n, now, visibility)
		if err != nil || len(items) > 0 {
			return items, err
		}
		wait := next.Sub(now)
		if !q.cfg.Alone {
			wait = min(wait, q.cfg.Poll)
		}
		timer := time.NewTimer(max(wait, time.Millisecond))
		select {
		case <-timer.C:
		case <-wakes:
		case <-ctx.Done():
			err = ctx.Err()
		case <-q.stop:
			err = ErrClosed
		}
		timer.Stop()
		if err != nil {
			return nil, err
		}
	}
}

// claim leases what is due now, or says when something will be.
func (q *Queue) claim(ctx context.Context, n int, now time.Time, visibility time.Duration) (items []Item, next time.Time, err error) {
	// To its end, whatever becomes of ctx: items must not be leased to nobody.
	err = q.do(context.WithoutCancel(ctx), func(ctx context.Context, tx *sql.Tx) error {
		items, next = nil, never
		keys, err := q.keys(ctx, tx)
		if err != nil || len(keys) == 0 {
			return err
		}
		keys = q.turn(keys, now, &next)
		all := keys
		share := (n + len(keys) - 1) / max(1, len(keys))
		for len(items) < n && len(keys) > 0 {
			var rest []string
			for _, key := range keys {
				want := min(share, n-len(items))
				if want == 0 {
					break
				}
				got, err := q.leaseKey(ctx, tx, key, want, now, now.Add(visibility))
				if err != nil {
					return err
				}
				items = append(items, got...)
				if len(got) == want {
					rest = append(rest, key)
				}
				q.mu.Lock()
				q.last = key
				q.mu.Unlock()
			}
			keys = rest
		}
		if len(items) == 0 {
			for _, key := range all {
				due, err := q.nextDue(ctx, tx, key, now)
				if err != nil {
					return err
				}
				if due.Before(next) {
					next = due
				}
			}
		}
		return nil
	})
	if err != nil {
		return nil, never, fmt.Errorf("lease from queue: %w", err)
	}
	return items, next, nil
}

// turn orders keys so that those behind the last one served come first, and
// leaves out those that are held; next becomes the earliest end of a hold.
func (q *Queue) turn(keys []string, now time.Time, next *time.Time) []string {
	q.mu.Lock()
	defer q.mu.Unlock()
	var first, second []string
	for _, key := range keys {
		if until, ok := q.held[key]; ok {
			if until.After(now) {
				if until.Before(*next) {
					*next = until
				}
				continue
			}
			delete(q.held, key)
		}
		if key > q.last {
			first = append(first, key)
		} else {
			second = append(second, key)
		}
	}
	return append(first, second...)
}

// Hold keeps this server from leasing items of key until then: it has no room
// for them now. Other keys go on.
func (q *Queue) Hold(key string, until time.Time) {
	q.mu.Lock()
	q.held[key] = until
	q.mu.Unlock()
}

// Unhold ends a Hold early.
func (q *Queue) Unhold(key string) {
	q.mu.Lock()
	_, held := q.held[key]
	delete(q.held, key)
	q.mu.Unlock()
	if held {
		q.wake()
	}
}

// Extend makes the item's lease last until then. ErrLost.
func (q *Queue) Extend(ctx context.Context, it *Item, until time.Time) error {
	err := q.owned(ctx, it, `UPDATE hearth_queue SET due = ? WHERE seq = ? AND owner = ? AND deliveries = ?`, until.UnixMilli())
	if err != nil {
		return fmt.Errorf("extend lease of %s: %w", it.ID, err)
	}
	it.Due = until
	return nil
}

// Done removes the item. ErrLost.
func (q *Queue) Done(ctx context.Context, it *Item) error {
	err := q.do(ctx, func(ctx context.Context, tx *sql.Tx) error {
		err := q.owns(ctx, tx, it, `DELETE FROM hearth_queue WHERE seq = ? AND owner = ? AND deliveries = ?`)
		if err != nil || len(it.Body) <= inlineBody {
			return err
		}
		_, err = tx.ExecContext(ctx, q.sql(`DELETE FROM hearth_queue_body WHERE seq = ?`), it.seq)
		return err
	})
	if err != nil {
		return fmt.Errorf("end %s: %w", it.ID, err)
	}
	return nil
}

// Retry gives the item back, to be due at the time at, with a word on why. It counts an attempt
// if the event was really tried. ErrLost.
func (q *Queue) Retry(ctx context.Context, it *Item, at time.Time, attempted bool, reason string) error {
	n := 0
	if attempted {
		n = 1
	}
	if len(reason) > 1000 {
		reason = reason[:1000]
	}
	err := q.owned(ctx, it, `UPDATE hearth_queue SET owner = '', due = ?, attempts = attempts + ?, reason = ? WHERE seq = ? AND owner = ? AND deliveries = ?`, at.UnixMilli(), n, reason)
	if err != nil {
		return fmt.Errorf("give back %s: %w", it.ID, err)
	}
	q.wake()
	return nil
}

// owned runs one statement, whose last parameters name the item and its lease.
func (q *Queue) owned(ctx context.Context, it *Item, statement string, args ...any) error {
	return q.do(ctx, func(ctx context.Context, tx *sql.Tx) error {
		return q.owns(ctx, tx, it, statement, args...)
	})
}

func (q *Queue) owns(ctx context.Context, tx *sql.Tx, it *Item, statement string, args ...any) error {
	r, err := tx.ExecContext(ctx, q.sql(statement), slices.Concat(args, []any{it.seq, q.cfg.Owner, it.Deliveries})...)
	if err != nil {
		return err
	}
	if n, err := r.RowsAffected(); err != nil || n > 0 {
		return err
	}
	return ErrLost
}

// Drop removes all items of key, and returns how many there were. Those that
// are leased are gone, too: their owner's next call says ErrLost.
func (q *Queue) Drop(ctx context.Context, key string) (n int64, err error) {
	err = q.do(ctx, func(ctx context.Context, tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, q.sql(`DELETE FROM hearth_queue_body WHERE seq IN (SELECT seq FROM hearth_queue WHERE key = ?)`), key); err != nil {
			return err
		}
		r, err := tx.ExecContext(ctx, q.sql(`DELETE FROM hearth_queue WHERE key = ?`), key)
		if err == nil {
			n, err = r.RowsAffected()
		}
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("drop %s from queue: %w", key, err)
	}
	q.Unhold(key)
	return n, nil
}

// Stats says what is in the queue.
type Stats struct {
	Items  int64
	Leased int64
	Oldest time.Time // Created of the oldest item; zero if there is none
}

// Stats counts the items of key, or of all keys if it is "".
func (q *Queue) Stats(ctx context.Context, key string) (s Stats, err error) {
	var oldest sql.NullInt64
	err = q.cfg.DB.QueryRowContext(ctx, q.sql(`SELECT count(*), coalesce(sum(CASE WHEN owner <> '' AND due > ? THEN 1 ELSE 0 END), 0), min(created) FROM hearth_queue WHERE key = ? OR ? = ''`),
		time.Now().UnixMilli(), key, key).Scan(&s.Items, &s.Leased, &oldest)
	if err != nil {
		return s, fmt.Errorf("count queue: %w", err)
	}
	if oldest.Valid {
		s.Oldest = time.UnixMilli(oldest.Int64)
	}
	return s, nil
}

// wake makes those who wait in Lease look again.
func (q *Queue) wake() {
	q.mu.Lock()
	close(q.wakes)
	q.wakes = make(chan struct{})
	q.mu.Unlock()
}

// never is the time of what does not come.
var never = time.UnixMilli(math.MaxInt64 / 2)

func sortItems(items []Item) {
	slices.SortFunc(items, func(a, b Item) int { return cmp.Compare(a.seq, b.seq) })
}
