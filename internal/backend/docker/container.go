package docker

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
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
	labelID       = "run.hearth.id"       // unique, made before the container
	labelKind     = "run.hearth.kind"     // "instance", "prepared", "owner", "filler", "code"
	labelLock     = "run.hearth.lock"     // the owner's lock file, on the machine of …
	labelBoot     = "run.hearth.boot"     // … this boot ID
	labelFunction = "run.hearth.function" // name
	labelDeploy   = "run.hearth.deploy"   // deploy ID
	labelSession  = "org.testcontainers.sessionId"
)

const (
	closeTimeout    = 20 * time.Second
	createTimeout   = 2 * time.Minute // of a slow engine
	startTimeout    = time.Minute     // until the agent says that it listens
	shutdownTimeout = 5 * time.Second // AWS's windows are 2 s at most
	// userID is who functions run as, on AWS and here.
	userID = "993:990"
	// inside is where Hearth's own files are in a container.
	inside     = "/hearth"
	program    = inside + "/bin/hearth-agent"
	agentPort  = 51900 // of the agent's wire, where it is not a Unix socket
	graceOf    = "30s" // of an agent without its server
	agentsLine = "hearth-agent listens on "
)

// shape is what is fixed when a container is made.
type shape struct {
	img         *image
	memoryMB    int
	ephemeralMB int
	code        bool // it has folders for code and layers: it is for zip functions
}

func (s shape) String() string {
	return fmt.Sprintf("%s %s %d %d %t", s.img.id, s.img.architecture, s.memoryMB, s.ephemeralMB, s.code)
}

// container is an instance's container, from before it is created.
type container struct {
	b       *Backend
	key     string // unique, in labels and names
	name    string
	dir     string // the instance's folder here, or "" when the engine does not see it
	id      string // of the engine
	img     *image
	remote  bool
	client  *instance.Client // nil until up is closed
	up      chan struct{}
	attach  *client.HijackedResponse
	printed *tailBuffer
	drained chan struct{} // closed when all that was printed is in printed
	exited  chan struct{} // closed when the container has ended
	exit    apicontainer.WaitResponse
	oom     bool
	cancel  context.CancelFunc // ends the watching

	mu       sync.Mutex // guards what follows
	release  []func()
	finished bool
}

func newID() string {
	var b [8]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// labels returns what a container or volume of a kind carries.
func (b *Backend) labels(kind, id string) map[string]string {
	l := map[string]string{labelOwner: b.cfg.Owner, labelID: id, labelKind: kind, labelLock: b.mark.lock.Name(), labelBoot: bootID()}
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

// make creates and starts a container whose agent answers, for d or, where that
// is nil, for whichever function will claim it. On error nothing is left.
func (b *Backend) make(ctx context.Context, s shape, d *backend.Deployment, p parts) (_ *container, err error) {
	c := &container{
		b: b, key: newID(), img: s.img, remote: b.isRemote(), exited: make(chan struct{}), drained: make(chan struct{}), up: make(chan struct{}),
		printed: &tailBuffer{ready: make(chan struct{})},
	}
	b.mu.Lock()
	b.ours[c.key] = true
	b.mu.Unlock()
	defer func() {
		if err == nil {
			return
		}
		undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
		defer cancel()
		b.undo(undo, c)
		if c.id == "" && errors.Is(err, backend.ErrUnreachable) {
			b.later(nil) // the engine may have made one all the same
		}
	}()
	kind, function := "prepared", "prepared"
	if d != nil {
		kind, function = "instance", d.Function
	}
	c.name = sanitize(strings.NewReplacer("{function}", function, "{id}", c.key).Replace(b.cfg.Name))
	secret := newID() + newID()
	if !c.remote {
		if err := c.makeDir(secret); err != nil {
			return nil, fmt.Errorf("%w: %w", backend.ErrStartFailed, err)
		}
		if d == nil && s.code {
			p.task, p.opt = c.path("task"), c.path("opt")
		}
	}
	config, host := b.spec(ctx, s, c, p)
	config.Labels = b.labels(kind, c.key)
	if d != nil {
		config.Labels[labelFunction], config.Labels[labelDeploy] = d.Function, d.ID()
	}
	c.id, err = b.createContainer(ctx, client.ContainerCreateOptions{
		Name: c.name, Config: config, HostConfig: host, Platform: &ocispec.Platform{OS: "linux", Architecture: s.img.architecture},
	})
	if err != nil {
		if errdefs.IsNotFound(err) && strings.Contains(err.Error(), "image") {
			b.images.forget(s.img.ref)
			return nil, fmt.Errorf("%w: %w", backend.ErrImageNotFound, err)
		}
		return nil, c.startError(fmt.Errorf("create container: %w", err), p)
	}
	if err := c.start(ctx, secret); err != nil {
		return nil, c.startError(err, p)
	}
	return c, nil
}

// makeDir makes the instance's folder:
//
//	run/   the agent's socket, and its secret until it has read it; mounted at /hearth/run
//	task/  code and layers of a prepared instance, once it has been claimed
//	opt/
//
// The folder is closed to others, but what is mounted from it is open to the
// container's user.
func (c *container) makeDir(secret string) error {
	c.dir = c.b.mark.path(c.key)
	for _, d := range []struct {
		name string
		mode os.FileMode
	}{{"", 0o700}, {"run", 0o777}, {"task", 0o755}, {"opt", 0o755}} {
		if err := os.Mkdir(c.path(d.name), d.mode); err != nil {
			return err
		}
		if err := os.Chmod(c.path(d.name), d.mode); err != nil {
			return err
		}
	}
	return os.WriteFile(c.path("run/secret"), []byte(secret+"\n"), 0o644)
}

func (c *container) path(name string) string { return filepath.Join(c.dir, name) }

// createContainer creates a container. When ctx ends midway, the engine may
// have made one all the same: it is waited for and removed, by a task of the
// backend's if it takes long.
func (b *Backend) createContainer(ctx context.Context, o client.ContainerCreateOptions) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	type result struct {
		id  string
		err error
	}
	made := make(chan result, 1)
	b.tasks.Go(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), createTimeout)
		defer cancel()
		r, err := b.engine.Client.ContainerCreate(ctx, o)
		made <- result{r.ID, err}
	})
	var r result
	select {
	case r = <-made:
		return r.id, r.err
	case <-ctx.Done():
	}
	select {
	case r = <-made:
		if r.err != nil {
			return "", ctx.Err()
		}
		return r.id, nil // the caller sees that its ctx is over, and removes it
	case <-time.After(shutdownTimeout):
	}
	b.tasks.Go(func() {
		if r := <-made; r.id != "" {
			undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
			defer cancel()
			if err := b.engine.remove(undo, r.id); err != nil {
				b.log.Error("container not removed after a launch was given up; trying again later", "container", o.Name, "err", err)
				b.later(nil)
			}
		}
	})
	return "", ctx.Err()
}

// errNotShared means that the engine does not see this machine's files.
var errNotShared = errors.New("the engine and the server share no files")

// startError gives an error of creating or starting a container its class.
func (c *container) startError(err error, p parts) error {
	for _, class := range []error{backend.ErrStartFailed, backend.ErrUnreachable, backend.ErrNoCapacity, context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, class) {
			return err
		}
	}
	text := err.Error()
	if !c.remote && !client.IsErrConnectionFailed(err) {
		if errors.Is(err, errNotShared) {
			return err
		}
		// An engine that sees other files says which of ours it did not find.
		for _, path := range []string{p.agent, p.task, p.opt, c.dir} {
			if path != "" && strings.Contains(text, path) {
				return fmt.Errorf("%w: %w", errNotShared, err)
			}
		}
	}
	switch {
	case strings.Contains(text, "no space left on device"), strings.Contains(text, "cannot allocate memory"):
		return classify(backend.ErrNoCapacity, err)
	case strings.Contains(text, "exec format error"):
		return fmt.Errorf("%w: the engine does not run %s containers here (it would have to emulate that): %w", backend.ErrStartFailed, c.img.architecture, err)
	}
	return classify(backend.ErrStartFailed, err)
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

// spec returns a container's configuration, but for its labels.
func (b *Backend) spec(ctx context.Context, s shape, c *container, p parts) (*apicontainer.Config, *apicontainer.HostConfig) {
	memory := int64(s.memoryMB) << 20
	pids := int64(1024 + 64) // the agent's own threads count, too
	stop := 3
	host := &apicontainer.HostConfig{
		AutoRemove:     true,
		ReadonlyRootfs: true,
		CapDrop:        []string{"ALL"},
		SecurityOpt:    []string{"no-new-privileges"},
		NetworkMode:    apicontainer.NetworkMode(b.cfg.Network),
		Tmpfs:          map[string]string{"/tmp": fmt.Sprintf("rw,exec,nosuid,nodev,mode=1777,size=%dm", s.ephemeralMB)},
		Binds:          b.cfg.Mounts,
		// What is printed goes over the agent's wire.
		LogConfig: apicontainer.LogConfig{Type: "none"},
		Resources: apicontainer.Resources{
			// Swap is off: the limit is of both together. The file limit is the agent's to
			// set, since engines differ in whether they may.
			Memory: memory, MemorySwap: memory, PidsLimit: &pids,
			// As on AWS, who has more memory gets more of the CPU: 1,769 MB are a whole one.
			CPUShares: max(2, 1024*int64(s.memoryMB)/1769),
		},
	}
	if b.cfg.CPU {
		host.Resources.NanoCPUs = int64(s.memoryMB) * 1e9 / 1769
	}
	if b.cfg.Network != "host" && b.cfg.Network != "none" {
		host.ExtraHosts = append(host.ExtraHosts, "host.docker.internal:"+b.gateway(ctx))
	}
	host.ExtraHosts = append(host.ExtraHosts, b.cfg.Hosts...)
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
		if c.remote {
			m.Type = mount.TypeVolume
			m.VolumeOptions = &mount.VolumeOptions{NoCopy: true}
		}
		host.Mounts = append(host.Mounts, m)
	}
	if c.remote {
		add(p.agent, inside+"/bin")
	} else {
		add(p.agent, program)
	}
	add(p.task, "/var/task")
	add(p.opt, "/opt")
	config := &apicontainer.Config{
		Image: s.img.id, Entrypoint: []string{program}, User: userID, WorkingDir: "/",
		AttachStdout: true, AttachStderr: true, StopSignal: "SIGTERM", StopTimeout: &stop,
		Healthcheck: &apicontainer.HealthConfig{Test: []string{"NONE"}},
	}
	config.Cmd = []string{"serve", "--grace", graceOf}
	if !c.remote {
		config.Cmd = append(config.Cmd, "--listen", "unix:"+inside+"/run/agent.sock", "--secret-file", inside+"/run/secret")
		host.Mounts = append(host.Mounts, mount.Mount{Type: mount.TypeBind, Source: c.path("run"), Target: inside + "/run"})
		return config, host
	}
	config.Cmd = append(config.Cmd, "--listen", fmt.Sprintf("tcp:0.0.0.0:%d", agentPort), "--secret-file", "-")
	config.ExposedPorts = network.PortSet{agentsPort: {}}
	address := netip.MustParseAddr("127.0.0.1")
	if b.engine.endpoint() != "127.0.0.1" {
		address = netip.IPv4Unspecified()
	}
	host.PortBindings = network.PortMap{agentsPort: {{HostIP: address}}}
	config.OpenStdin, config.StdinOnce, config.AttachStdin = true, true, true
	return config, host
}

var agentsPort = network.MustParsePort(fmt.Sprintf("%d/tcp", agentPort))

// start starts the created container and connects to its agent. Its readiness
// is an event: the agent's line, or the container's end.
func (c *container) start(ctx context.Context, secret string) error {
	engine := c.b.engine.Client
	if err := c.b.engine.init(ctx, c.id); err != nil {
		close(c.drained)
		return fmt.Errorf("set up container: %w", err)
	}
	attached, err := engine.ContainerAttach(context.WithoutCancel(ctx), c.id, client.ContainerAttachOptions{Stream: true, Stdin: c.remote, Stdout: true, Stderr: true})
	if err != nil {
		close(c.drained)
		return fmt.Errorf("attach: %w", err)
	}
	c.attach = &attached.HijackedResponse
	go func() {
		defer close(c.drained)
		// Whatever the container prints beside its agent's wire: the agent's own
		// words, and those of a start that failed.
		if _, err := stdcopy.StdCopy(c.printed, c.printed, c.attach.Reader); err != nil {
			io.Copy(c.printed, c.attach.Reader)
		}
	}()
	watch, cancel := context.WithCancel(context.WithoutCancel(ctx))
	c.cancel = cancel
	wait := engine.ContainerWait(watch, c.id, client.ContainerWaitOptions{Condition: apicontainer.WaitConditionNextExit})
	go c.watch(watch, wait)

	ctx, stop := context.WithTimeoutCause(ctx, startTimeout, errSlow)
	defer stop()
	if _, err := engine.ContainerStart(ctx, c.id, client.ContainerStartOptions{}); err != nil {
		if ctx.Err() != nil {
			return slow(ctx)
		}
		return fmt.Errorf("start container: %w", err)
	}
	if c.remote {
		if _, err := io.WriteString(c.attach.Conn, secret+"\n"); err != nil {
			return fmt.Errorf("hand over the secret: %w", err)
		}
	}
	select {
	case <-c.printed.ready:
	case <-c.exited:
		return c.failure()
	case <-ctx.Done():
		return slow(ctx)
	}
	dial, err := c.dialer(ctx)
	if err != nil {
		return err
	}
	agent, err := instance.Connect(ctx, instance.ClientConfig{Dial: dial, Secret: []byte(secret)})
	if err != nil {
		select {
		case <-c.exited:
			return c.failure()
		default:
		}
		if !c.remote && (errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED)) {
			return errNotShared
		}
		if ctx.Err() != nil {
			return slow(ctx)
		}
		return fmt.Errorf("%w: %w", backend.ErrStartFailed, err)
	}
	c.client = agent
	close(c.up)
	go func() {
		select {
		case <-c.exited:
			agent.Fail(c.reason())
		case <-agent.Ended():
		}
	}()
	return nil
}

var errSlow = fmt.Errorf("%w: the container did not come up within %v", backend.ErrStartFailed, startTimeout)

// slow returns why a start's ctx is over.
func slow(ctx context.Context) error {
	if context.Cause(ctx) == errSlow {
		return errSlow
	}
	return ctx.Err()
}

// watch waits for the container's end. When the engine itself goes away, the
// container may live on: as long as its agent answers, the engine is asked again.
func (c *container) watch(ctx context.Context, wait client.ContainerWaitResult) {
	defer close(c.exited)
	for pause := 100 * time.Millisecond; ; pause = min(2*pause, 5*time.Second) {
		var err error
		select {
		case c.exit = <-wait.Result:
			if c.exit.StatusCode == 137 && c.exit.Error == nil {
				r, err := c.b.engine.Client.ContainerInspect(ctx, c.id, client.ContainerInspectOptions{})
				// Where the engine can't tell, memory is by far the likeliest.
				c.oom = err != nil || r.Container.State == nil || r.Container.State.OOMKilled || c.b.engine.Name == "podman"
			}
			return
		case err = <-wait.Error:
		}
		c.exit = apicontainer.WaitResponse{StatusCode: -1, Error: &apicontainer.WaitExitError{Message: err.Error()}}
		if errdefs.IsNotFound(err) || ctx.Err() != nil {
			return
		}
		select {
		case <-c.up:
		default:
			return // nobody would tell that it lives
		}
		select {
		case <-c.client.Ended():
			return
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		wait = c.b.engine.Client.ContainerWait(ctx, c.id, client.ContainerWaitOptions{Condition: apicontainer.WaitConditionNotRunning})
	}
}

// dialer returns the way to the agent: its socket in the instance's folder, or
// its published port.
func (c *container) dialer(ctx context.Context) (func(context.Context) (net.Conn, error), error) {
	if !c.remote {
		socket := c.path("run/agent.sock")
		return func(ctx context.Context) (net.Conn, error) { return dialUnix(ctx, socket) }, nil
	}
	r, err := c.b.engine.Client.ContainerInspect(ctx, c.id, client.ContainerInspectOptions{})
	if err != nil {
		return nil, fmt.Errorf("find the agent's port: %w", err)
	}
	var addresses []string
	if n := r.Container.NetworkSettings; n != nil {
		for _, binding := range n.Ports[agentsPort] {
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

// dialUnix connects to a socket, however long its path is: the kernel takes 107
// bytes, so that a longer one goes by way of its folder's descriptor.
func dialUnix(ctx context.Context, socket string) (net.Conn, error) {
	var d net.Dialer
	if len(socket) <= 104 {
		return d.DialContext(ctx, "unix", socket)
	}
	dir, err := os.Open(filepath.Dir(socket))
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	return d.DialContext(ctx, "unix", fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), filepath.Base(socket)))
}

// failure says why a container ended before its agent answered.
func (c *container) failure() error {
	r := c.reason()
	if c.exit.Error != nil {
		return classify(backend.ErrStartFailed, fmt.Errorf("the container is gone: %s", r.Detail))
	}
	return fmt.Errorf("%w: the container exited with status %d: %s", backend.ErrStartFailed, r.ExitCode, r.Detail)
}

// reason says how the container ended. Only valid after exited is closed.
func (c *container) reason() instance.EndReason {
	select {
	case <-c.drained:
	case <-time.After(time.Second):
	}
	r := instance.EndReason{Kind: instance.EndCrash, ExitCode: int(c.exit.StatusCode), Detail: c.printed.String()}
	switch {
	case c.exit.Error != nil:
		r.Kind = instance.EndLost
		r.Detail = strings.TrimSpace(c.exit.Error.Message + "\n" + r.Detail)
	case c.exit.StatusCode == 137:
		r.Signal = "killed"
		if c.oom {
			r.Kind = instance.EndOutOfMemory
		}
	case c.exit.StatusCode == 0:
		r.Kind = instance.EndShutdown
	}
	return r
}

// end runs c's SHUTDOWN phase, if its agent answers, and removes all of it. It
// may be called more than once, and concurrently.
func (b *Backend) end(ctx context.Context, c *container) error {
	if c.client != nil {
		// The engine's stop would ask the agent for the same; asked over the wire,
		// its windows begin at once.
		windows, cancel := context.WithTimeout(ctx, shutdownTimeout)
		c.client.Shutdown(windows)
		cancel()
	}
	if c.id != "" {
		if err := b.engine.remove(ctx, c.id); err != nil {
			return err
		}
	}
	c.finish()
	return nil
}

// undo ends c, now or later.
func (b *Backend) undo(ctx context.Context, c *container) {
	if err := b.end(ctx, c); err != nil {
		b.log.Error("container not removed after a failed launch; trying again later", "container", c.name, "err", err)
		b.later(c)
		return
	}
	b.forget(c)
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
		c.client.Fail(instance.EndReason{Kind: instance.EndShutdown, ExitCode: -1})
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
		if err := os.RemoveAll(c.dir); err != nil {
			c.b.log.Error("instance's folder not removed", "dir", c.dir, "err", err)
		}
	}
}
