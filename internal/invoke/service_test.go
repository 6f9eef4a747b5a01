package invoke

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hearth-run/hearth/internal/awsapi"
	"github.com/hearth-run/hearth/internal/backend"
	"github.com/hearth-run/hearth/internal/backend/backendtest"
	"github.com/hearth-run/hearth/internal/instance"
	"github.com/hearth-run/hearth/internal/pool"
	"github.com/hearth-run/hearth/internal/queue"
	"github.com/hearth-run/hearth/internal/store"
)

// world is a Service over a real store and queue, and instances in memory.
type world struct {
	*Service
	store  *store.Store
	memory *backendtest.Memory
	pool   *pool.Pool
}

func newWorld(t *testing.T, script backendtest.Script) *world {
	t.Helper()
	dir := t.TempDir()
	st, err := store.Open(t.Context(), store.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	db, err := queue.OpenSQLite(filepath.Join(dir, "queue.db"))
	if err != nil {
		t.Fatal(err)
	}
	q, err := queue.Open(t.Context(), queue.Config{DB: db, Owner: "test", Alone: true})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{store: st, memory: backendtest.NewMemory(script)}
	w.pool = pool.New(pool.Config{
		Select: func(d backend.Deployment) (backend.Backend, string, error) { return w.memory, "", w.memory.CanRun(d) },
		Output: func(backend.Deployment) backend.Output { return backend.Output{Stream: "s"} },
	})
	w.Service = New(Config{Store: st, Pool: w.pool, Queue: q})
	w.Start()
	t.Cleanup(func() {
		for _, err := range []error{w.Stop(context.Background()), w.pool.Close(context.Background()), w.memory.Close(), q.Close(), db.Close(), st.Close()} {
			if err != nil {
				t.Error(err)
			}
		}
		if live := w.memory.Live(); len(live) > 0 {
			t.Errorf("instances are left: %v", live)
		}
	})
	return w
}

var key = store.Key{AccountID: "123456789012", Region: "us-east-1", Name: "f"}

// version returns a version's record whose environment tells which it is.
func testVersion(number string) store.Version {
	return store.Version{Number: number, PackageType: "Zip", Runtime: "python3.13", Handler: "h", Architecture: "x86_64", Code: store.Code{Hash: "hash" + number},
		Environment: map[string]string{"VERSION": number}, MemoryMB: 128, EphemeralMB: 512, TimeoutSeconds: 3, Tracing: "PassThrough", LogGroup: "g", LogFormat: "Text", State: "Active"}
}

func (w *world) update(t *testing.T, fn func(tx *store.Tx) error) {
	t.Helper()
	if err := w.store.Update(t.Context(), fn); err != nil {
		t.Fatal(err)
	}
}

// put writes function f with $LATEST, versions 1 and 2, and an alias.
func (w *world) put(t *testing.T, change func(f *store.Function)) {
	t.Helper()
	w.update(t, func(tx *store.Tx) error {
		f := &store.Function{Key: key, ID: "id", Created: time.Now(), Latest: testVersion("$LATEST"), LastVersion: 2}
		if change != nil {
			change(f)
		}
		err := tx.Functions().Put(f)
		for n := range int64(2) {
			err = errors.Join(err, tx.Versions().Put(&store.Published{VersionKey: store.VersionKey{Key: key, Number: n + 1}, FunctionID: "id", Config: testVersion(fmt.Sprint(n + 1))}))
		}
		return errors.Join(err, tx.Aliases().Put(&store.Alias{AliasKey: store.AliasKey{Key: key, Alias: "live"}, Version: "1", Weights: map[string]float64{"2": 0.25}}))
	})
}

func (w *world) call(t *testing.T, r Request) (*Response, error) {
	t.Helper()
	if r.Function == "" {
		r.Function = "f"
	}
	ctx := awsapi.WithRequest(t.Context(), &awsapi.Request{ID: fmt.Sprintf("r%d", time.Now().UnixNano()), Partition: "aws", AccountID: key.AccountID, Region: key.Region})
	return w.Invoke(ctx, r)
}

// tellVersion answers with the version that runs.
func tellVersion(c backendtest.Call) backendtest.Answer {
	return backendtest.Answer{Payload: []byte(`"` + c.Deployment.Environment["VERSION"] + `"`)}
}

// A qualifier leads to its version; an alias to one of two, by their weights.
func TestQualifiers(t *testing.T) {
	w := newWorld(t, backendtest.Script{Handle: tellVersion})
	w.put(t, nil)
	for qualifier, want := range map[string]string{"": "$LATEST", "$LATEST": "$LATEST", "1": "1", "2": "2"} {
		res, err := w.call(t, Request{Qualifier: qualifier, Payload: []byte("{}")})
		if err != nil || string(res.Payload) != `"`+want+`"` || res.ExecutedVersion != want || res.Status != 200 {
			t.Errorf("qualifier %q: %+v, %v, want version %s", qualifier, res, err, want)
		}
	}
	count := map[string]int{}
	for range 400 {
		res, err := w.call(t, Request{Qualifier: "live"})
		if err != nil {
			t.Fatal(err)
		}
		count[res.ExecutedVersion]++
	}
	if count["1"]+count["2"] != 400 || count["2"] < 50 || count["2"] > 160 {
		t.Errorf("an alias with a quarter for version 2 gave %v", count)
	}
	for name, message := range map[string]string{
		"nope":    "Function not found: arn:aws:lambda:us-east-1:123456789012:function:nope",
		"f:9":     "Function not found: arn:aws:lambda:us-east-1:123456789012:function:f:9",
		"f:blue":  "Function not found: arn:aws:lambda:us-east-1:123456789012:function:f:blue",
		"f:live2": "Function not found: arn:aws:lambda:us-east-1:123456789012:function:f:live2",
	} {
		_, err := w.call(t, Request{Function: name})
		wantError(t, name, err, "ResourceNotFoundException", 404, message)
	}
}

func wantError(t *testing.T, what string, err error, code string, status int, message string) {
	t.Helper()
	var e *awsapi.Error
	if !errors.As(err, &e) || e.Code != code || e.Status != status || !strings.Contains(e.Message, message) {
		t.Errorf("%s: %v, want %s (%d) %q", what, err, code, status, message)
	}
}

// What must not run does not, and says so in AWS's words.
func TestRefusals(t *testing.T) {
	w := newWorld(t, backendtest.Script{Handle: tellVersion})
	w.put(t, nil)
	_, err := w.call(t, Request{Payload: []byte("{bad")})
	wantError(t, "bad JSON", err, "InvalidRequestContentException", 400, "Could not parse request body into json")
	_, err = w.call(t, Request{Payload: []byte(`"` + strings.Repeat("x", instance.MaxEventSize) + `"`)})
	wantError(t, "large event", err, "RequestEntityTooLargeException", 413, "Request must be smaller than 6291456 bytes for the InvokeFunction operation")
	_, err = w.call(t, Request{TenantID: "t"})
	wantError(t, "tenant of a function without", err, "InvalidParameterValueException", 400, "tenant")
	if res, err := w.call(t, Request{Type: "DryRun"}); err != nil || res.Status != 204 {
		t.Errorf("DryRun = %+v, %v", res, err)
	}
	w.put(t, func(f *store.Function) { f.Latest.State = "Pending" })
	_, err = w.call(t, Request{})
	wantError(t, "pending function", err, "ResourceConflictException", 409, "The function is currently in the following state: Pending")
	zero := int32(0)
	w.put(t, func(f *store.Function) { f.Reserved = &zero })
	_, err = w.call(t, Request{})
	wantError(t, "no concurrency", err, "TooManyRequestsException", 429, "Rate Exceeded.")
	var e *awsapi.Error
	if errors.As(err, &e); e == nil || e.Fields["Reason"] != "ReservedFunctionConcurrentInvocationLimitExceeded" {
		t.Errorf("no concurrency: %+v", e)
	}
	if n := w.memory.Launches(); n != 0 {
		t.Errorf("%d instances were launched for what must not run", n)
	}
}

// Another account may invoke what a resource policy lets it, and nothing else.
func TestPolicy(t *testing.T) {
	w := newWorld(t, backendtest.Script{Handle: tellVersion})
	w.put(t, nil)
	call := func(account string) error {
		ctx := awsapi.WithRequest(t.Context(), &awsapi.Request{ID: "r", Partition: "aws", AccountID: account, Region: key.Region})
		_, err := w.Invoke(ctx, Request{Function: "arn:aws:lambda:us-east-1:123456789012:function:f"})
		return err
	}
	wantError(t, "another account", call("999999999999"), "AccessDeniedException", 403, "")
	w.update(t, func(tx *store.Tx) error {
		return tx.Policies().Put(&store.Policy{QualifiedKey: store.QualifiedKey{Key: key}, Statements: []store.Statement{{ID: "s", JSON: []byte(
			`{"Sid":"s","Effect":"Allow","Principal":{"AWS":"arn:aws:iam::999999999999:root"},"Action":"lambda:InvokeFunction","Resource":"arn:aws:lambda:us-east-1:123456789012:function:f"}`)}}})
	})
	for _, account := range []string{"999999999999", key.AccountID} {
		if err := call(account); err != nil {
			t.Errorf("account %s, with a policy: %v", account, err)
		}
	}
	wantError(t, "a third account", call("888888888888"), "AccessDeniedException", 403, "")
}

// A write is seen by the next event; a deleted function's instances end.
func TestWrites(t *testing.T) {
	w := newWorld(t, backendtest.Script{Handle: tellVersion})
	w.put(t, nil)
	w.call(t, Request{})
	w.put(t, func(f *store.Function) { f.Latest.Environment = map[string]string{"VERSION": "new"} })
	if res, err := w.call(t, Request{}); err != nil || string(res.Payload) != `"new"` {
		t.Errorf("after an update: %+v, %v", res, err)
	}
	w.update(t, func(tx *store.Tx) error { return tx.Functions().Delete(key) })
	if _, err := w.call(t, Request{}); err == nil {
		t.Error("a deleted function answered")
	}
	for deadline := time.Now().Add(5 * time.Second); len(w.memory.Live()) > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("instances of a deleted function are left: %v", w.memory.Live())
		}
	}
}

// An asynchronous event is answered once it is durable, and runs with the
// request's ID.
func TestEvent(t *testing.T) {
	ran := make(chan string, 10)
	w := newWorld(t, backendtest.Script{Handle: func(c backendtest.Call) backendtest.Answer {
		ran <- c.Event.RequestID + " " + string(c.Event.Payload)
		return backendtest.Answer{Payload: []byte("1")}
	}})
	w.put(t, nil)
	ctx := awsapi.WithRequest(t.Context(), &awsapi.Request{ID: "the-id", Partition: "aws", AccountID: key.AccountID, Region: key.Region})
	res, err := w.Invoke(ctx, Request{Function: "f", Type: "Event", Payload: []byte(`{"n":1}`)})
	if err != nil || res.Status != 202 {
		t.Fatalf("Invoke() = %+v, %v, want 202", res, err)
	}
	select {
	case got := <-ran:
		if got != `the-id {"n":1}` {
			t.Errorf("the event ran as %s", got)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the event does not run")
	}
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		s, err := w.cfg.Queue.Stats(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		if s.Items == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the queue still has %d items", s.Items)
		}
	}
}

// Backends' classes become AWS's exceptions.
func TestExceptions(t *testing.T) {
	for _, tt := range []struct {
		err    error
		code   string
		status int
	}{
		{backend.ErrUnsupportedRuntime, "InvalidRuntimeException", 502},
		{backend.ErrBadCode, "InvalidZipFileException", 502},
		{backend.ErrNoCode, "InvalidZipFileException", 502},
		{backend.ErrImageNotFound, "ResourceNotReadyException", 502},
		{backend.ErrNoCapacity, "TooManyRequestsException", 429},
		{backend.ErrUnreachable, "ServiceException", 500},
	} {
		w := newWorld(t, backendtest.Script{Launch: func(context.Context, int, backend.Deployment) error { return fmt.Errorf("launch: %w: why", tt.err) }})
		w.put(t, nil)
		_, err := w.call(t, Request{})
		var e *awsapi.Error
		if !errors.As(err, &e) || e.Code != tt.code || e.Status != tt.status {
			t.Errorf("%v gives %v, want %s (%d)", tt.err, err, tt.code, tt.status)
		}
	}
}
