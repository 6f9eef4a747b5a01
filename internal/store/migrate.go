package store

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
)

// migrations bring a database from nothing to what this program needs, each
// once, in order. They are only ever appended to. Words in capitals stand for the database's own:
// KEY (text that compares byte by byte), BIGINT, BYTES.
var migrations = []string{`
CREATE TABLE functions (account KEY NOT NULL, region KEY NOT NULL, name KEY NOT NULL, code_signing KEY NOT NULL, doc TEXT NOT NULL,
	PRIMARY KEY (account, region, name));
CREATE INDEX functions_code_signing ON functions (code_signing) WHERE code_signing <> '';
CREATE TABLE versions (account KEY NOT NULL, region KEY NOT NULL, name KEY NOT NULL, version BIGINT NOT NULL, doc TEXT NOT NULL,
	PRIMARY KEY (account, region, name, version));
CREATE TABLE aliases (account KEY NOT NULL, region KEY NOT NULL, name KEY NOT NULL, alias KEY NOT NULL, doc TEXT NOT NULL,
	PRIMARY KEY (account, region, name, alias));
CREATE TABLE policies (account KEY NOT NULL, region KEY NOT NULL, name KEY NOT NULL, qualifier KEY NOT NULL, doc TEXT NOT NULL,
	PRIMARY KEY (account, region, name, qualifier));
CREATE TABLE event_invokes (account KEY NOT NULL, region KEY NOT NULL, name KEY NOT NULL, qualifier KEY NOT NULL, doc TEXT NOT NULL,
	PRIMARY KEY (account, region, name, qualifier));
CREATE TABLE urls (account KEY NOT NULL, region KEY NOT NULL, name KEY NOT NULL, qualifier KEY NOT NULL, url KEY NOT NULL UNIQUE, doc TEXT NOT NULL,
	PRIMARY KEY (account, region, name, qualifier));
CREATE TABLE provisioned (account KEY NOT NULL, region KEY NOT NULL, name KEY NOT NULL, qualifier KEY NOT NULL, doc TEXT NOT NULL,
	PRIMARY KEY (account, region, name, qualifier));
CREATE TABLE mappings (account KEY NOT NULL, region KEY NOT NULL, uuid KEY NOT NULL, function KEY NOT NULL, source KEY NOT NULL, doc TEXT NOT NULL,
	PRIMARY KEY (account, region, uuid));
CREATE INDEX mappings_function ON mappings (account, region, function);
CREATE INDEX mappings_source ON mappings (account, region, source);
CREATE TABLE layers (account KEY NOT NULL, region KEY NOT NULL, name KEY NOT NULL, doc TEXT NOT NULL,
	PRIMARY KEY (account, region, name));
CREATE TABLE layer_versions (account KEY NOT NULL, region KEY NOT NULL, name KEY NOT NULL, version BIGINT NOT NULL, doc TEXT NOT NULL,
	PRIMARY KEY (account, region, name, version));
CREATE TABLE code_signings (account KEY NOT NULL, region KEY NOT NULL, id KEY NOT NULL, doc TEXT NOT NULL,
	PRIMARY KEY (account, region, id));
CREATE TABLE capacities (account KEY NOT NULL, region KEY NOT NULL, name KEY NOT NULL, doc TEXT NOT NULL,
	PRIMARY KEY (account, region, name));
CREATE TABLE tasks (account KEY NOT NULL, region KEY NOT NULL, name KEY NOT NULL, qualifier KEY NOT NULL, kind KEY NOT NULL, doc TEXT NOT NULL,
	PRIMARY KEY (account, region, name, qualifier, kind));
CREATE TABLE usage (account KEY NOT NULL, region KEY NOT NULL, functions BIGINT NOT NULL, code_size BIGINT NOT NULL,
	reserved BIGINT NOT NULL, provisioned BIGINT NOT NULL, PRIMARY KEY (account, region));
`, `
CREATE TABLE secrets (name KEY NOT NULL PRIMARY KEY, secret BYTES NOT NULL);
`}

// migrate applies what is missing, in one transaction. A database that is
// newer than this program is refused.
func migrate(ctx context.Context, db *sql.DB, d Dialect) (err error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return fmt.Errorf("store: connect: %w", err)
	}
	defer conn.Close()
	version := func() (n int, err error) {
		err = conn.QueryRowContext(ctx, `SELECT version FROM hearth_schema`).Scan(&n)
		return n, err
	}
	// The common case takes no lock.
	if n, err := version(); err == nil && n == len(migrations) {
		return nil
	}
	exec := func(query string) {
		if err == nil {
			_, err = conn.ExecContext(ctx, query)
		}
	}
	if d == PostgreSQL {
		exec("BEGIN")
		exec("SELECT pg_advisory_xact_lock(5278135462)") // servers that start at once
	} else {
		exec("BEGIN IMMEDIATE")
	}
	exec("CREATE TABLE IF NOT EXISTS hearth_schema (version BIGINT NOT NULL)")
	exec("INSERT INTO hearth_schema SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM hearth_schema)")
	n := 0
	if err == nil {
		n, err = version()
	}
	if err == nil && n > len(migrations) {
		err = fmt.Errorf("the database has schema %d, this program knows %d: it is older than the one that wrote the data", n, len(migrations))
	}
	words := strings.NewReplacer(" KEY NOT", " TEXT NOT", " BYTES", " BLOB", "IDENTITY", "INTEGER PRIMARY KEY AUTOINCREMENT")
	if d == PostgreSQL {
		words = strings.NewReplacer(" KEY NOT", ` TEXT COLLATE "C" NOT`, " BYTES", " BYTEA", "IDENTITY", "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY")
	}
	for ; err == nil && n < len(migrations); n++ {
		exec(words.Replace(migrations[n]))
	}
	exec(fmt.Sprintf("UPDATE hearth_schema SET version = %d", len(migrations)))
	exec("COMMIT")
	if err != nil {
		_, _ = conn.ExecContext(context.WithoutCancel(ctx), "ROLLBACK")
		return fmt.Errorf("store: migrate: %w", err)
	}
	return nil
}
