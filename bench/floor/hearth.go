package floor

import (
	"archive/zip"
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"
)

// Hearth is a server of this source tree, on a free port with a data folder of its own.
type Hearth struct {
	URL  string
	Path string // the executable
	Dir  string // a temporary folder, data included
	cmd  *exec.Cmd
}

var listens = regexp.MustCompile(`http://[0-9.]+:[0-9]+`)

// StartHearth builds cmd/hearth, or takes the executable at path, and starts it.
func StartHearth(ctx context.Context, path string) (*Hearth, error) {
	dir, err := os.MkdirTemp("", "hearth-bench")
	if err != nil {
		return nil, err
	}
	h := &Hearth{Dir: dir, Path: path}
	if path == "" {
		h.Path = filepath.Join(dir, "hearth")
		for out, pkg := range map[string]string{"hearth": "hearth", "hearth-agent": "hearth-agent"} {
			if err := Build(ctx, filepath.Join(dir, out), "github.com/hearth-run/hearth/cmd/"+pkg); err != nil {
				return nil, errors.Join(err, h.Close())
			}
		}
	}
	h.cmd = exec.Command(h.Path, "serve", "--listen", "127.0.0.1:0", "--data", filepath.Join(dir, "data"), "--backend", "process")
	h.cmd.Stderr = os.Stderr
	out, err := h.cmd.StdoutPipe()
	if err != nil {
		return nil, errors.Join(err, h.Close())
	}
	if err := h.cmd.Start(); err != nil {
		h.cmd = nil
		return nil, errors.Join(err, h.Close())
	}
	lines := bufio.NewScanner(out)
	for h.URL == "" && lines.Scan() {
		h.URL = listens.FindString(lines.Text())
	}
	if h.URL == "" {
		return nil, errors.Join(errors.New("hearth serve did not say where it listens"), h.Close())
	}
	go io.Copy(io.Discard, out)
	// A benchmark that is interrupted leaves no server behind.
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		<-signals
		h.Close()
		os.Exit(1)
	}()
	return h, nil
}

// Build compiles a program of this module.
func Build(ctx context.Context, out, pkg string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", out, pkg)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w: %s", pkg, err, text)
	}
	return nil
}

// Close ends the server and removes its folder.
func (h *Hearth) Close() error {
	if h.cmd != nil {
		h.cmd.Process.Signal(syscall.SIGTERM)
		done := make(chan struct{})
		go func() { h.cmd.Wait(); close(done) }()
		select {
		case <-done:
		case <-time.After(10 * time.Second):
			h.cmd.Process.Kill()
			<-done
		}
		h.cmd = nil
	}
	return os.RemoveAll(h.Dir)
}

// Create makes a function and waits until it can be invoked. It returns the
// URL that invokes it.
func (h *Hearth) Create(name, runtime, handler string, code []byte) (string, error) {
	body, err := json.Marshal(map[string]any{
		"FunctionName": name, "Runtime": runtime, "Handler": handler, "Role": "arn:aws:iam::000000000000:role/bench",
		"Timeout": 30, "MemorySize": 256, "Code": map[string]string{"ZipFile": base64.StdEncoding.EncodeToString(code)},
	})
	if err != nil {
		return "", err
	}
	r, err := http.Post(h.URL+"/2015-03-31/functions", "application/json", bytes.NewReader(body))
	if err != nil {
		return "", err
	}
	text, err := io.ReadAll(r.Body)
	r.Body.Close()
	if err != nil || r.StatusCode != http.StatusCreated {
		return "", fmt.Errorf("create %s: %s: %s %v", name, r.Status, text, err)
	}
	for range 500 {
		r, err := http.Get(h.URL + "/2015-03-31/functions/" + name + "/configuration")
		if err != nil {
			return "", err
		}
		var c struct{ State, StateReason string }
		err = json.NewDecoder(r.Body).Decode(&c)
		r.Body.Close()
		switch {
		case err != nil:
			return "", err
		case c.State == "Active":
			return h.URL + "/2015-03-31/functions/" + name + "/invocations", nil
		case c.State == "Failed":
			return "", fmt.Errorf("%s: %s", name, c.StateReason)
		}
		time.Sleep(10 * time.Millisecond)
	}
	return "", fmt.Errorf("%s does not get active", name)
}

// Delete removes a function.
func (h *Hearth) Delete(name string) error {
	req, err := http.NewRequest(http.MethodDelete, h.URL+"/2015-03-31/functions/"+name, nil)
	if err != nil {
		return err
	}
	r, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	r.Body.Close()
	return nil
}

// Zip packs files, executable all of them, and the folders in trees.
func Zip(files map[string][]byte, trees ...string) ([]byte, error) {
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	add := func(name string, data []byte) error {
		h := &zip.FileHeader{Name: name, Method: zip.Deflate}
		h.SetMode(0o755)
		f, err := w.CreateHeader(h)
		if err != nil {
			return err
		}
		_, err = f.Write(data)
		return err
	}
	for name, data := range files {
		if err := add(name, data); err != nil {
			return nil, err
		}
	}
	for _, root := range trees {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			name, err := filepath.Rel(root, path)
			if err != nil {
				return err
			}
			data, err := os.ReadFile(path)
			if err != nil || strings.HasSuffix(name, ".pyc") {
				return err
			}
			return add(filepath.ToSlash(name), data)
		})
		if err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// Official returns the folder into which the comparison of internal/runtimes
// has put one of AWS's clients, or "".
func Official(name string) string {
	root := os.Getenv("HEARTH_TEST_CACHE")
	if root == "" {
		dir, err := os.UserCacheDir()
		if err != nil {
			return ""
		}
		root = filepath.Join(dir, "hearth-test")
	}
	found, _ := filepath.Glob(filepath.Join(root, name))
	if len(found) == 0 {
		return ""
	}
	return found[len(found)-1]
}
