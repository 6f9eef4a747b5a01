package process

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hearth-run/hearth/internal/backend"
	"github.com/hearth-run/hearth/internal/backend/backendtest"
	"github.com/hearth-run/hearth/internal/code"
)

func TestMain(m *testing.M) {
	backendtest.Main(m, func() (backendtest.Harness, error) { return harness(os.Getenv("HEARTH_TEST_PLAIN") != ""), nil })
}

func harness(plain bool) backendtest.Harness {
	return backendtest.Harness{
		New: func(dir, owner string, store *code.Store) (backend.Backend, error) {
			return New(Config{Dir: filepath.Join(dir, "instances"), Cache: filepath.Join(dir, "cache"), Owner: owner, Code: store, Plain: plain})
		},
		Left:          left,
		ReadOnlyCode:  !plain,
		MemoryLimited: memoryLimited(),
	}
}

// left lists what is there of a server's instances: folders, processes, control groups.
func left(dir, owner string) []string {
	var all []string
	folders, _ := filepath.Glob(filepath.Join(dir, "instances", owner, "*", "tmp"))
	all = append(all, folders...)
	for _, pattern := range []string{"/sys/fs/cgroup/memory/", "/sys/fs/cgroup/pids/", "/sys/fs/cgroup/*/"} {
		groups, _ := filepath.Glob(pattern + groupName(owner, "*"))
		all = append(all, groups...)
	}
	environs, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, e := range environs {
		// Every process of an instance has its function's ID, which is the owner's, in its tree's path or here.
		if b, err := os.ReadFile(e); err == nil && strings.Contains(string(b), "AWS_LAMBDA_FUNCTION_NAME=suite\x00") && strings.Contains(string(b), "HEARTH_TEST_OWNER="+owner+"\x00") {
			all = append(all, e)
		}
	}
	return all
}

func memoryLimited() bool {
	dir := "/sys/fs/cgroup/memory/hearth-probe"
	if os.Mkdir(dir, 0o755) != nil {
		return false
	}
	defer os.Remove(dir)
	return true
}

func TestSuite(t *testing.T) {
	t.Run("isolated", func(t *testing.T) { backendtest.Run(t, harness(false)) })
	t.Run("plain", func(t *testing.T) {
		t.Setenv("HEARTH_TEST_PLAIN", "1")
		backendtest.Run(t, harness(true))
	})
}
