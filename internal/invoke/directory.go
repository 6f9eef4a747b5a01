package invoke

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/hearth-run/hearth/internal/arn"
	"github.com/hearth-run/hearth/internal/awsapi"
	"github.com/hearth-run/hearth/internal/backend"
	"github.com/hearth-run/hearth/internal/metrics"
	"github.com/hearth-run/hearth/internal/store"
)

// function is what an invocation needs to know of a function.
type function struct {
	key      store.Key
	arn      string // unqualified
	reserved int    // concurrency of its own, or -1
	metrics  *metrics.Function
	policies map[string][]json.RawMessage // statements of resource policies, by qualifier

	mu       sync.Mutex // guards what follows, which is read when it is first asked for
	versions map[string]*version
	aliases  map[string]*alias
}

// version is a version of a function, ready for the pool.
type version struct {
	version    string
	deployment backend.Deployment
	id         string // of the deployment
	state      string
	tenancy    bool
	durable    bool
}

type alias struct {
	version string
	weights []weight
}

type weight struct {
	version string
	weight  float64
}

// directory keeps what invocations have looked up, until a write to it. The
// hot path reads no database.
type directory struct {
	store   *store.Store
	metrics *metrics.Metrics
	deleted func(arn string, key metrics.Key) // is told of functions that are gone

	mu        sync.RWMutex // guards what follows
	functions map[store.Key]*function
	reserved  map[store.Scope]int
	changes   uint64 // how many have been heard of
}

func newDirectory(s *store.Store, m *metrics.Metrics, deleted func(arn string, key metrics.Key)) *directory {
	d := &directory{store: s, metrics: m, deleted: deleted, functions: map[store.Key]*function{}, reserved: map[store.Scope]int{}}
	s.Watch(d.changed)
	return d
}

// changed forgets what a write may have changed.
func (d *directory) changed(c store.Change) {
	switch c.Table {
	case "functions", "versions", "aliases", "policies", "":
	default:
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.changes++
	if c.Table == "" || c.Key.Name == "" {
		clear(d.functions)
		clear(d.reserved)
		return
	}
	if fn := d.functions[c.Key]; fn != nil {
		delete(d.functions, c.Key)
		if c.Table == "functions" {
			go d.checkDeleted(fn) // Watch's callers must not wait for a read
		}
	}
}

// checkDeleted tells of fn if it is gone, so that its instances end now.
func (d *directory) checkDeleted(fn *function) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	err := d.store.View(ctx, func(tx *store.Tx) error {
		_, err := tx.Functions().Get(fn.key)
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		d.deleted(fn.arn, metrics.Key{Account: fn.key.AccountID, Region: fn.key.Region, Name: fn.key.Name})
	}
}

// notFound is AWS's answer for a function, version or alias that is not there.
func notFound(name arn.Function) error {
	return &awsapi.Error{Code: "ResourceNotFoundException", Status: 404, Fault: "User", Message: "Function not found: " + name.ARN()}
}

// resolve returns the function and the version that name means for one event.
func (d *directory) resolve(ctx context.Context, name arn.Function) (*function, *version, error) {
	key := store.Key{AccountID: name.AccountID, Region: name.Region, Name: name.Name}
	d.mu.RLock()
	fn := d.functions[key]
	d.mu.RUnlock()
	if fn == nil || !d.store.Live() {
		var err error
		if fn, err = d.load(ctx, key, name); err != nil {
			return nil, nil, err
		}
	}
	v, err := d.version(ctx, fn, name)
	if err != nil {
		return nil, nil, err
	}
	return fn, v, nil
}

// load reads a function, and keeps it unless it changed meanwhile.
func (d *directory) load(ctx context.Context, key store.Key, name arn.Function) (*function, error) {
	d.mu.RLock()
	before := d.changes
	d.mu.RUnlock()
	var rec *store.Function
	var usage store.Usage
	var policies []store.Policy
	err := d.store.View(ctx, func(tx *store.Tx) (err error) {
		if rec, err = tx.Functions().Get(key); err != nil {
			return err
		}
		if policies, err = tx.Policies().List(store.Range[store.QualifiedKey]{Within: store.Of(key)}); err != nil {
			return err
		}
		usage, err = tx.Usage(key.Scope())
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return nil, notFound(name)
	}
	if err != nil {
		return nil, unavailable(err)
	}
	fn := &function{
		key: key, arn: name.Unqualified(), reserved: -1,
		metrics:  d.metrics.Function(metrics.Key{Account: key.AccountID, Region: key.Region, Name: key.Name}),
		versions: map[string]*version{store.Latest: newVersion(name, rec.ID, &rec.Latest)},
		aliases:  map[string]*alias{},
	}
	for _, p := range policies {
		if fn.policies == nil {
			fn.policies = map[string][]json.RawMessage{}
		}
		for _, st := range p.Statements {
			fn.policies[p.Qualifier] = append(fn.policies[p.Qualifier], st.JSON)
		}
	}
	if rec.Reserved != nil {
		fn.reserved = int(*rec.Reserved)
	}
	if rec.LatestPublished != "" {
		fn.aliases["$LATEST.PUBLISHED"] = &alias{version: rec.LatestPublished}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.changes == before {
		d.functions[key] = fn
		d.reserved[key.Scope()] = int(usage.Reserved)
	}
	return fn, nil
}

// version returns the version that name's qualifier means for one event.
func (d *directory) version(ctx context.Context, fn *function, name arn.Function) (*version, error) {
	qualifier := name.Qualifier
	if qualifier == "" {
		qualifier = store.Latest
	}
	fn.mu.Lock()
	defer fn.mu.Unlock()
	if !arn.IsVersion(qualifier) && qualifier != store.Latest {
		a := fn.aliases[qualifier]
		if a == nil {
			var err error
			if a, err = d.loadAlias(ctx, fn, name); err != nil {
				return nil, err
			}
			fn.aliases[qualifier] = a
		}
		qualifier = a.pick()
	}
	if v := fn.versions[qualifier]; v != nil {
		return v, nil
	}
	v, err := d.loadVersion(ctx, fn, name, qualifier)
	if err == nil {
		fn.versions[qualifier] = v
	}
	return v, err
}

func (d *directory) loadAlias(ctx context.Context, fn *function, name arn.Function) (*alias, error) {
	var rec *store.Alias
	err := d.store.View(ctx, func(tx *store.Tx) (err error) {
		rec, err = tx.Aliases().Get(store.AliasKey{Key: fn.key, Alias: name.Qualifier})
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return nil, notFound(name)
	}
	if err != nil {
		return nil, unavailable(err)
	}
	a := &alias{version: rec.Version}
	for v, w := range rec.Weights {
		a.weights = append(a.weights, weight{v, w})
	}
	slices.SortFunc(a.weights, func(x, y weight) int { return slices.Compare([]byte(x.version), []byte(y.version)) })
	return a, nil
}

func (d *directory) loadVersion(ctx context.Context, fn *function, name arn.Function, number string) (*version, error) {
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil {
		return nil, notFound(name)
	}
	var rec *store.Published
	err = d.store.View(ctx, func(tx *store.Tx) (err error) {
		rec, err = tx.Versions().Get(store.VersionKey{Key: fn.key, Number: n})
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return nil, notFound(name)
	}
	if err != nil {
		return nil, unavailable(err)
	}
	return newVersion(name, rec.FunctionID, &rec.Config), nil
}

// reservedIn returns how much concurrency the functions of fn's scope have
// reserved, as of when one of them was last read.
func (d *directory) reservedIn(fn *function) int {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.reserved[fn.key.Scope()]
}

// unavailable is the client's answer when the store fails.
func unavailable(err error) error {
	return &awsapi.Error{Code: "ServiceException", Status: 500, Fault: "Server", Message: "Lambda is temporarily unavailable.", Cause: err}
}
