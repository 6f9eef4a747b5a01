package process

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"
)

// OwnAgent, if not nil, are the arguments that make this very program an agent.
// A program that sets it calls agent mode's main when it is started so.
var OwnAgent []string

var agentOnce struct {
	sync.Mutex
	program string
	args    []string
}

// Agent returns the program that is hearth-agent, and the arguments that come
// before its own: the one that this program carries, the one beside it, one
// built from this program's sources where those and Go are here (once, then it
// is kept in the user's cache folder), or this program itself.
func Agent(ctx context.Context) (program string, args []string, err error) {
	agentOnce.Lock()
	defer agentOnce.Unlock()
	if agentOnce.program != "" {
		return agentOnce.program, agentOnce.args, nil
	}
	self, err := os.Executable()
	if err != nil {
		return "", nil, fmt.Errorf("find hearth-agent: %w", err)
	}
	if carried, err := embeddedAgent(agents, runtime.GOOS, runtime.GOARCH); err == nil {
		agentOnce.program = carried
		return carried, nil, nil
	}
	if beside := filepath.Join(filepath.Dir(self), "hearth-agent"); isProgram(beside) {
		agentOnce.program = beside
		return beside, nil, nil
	}
	built, buildErr := BuildAgent(ctx, runtime.GOOS, runtime.GOARCH)
	switch {
	case buildErr == nil:
		agentOnce.program = built
	case ctx.Err() != nil:
		return "", nil, ctx.Err()
	case OwnAgent != nil:
		agentOnce.program, agentOnce.args = self, OwnAgent
	default:
		return "", nil, fmt.Errorf("find hearth-agent: there is none beside %s, and none could be built: %w", self, buildErr)
	}
	return agentOnce.program, agentOnce.args, nil
}

// AgentFor returns a static hearth-agent for another platform: the one that
// this program carries, the file hearth-agent-GOOS-GOARCH beside it, or
// hearth-agent where that is for the platform, or one that is built.
func AgentFor(ctx context.Context, goos, goarch string) (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find hearth-agent: %w", err)
	}
	if carried, err := embeddedAgent(agents, goos, goarch); err == nil {
		return carried, nil
	}
	beside := filepath.Join(filepath.Dir(self), "hearth-agent")
	if named := beside + "-" + goos + "-" + goarch; isProgram(named) {
		return named, nil
	}
	if goos == runtime.GOOS && goarch == runtime.GOARCH && isProgram(beside) {
		return beside, nil
	}
	built, err := BuildAgent(ctx, goos, goarch)
	if err != nil {
		return "", fmt.Errorf("find hearth-agent for %s/%s: there is none beside %s, and none could be built: %w", goos, goarch, self, err)
	}
	return built, nil
}

func isProgram(p string) bool {
	info, err := os.Stat(p)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}

// BuildAgent builds hearth-agent from this program's sources for a platform,
// unless the user's cache folder has it already.
func BuildAgent(ctx context.Context, goos, goarch string) (string, error) {
	_, file, _, _ := runtime.Caller(0)
	root := filepath.Join(filepath.Dir(file), "..", "..", "..")
	if _, err := os.Stat(filepath.Join(root, "cmd", "hearth-agent")); err != nil {
		return "", fmt.Errorf("the sources are not here: %w", err)
	}
	goTool, err := exec.LookPath("go")
	if err != nil {
		return "", fmt.Errorf("the Go toolchain is not here: %w", err)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	// An agent of other sources than this program's would not understand it.
	var built time.Time
	if self, err := os.Executable(); err == nil {
		if info, err := os.Stat(self); err == nil {
			built = info.ModTime()
		}
	}
	h := sha256.New()
	fmt.Fprintln(h, runtime.Version(), goos, goarch)
	for _, dir := range []string{"cmd/hearth-agent", "internal/agent", "internal/instance"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(p string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(p, ".go") || strings.HasSuffix(p, "_test.go") {
				return err
			}
			info, err := d.Info()
			if err != nil {
				return err
			}
			if info.ModTime().After(built) {
				return fmt.Errorf("%s has changed since this program was built; build it again", p)
			}
			fmt.Fprintln(h, p, info.Size(), info.ModTime().UnixNano())
			return nil
		})
		if err != nil {
			return "", err
		}
	}
	out := filepath.Join(cache, "hearth", "agent", hex.EncodeToString(h.Sum(nil))[:24], "hearth-agent")
	if isProgram(out) {
		return out, nil
	}
	if err := os.MkdirAll(filepath.Dir(out), 0o755); err != nil {
		return "", err
	}
	temp, err := os.MkdirTemp(filepath.Dir(out), "build-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(temp)
	cmd := exec.CommandContext(ctx, goTool, "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", filepath.Join(temp, "hearth-agent"), "./cmd/hearth-agent")
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS="+goos, "GOARCH="+goarch, "GOFLAGS=")
	if text, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build hearth-agent: %w: %s", err, text)
	}
	if err := os.Rename(filepath.Join(temp, "hearth-agent"), out); err != nil {
		return "", err
	}
	return out, nil
}
