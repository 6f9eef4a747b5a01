package docker

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/moby/moby/api/types/registry"
	"github.com/moby/moby/client"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/hearth-run/hearth/internal/backend"
)

// image is what the engine has under a name.
type image struct {
	ref          string // as asked for
	id           string
	digest       string // "repo@sha256:…", or "" for images that came from no registry
	architecture string // "amd64", "arm64"
	env          []string
	entrypoint   []string
	cmd          []string
	workDir      string
	user         string
}

// images knows the engine's images, and pulls those that are missing, each once
// for however many wait.
type images struct {
	e      *Engine
	policy PullPolicy
	log    *slog.Logger

	mu      sync.Mutex // guards what follows
	known   map[string]*image
	pulling map[string]*pull
}

type pull struct {
	done chan struct{}
	img  *image
	err  error
	stop context.CancelFunc
	want int // callers that wait
}

func newImages(e *Engine, policy PullPolicy, log *slog.Logger) *images {
	return &images{e: e, policy: policy, log: log, known: map[string]*image{}, pulling: map[string]*pull{}}
}

// get returns the image of ref for an architecture of Lambda's.
func (s *images) get(ctx context.Context, ref, architecture string) (*image, error) {
	key := ref + " " + goarch(architecture)
	s.mu.Lock()
	if img := s.known[key]; img != nil {
		s.mu.Unlock()
		return img, nil
	}
	p := s.pulling[key]
	if p == nil {
		pullCtx, stop := context.WithCancel(context.WithoutCancel(ctx))
		p = &pull{done: make(chan struct{}), stop: stop}
		s.pulling[key] = p
		go func() {
			img, err := s.fetch(pullCtx, ref, goarch(architecture))
			stop()
			s.mu.Lock()
			if s.pulling[key] == p {
				delete(s.pulling, key)
				if err == nil {
					s.known[key] = img
				}
			}
			p.img, p.err = img, err
			close(p.done)
			s.mu.Unlock()
		}()
	}
	p.want++
	s.mu.Unlock()
	select {
	case <-p.done:
		return p.img, p.err
	case <-ctx.Done():
		s.mu.Lock()
		defer s.mu.Unlock()
		if p.want--; p.want == 0 {
			p.stop() // nobody waits any more, and nobody may begin to
			if s.pulling[key] == p {
				delete(s.pulling, key)
			}
		}
		return nil, ctx.Err()
	}
}

// forget makes the next get look again: the engine no longer has the image.
func (s *images) forget(ref string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key := range s.known {
		if strings.HasPrefix(key, ref+" ") {
			delete(s.known, key)
		}
	}
}

func (s *images) fetch(ctx context.Context, ref, arch string) (*image, error) {
	img, err := s.inspect(ctx, ref)
	if err != nil && !errdefs.IsNotFound(err) {
		return nil, classify(backend.ErrImagePull, err)
	}
	if img == nil || s.policy == PullAlways || img.architecture != arch && s.policy != PullNever {
		if s.policy == PullNever {
			return nil, fmt.Errorf("%w: the engine has no %s, and the pull policy is never", backend.ErrImageNotFound, ref)
		}
		pullErr := s.pull(ctx, ref, arch)
		switch {
		case pullErr == nil:
			if img, err = s.inspect(ctx, ref); err != nil {
				return nil, classify(backend.ErrImageNotFound, err)
			}
		case img == nil || img.architecture != arch:
			return nil, pullErr
		default:
			s.log.Warn("image not pulled; the engine's own is used", "image", ref, "err", pullErr)
		}
	}
	if img.architecture != arch {
		return nil, fmt.Errorf("%w: %s is for %s, and the function for %s", backend.ErrImageNotFound, ref, img.architecture, arch)
	}
	return img, nil
}

func (s *images) inspect(ctx context.Context, ref string) (*image, error) {
	r, err := s.e.Client.ImageInspect(ctx, ref)
	if err != nil {
		return nil, err
	}
	img := &image{ref: ref, id: r.ID, architecture: r.Architecture}
	if len(r.RepoDigests) > 0 {
		img.digest = r.RepoDigests[0]
	}
	if c := r.Config; c != nil {
		img.env, img.entrypoint, img.cmd, img.workDir, img.user = c.Env, c.Entrypoint, c.Cmd, c.WorkingDir, c.User
	}
	return img, nil
}

func (s *images) pull(ctx context.Context, ref, arch string) error {
	s.log.Info("pulling image", "image", ref)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	// A registry that hangs says nothing for ever.
	silence := time.AfterFunc(pullSilence, func() { cancel(errSilent) })
	defer silence.Stop()
	auth, err := credentials(ref)
	if err != nil {
		s.log.Warn("registry credentials not read", "image", ref, "err", err)
	}
	r, err := s.e.Client.ImagePull(ctx, ref, client.ImagePullOptions{RegistryAuth: auth, Platforms: []ocispec.Platform{{OS: "linux", Architecture: arch}}})
	if err != nil {
		return pullError(ctx, ref, err)
	}
	defer r.Close()
	last := ""
	for m, err := range r.JSONMessages(ctx) {
		if err != nil {
			return pullError(ctx, ref, err)
		}
		if m.Error != nil {
			return pullError(ctx, ref, m.Error)
		}
		silence.Reset(pullSilence)
		if m.Status != "" && m.Progress == nil && m.Status != last {
			last = m.Status
			s.log.Debug("pulling image", "image", ref, "layer", m.ID, "status", m.Status)
		}
	}
	if err := ctx.Err(); err != nil {
		return pullError(ctx, ref, err)
	}
	s.log.Info("image pulled", "image", ref)
	return nil
}

// pullSilence is how long a pull may go on without a word of progress.
const pullSilence = 3 * time.Minute

var errSilent = fmt.Errorf("%w: nothing came for %v", backend.ErrImagePull, pullSilence)

func pullError(ctx context.Context, ref string, err error) error {
	if context.Cause(ctx) == errSilent {
		return fmt.Errorf("%s: %w", ref, errSilent)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	text := err.Error()
	for _, s := range []string{"not found", "manifest unknown", "does not exist", "no such image", "name unknown"} {
		if errdefs.IsNotFound(err) || strings.Contains(strings.ToLower(text), s) {
			return fmt.Errorf("%w: %s: %w", backend.ErrImageNotFound, ref, err)
		}
	}
	return classify(backend.ErrImagePull, fmt.Errorf("%s: %w", ref, err))
}

// credentials returns the X-Registry-Auth for ref's registry from config.json and
// the credential helpers it names, or "".
func credentials(ref string) (string, error) {
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return "", err
	}
	host := reference.Domain(named)
	keys := []string{host, "https://" + host}
	if host == "docker.io" {
		keys = []string{"https://index.docker.io/v1/", "index.docker.io", "docker.io"}
	}
	dir := os.Getenv("DOCKER_CONFIG")
	if dir == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", err
		}
		dir = filepath.Join(home, ".docker")
	}
	b, err := os.ReadFile(filepath.Join(dir, "config.json"))
	if os.IsNotExist(err) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	var config struct {
		Auths       map[string]struct{ Auth, IdentityToken string }
		CredHelpers map[string]string
		CredsStore  string
	}
	if err := json.Unmarshal(b, &config); err != nil {
		return "", fmt.Errorf("config.json: %w", err)
	}
	encode := func(a registry.AuthConfig) (string, error) {
		a.ServerAddress = host
		j, err := json.Marshal(a)
		return base64.URLEncoding.EncodeToString(j), err
	}
	for _, key := range keys {
		helper := config.CredHelpers[key]
		if helper == "" {
			helper = config.CredsStore
		}
		if helper != "" {
			cmd := exec.Command("docker-credential-"+helper, "get")
			cmd.Stdin = strings.NewReader(key)
			out, err := cmd.Output()
			if err != nil {
				continue // it has none for this registry
			}
			var got struct{ Username, Secret string }
			if err := json.Unmarshal(out, &got); err != nil {
				return "", fmt.Errorf("credential helper %s: %w", helper, err)
			}
			if got.Username == "<token>" {
				return encode(registry.AuthConfig{IdentityToken: got.Secret})
			}
			return encode(registry.AuthConfig{Username: got.Username, Password: got.Secret})
		}
		if a, ok := config.Auths[key]; ok {
			if a.IdentityToken != "" {
				return encode(registry.AuthConfig{IdentityToken: a.IdentityToken})
			}
			plain, err := base64.StdEncoding.DecodeString(a.Auth)
			if err != nil {
				return "", fmt.Errorf("config.json: credentials of %s: %w", key, err)
			}
			user, password, _ := strings.Cut(string(plain), ":")
			return encode(registry.AuthConfig{Username: user, Password: password})
		}
	}
	return "", nil
}

// Pull implements backend.Puller.
func (b *Backend) Pull(ctx context.Context, d backend.Deployment) (string, error) {
	ref, err := b.imageOf(d)
	if err != nil {
		return "", err
	}
	// A tag may mean another image than the last time.
	b.images.forget(ref)
	img, err := b.images.get(ctx, ref, d.Architecture)
	if err != nil {
		return "", fmt.Errorf("pull on %s: %w", b.Name(), err)
	}
	if img.digest != "" {
		return img.digest, nil
	}
	return img.id, nil
}
