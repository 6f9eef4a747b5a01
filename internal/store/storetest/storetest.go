// Package storetest is the suite that package store passes on every database.
package storetest

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"

	"github.com/hearth-run/hearth/internal/awsapi/lambda"
	"github.com/hearth-run/hearth/internal/hearthtest"
	"github.com/hearth-run/hearth/internal/store"
)

// Config returns the configuration of an empty database for t: an SQLite one
// for "sqlite", a schema of the PostgreSQL database that TESTBED_POSTGRES names for
// "postgres". It skips t if there is none.
func Config(t testing.TB, database string) store.Config {
	t.Helper()
	if database == "sqlite" {
		return store.Config{Dir: t.TempDir()}
	}
	base := os.Getenv("TESTBED_POSTGRES")
	if base == "" {
		hearthtest.Skip(t, "postgres", "TESTBED_POSTGRES names no database")
	}
	db, err := sql.Open("pgx", base)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	schema := fmt.Sprintf("test_%d_%d", os.Getpid(), time.Now().UnixNano())
	if _, err := db.Exec("CREATE SCHEMA " + schema); err != nil {
		t.Fatalf("create a schema in %s: %v", base, err)
	}
	t.Cleanup(func() { _, _ = db.Exec("DROP SCHEMA " + schema + " CASCADE") })
	u, err := url.Parse(base)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	q.Set("search_path", schema)
	u.RawQuery = q.Encode()
	return store.Config{PostgresURL: u.String()}
}

// Open opens cfg's database until t ends.
func Open(t testing.TB, cfg store.Config) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), cfg)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return s
}

// Run checks the contract of store.Store on a database that Config knows.
func Run(t *testing.T, database string) {
	for _, c := range []struct {
		name string
		test func(*testing.T, store.Config)
	}{
		{"Records", testRecords},
		{"List", testList},
		{"FailedUpdateWritesNothing", testFailedUpdate},
		{"ConcurrentInsertsOneWins", testInsertRace},
		{"ConcurrentUpdatesLoseNothing", testUpdateRace},
		{"LazyUpdate", testLazy},
		{"ViewSeesOneMoment", testView},
		{"Watch", testWatch},
		{"Reopen", testReopen},
		{"Usage", testUsage},
		{"References", testReferences},
		{"EndedContext", testContext},
		{"Panic", testPanic},
		{"CloseTwice", testClose},
		{"RawSQL", testRawSQL},
		{"Secret", testSecret},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, Config(t, database)) })
	}
}

// Function returns a function whose members are all set.
func Function(name string) *store.Function {
	now := time.Date(2026, 11, 25, 12, 0, 0, 123_000_000, time.UTC)
	return &store.Function{
		Key:     store.Key{AccountID: "000000000000", Region: "us-east-1", Name: name},
		ID:      "id-" + name,
		Created: now,
		Latest: store.Version{
			Number: store.Latest, RevisionID: "r1", LastModified: now, PackageType: "Zip", Runtime: "python3.13", Handler: "a.b",
			Role: "arn:aws:iam::000000000000:role/r", Architecture: "x86_64",
			Code:        store.Code{Hash: "ab12", SHA256: "qxI=", Size: 10, UnzippedSize: 20},
			Layers:      []store.LayerRef{{ARN: "arn:l:1", CodeHash: "cd34", Size: 3, UnzippedSize: 4}},
			Environment: map[string]string{"K": "ü\x00€"}, MemoryMB: 128, EphemeralMB: 512, TimeoutSeconds: 3,
			Vpc: &store.VPC{SubnetIDs: []string{"subnet-1"}}, State: "Active",
		},
		Tags: map[string]string{"a": "b"},
	}
}

func update(t testing.TB, s *store.Store, fn func(*store.Tx) error) {
	t.Helper()
	if err := s.Update(t.Context(), fn); err != nil {
		t.Fatalf("Update: %v", err)
	}
}

func view(t testing.TB, s *store.Store, fn func(*store.Tx) error) {
	t.Helper()
	if err := s.View(t.Context(), fn); err != nil {
		t.Fatalf("View: %v", err)
	}
}

// A record comes back as it was written; Insert does not overwrite, Put does, Delete removes.
func testRecords(t *testing.T, cfg store.Config) {
	s := Open(t, cfg)
	want := Function("f")
	update(t, s, func(tx *store.Tx) error { return tx.Functions().Insert(want) })
	get := func() (f *store.Function, err error) {
		err = s.View(t.Context(), func(tx *store.Tx) error {
			f, err = tx.Functions().Get(want.Key)
			return err
		})
		return f, err
	}
	got, err := get()
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("Get after Insert: %v, difference (-want +got):\n%s", err, diff)
	}
	if err := s.Read(t.Context(), func(tx *store.Tx) (err error) {
		got, err = tx.Functions().Get(want.Key)
		return err
	}); err != nil || !cmp.Equal(want, got) {
		t.Errorf("Read after Insert: %v, %+v", err, got)
	}
	insert := func(tx *store.Tx) error { return tx.Functions().Insert(Function("f")) }
	if err := s.Update(t.Context(), insert); !errors.Is(err, store.ErrExists) {
		t.Errorf("Insert again = %v, want %v", err, store.ErrExists)
	}
	want.Latest.Environment = map[string]string{}
	want.Reserved = new(int32)
	update(t, s, func(tx *store.Tx) error { return tx.Functions().Put(want) })
	got, err = get()
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("Get after Put: %v, difference (-want +got):\n%s", err, diff)
	}
	update(t, s, func(tx *store.Tx) error { return tx.Functions().Delete(want.Key) })
	if _, err := get(); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("Get after Delete = %v, want %v", err, store.ErrNotFound)
	}
	remove := func(tx *store.Tx) error { return tx.Functions().Delete(want.Key) }
	if err := s.Update(t.Context(), remove); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("Delete again = %v, want %v", err, store.ErrNotFound)
	}
	// Every other kind of record.
	k := want.Key
	q := store.QualifiedKey{Key: k, Qualifier: "live"}
	at := want.Created
	update(t, s, func(tx *store.Tx) error {
		return errors.Join(
			roundTrip(t, tx.Versions(), &store.Published{VersionKey: store.VersionKey{Key: k, Number: 7}, FunctionID: "i", Config: want.Latest}, store.VersionKey{Key: k, Number: 7}),
			roundTrip(t, tx.Aliases(), &store.Alias{AliasKey: store.AliasKey{Key: k, Alias: "live"}, Version: "7", Weights: map[string]float64{"8": 0.25}}, store.AliasKey{Key: k, Alias: "live"}),
			roundTrip(t, tx.Policies(), &store.Policy{QualifiedKey: q, RevisionID: "r", Statements: []store.Statement{{ID: "s", JSON: []byte(`{"Sid":"s"}`)}}}, q),
			roundTrip(t, tx.EventInvokes(), &store.EventInvoke{QualifiedKey: q, LastModified: at, OnFailure: "arn:x"}, q),
			roundTrip(t, tx.URLs(), &store.URL{QualifiedKey: q, ID: "abc", AuthType: "NONE", Cors: &lambda.Cors{AllowOrigins: []string{"*"}}, Created: at}, q),
			roundTrip(t, tx.Provisioned(), &store.Provisioned{QualifiedKey: q, Requested: 3, Status: "READY", LastModified: at}, q),
			roundTrip(t, tx.Mappings(), &store.Mapping{Key: k, FunctionName: "f", Config: lambda.EventSourceMappingConfiguration{EventSourceArn: new("arn:q"), LastModified: &at}}, k),
			roundTrip(t, tx.Layers(), &store.Layer{Key: k, LastVersion: 3}, k),
			roundTrip(t, tx.LayerVersions(), &store.LayerVersion{VersionKey: store.VersionKey{Key: k, Number: 3}, Created: at, Code: want.Latest.Code}, store.VersionKey{Key: k, Number: 3}),
			roundTrip(t, tx.CodeSignings(), &store.CodeSigning{Key: k, Publishers: []string{"p"}, LastModified: at}, k),
			roundTrip(t, tx.Capacities(), &store.Capacity{Key: k, Config: lambda.CapacityProvider{State: new("Active")}}, k),
			roundTrip(t, tx.Tasks(), &store.Task{QualifiedKey: q, Kind: "create", Revision: "r"}, store.TaskKey{QualifiedKey: q, Kind: "create"}),
		)
	})
}

func roundTrip[K interface {
	comparable
}, R any](t *testing.T, table interface {
	Get(K) (*R, error)
	Insert(*R) error
}, want *R, k K) error {
	if err := table.Insert(want); err != nil {
		return fmt.Errorf("insert %T: %w", want, err)
	}
	got, err := table.Get(k)
	if diff := cmp.Diff(want, got); err == nil && diff != "" {
		t.Errorf("%T comes back different (-want +got):\n%s", want, diff)
	}
	return err
}

// Lists are in byte order of the key, page by page, within what they are asked for.
func testList(t *testing.T, cfg store.Config) {
	s := Open(t, cfg)
	names := []string{"B", "Z", "_", "a", "a-1", "a.b", "aa", "b"}
	update(t, s, func(tx *store.Tx) error {
		for _, n := range names {
			if err := tx.Functions().Insert(Function(n)); err != nil {
				return err
			}
			for i := range 12 {
				v := &store.Published{VersionKey: store.VersionKey{Key: Function(n).Key, Number: int64(i + 1)}}
				if err := tx.Versions().Insert(v); err != nil {
					return err
				}
			}
		}
		other := Function("other")
		other.Region = "eu-central-1"
		return tx.Functions().Insert(other)
	})
	slices.Sort(names)
	scope := store.Scope{AccountID: "000000000000", Region: "us-east-1"}
	for _, size := range []int{0, 1, 3, 8, 100} {
		var got []string
		r := store.Range[store.Key]{Within: store.In(scope), Limit: size}
		for {
			var page []store.Function
			view(t, s, func(tx *store.Tx) (err error) {
				page, err = tx.Functions().List(r)
				return err
			})
			for _, f := range page {
				got = append(got, f.Name)
				r.After = &f.Key
			}
			if len(page) == 0 || size == 0 {
				break
			}
		}
		if !slices.Equal(got, names) {
			t.Errorf("pages of %d: %q, want %q", size, got, names)
		}
	}
	view(t, s, func(tx *store.Tx) error {
		after := store.VersionKey{Key: Function("a").Key, Number: 9}
		vs, err := tx.Versions().List(store.Range[store.VersionKey]{Within: store.Of(after.Key), After: &after})
		var got []int64
		for _, v := range vs {
			got = append(got, v.Number)
		}
		if !slices.Equal(got, []int64{10, 11, 12}) {
			t.Errorf("versions after 9: %v, want 10, 11, 12", got)
		}
		return err
	})
	update(t, s, func(tx *store.Tx) error {
		n, err := tx.Versions().DeleteWithin(store.Of(Function("a").Key))
		if n != 12 {
			t.Errorf("DeleteWithin = %d, want 12", n)
		}
		return err
	})
	view(t, s, func(tx *store.Tx) error {
		vs, err := tx.Versions().List(store.Range[store.VersionKey]{Within: store.In(scope)})
		if len(vs) != 7*12 {
			t.Errorf("%d versions are left, want %d", len(vs), 7*12)
		}
		return err
	})
}

// An Update that fails leaves nothing, also while others commit beside it.
func testFailedUpdate(t *testing.T, cfg store.Config) {
	s := Open(t, cfg)
	failed := errors.New("failed")
	var wg sync.WaitGroup
	for i := range 60 {
		wg.Go(func() {
			err := s.Update(t.Context(), func(tx *store.Tx) error {
				if err := tx.Functions().Insert(Function(fmt.Sprintf("f%02d", i))); err != nil {
					return err
				}
				if i%3 == 0 {
					return failed
				}
				return nil
			})
			if want := map[bool]error{true: failed}[i%3 == 0]; err != want {
				t.Errorf("Update %d = %v, want %v", i, err, want)
			}
		})
	}
	wg.Wait()
	view(t, s, func(tx *store.Tx) error {
		fs, err := tx.Functions().List(store.Range[store.Key]{})
		if len(fs) != 40 {
			t.Errorf("%d functions, want 40", len(fs))
		}
		for _, f := range fs {
			var i int
			if _, err := fmt.Sscanf(f.Name, "f%d", &i); err != nil || i%3 == 0 {
				t.Errorf("%s is there, its Update failed", f.Name)
			}
		}
		return err
	})
}

// Of those who insert the same key at once, exactly one succeeds.
func testInsertRace(t *testing.T, cfg store.Config) {
	s := Open(t, cfg)
	errs := make([]error, 20)
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() {
			errs[i] = s.Update(t.Context(), func(tx *store.Tx) error { return tx.Functions().Insert(Function("f")) })
		})
	}
	wg.Wait()
	won := 0
	for _, err := range errs {
		if err == nil {
			won++
		} else if !errors.Is(err, store.ErrExists) {
			t.Errorf("Insert = %v, want %v", err, store.ErrExists)
		}
	}
	if won != 1 {
		t.Errorf("%d of %d inserts succeeded, want 1", won, len(errs))
	}
}

// Read, change and write is one step.
func testUpdateRace(t *testing.T, cfg store.Config) {
	s := Open(t, cfg)
	f := Function("f")
	update(t, s, func(tx *store.Tx) error { return tx.Functions().Insert(f) })
	const n = 40
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			err := s.Update(t.Context(), func(tx *store.Tx) error {
				f, err := tx.Functions().Get(f.Key)
				if err != nil {
					return err
				}
				f.LastVersion++
				return tx.Functions().Put(f)
			})
			if err != nil {
				t.Errorf("Update: %v", err)
			}
		})
	}
	wg.Wait()
	view(t, s, func(tx *store.Tx) error {
		f, err := tx.Functions().Get(f.Key)
		if err == nil && f.LastVersion != n {
			t.Errorf("LastVersion = %d after %d increments", f.LastVersion, n)
		}
		return err
	})
}

// What a View reads does not change under it.
func testView(t *testing.T, cfg store.Config) {
	s := Open(t, cfg)
	f := Function("f")
	update(t, s, func(tx *store.Tx) error { return tx.Functions().Insert(f) })
	view(t, s, func(tx *store.Tx) error {
		first, err := tx.Functions().Get(f.Key)
		if err != nil {
			return err
		}
		done := make(chan error)
		go func() {
			done <- s.Update(context.WithoutCancel(t.Context()), func(tx *store.Tx) error {
				f.LastVersion = 5
				return tx.Functions().Put(f)
			})
		}()
		if err := <-done; err != nil {
			return err
		}
		second, err := tx.Functions().Get(f.Key)
		if diff := cmp.Diff(first, second); diff != "" {
			t.Errorf("a View saw a later write:\n%s", diff)
		}
		return err
	})
}

// Watchers hear of each committed change before Update returns, of nothing else, and not after cancel.
func testWatch(t *testing.T, cfg store.Config) {
	s := Open(t, cfg)
	var mu sync.Mutex
	var got []store.Change
	cancel := s.Watch(func(c store.Change) {
		mu.Lock()
		defer mu.Unlock()
		if c.Table != "" {
			got = append(got, c)
		}
	})
	f := Function("f")
	update(t, s, func(tx *store.Tx) error {
		if err := tx.Functions().Insert(f); err != nil {
			return err
		}
		return tx.Functions().Put(f)
	})
	_ = s.Update(t.Context(), func(tx *store.Tx) error {
		return errors.Join(tx.Functions().Put(Function("g")), errors.New("no"))
	})
	update(t, s, func(tx *store.Tx) error {
		return tx.Aliases().Put(&store.Alias{AliasKey: store.AliasKey{Key: f.Key, Alias: "a"}})
	})
	cancel()
	update(t, s, func(tx *store.Tx) error { return tx.Functions().Delete(f.Key) })
	mu.Lock()
	defer mu.Unlock()
	want := []store.Change{{Table: "functions", Key: f.Key}, {Table: "aliases", Key: f.Key}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("changes (-want +got):\n%s", diff)
	}
	if !s.Live() {
		t.Error("Live = false, want true")
	}
}

// What was written is there when the database is opened again.
func testReopen(t *testing.T, cfg store.Config) {
	s := Open(t, cfg)
	update(t, s, func(tx *store.Tx) error { return tx.Functions().Insert(Function("f")) })
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = Open(t, cfg)
	view(t, s, func(tx *store.Tx) error {
		_, err := tx.Functions().Get(Function("f").Key)
		return err
	})
}

// Usage adds up, under concurrent changes too.
func testUsage(t *testing.T, cfg store.Config) {
	s := Open(t, cfg)
	scope := store.Scope{AccountID: "1", Region: "r"}
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			err := s.Update(t.Context(), func(tx *store.Tx) error {
				_, err := tx.AddUsage(scope, store.Usage{Functions: 2, CodeSize: 100, Reserved: -1})
				return err
			})
			if err != nil {
				t.Errorf("Update: %v", err)
			}
		})
	}
	wg.Wait()
	view(t, s, func(tx *store.Tx) error {
		got, err := tx.Usage(scope)
		if want := (store.Usage{Functions: 40, CodeSize: 2000, Reserved: -20}); got != want {
			t.Errorf("Usage = %+v, want %+v", got, want)
		}
		if none, _ := tx.Usage(store.Scope{}); none != (store.Usage{}) {
			t.Errorf("Usage of an unknown scope = %+v", none)
		}
		return err
	})
}

// References names the archives of all functions, versions, their layers, and layer versions.
func testReferences(t *testing.T, cfg store.Config) {
	s := Open(t, cfg)
	update(t, s, func(tx *store.Tx) error {
		for i := range 3 {
			if err := tx.Functions().Insert(Function(fmt.Sprint("f", i))); err != nil {
				return err
			}
		}
		v := Function("f0").Latest
		v.Code.Hash = "version"
		return errors.Join(
			tx.Versions().Insert(&store.Published{VersionKey: store.VersionKey{Key: Function("f0").Key, Number: 1}, Config: v}),
			tx.LayerVersions().Insert(&store.LayerVersion{Code: store.Code{Hash: "layer"}}))
	})
	got := map[string]bool{}
	if err := s.References(t.Context(), func(h string) { got[h] = true }); err != nil {
		t.Fatal(err)
	}
	if want := map[string]bool{"ab12": true, "cd34": true, "version": true, "layer": true}; !cmp.Equal(got, want) {
		t.Errorf("References = %v, want %v", got, want)
	}
}

// A transaction whose caller is gone does not begin.
func testContext(t *testing.T, cfg store.Config) {
	s := Open(t, cfg)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := s.Update(ctx, func(tx *store.Tx) error { return tx.Functions().Insert(Function("f")) })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Update = %v, want %v", err, context.Canceled)
	}
	view(t, s, func(tx *store.Tx) error {
		if _, err := tx.Functions().Get(Function("f").Key); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("Get = %v, want %v", err, store.ErrNotFound)
		}
		return nil
	})
}

// A panic in a transaction undoes it, and harms no other.
func testPanic(t *testing.T, cfg store.Config) {
	s := Open(t, cfg)
	err := s.Update(t.Context(), func(tx *store.Tx) error {
		_ = tx.Functions().Insert(Function("f"))
		panic("oh")
	})
	if err == nil || !strings.Contains(err.Error(), "oh") {
		t.Errorf("Update = %v, want the panic", err)
	}
	update(t, s, func(tx *store.Tx) error { return tx.Functions().Insert(Function("f")) })
}

// Close may be called again; afterwards transactions fail.
func testClose(t *testing.T, cfg store.Config) {
	s := Open(t, cfg)
	if err := errors.Join(s.Close(), s.Close()); err != nil {
		t.Errorf("Close = %v", err)
	}
	nothing := func(*store.Tx) error { return nil }
	if s.Update(t.Context(), nothing) == nil {
		t.Error("Update after Close succeeded")
	}
	if s.View(t.Context(), nothing) == nil {
		t.Error("View after Close succeeded")
	}
	if s.Read(t.Context(), func(tx *store.Tx) error { _, err := tx.Usage(store.Scope{}); return err }) == nil {
		t.Error("Read after Close succeeded")
	}
}

// Other packages' statements run with "?" as placeholder.
func testRawSQL(t *testing.T, cfg store.Config) {
	s := Open(t, cfg)
	update(t, s, func(tx *store.Tx) error {
		n, err := tx.Exec(`INSERT INTO usage VALUES (?, '?', ?, ?, 0, 0)`, "x", 1, 2)
		if n != 1 {
			t.Errorf("Exec changed %d rows, want 1", n)
		}
		return err
	})
	view(t, s, func(tx *store.Tx) error {
		rows, err := tx.Query(`SELECT region, functions + ? FROM usage WHERE account = ?`, 5, "x")
		if err != nil {
			return err
		}
		defer rows.Close()
		var region string
		var n int
		for rows.Next() {
			if err := rows.Scan(&region, &n); err != nil {
				return err
			}
		}
		if region != "?" || n != 6 {
			t.Errorf("read %q, %d, want \"?\", 6", region, n)
		}
		return rows.Err()
	})
}

// A secret stays, also for those who open the database later, and differs by name.
func testSecret(t *testing.T, cfg store.Config) {
	s := Open(t, cfg)
	get := func(s *store.Store, name string) string {
		b, err := s.Secret(t.Context(), name)
		if err != nil || len(b) != 32 {
			t.Fatalf("Secret(%q) = %d bytes, %v, want 32", name, len(b), err)
		}
		return string(b)
	}
	a, b := get(s, "a"), get(s, "b")
	if a == b {
		t.Error("two secrets are equal")
	}
	s.Close()
	s = Open(t, cfg)
	if get(s, "a") != a {
		t.Error("the secret changed when the database was opened again")
	}
}

// A lazy update is seen at once, keeps its order with others, and is there when the database is opened again.
func testLazy(t *testing.T, cfg store.Config) {
	s := Open(t, cfg)
	f := Function("f")
	update(t, s, func(tx *store.Tx) error { return tx.Functions().Insert(f) })
	var wg sync.WaitGroup
	for i := range 20 {
		bump := s.Update
		if i%2 == 0 {
			bump = s.UpdateLazily
		}
		wg.Go(func() {
			err := bump(t.Context(), func(tx *store.Tx) error {
				f, err := tx.Functions().Get(f.Key)
				if err != nil {
					return err
				}
				f.LastVersion++
				return tx.Functions().Put(f)
			})
			if err != nil {
				t.Errorf("update %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	if err := s.UpdateLazily(t.Context(), func(tx *store.Tx) error { return tx.Functions().Insert(Function("g")) }); err != nil {
		t.Errorf("UpdateLazily: %v", err)
	}
	s.Close()
	s = Open(t, cfg)
	view(t, s, func(tx *store.Tx) error {
		f, err := tx.Functions().Get(f.Key)
		if err == nil && f.LastVersion != 20 {
			t.Errorf("LastVersion = %d after 20 increments", f.LastVersion)
		}
		_, err2 := tx.Functions().Get(Function("g").Key)
		return errors.Join(err, err2)
	})
}
