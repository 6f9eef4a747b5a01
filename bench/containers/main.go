// Command containers measures functions in containers beside the engine's own
// floor: containers of the same image and flags, made by a bare client of the
// engine's API, whose runtime asks a bare Runtime API for an event and answers it.
//
//	go run ./bench/containers [-engine docker] [-n 5] [-burst 20]
package main

import (
	"archive/zip"
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	apicontainer "github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/client"

	"github.com/hearth-run/hearth/internal/backend"
	"github.com/hearth-run/hearth/internal/backend/docker"
	"github.com/hearth-run/hearth/internal/backend/process"
	"github.com/hearth-run/hearth/internal/code"
	"github.com/hearth-run/hearth/internal/instance"
)

var (
	engine = flag.String("engine", "docker", "docker or podman")
	n      = flag.Int("n", 5, "how many starts of each kind; medians are printed")
	burst  = flag.Int("burst", 20, "how many cold events at once; 0 leaves the burst out")
	image  = flag.String("image", "public.ecr.aws/lambda/python:3.12", "the base image, which the engine has")
)

func main() {
	flag.Parse()
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "containers:", err)
		os.Exit(1)
	}
}

type bench struct {
	engine  *docker.Engine
	backend *docker.Backend
	local   *process.Backend
	code    *code.Store
	d       backend.Deployment
	task    string // the unpacked code
	gateway string
}

func run(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "containers")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	b := &bench{}
	if b.engine, err = docker.Find(ctx, *engine); err != nil {
		return err
	}
	if b.gateway, err = gateway(ctx, b.engine); err != nil {
		return err
	}
	if b.code, err = code.Open(filepath.Join(dir, "code"), code.Config{}); err != nil {
		return err
	}
	defer b.code.Close()
	var z bytes.Buffer
	w := zip.NewWriter(&z)
	f, err := w.Create("app.py")
	if err != nil {
		return err
	}
	io.WriteString(f, "def handler(event, context):\n    return event\n")
	w.Close()
	info, err := b.code.Put(ctx, &z, code.Limits{})
	if err != nil {
		return err
	}
	task, release, err := b.code.Tree(ctx, info.Hash)
	if err != nil {
		return err
	}
	defer release()
	b.task = task
	b.d = backend.Deployment{
		Partition: "aws", AccountID: "000000000000", Region: "us-east-1", Function: "bench", FunctionID: "1", Version: "$LATEST",
		Runtime: "python3.12", Handler: "app.handler", CodeHash: info.Hash, MemoryMB: 256, EphemeralMB: 512, Timeout: 10 * time.Second, LogFormat: "Text",
	}
	b.backend, err = docker.New(docker.Config{
		Engine: b.engine, Dir: filepath.Join(dir, "docker"), Owner: "bench", Code: b.code, Pull: docker.PullNever,
		Agent: func(ctx context.Context, goarch string) (string, error) {
			return process.AgentFor(ctx, "linux", goarch)
		},
	})
	if err != nil {
		return err
	}
	defer b.backend.Close()
	if b.local, err = process.New(process.Config{Dir: filepath.Join(dir, "process"), Owner: "bench", Code: b.code}); err != nil {
		return err
	}
	defer b.local.Close()
	return b.measure(ctx)
}

func (b *bench) measure(ctx context.Context) error {
	fmt.Printf("%s %s, medians of %d\n\n%-46s %10s %8s\n", b.engine.Name, b.engine.Version, *n, "", "median", "×")
	if _, _, err := b.bare(ctx, 0); err != nil { // the engine's caches, for all that follows
		return err
	}
	var floor, cold, prepared, claims []time.Duration
	for range *n {
		d, _, err := b.bare(ctx, 0)
		if err != nil {
			return fmt.Errorf("bare container: %w", err)
		}
		floor = append(floor, d)
		d, _, err = b.cold(ctx, b.backend)
		if err != nil {
			return fmt.Errorf("cold start: %w", err)
		}
		cold = append(cold, d)
	}
	base := median(floor)
	row("bare container to its answer", base, 0)
	row("cold start to the answer", median(cold), ratio(cold, base))
	for range *n {
		if err := b.backend.Prepare(ctx, b.d, 1); err != nil {
			return err
		}
		time.Sleep(2 * median(cold)) // until one waits, and the engine rests
		if err := b.backend.Prepare(ctx, b.d, 1); err != nil {
			return err
		}
		d, claim, err := b.cold(ctx, b.backend)
		if err != nil {
			return fmt.Errorf("prepared start: %w", err)
		}
		prepared, claims = append(prepared, d), append(claims, claim)
	}
	if err := b.backend.Prepare(ctx, b.d, 0); err != nil {
		return err
	}
	row("prepared: claim to the bootstrap's start", median(claims), ratio(claims, base))
	row("prepared: claim to the answer", median(prepared), ratio(prepared, base))

	local, err := b.warm(ctx, b.local)
	if err != nil {
		return fmt.Errorf("warm, process: %w", err)
	}
	inContainer, err := b.warm(ctx, b.backend)
	if err != nil {
		return fmt.Errorf("warm, container: %w", err)
	}
	_, bareWarm, err := b.bare(ctx, 1200)
	if err != nil {
		return fmt.Errorf("warm, bare container: %w", err)
	}
	row("warm p50, bare container", bareWarm, 0)
	row("warm p50, container", inContainer, float64(inContainer)/float64(bareWarm))
	row("warm p50, process (framed bootstrap)", local, float64(local)/float64(bareWarm))
	if *burst == 0 {
		return nil
	}
	bare, err := together(*burst, func() error { _, _, err := b.bare(ctx, 0); return err })
	if err != nil {
		return fmt.Errorf("bare burst: %w", err)
	}
	ours, err := together(*burst, func() error { _, _, err := b.cold(ctx, b.backend); return err })
	if err != nil {
		return fmt.Errorf("burst: %w", err)
	}
	row(fmt.Sprintf("%d bare containers at once", *burst), bare, 0)
	row(fmt.Sprintf("%d cold events at once", *burst), ours, float64(ours)/float64(bare))
	return nil
}

func row(what string, d time.Duration, ratio float64) {
	fmt.Printf("%-46s %8.2f ms", what, float64(d.Microseconds())/1000)
	if ratio > 0 {
		fmt.Printf(" %8.2f", ratio)
	}
	fmt.Println()
}

func median(d []time.Duration) time.Duration {
	s := slices.Sorted(slices.Values(d))
	return s[len(s)/2]
}

func ratio(d []time.Duration, base time.Duration) float64 { return float64(median(d)) / float64(base) }

// together returns how long n calls of f at once take.
func together(n int, f func() error) (time.Duration, error) {
	began := time.Now()
	errs := make(chan error, n)
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			if err := f(); err != nil {
				errs <- err
			}
		})
	}
	wg.Wait()
	took := time.Since(began)
	close(errs)
	return took, <-errs
}

type discard struct{}

func (discard) WriteLog(instance.LogRecord) {}

// cold launches an instance, asks it once and ends it. It returns the times until
// the answer, and until Launch returned.
func (b *bench) cold(ctx context.Context, on backend.Backend) (answered, launched time.Duration, err error) {
	began := time.Now()
	in, err := on.Launch(ctx, b.d, backend.Output{Stream: "bench", Logs: discard{}})
	if err != nil {
		return 0, 0, err
	}
	launched = time.Since(began)
	_, err = ask(ctx, in)
	answered = time.Since(began)
	if endErr := on.Terminate(ctx, in.Handle); err == nil {
		err = endErr
	}
	return answered, launched, err
}

func ask(ctx context.Context, in *backend.Instance) (*instance.Result, error) {
	res, err := in.Agent.Invoke(ctx, &instance.Event{RequestID: "00000000-0000-4000-8000-000000000000", Payload: []byte(`{"a":1}`), Timeout: 10 * time.Second}, nil)
	if err != nil {
		return nil, err
	}
	if res.Settled != nil {
		<-res.Settled
	}
	if res.FunctionError != "" {
		return nil, fmt.Errorf("the function failed: %s", res.Payload)
	}
	return res, nil
}

// warm returns the median of a warm event.
func (b *bench) warm(ctx context.Context, on backend.Backend) (time.Duration, error) {
	in, err := on.Launch(ctx, b.d, backend.Output{Stream: "bench", Logs: discard{}})
	if err != nil {
		return 0, err
	}
	defer on.Terminate(ctx, in.Handle)
	var all []time.Duration
	for range 1200 {
		began := time.Now()
		if _, err := ask(ctx, in); err != nil {
			return 0, err
		}
		all = append(all, time.Since(began))
	}
	return median(all[200:]), nil
}

// bare makes a container as Hearth would, without an agent. It returns the time
// until its runtime has answered an event, and the median of as many further ones.
func (b *bench) bare(ctx context.Context, further int) (cold, warm time.Duration, err error) {
	ln, err := net.Listen("tcp4", net.JoinHostPort(b.gateway, "0"))
	if err != nil {
		return 0, 0, err
	}
	events, answers := make(chan struct{}, 1), make(chan struct{}, 1)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			io.Copy(io.Discard, r.Body)
			w.WriteHeader(http.StatusAccepted)
			answers <- struct{}{}
			return
		}
		select {
		case <-events:
		case <-r.Context().Done():
			return
		}
		for k, v := range map[string]string{"Lambda-Runtime-Aws-Request-Id": "1", "Lambda-Runtime-Deadline-Ms": "99999999999999", "Lambda-Runtime-Invoked-Function-Arn": "arn:aws:lambda:us-east-1:000000000000:function:bench"} {
			w.Header().Set(k, v)
		}
		io.WriteString(w, `{"a":1}`)
	})}
	go server.Serve(ln)
	defer server.Close()
	event := func() (time.Duration, error) {
		began := time.Now()
		events <- struct{}{}
		select {
		case <-answers:
			return time.Since(began), nil
		case <-time.After(time.Minute):
			return 0, fmt.Errorf("no answer within a minute")
		}
	}
	memory := int64(b.d.MemoryMB) << 20
	pids := int64(1088)
	began := time.Now()
	c, err := b.engine.Client.ContainerCreate(ctx, client.ContainerCreateOptions{
		Config: &apicontainer.Config{
			Image: *image, Entrypoint: []string{"/var/runtime/bootstrap"}, User: "993:990", WorkingDir: "/var/task",
			Env: []string{
				"AWS_LAMBDA_RUNTIME_API=" + ln.Addr().String(), "_HANDLER=app.handler", "LAMBDA_TASK_ROOT=/var/task", "LAMBDA_RUNTIME_DIR=/var/runtime",
				"AWS_LAMBDA_FUNCTION_NAME=bench", "AWS_LAMBDA_FUNCTION_VERSION=$LATEST", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE=256", "AWS_REGION=us-east-1", "AWS_LAMBDA_LOG_FORMAT=Text",
			},
		},
		HostConfig: &apicontainer.HostConfig{
			AutoRemove: true, ReadonlyRootfs: true, CapDrop: []string{"ALL"}, SecurityOpt: []string{"no-new-privileges"},
			Tmpfs: map[string]string{"/tmp": "rw,exec,nosuid,nodev,mode=1777,size=512m"}, LogConfig: apicontainer.LogConfig{Type: "none"},
			Mounts:    []mount.Mount{{Type: mount.TypeBind, Source: b.task, Target: "/var/task", ReadOnly: true}},
			Resources: apicontainer.Resources{Memory: memory, MemorySwap: memory, PidsLimit: &pids, CPUShares: 148},
		},
	})
	if err != nil {
		return 0, 0, err
	}
	defer func() {
		if _, endErr := b.engine.Client.ContainerRemove(context.WithoutCancel(ctx), c.ID, client.ContainerRemoveOptions{Force: true}); err == nil && endErr != nil {
			err = endErr
		}
	}()
	if _, err := b.engine.Client.ContainerStart(ctx, c.ID, client.ContainerStartOptions{}); err != nil {
		return 0, 0, err
	}
	if _, err := event(); err != nil {
		return 0, 0, err
	}
	cold = time.Since(began)
	var all []time.Duration
	for range further {
		d, err := event()
		if err != nil {
			return 0, 0, err
		}
		all = append(all, d)
	}
	if further > 0 {
		warm = median(all[further/6:])
	}
	return cold, warm, nil
}

// gateway returns this machine's address on the engine's default network.
func gateway(ctx context.Context, e *docker.Engine) (string, error) {
	name := map[string]string{"docker": "bridge", "podman": "podman"}[e.Name]
	r, err := e.Client.NetworkInspect(ctx, name, client.NetworkInspectOptions{})
	if err != nil {
		return "", err
	}
	for _, c := range r.Network.IPAM.Config {
		if c.Gateway.IsValid() {
			return c.Gateway.String(), nil
		}
	}
	for _, c := range r.Network.IPAM.Config { // Docker need not name one; it takes the first
		if p := netip.Prefix(c.Subnet); p.IsValid() {
			return p.Masked().Addr().Next().String(), nil
		}
	}
	return "", fmt.Errorf("the network %s has no gateway", name)
}
