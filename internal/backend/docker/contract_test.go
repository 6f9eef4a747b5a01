package docker

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	apicontainer "github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/hearth-run/hearth/internal/backend"
	"github.com/hearth-run/hearth/internal/instance"
)

// The container takes from the function what Lambda takes: memory, disk,
// privileges.
func TestLimits(t *testing.T) {
	engines(t, func(t *testing.T, open func(*testing.T) *Engine) {
		e := open(t)
		f := newFixture(t, e)
		d := f.deployment()
		in, _ := f.launch(d)
		defer f.terminate(in)
		for _, path := range []string{"/var/task/x", "/etc/x", "/var/x", "/opt/x"} {
			if got := ask[string](t, in, fmt.Sprintf(`{"do": "write", "path": %q}`, path)); !strings.HasSuffix(got, " 30") && !strings.HasSuffix(got, " 13") {
				t.Errorf("write %s = %s, want a refusal", path, got)
			}
		}
		if got := ask[string](t, in, `{"do": "write", "path": "/tmp/x"}`); got != "written" {
			t.Errorf("write /tmp/x = %s, want written", got)
		}
		status := ask[map[string]string](t, in, `{"do": "status"}`)
		for k, want := range map[string]string{"CapEff": "0000000000000000", "CapBnd": "0000000000000000", "NoNewPrivs": "1"} {
			if status[k] != want {
				t.Errorf("%s = %s, want %s", k, status[k], want)
			}
		}
		if e.Rootless {
			return // no control groups there
		}
		res, err := try(t.Context(), in, `{"do": "memory", "mb": 600}`)
		if err != nil || res.FunctionError == "" {
			t.Errorf("600 MB of 256 = %+v, %v, want an error of the function", res, err)
		}
		if got := ask[float64](t, in, `{"do": "memory", "mb": 10}`); got != 10<<20 {
			t.Errorf("the event after that = %v, want an answer of the same instance", got)
		}
	})
}

// /tmp is as large as configured.
func TestEphemeralStorage(t *testing.T) {
	engines(t, func(t *testing.T, open func(*testing.T) *Engine) {
		f := newFixture(t, open(t))
		d := f.deployment()
		d.MemoryMB, d.EphemeralMB = 1024, 512
		in, _ := f.launch(d)
		defer f.terminate(in)
		if got := ask[float64](t, in, `{"do": "fill"}`); got < 500 || got > 512 {
			t.Errorf("/tmp takes %v MB, want 512", got)
		}
	})
}

// Layers appear at /opt, later ones over earlier ones.
func TestLayers(t *testing.T) {
	engines(t, func(t *testing.T, open func(*testing.T) *Engine) {
		f := newFixture(t, open(t))
		d := f.deployment()
		d.Layers = []backend.Layer{
			{ARN: "a", CodeHash: f.put(map[string]string{"a": "first", "both": "first"})},
			{ARN: "b", CodeHash: f.put(map[string]string{"both": "second"})},
		}
		in, _ := f.launch(d)
		defer f.terminate(in)
		for path, want := range map[string]string{"/opt/a": "first", "/opt/both": "second"} {
			if got := ask[string](t, in, fmt.Sprintf(`{"do": "read", "path": %q}`, path)); got != want {
				t.Errorf("%s = %q, want %q", path, got, want)
			}
		}
	})
}

// What is on the loopback of the server's machine is reached by the same URL in
// the container, and the machine itself has a name there.
func TestEndpoints(t *testing.T) {
	there := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "here is ", r.URL.Path) }))
	defer there.Close()
	engines(t, func(t *testing.T, open func(*testing.T) *Engine) {
		f := newFixture(t, open(t), func(c *Config) {
			c.Hosts = []string{"some.where:10.1.2.3"}
			c.Access = func(backend.Deployment) backend.Access {
				return backend.Access{Endpoints: map[string]string{"AWS_ENDPOINT_URL_SQS": there.URL, "AWS_ENDPOINT_URL_S3": "https://example.com"}}
			}
		})
		in, _ := f.launch(f.deployment())
		defer f.terminate(in)
		env := ask[map[string]string](t, in, `{"do": "env"}`)
		if env["AWS_ENDPOINT_URL_S3"] != "https://example.com" {
			t.Errorf("AWS_ENDPOINT_URL_S3 = %q, want it unchanged", env["AWS_ENDPOINT_URL_S3"])
		}
		for range 5 {
			if got := ask[string](t, in, fmt.Sprintf(`{"do": "get", "url": "%s/x"}`, env["AWS_ENDPOINT_URL_SQS"])); got != "here is /x" {
				t.Errorf("GET %s/x = %q", env["AWS_ENDPOINT_URL_SQS"], got)
			}
		}
		if got := ask[string](t, in, `{"do": "resolve", "host": "some.where"}`); got != "10.1.2.3" {
			t.Errorf("some.where = %s, want 10.1.2.3", got)
		}
		if got := ask[string](t, in, `{"do": "resolve", "host": "host.docker.internal"}`); net.ParseIP(got) == nil {
			t.Errorf("host.docker.internal = %q, want an address", got)
		}
	})
}

// buildImage makes an image with the test's function in it, out of the base image.
func buildImage(t *testing.T, e *Engine, config apicontainer.Config) string {
	t.Helper()
	ctx := t.Context()
	c, err := e.Client.ContainerCreate(ctx, client.ContainerCreateOptions{Config: &apicontainer.Config{Image: python}})
	if err != nil {
		t.Fatal(err)
	}
	defer e.remove(context.Background(), c.ID)
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for name, text := range map[string]string{"app.py": handler, "other.py": "def handler(event, context):\n    return 'other'\n"} {
		w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(text))})
		w.Write([]byte(text))
	}
	w.Close()
	if _, err := e.Client.CopyToContainer(ctx, c.ID, client.CopyToContainerOptions{DestinationPath: "/var/task", Content: &b}); err != nil {
		t.Fatal(err)
	}
	ref := "localhost/hearth-test:" + newID()
	var changes []string
	for k, v := range map[string][]string{"ENTRYPOINT": config.Entrypoint, "CMD": config.Cmd} {
		if v != nil {
			changes = append(changes, fmt.Sprintf(`%s ["%s"]`, k, strings.Join(v, `", "`)))
		}
	}
	if _, err := e.Client.ContainerCommit(ctx, c.ID, client.ContainerCommitOptions{Reference: ref, Changes: changes, Config: &apicontainer.Config{}}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		e := openSame(t, e)
		if _, err := e.Client.ImageRemove(context.Background(), ref, client.ImageRemoveOptions{Force: true}); err != nil {
			t.Errorf("remove image %s: %v", ref, err)
		}
	})
	return ref
}

// Image functions run what the image or ImageConfig says.
func TestImageFunction(t *testing.T) {
	engines(t, func(t *testing.T, open func(*testing.T) *Engine) {
		e := open(t)
		f := newFixture(t, e)
		d := f.deployment()
		d.Runtime, d.Handler, d.CodeHash = "", "", ""
		d.Image = buildImage(t, e, apicontainer.Config{Entrypoint: []string{"/lambda-entrypoint.sh"}, Cmd: []string{"app.handler"}})
		in, _ := f.launch(d)
		if id := ask[[]any](t, in, `{"do": "id"}`); id[2] != "/var/task" || id[0] != 993.0 {
			t.Errorf("user, folder = %v, %v, want 993, /var/task", id[0], id[2])
		}
		if env := ask[map[string]string](t, in, `{"do": "env"}`); env["_HANDLER"] != "app.handler" {
			t.Errorf("_HANDLER = %q, want app.handler", env["_HANDLER"])
		}
		f.terminate(in)

		d.ImageConfig.Command = []string{"other.handler"}
		in, _ = f.launch(d)
		if got := ask[string](t, in, `{}`); got != "other" {
			t.Errorf("with Command other.handler = %q, want other", got)
		}
		f.terminate(in)

		d.ImageConfig = backend.ImageConfig{EntryPoint: []string{"/bin/sh", "-c", "cat /proc/self/status >/dev/null; exec /var/runtime/bootstrap"}, Command: []string{}, WorkingDirectory: "/tmp"}
		d.Environment = map[string]string{"_HANDLER": "ignored"}
		in, _ = f.launch(d)
		f.terminate(in)

		d.ImageConfig = backend.ImageConfig{EntryPoint: []string{"/bin/sh", "-c", "echo some last words; exit 3"}, Command: []string{}}
		in, logs := f.launch(d)
		res, err := try(t.Context(), in, `{}`)
		f.terminate(in) // after which the log is whole
		if err != nil || res.ErrorType != "Runtime.ExitError" || !strings.Contains(logs.String(), "some last words") {
			t.Errorf("entry point that exits: %+v, %v, log %q; want Runtime.ExitError and what it printed", res, err, logs)
		}

		d.ImageConfig = backend.ImageConfig{EntryPoint: []string{}, Command: []string{}}
		if _, err := f.Launch(t.Context(), d, backend.Output{Logs: &records{}}); !errors.Is(err, backend.ErrStartFailed) || !strings.Contains(fmt.Sprint(err), "neither ENTRYPOINT nor CMD") {
			t.Errorf("Launch() without a command = %v, want ErrStartFailed", err)
		}

		got, err := f.Pull(t.Context(), d)
		if err != nil || !strings.Contains(got, "sha256:") {
			t.Errorf("Pull() = %q, %v, want a digest", got, err)
		}
		d.ImageConfig, d.Image = backend.ImageConfig{}, got
		in, _ = f.launch(d)
		ask[map[string]any](t, in, `{}`)
		f.terminate(in)
	})
}

// A prepared container takes a function's code, layers and settings.
func TestPrepared(t *testing.T) {
	engines(t, func(t *testing.T, open func(*testing.T) *Engine) {
		e := open(t)
		if strings.Contains(e.Host, "/run/user/") && os.Getuid() == 0 {
			t.Skip("the engine of another user sees no folder of this one's, and volumes can't be mounted later")
		}
		f := newFixture(t, e)
		d := f.deployment()
		d.Layers = []backend.Layer{{ARN: "a", CodeHash: f.put(map[string]string{"a": "layer"})}}
		if err := f.Prepare(t.Context(), d, 1); err != nil {
			t.Fatal(err)
		}
		waiting := f.waitPrepared(1)
		began := time.Now()
		in, _ := f.launch(d)
		t.Logf("claimed in %v", time.Since(began).Round(100*time.Microsecond))
		if in.Handle.ID != waiting[0] {
			t.Errorf("Launch() = container %s, want the prepared one %s", short(in.Handle.ID), short(waiting[0]))
		}
		if got := ask[map[string]any](t, in, `{"a": 1}`); got["a"] != 1.0 {
			t.Errorf("answer = %v, want the event", got)
		}
		if got := ask[string](t, in, `{"do": "read", "path": "/opt/a"}`); got != "layer" {
			t.Errorf("/opt/a = %q, want layer", got)
		}
		for _, path := range []string{"/var/task/x", "/opt/x"} {
			if got := ask[string](t, in, fmt.Sprintf(`{"do": "write", "path": %q}`, path)); !strings.HasSuffix(got, " 30") && !strings.HasSuffix(got, " 13") {
				t.Errorf("write %s = %s, want a refusal", path, got)
			}
		}
		f.waitPrepared(1) // another takes its place
		d.MemoryMB = 512  // another shape
		other, _ := f.launch(d)
		f.terminate(other)
		d.MemoryMB = 256
		if err := f.Prepare(t.Context(), d, 0); err != nil {
			t.Fatal(err)
		}
		f.waitPrepared(0)
		f.terminate(in)
	})
}

// waitPrepared waits until n containers wait for a function, and returns their IDs.
func (f *fixture) waitPrepared(n int) []string {
	f.t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		var ids []string
		f.mu.Lock()
		for _, w := range f.prepared {
			for _, c := range w.idle {
				ids = append(ids, c.id)
			}
		}
		f.mu.Unlock()
		if len(ids) == n {
			return ids
		}
	}
	f.t.Fatalf("there are not %d prepared containers", n)
	return nil
}

// Errors say of which class they are, and leave nothing.
func TestErrors(t *testing.T) {
	hang, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer hang.Close()
	refuse, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	refuse.Close()
	missing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v2/" {
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(404)
		fmt.Fprint(w, `{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}`)
	}))
	defer missing.Close()
	engines(t, func(t *testing.T, open func(*testing.T) *Engine) {
		f := newFixture(t, open(t), func(c *Config) { c.Pull = PullMissing })
		image := func(ref string) func(*backend.Deployment) {
			return func(d *backend.Deployment) { d.Image, d.Runtime, d.CodeHash = ref, "", "" }
		}
		for _, c := range []struct {
			name   string
			change func(*backend.Deployment)
			want   error
			within time.Duration
		}{
			{"no code", func(d *backend.Deployment) { d.CodeHash = strings.Repeat("0", 64) }, backend.ErrNoCode, 0},
			{"no runtime", func(d *backend.Deployment) { d.Runtime = "cobol85" }, backend.ErrUnsupportedRuntime, 0},
			{"registry refuses", image(refuse.Addr().String() + "/x:y"), backend.ErrImagePull, 0},
			{"registry has none", image(missing.Listener.Addr().String() + "/x:y"), nil, 0},
			{"registry hangs", image(hang.Addr().String() + "/x:y"), context.DeadlineExceeded, time.Second},
			{"bad name", image("UPPER CASE"), nil, 0},
			{"gone midway", func(*backend.Deployment) {}, context.DeadlineExceeded, 30 * time.Millisecond},
		} {
			t.Run(c.name, func(t *testing.T) {
				d := f.deployment()
				c.change(&d)
				ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
				if c.within > 0 {
					cancel()
					ctx, cancel = context.WithTimeout(t.Context(), c.within)
				}
				defer cancel()
				began := time.Now()
				_, err := f.Launch(ctx, d, backend.Output{Logs: &records{}})
				if err == nil || c.want != nil && !errors.Is(err, c.want) {
					t.Errorf("Launch() = %v, want %v", err, c.want)
				}
				if c.want == nil && !errors.Is(err, backend.ErrImageNotFound) && !errors.Is(err, backend.ErrImagePull) {
					t.Errorf("Launch() = %v, want ErrImageNotFound or ErrImagePull", err)
				}
				if took := time.Since(began); c.within > 0 && took > c.within+10*time.Second {
					t.Errorf("Launch() took %v after its end", took)
				}
			})
		}
		f.wantNothing(f.owner)
	})
}

// An instance that is gone is told of; ending it is success.
func TestRemovedByHand(t *testing.T) {
	engines(t, func(t *testing.T, open func(*testing.T) *Engine) {
		f := newFixture(t, open(t))
		in, _ := f.launch(f.deployment())
		<-in.Agent.Ready()
		answered := make(chan error, 1)
		go func() {
			_, err := try(context.Background(), in, `{"do": "sleep", "s": 8}`)
			answered <- err
		}()
		time.Sleep(300 * time.Millisecond) // so that it may be with the function; either is tested
		if err := f.engine.remove(t.Context(), in.Handle.ID); err != nil {
			t.Fatal(err)
		}
		if err := <-answered; err == nil {
			t.Error("Invoke() = nil, want an error")
		}
		select {
		case <-in.Agent.Ended():
		case <-time.After(10 * time.Second):
			t.Fatal("Ended is not closed 10 s after the container was removed")
		}
		if r := in.Agent.Reason(); r.Kind == "" {
			t.Errorf("Reason() = %+v, want a kind", r)
		}
		f.terminate(in)
	})
}

// A server that is given a volume name that its owner's folder makes long still reaches its agents.
func TestLongFolder(t *testing.T) {
	f := newFixture(t, openEngine(t, "docker"), func(c *Config) {
		c.Dir = filepath.Join(c.Dir, strings.Repeat("long", 25))
	})
	in, _ := f.launch(f.deployment())
	ask[map[string]any](t, in, `{}`)
	f.terminate(in)
}

// The remote way works on every engine, though it would not be needed.
func TestVolumes(t *testing.T) {
	engines(t, func(t *testing.T, open func(*testing.T) *Engine) {
		f := newFixture(t, open(t), func(c *Config) { c.Remote = true })
		d := f.deployment()
		d.Layers = []backend.Layer{{ARN: "a", CodeHash: f.put(map[string]string{"a": "layer"})}}
		first, _ := f.launch(d)
		second, _ := f.launch(d)
		for _, in := range []*backend.Instance{first, second} {
			if got := ask[string](t, in, `{"do": "read", "path": "/opt/a"}`); got != "layer" {
				t.Errorf("/opt/a = %q, want layer", got)
			}
			if got := ask[string](t, in, `{"do": "write", "path": "/var/task/x"}`); !strings.HasSuffix(got, " 30") && !strings.HasSuffix(got, " 13") {
				t.Errorf("write /var/task/x = %s, want a refusal", got)
			}
		}
		f.volumes.mu.Lock()
		n := len(f.volumes.all)
		f.volumes.mu.Unlock()
		if n != 3 {
			t.Errorf("there are %d volumes, want 3: agent, code, layers", n)
		}
		if err := f.ReapStale(t.Context()); err != nil {
			t.Errorf("ReapStale() = %v, want nil", err)
		}
		ask[map[string]any](t, first, `{}`)
		f.terminate(first)
		f.terminate(second)
	})
}

var _ instance.LogWriter = (*records)(nil)
