package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// ErrNotFound means that there is no record with the key.
var ErrNotFound = errors.New("no such record")

// ErrExists means that there is a record with the key already.
var ErrExists = errors.New("record exists")

// A key is the primary key of a table. columns returns its values, in the order of the table's keys.
type key interface {
	comparable
	columns() []any
}

func (k Key) columns() []any          { return []any{k.AccountID, k.Region, k.Name} }
func (k VersionKey) columns() []any   { return append(k.Key.columns(), k.Number) }
func (k AliasKey) columns() []any     { return append(k.Key.columns(), k.Alias) }
func (k QualifiedKey) columns() []any { return append(k.Key.columns(), k.Qualifier) }
func (k TaskKey) columns() []any      { return append(k.QualifiedKey.columns(), k.Kind) }

// schema describes a table: its key columns, those that are copied out of the
// record to be searched for, and doc, the record as JSON.
type schema[K key, R any] struct {
	name  string
	keys  string // comma-separated
	extra string // comma-separated, or ""
	key   func(*R) K
	extrs func(*R) []any
	sql   statements
}

// statements are a schema's statements, made once.
type statements struct {
	get, lock, insert, put, delete string
}

func newSchema[K key, R any](name, keys, extra string, keyOf func(*R) K, extraOf func(*R) []any) *schema[K, R] {
	s := &schema[K, R]{name: name, keys: keys, extra: extra, key: keyOf, extrs: extraOf}
	where := strings.ReplaceAll(keys, ", ", " = ? AND ") + " = ?"
	columns := keys
	sets := "doc = excluded.doc"
	if extra != "" {
		columns += ", " + extra
		for c := range strings.SplitSeq(extra, ", ") {
			sets += ", " + c + " = excluded." + c
		}
	}
	columns += ", doc"
	values := strings.Repeat("?, ", strings.Count(columns, ",")) + "?"
	insert := "INSERT INTO " + name + " (" + columns + ") VALUES (" + values + ") ON CONFLICT (" + keys + ") DO "
	s.sql = statements{
		get:    "SELECT doc FROM " + name + " WHERE " + where,
		lock:   "SELECT doc FROM " + name + " WHERE " + where + " FOR UPDATE",
		insert: insert + "NOTHING",
		put:    insert + "UPDATE SET " + sets,
		delete: "DELETE FROM " + name + " WHERE " + where,
	}
	return s
}

var (
	functions = newSchema("functions", "account, region, name", "code_signing",
		func(f *Function) Key { return f.Key },
		func(f *Function) []any { return []any{f.CodeSigningConfigARN} })
	versions = newSchema("versions", "account, region, name, version", "",
		func(v *Published) VersionKey { return v.VersionKey }, nil)
	aliases = newSchema("aliases", "account, region, name, alias", "",
		func(a *Alias) AliasKey { return a.AliasKey }, nil)
	policies = newSchema("policies", "account, region, name, qualifier", "",
		func(p *Policy) QualifiedKey { return p.QualifiedKey }, nil)
	eventInvokes = newSchema("event_invokes", "account, region, name, qualifier", "",
		func(e *EventInvoke) QualifiedKey { return e.QualifiedKey }, nil)
	urls = newSchema("urls", "account, region, name, qualifier", "url",
		func(u *URL) QualifiedKey { return u.QualifiedKey },
		func(u *URL) []any { return []any{u.ID} })
	provisioned = newSchema("provisioned", "account, region, name, qualifier", "",
		func(p *Provisioned) QualifiedKey { return p.QualifiedKey }, nil)
	mappings = newSchema("mappings", "account, region, uuid", "function, source",
		func(m *Mapping) Key { return m.Key },
		func(m *Mapping) []any { return []any{m.FunctionName, val(m.Config.EventSourceArn)} })
	layers = newSchema("layers", "account, region, name", "",
		func(l *Layer) Key { return l.Key }, nil)
	layerVersions = newSchema("layer_versions", "account, region, name, version", "",
		func(l *LayerVersion) VersionKey { return l.VersionKey }, nil)
	codeSignings = newSchema("code_signings", "account, region, id", "",
		func(c *CodeSigning) Key { return c.Key }, nil)
	capacities = newSchema("capacities", "account, region, name", "",
		func(c *Capacity) Key { return c.Key }, nil)
	tasks = newSchema("tasks", "account, region, name, qualifier, kind", "",
		func(t *Task) TaskKey { return TaskKey{t.QualifiedKey, t.Kind} }, nil)
)

// Functions are all functions.
func (tx *Tx) Functions() Table[Key, Function] { return Table[Key, Function]{tx, functions} }

// Versions are the published versions of functions.
func (tx *Tx) Versions() Table[VersionKey, Published] {
	return Table[VersionKey, Published]{tx, versions}
}

// Aliases are the aliases of functions.
func (tx *Tx) Aliases() Table[AliasKey, Alias] { return Table[AliasKey, Alias]{tx, aliases} }

// Policies are the resource policies of functions.
func (tx *Tx) Policies() Table[QualifiedKey, Policy] {
	return Table[QualifiedKey, Policy]{tx, policies}
}

// EventInvokes are the configurations of asynchronous invocations.
func (tx *Tx) EventInvokes() Table[QualifiedKey, EventInvoke] {
	return Table[QualifiedKey, EventInvoke]{tx, eventInvokes}
}

// URLs are the URLs of functions.
func (tx *Tx) URLs() Table[QualifiedKey, URL] { return Table[QualifiedKey, URL]{tx, urls} }

// Provisioned are the configurations of provisioned concurrency.
func (tx *Tx) Provisioned() Table[QualifiedKey, Provisioned] {
	return Table[QualifiedKey, Provisioned]{tx, provisioned}
}

// Mappings are the event source mappings.
func (tx *Tx) Mappings() Table[Key, Mapping] { return Table[Key, Mapping]{tx, mappings} }

// Layers are the layers' names.
func (tx *Tx) Layers() Table[Key, Layer] { return Table[Key, Layer]{tx, layers} }

// LayerVersions are the versions of layers.
func (tx *Tx) LayerVersions() Table[VersionKey, LayerVersion] {
	return Table[VersionKey, LayerVersion]{tx, layerVersions}
}

// CodeSignings are the code signing configurations.
func (tx *Tx) CodeSignings() Table[Key, CodeSigning] {
	return Table[Key, CodeSigning]{tx, codeSignings}
}

// Capacities are the capacity providers.
func (tx *Tx) Capacities() Table[Key, Capacity] { return Table[Key, Capacity]{tx, capacities} }

// Tasks are what is still to be done in the background.
func (tx *Tx) Tasks() Table[TaskKey, Task] { return Table[TaskKey, Task]{tx, tasks} }

// Table is a table within a transaction. Records that it returns are the caller's.
type Table[K key, R any] struct {
	tx *Tx
	s  *schema[K, R]
}

// Get returns the record of k, or ErrNotFound. In an Update, the record stays
// as it is until the transaction ends, but for the transaction's own writes.
func (t Table[K, R]) Get(k K) (*R, error) {
	query := t.s.sql.get
	if t.tx.locks {
		query = t.s.sql.lock
	}
	rs, err := t.query(query, k.columns())
	if err != nil {
		return nil, err
	}
	if len(rs) == 0 {
		return nil, ErrNotFound
	}
	return &rs[0], nil
}

// Insert writes a new record, or returns ErrExists.
func (t Table[K, R]) Insert(r *R) error {
	n, err := t.write(t.s.sql.insert, r)
	if err == nil && n == 0 {
		return ErrExists
	}
	return err
}

// Put writes a record, over the one with the same key if there is one.
func (t Table[K, R]) Put(r *R) error {
	_, err := t.write(t.s.sql.put, r)
	return err
}

func (t Table[K, R]) write(query string, r *R) (int64, error) {
	doc, err := json.Marshal(r)
	if err != nil {
		return 0, fmt.Errorf("store: encode for %s: %w", t.s.name, err)
	}
	args := t.s.key(r).columns()
	if t.s.extrs != nil {
		args = append(args, t.s.extrs(r)...)
	}
	n, err := t.tx.Exec(query, append(args, string(doc))...)
	if err == nil {
		t.tx.changed(t.s.name, t.s.key(r).columns())
	}
	return n, err
}

// Delete removes the record of k, or returns ErrNotFound.
func (t Table[K, R]) Delete(k K) error {
	n, err := t.tx.Exec(t.s.sql.delete, k.columns()...)
	if err != nil {
		return err
	}
	if n == 0 {
		return ErrNotFound
	}
	t.tx.changed(t.s.name, k.columns())
	return nil
}

// Range says which records to list, in the order of their keys.
type Range[K key] struct {
	// Within are values for the first columns of the key: an account, a region,
	// a name … None means all records.
	Within []any
	// After, if not nil, is the key after which to begin.
	After *K
	// Limit bounds how many records are returned. 0 means all.
	Limit int
	// Column and Value, if Column is not "", narrow the list to the records
	// whose column has the value.
	Column string
	Value  any
}

// In ranges over the records of a scope, by their name.
func In(s Scope) []any { return []any{s.AccountID, s.Region} }

// Of ranges over what belongs to k: its versions, its aliases …
func Of(k Key) []any { return k.columns() }

// List returns the records of a range.
func (t Table[K, R]) List(r Range[K]) ([]R, error) {
	var where []string
	var args []any
	keys := strings.Split(t.s.keys, ", ")
	for i, v := range r.Within {
		where = append(where, keys[i]+" = ?")
		args = append(args, v)
	}
	if rest := keys[len(r.Within):]; r.After != nil && len(rest) > 0 {
		after := (*r.After).columns()[len(r.Within):]
		where = append(where, "("+strings.Join(rest, ", ")+") > ("+strings.Repeat("?, ", len(rest)-1)+"?)")
		args = append(args, after...)
	}
	if r.Column != "" {
		where = append(where, r.Column+" = ?")
		args = append(args, r.Value)
	}
	query := "SELECT doc FROM " + t.s.name
	if len(where) > 0 {
		query += " WHERE " + strings.Join(where, " AND ")
	}
	query += " ORDER BY " + t.s.keys
	if r.Limit > 0 {
		query += " LIMIT ?"
		args = append(args, r.Limit)
	}
	return t.query(query, args)
}

func (t Table[K, R]) query(query string, args []any) ([]R, error) {
	rows, err := t.tx.Query(query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []R
	for rows.Next() {
		var doc []byte
		if err := rows.Scan(&doc); err != nil {
			return nil, fmt.Errorf("store: read %s: %w", t.s.name, err)
		}
		var r R
		if err := json.Unmarshal(doc, &r); err != nil {
			return nil, fmt.Errorf("store: decode %s: %w", t.s.name, err)
		}
		out = append(out, r)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("store: read %s: %w", t.s.name, err)
	}
	return out, nil
}

// DeleteWithin removes all records whose key begins with the values, and returns how many.
func (t Table[K, R]) DeleteWithin(within []any) (int64, error) {
	keys := strings.Split(t.s.keys, ", ")[:len(within)]
	n, err := t.tx.Exec("DELETE FROM "+t.s.name+" WHERE "+strings.Join(keys, " = ? AND ")+" = ?", within...)
	if n > 0 {
		t.tx.changed(t.s.name, within)
	}
	return n, err
}

// Usage returns what s uses of its quotas.
func (tx *Tx) Usage(s Scope) (Usage, error) { return tx.AddUsage(s, Usage{}) }

// AddUsage adds d to what s uses, and returns the sum.
func (tx *Tx) AddUsage(s Scope, d Usage) (u Usage, err error) {
	query := `SELECT functions, code_size, reserved, provisioned FROM usage WHERE account = ? AND region = ?`
	args := []any{s.AccountID, s.Region}
	if d != (Usage{}) {
		query = `INSERT INTO usage (account, region, functions, code_size, reserved, provisioned) VALUES (?, ?, ?, ?, ?, ?)
			ON CONFLICT (account, region) DO UPDATE SET functions = usage.functions + excluded.functions, code_size = usage.code_size + excluded.code_size,
			reserved = usage.reserved + excluded.reserved, provisioned = usage.provisioned + excluded.provisioned
			RETURNING functions, code_size, reserved, provisioned`
		args = append(args, d.Functions, d.CodeSize, d.Reserved, d.Provisioned)
	} else if tx.locks {
		query += " FOR UPDATE"
	}
	rows, err := tx.Query(query, args...)
	if err != nil {
		return Usage{}, err
	}
	defer rows.Close()
	if rows.Next() {
		err = rows.Scan(&u.Functions, &u.CodeSize, &u.Reserved, &u.Provisioned)
	}
	return u, errors.Join(err, rows.Err())
}

// References calls f with the hash of every archive that a function's version
// or a layer's version uses. It reads everything, in pages.
func (s *Store) References(ctx context.Context, f func(hash string)) error {
	version := func(v *Version) {
		f(v.Code.Hash)
		for _, l := range v.Layers {
			f(l.CodeHash)
		}
	}
	err := each(ctx, s, (*Tx).Functions, func(fn *Function) { version(&fn.Latest) })
	if err == nil {
		err = each(ctx, s, (*Tx).Versions, func(v *Published) { version(&v.Config) })
	}
	if err == nil {
		err = each(ctx, s, (*Tx).LayerVersions, func(l *LayerVersion) { f(l.Code.Hash) })
	}
	return err
}

// each calls f for all records of a table, a page to a transaction.
func each[K key, R any](ctx context.Context, s *Store, table func(*Tx) Table[K, R], f func(*R)) error {
	var after *K
	for {
		var page []R
		err := s.View(ctx, func(tx *Tx) (err error) {
			t := table(tx)
			page, err = t.List(Range[K]{After: after, Limit: 500})
			if len(page) > 0 {
				k := t.s.key(&page[len(page)-1])
				after = &k
			}
			return err
		})
		if err != nil {
			return err
		}
		for i := range page {
			f(&page[i])
		}
		if len(page) < 500 {
			return nil
		}
	}
}

func val(p *string) string {
	if p == nil {
		return ""
	}
	return *p
}
