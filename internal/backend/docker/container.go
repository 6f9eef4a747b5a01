package docker

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/pkg/stdcopy"
	apicontainer "github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/hearth-run/hearth/internal/backend"
	"github.com/hearth-run/hearth/internal/instance"
)

// Labels that every container and volume of Hearth's carries from its creation.
const (
	labelOwner    = "run.hearth.owner"    // server ID
	labelKind     = "run.hearth.kind"     // "instance", "prepared", "owner", "code"
	labelLock     = "run.hearth.lock"     // the owner's lock file, on the machine of …
	labelBoot     = "run.hearth.boot"     // … this boot ID
	labelFunction = "run.hearth.function" // name
	labelDeploy   = "run.hearth.deploy"   // deploy ID
	labelSession  = "org.testcontainers.sessionId"
)

const (
	closeTimeout = 20 * time.Second
	// userID is who functions run as, on AWS and here.
	userID = "993:990"
	// inside is where Hearth's own files are in a container.
	inside     = "/hearth"
	agentPort  = 9001
	graceOf    = "30s" // of an agent without its server
	agentsLine = "hearth-agent listens on "
)

// container is an instance's container, from before it is created.
type container struct {
	b       *Backend
	name    string
	dir     string // the instance's folder here, mounted at inside+"/run"; "" when remote
	id      string // of the engine
	img     *image
	remote  bool
	shape   string
	client  *instance.Client
	attach  *client.HijackedResponse
	printed *tailBuffer
	exited  chan struct{} // closed when the container has ended
	exit    apicontainer.WaitResponse
	cancel  context.CancelFunc // ends the watching

	mu       sync.Mutex
	release  []func()
	finished bool
}

// tailBuffer keeps the last bytes of what a container printed, and says when
// the agent's line was among it.
type tailBuffer struct {
	mu    sync.Mutex
	buf   []byte
	line  []byte
	ready chan struct{}
	seen  bool
}

func (t *tailBuffer) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p...)
	if n := len(t.buf) - 8<<10; n > 0 {
		t.buf = append(t.buf[:0], t.buf[n:]...)
	}
	if !t.seen {
		t.line = append(t.line, p...)
		if i := bytes.Index(t.line, []byte(agentsLine)); i >= 0 && bytes.IndexByte(t.line[i:], '\n') > 0 {
			t.seen = true
			t.line = nil
			close(t.ready)
		} else if len(t.line) > 64<<10 {
			t.line = append(t.line[:0], t.line[len(t.line)-1024:]...)
		}
	}
	return len(p), nil
}

func (t *tailBuffer) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var lines []string
	for line := range strings.Lines(string(t.buf)) {
		if !strings.HasPrefix(line, agentsLine) {
			lines = append(lines, line)
		}
	}
	return strings.TrimSpace(strings.Join(lines, ""))
}

func newID() string {
	var b [8]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// labels returns what a container or volume of a kind carries.
func (b *Backend) labels(kind string) map[string]string {
	l := map[string]string{labelOwner: b.cfg.Owner, labelKind: kind, labelLock: b.mark.lock.Name(), labelBoot: bootID()}
	if s := os.Getenv("TESTCONTAINERS_SESSION_ID"); s != "" {
		l[labelSession] = s
	}
	return l
}

// parts are the folders or volumes that a container mounts.
type parts struct {
	agent string // a file, or a volume with the file "hearth-agent"
	task  string
	opt   string
}

// create creates and starts a container whose agent answers. On error nothing is left.
func (b *Backend) create(ctx context.Context, d *backend.Deployment, img *image, kind string, p parts) (_ *container, err error) {
	c := &container{
		b: b, img: img, remote: b.isRemote(), exited: make(chan struct{}),
		printed: &tailBuffer{ready: make(chan struct{})},
	}
	id := newID()
	c.name = sanitize(strings.NewReplacer("{function}", d.Function, "{id}", id).Replace(b.cfg.Name))
	defer func() {
		if err != nil {
			undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
			defer cancel()
			if endErr := b.end(undo, c); endErr != nil {
				b.log.Error("container not removed after a failed start", "container", c.name, "err", endErr)
			}
		}
	}()
	secret := newID() + newID()
	config, host := b.spec(d, img, p)
	config.Labels = b.labels(kind)
	if kind == "instance" {
		config.Labels[labelFunction], config.Labels[labelDeploy] = d.Function, d.ID()
	}
	args := []string{"serve", "--grace", graceOf}
	if c.remote {
		args = append(args, "--listen", fmt.Sprintf("tcp:0.0.0.0:%d", agentPort), "--secret-file", "-")
		port := network.MustParsePort(fmt.Sprintf("%d/tcp", agentPort))
		config.ExposedPorts = network.PortSet{port: {}}
		loopback := netip.MustParseAddr("127.0.0.1")
		if b.engine.endpoint() != "127.0.0.1" {
			loopback = netip.IPv4Unspecified()
		}
		host.PortBindings = network.PortMap{port: {{HostIP: loopback}}}
		config.OpenStdin, config.StdinOnce, config.AttachStdin = true, true, true
	} else {
		c.dir = b.mark.path(id)
		if err := os.MkdirAll(c.dir, 0o700); err != nil {
			return nil, fmt.Errorf("%w: %w", backend.ErrStartFailed, err)
		}
		// The container's user is another one, and the data folder is closed to others.
		if err := os.Chmod(c.dir, 0o777); err != nil {
			return nil, fmt.Errorf("%w: %w", backend.ErrStartFailed, err)
		}
		if err := os.WriteFile(filepath.Join(c.dir, "secret"), []byte(secret+"\n"), 0o644); err != nil {
			return nil, fmt.Errorf("%w: %w", backend.ErrStartFailed, err)
		}
		args = append(args, "--listen", "unix:"+inside+"/run/agent.sock", "--secret-file", inside+"/run/secret")
		host.Mounts = append(host.Mounts, mount.Mount{Type: mount.TypeBind, Source: c.dir, Target: inside + "/run"})
	}
	config.Cmd = args
	created, err := b.engine.Client.ContainerCreate(ctx, client.ContainerCreateOptions{
		Name: c.name, Config: config, HostConfig: host, Platform: &ocispec.Platform{OS: "linux", Architecture: img.architecture},
	})
	if err != nil {
		if errdefs.IsNotFound(err) && strings.Contains(err.Error(), "image") {
			b.images.forget(img.ref)
			return nil, fmt.Errorf("%w: %w", backend.ErrImageNotFound, err)
		}
		return nil, classify(startClass(err), fmt.Errorf("create container: %w", err))
	}
	c.id = created.ID
	if err := c.start(ctx, secret); err != nil {
		return nil, err
	}
	return c, nil
}

// startClass tells the machine's shortages from other failures.
func startClass(err error) error {
	text := err.Error()
	if strings.Contains(text, "no space left on device") || strings.Contains(text, "cannot allocate memory") {
		return backend.ErrNoCapacity
	}
	return backend.ErrStartFailed
}

func sanitize(name string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '_', r == '.', r == '-':
			return r
		}
		return '-'
	}, name)
}

// spec returns the container's configuration, but for how the agent is reached.
func (b *Backend) spec(d *backend.Deployment, img *image, p parts) (*apicontainer.Config, *apicontainer.HostConfig) {
	memory := int64(d.MemoryMB) << 20
	pids := int64(1024 + 64) // the agent's own threads count, too
	host := &apicontainer.HostConfig{
		AutoRemove:     true,
		ReadonlyRootfs: true,
		CapDrop:        []string{"ALL"},
		SecurityOpt:    []string{"no-new-privileges"},
		NetworkMode:    apicontainer.NetworkMode(b.cfg.Network),
		ExtraHosts:     append([]string{"host.docker.internal:host-gateway"}, b.cfg.Hosts...),
		Tmpfs:          map[string]string{"/tmp": fmt.Sprintf("rw,exec,nosuid,nodev,mode=1777,size=%dm", d.EphemeralMB)},
		Binds:          b.cfg.Mounts,
		LogConfig:      apicontainer.LogConfig{Type: b.engine.logDriver()},
		Resources: apicontainer.Resources{
			Memory: memory, MemorySwap: memory, PidsLimit: &pids,
			Ulimits: []*apicontainer.Ulimit{{Name: "nofile", Soft: 1024, Hard: 1024}},
		},
	}
	if b.cfg.CPU {
		host.Resources.NanoCPUs = int64(float64(d.MemoryMB) / 1769 * 1e9)
	}
	if b.engine.Rootless {
		host.Resources.MemorySwap = 0
	}
	if b.engine.Name == "podman" {
		// Podman raises what it is not told, which it may not be allowed to.
		if n := processLimit(); n > 0 {
			host.Resources.Ulimits = append(host.Resources.Ulimits, &apicontainer.Ulimit{Name: "nproc", Soft: n, Hard: n})
		}
	}
	for _, a := range b.cfg.DNS {
		if addr, err := netip.ParseAddr(a); err == nil {
			host.DNS = append(host.DNS, addr)
		}
	}
	add := func(source, target string) {
		if source == "" {
			return
		}
		m := mount.Mount{Type: mount.TypeBind, Source: source, Target: target, ReadOnly: true}
		if b.isRemote() {
			m.Type = mount.TypeVolume
			m.VolumeOptions = &mount.VolumeOptions{NoCopy: true}
		}
		host.Mounts = append(host.Mounts, m)
	}
	program := inside + "/bin/hearth-agent"
	if b.isRemote() {
		add(p.agent, inside+"/bin")
	} else {
		add(p.agent, program)
	}
	add(p.task, "/var/task")
	add(p.opt, "/opt")
	return &apicontainer.Config{
		Image: img.id, Entrypoint: []string{program}, User: userID, WorkingDir: "/",
		AttachStdout: true, AttachStderr: true,
	}, host
}

// start starts the created container and connects to its agent. Whoever waits
// for its readiness waits for the agent's line, or for its end.
func (c *container) start(ctx context.Context, secret string) error {
	b := c.b
	engine := b.engine.Client
	if err := b.engine.init(ctx, c.id); err != nil {
		return classify(startClass(err), fmt.Errorf("set up container: %w", err))
	}
	attached, err := engine.ContainerAttach(ctx, c.id, client.ContainerAttachOptions{Stream: true, Stdin: c.remote, Stdout: true, Stderr: true})
	if err != nil {
		return classify(backend.ErrStartFailed, fmt.Errorf("attach: %w", err))
	}
	c.attach = &attached.HijackedResponse
	go func() {
		// Whatever the container prints beside its agent's wire: the agent's own
		// words, and those of a start that failed.
		if _, err := stdcopy.StdCopy(c.printed, c.printed, c.attach.Reader); err != nil {
			io.Copy(c.printed, c.attach.Reader)
		}
	}()
	watch, cancel := context.WithCancel(context.WithoutCancel(ctx))
	c.cancel = cancel
	wait := engine.ContainerWait(watch, c.id, client.ContainerWaitOptions{Condition: apicontainer.WaitConditionNextExit})
	go func() {
		defer close(c.exited)
		select {
		case c.exit = <-wait.Result:
		case err := <-wait.Error:
			c.exit = apicontainer.WaitResponse{StatusCode: -1, Error: &apicontainer.WaitExitError{Message: err.Error()}}
		}
	}()
	if _, err := engine.ContainerStart(ctx, c.id, client.ContainerStartOptions{}); err != nil {
		return classify(startClass(err), fmt.Errorf("start container: %w", err))
	}
	if c.remote {
		if _, err := io.WriteString(c.attach.Conn, secret+"\n"); err != nil {
			return classify(backend.ErrStartFailed, fmt.Errorf("hand over the secret: %w", err))
		}
	}
	select {
	case <-c.printed.ready:
	case <-c.exited:
		return c.failure()
	case <-ctx.Done():
		return ctx.Err()
	}
	dial, err := c.dialer(ctx)
	if err != nil {
		return err
	}
	c.client, err = instance.Connect(ctx, instance.ClientConfig{Dial: dial, Secret: []byte(secret)})
	if err != nil {
		select {
		case <-c.exited:
			return c.failure()
		default:
		}
		if !c.remote && errors.Is(err, os.ErrNotExist) {
			return errNotShared
		}
		return fmt.Errorf("%w: %w", backend.ErrStartFailed, err)
	}
	b.tasks.Go(func() {
		select {
		case <-c.exited:
			c.client.Fail(c.reason())
		case <-c.client.Ended():
		}
	})
	return nil
}

// errNotShared means that the engine does not see this machine's files.
var errNotShared = errors.New("the engine and the server share no files")

func (c *container) dialer(ctx context.Context) (func(context.Context) (net.Conn, error), error) {
	if !c.remote {
		socket := filepath.Join(c.dir, "agent.sock")
		return func(ctx context.Context) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		}, nil
	}
	r, err := c.b.engine.Client.ContainerInspect(ctx, c.id, client.ContainerInspectOptions{})
	if err != nil {
		return nil, classify(backend.ErrStartFailed, fmt.Errorf("find the agent's port: %w", err))
	}
	port := network.MustParsePort(fmt.Sprintf("%d/tcp", agentPort))
	var addresses []string
	if n := r.Container.NetworkSettings; n != nil {
		for _, binding := range n.Ports[port] {
			addresses = append(addresses, net.JoinHostPort(c.b.engine.endpoint(), binding.HostPort))
		}
		// A server that is in a container of this engine reaches the other directly.
		for _, endpoint := range n.Networks {
			if endpoint.IPAddress.IsValid() {
				addresses = append(addresses, net.JoinHostPort(endpoint.IPAddress.String(), fmt.Sprint(agentPort)))
			}
		}
	}
	if len(addresses) == 0 {
		return nil, fmt.Errorf("%w: the engine published no port for the agent", backend.ErrStartFailed)
	}
	return func(ctx context.Context) (net.Conn, error) {
		var errs []error
		for _, a := range addresses {
			d := net.Dialer{Timeout: 5 * time.Second}
			conn, err := d.DialContext(ctx, "tcp", a)
			if err == nil {
				return conn, nil
			}
			errs = append(errs, err)
		}
		return nil, errors.Join(errs...)
	}, nil
}

// failure says why a container ended before its agent answered.
func (c *container) failure() error {
	r := c.reason()
	return fmt.Errorf("%w: the container exited with status %d: %s", backend.ErrStartFailed, r.ExitCode, r.Detail)
}

// reason says how the container ended. Only valid after exited is closed.
func (c *container) reason() instance.EndReason {
	r := instance.EndReason{Kind: instance.EndCrash, ExitCode: int(c.exit.StatusCode), Detail: c.printed.String()}
	switch {
	case c.exit.Error != nil:
		r.Kind = instance.EndLost
		r.Detail = strings.TrimSpace(c.exit.Error.Message + "\n" + r.Detail)
	case c.exit.StatusCode == 137:
		r.Kind, r.Signal = instance.EndOutOfMemory, "killed"
	case c.exit.StatusCode == 0:
		r.Kind = instance.EndShutdown
	}
	return r
}

// finish releases what the container held on this side. Its container is gone.
func (c *container) finish() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.finished {
		return
	}
	c.finished = true
	if c.client != nil {
		c.client.Fail(instance.EndReason{Kind: instance.EndShutdown})
		c.client.Close()
	}
	if c.cancel != nil {
		c.cancel()
	}
	if c.attach != nil {
		c.attach.Close()
	}
	for _, release := range c.release {
		release()
	}
	if c.dir != "" {
		os.RemoveAll(c.dir)
	}
}

// command returns what starts the function's runtime in img, and where.
func command(d *backend.Deployment, img *image, has func(string) bool) (args []string, dir string, handler string) {
	if d.Image == "" {
		if strings.HasPrefix(d.Runtime, "provided") {
			for _, root := range []string{"/var/task", "/opt"} {
				if has(path.Join(root, "bootstrap")) {
					return []string{path.Join(root, "bootstrap")}, "/var/task", d.Handler
				}
			}
		}
		return []string{"/var/runtime/bootstrap"}, "/var/task", d.Handler
	}
	entry, cmd, dir := img.entrypoint, img.cmd, img.workDir
	if d.ImageConfig.EntryPoint != nil {
		entry = d.ImageConfig.EntryPoint
	}
	if d.ImageConfig.Command != nil {
		cmd = d.ImageConfig.Command
	}
	if d.ImageConfig.WorkingDirectory != "" {
		dir = d.ImageConfig.WorkingDirectory
	}
	if dir == "" {
		dir = "/"
	}
	// An image that brings AWS's emulator means what it would run.
	if len(entry) > 1 && path.Base(entry[0]) == "aws-lambda-rie" {
		entry = entry[1:]
	}
	if len(cmd) > 0 {
		handler = cmd[0]
	}
	return append(append([]string(nil), entry...), cmd...), dir, handler
}
