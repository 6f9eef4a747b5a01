package docker

import (
	"encoding/base64"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/moby/api/types/registry"

	"github.com/hearth-run/hearth/internal/backend"
)

// home makes a home folder of its own for the test.
func home(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("HOME", dir)
	for _, k := range []string{"DOCKER_HOST", "DOCKER_CONFIG", "DOCKER_CONTEXT", "CONTAINER_HOST", "XDG_RUNTIME_DIR"} {
		t.Setenv(k, "")
	}
	return dir
}

// What the environment names comes before the usual places, and Podman's before
// Docker's only for who wants Podman.
func TestCandidates(t *testing.T) {
	home(t, map[string]string{
		".docker/config.json":                 `{"currentContext": "far"}`,
		".docker/contexts/meta/abc/meta.json": `{"Name": "far", "Endpoints": {"docker": {"Host": "tcp://far:2375"}}}`,
	})
	t.Setenv("DOCKER_HOST", "tcp://named:2375")
	t.Setenv("CONTAINER_HOST", "unix:///named/podman.sock")
	hosts := func(want string) (named []string) {
		for _, c := range candidates(want) {
			if !strings.Contains(c.why, "socket") {
				named = append(named, c.host+" "+c.why)
			}
		}
		return named
	}
	docker := []string{"tcp://named:2375 $DOCKER_HOST", "tcp://far:2375 Docker context far"}
	podman := []string{"unix:///named/podman.sock $CONTAINER_HOST"}
	if diff := cmp.Diff(append(docker[:2:2], podman...), hosts("")); diff != "" {
		t.Errorf("candidates(\"\") (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(append(podman[:1:1], docker...), hosts("podman")); diff != "" {
		t.Errorf("candidates(podman) (-want +got):\n%s", diff)
	}
}

// An engine that does not answer is told of, with where it was looked for.
func TestFindNone(t *testing.T) {
	home(t, nil)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	t.Setenv("DOCKER_HOST", "tcp://"+ln.Addr().String())
	_, err = Open(t.Context(), "tcp://"+ln.Addr().String())
	if err == nil {
		t.Fatal("Open() = nil, want an error")
	}
	if _, err := Open(t.Context(), "ssh://somewhere"); err == nil || !strings.Contains(err.Error(), "ssh -L") {
		t.Errorf("Open(ssh://) = %v, want what to do instead", err)
	}
	other := httptest.NewServer(http.NotFoundHandler()) // something that is no engine
	defer other.Close()
	if _, err := Open(t.Context(), "tcp://"+other.Listener.Addr().String()); err == nil {
		t.Error("Open(no engine) = nil, want an error")
	}
}

// Registries get the credentials that the engine's own client would send.
func TestCredentials(t *testing.T) {
	dir := home(t, map[string]string{
		".docker/config.json": `{
			"auths": {
				"https://index.docker.io/v1/": {"auth": "` + base64.StdEncoding.EncodeToString([]byte("ada:se:cret")) + `"},
				"token.example": {"identitytoken": "t"}
			},
			"credHelpers": {"helped.example": "test", "asked.example": "test"}
		}`,
		"bin/docker-credential-test": "#!/bin/sh\nread -r server\ncase $server in\nhelped.example) echo '{\"Username\": \"bob\", \"Secret\": \"hush\"}' ;;\n*) exit 1 ;;\nesac\n",
	})
	t.Setenv("PATH", filepath.Join(dir, "bin")+":"+os.Getenv("PATH"))
	for ref, want := range map[string]registry.AuthConfig{
		"python:3.12":        {Username: "ada", Password: "se:cret", ServerAddress: "docker.io"},
		"token.example/x":    {IdentityToken: "t", ServerAddress: "token.example"},
		"helped.example/x:1": {Username: "bob", Password: "hush", ServerAddress: "helped.example"},
		"asked.example/x":    {},
		"unknown.example/x":  {},
	} {
		text, err := credentials(ref)
		if err != nil {
			t.Errorf("credentials(%s) = %v", ref, err)
			continue
		}
		var got registry.AuthConfig
		if text != "" {
			b, err := base64.URLEncoding.DecodeString(text)
			if err != nil || json.Unmarshal(b, &got) != nil {
				t.Errorf("credentials(%s) = %q: %v", ref, text, err)
			}
		}
		if got != want {
			t.Errorf("credentials(%s) = %+v, want %+v", ref, got, want)
		}
	}
}

// What is on the loopback is carried at its own port; the rest is left as it is.
func TestCarried(t *testing.T) {
	in, forward := carried(map[string]string{
		"A": "http://127.0.0.1:4566", "B": "http://localhost:9324/x", "C": "https://sqs.example:1", "D": "http://[::]:9001", "E": "http://10.0.0.1:80", "F": "http://localhost",
	})
	if diff := cmp.Diff(map[string]string{
		"A": "http://127.0.0.1:4566", "B": "http://localhost:9324/x", "C": "https://sqs.example:1", "D": "http://127.0.0.1:9001", "E": "http://10.0.0.1:80", "F": "http://localhost",
	}, in); diff != "" {
		t.Errorf("endpoints (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]string{
		"127.0.0.1:4566": "127.0.0.1:4566", "127.0.0.1:9324": "localhost:9324", "127.0.0.1:9001": "127.0.0.1:9001", "127.0.0.1:80": "localhost:80",
	}, forward); diff != "" {
		t.Errorf("forwards (-want +got):\n%s", diff)
	}
}

// Each runtime has its image, by the pattern.
func TestImageOf(t *testing.T) {
	b := &Backend{cfg: Config{Image: DefaultImage}}
	for runtime, want := range map[string]string{
		"python3.12": "python:3.12", "nodejs22.x": "nodejs:22", "java21": "java:21", "java8.al2": "java:8.al2", "ruby3.3": "ruby:3.3", "dotnet8": "dotnet:8",
		"provided.al2023": "provided:al2023", "provided.al2": "provided:al2",
	} {
		got, err := b.imageOf(backend.Deployment{Runtime: runtime})
		if want = "public.ecr.aws/lambda/" + want; got != want || err != nil {
			t.Errorf("imageOf(%s) = %q, %v, want %q", runtime, got, err, want)
		}
	}
	if got, err := b.imageOf(backend.Deployment{Runtime: "cobol85"}); err == nil {
		t.Errorf("imageOf(cobol85) = %q, want an error", got)
	}
}

// The agent's line is found however it comes in pieces, and kept out of the tail.
func TestTailBuffer(t *testing.T) {
	b := &tailBuffer{ready: make(chan struct{})}
	for _, piece := range []string{"a warning of the engine\nhearth-agent lis", "tens on unix:/x", "\nand more\n"} {
		select {
		case <-b.ready:
			t.Fatalf("ready before %q", piece)
		default:
		}
		b.Write([]byte(piece))
	}
	<-b.ready
	if got, want := b.String(), "a warning of the engine\nand more"; got != want {
		t.Errorf("String() = %q, want %q", got, want)
	}
	b.Write([]byte(strings.Repeat("x", 3*tailSize)))
	if got := b.String(); len(got) != tailSize {
		t.Errorf("the tail has %d bytes, want %d", len(got), tailSize)
	}
}
