package docker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/client"
)

// Engine is a container engine that answered.
type Engine struct {
	Client       *client.Client
	Name         string // "docker" or "podman"
	Version      string
	Host         string // where its API is
	Architecture string // "x86_64" or "arm64"
	Rootless     bool
	// Why says how it was found.
	Why string

	memory int64 // of its machine, in bytes
}

// candidate is where an engine may be.
type candidate struct {
	host, why string
}

// Find returns the engine that the environment names, or the first that
// answers at the usual places; want is "docker", "podman", or "" for either. An
// engine that the environment names and that does not answer is an error.
func Find(ctx context.Context, want string) (*Engine, error) {
	var errs []error
	for _, c := range candidates(want) {
		e, err := Open(ctx, c.host)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s (%s): %w", c.host, c.why, err))
			continue
		}
		if want != "" && e.Name != want {
			errs = append(errs, fmt.Errorf("%s (%s) is %s", c.host, c.why, e.Name))
			e.Client.Close()
			continue
		}
		e.Why = c.why
		return e, nil
	}
	if want == "" {
		want = "container"
	}
	if len(errs) == 0 {
		return nil, fmt.Errorf("no %s engine found: there is no DOCKER_HOST, CONTAINER_HOST or Docker context, and no socket at the usual places", want)
	}
	return nil, fmt.Errorf("no %s engine answers: %w", want, errors.Join(errs...))
}

func candidates(want string) []candidate {
	var all []candidate
	add := func(host, why string) {
		for _, c := range all {
			if c.host == host {
				return
			}
		}
		if path, ok := strings.CutPrefix(host, "unix://"); ok && !strings.HasPrefix(why, "$") {
			if _, err := os.Stat(path); err != nil {
				return
			}
		}
		all = append(all, candidate{host: host, why: why})
	}
	docker := func() {
		if h := os.Getenv("DOCKER_HOST"); h != "" {
			add(h, "$DOCKER_HOST")
		}
		if h, name := dockerContext(); h != "" {
			add(h, "Docker context "+name)
		}
		add("unix:///var/run/docker.sock", "usual socket")
		if run := os.Getenv("XDG_RUNTIME_DIR"); run != "" {
			add("unix://"+run+"/docker.sock", "rootless socket")
		}
		if home, err := os.UserHomeDir(); err == nil {
			add("unix://"+home+"/.docker/run/docker.sock", "Docker Desktop's socket")
			add("unix://"+home+"/.colima/default/docker.sock", "Colima's socket")
		}
	}
	podman := func() {
		if h := os.Getenv("CONTAINER_HOST"); h != "" {
			add(h, "$CONTAINER_HOST")
		}
		add("unix:///run/podman/podman.sock", "usual socket")
		if run := os.Getenv("XDG_RUNTIME_DIR"); run != "" {
			add("unix://"+run+"/podman/podman.sock", "rootless socket")
		}
		add(fmt.Sprintf("unix:///run/user/%d/podman/podman.sock", os.Getuid()), "rootless socket")
	}
	if want == "podman" {
		podman()
		docker()
	} else {
		docker()
		podman()
	}
	return all
}

// dockerContext returns the engine of the current Docker context.
func dockerContext() (host, name string) {
	dir := os.Getenv("DOCKER_CONFIG")
	if dir == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", ""
		}
		dir = filepath.Join(home, ".docker")
	}
	name = os.Getenv("DOCKER_CONTEXT")
	if name == "" {
		var config struct{ CurrentContext string }
		b, err := os.ReadFile(filepath.Join(dir, "config.json"))
		if err != nil || json.Unmarshal(b, &config) != nil {
			return "", ""
		}
		name = config.CurrentContext
	}
	if name == "" || name == "default" {
		return "", ""
	}
	metas, _ := filepath.Glob(filepath.Join(dir, "contexts", "meta", "*", "meta.json"))
	for _, m := range metas {
		var meta struct {
			Name      string
			Endpoints map[string]struct{ Host string }
		}
		b, err := os.ReadFile(m)
		if err == nil && json.Unmarshal(b, &meta) == nil && meta.Name == name {
			return meta.Endpoints["docker"].Host, name
		}
	}
	return "", ""
}

// Open connects to the engine at host: unix://PATH, tcp://HOST:PORT or
// npipe://…. An error says that no engine answers there.
func Open(ctx context.Context, host string) (*Engine, error) {
	opts := []client.Opt{client.WithHost(host)}
	if strings.HasPrefix(host, "ssh://") {
		return nil, errors.New("engines over SSH are not supported: forward its socket with ssh -L and name that")
	}
	if host == os.Getenv("DOCKER_HOST") && os.Getenv("DOCKER_CERT_PATH") != "" {
		opts = append(opts, client.WithTLSClientConfigFromEnv())
	}
	c, err := client.New(opts...)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	v, err := c.ServerVersion(ctx, client.ServerVersionOptions{})
	if err != nil {
		c.Close()
		return nil, err
	}
	e := &Engine{Client: c, Name: "docker", Version: v.Version, Host: host, Architecture: "x86_64"}
	if v.Arch == "arm64" || v.Arch == "aarch64" {
		e.Architecture = "arm64"
	}
	for _, part := range v.Components {
		if strings.Contains(strings.ToLower(part.Name), "podman") {
			e.Name = "podman"
		}
	}
	if info, err := c.Info(ctx, client.InfoOptions{}); err == nil {
		e.memory = info.Info.MemTotal
		for _, o := range info.Info.SecurityOptions {
			e.Rootless = e.Rootless || strings.Contains(o, "rootless")
		}
	}
	if e.Name == "podman" {
		var info struct {
			Host struct{ Security struct{ Rootless bool } }
		}
		if text, err := e.libpod(ctx, http.MethodGet, "/info"); err == nil && json.Unmarshal(text, &info) == nil {
			e.Rootless = info.Host.Security.Rootless
		}
	}
	return e, nil
}

// remove ends and removes a container. One that is gone, or that is just being
// removed, is success; it returns when the container is gone.
func (e *Engine) remove(ctx context.Context, id string) error {
	for wait := 10 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		_, err := e.Client.ContainerRemove(ctx, id, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
		switch {
		case err == nil, errdefs.IsNotFound(err):
			return nil
		case errdefs.IsConflict(err), strings.Contains(err.Error(), "already in progress"), strings.Contains(err.Error(), "is already being removed"):
			// Somebody else removes it; it must be gone before this returns.
		case ctx.Err() != nil:
			return ctx.Err()
		case client.IsErrConnectionFailed(err):
			return classify(nil, err)
		case wait > 500*time.Millisecond:
			return fmt.Errorf("remove container %s: %w", short(id), err)
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func short(id string) string { return id[:min(12, len(id))] }

// endpoint returns the host at which the engine publishes ports.
func (e *Engine) endpoint() string {
	if rest, ok := strings.CutPrefix(e.Host, "tcp://"); ok {
		if host, _, ok := strings.Cut(rest, ":"); ok {
			return host
		}
		return rest
	}
	return "127.0.0.1"
}

// init makes a created container one that can be attached to before it starts.
// Docker's are so already; Podman wants to be asked, in its own API.
func (e *Engine) init(ctx context.Context, id string) error {
	if e.Name != "podman" {
		return nil
	}
	_, err := e.libpod(ctx, http.MethodPost, "/containers/"+id+"/init")
	return err
}

// libpod asks Podman what Docker's API has no words for.
func (e *Engine) libpod(ctx context.Context, method, path string) ([]byte, error) {
	dial := e.Client.Dialer()
	transport := &http.Transport{
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
		DisableKeepAlives: true,
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://"+client.DummyHost+"/v4.0.0/libpod"+path, nil)
	if err != nil {
		return nil, err
	}
	res, err := transport.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err == nil && res.StatusCode >= 400 {
		err = fmt.Errorf("%s: %s", res.Status, text)
	}
	return text, err
}

// gateway returns what a container's hosts file may call the engine's machine: an
// address, or the word for which the engine puts one. Podman knows that word only since version 5.
func (e *Engine) gateway(ctx context.Context, networkName string) string {
	if e.Name != "podman" {
		return "host-gateway"
	}
	if !e.Rootless {
		if networkName == "" || networkName == "bridge" || networkName == "default" {
			networkName = "podman"
		}
		n, err := e.Client.NetworkInspect(ctx, networkName, client.NetworkInspectOptions{})
		if err == nil {
			for _, c := range n.Network.IPAM.Config {
				if c.Gateway.IsValid() {
					return c.Gateway.String()
				}
			}
		}
	}
	// A user's network reaches the machine at the address that it has for others.
	// Nothing is sent.
	conn, err := net.Dial("udp", "192.0.2.1:9")
	if err != nil {
		return "host-gateway"
	}
	defer conn.Close()
	return conn.LocalAddr().(*net.UDPAddr).IP.String()
}
