package process

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hearth-run/hearth/internal/agent/confine"
	"github.com/hearth-run/hearth/internal/backend"
	"github.com/hearth-run/hearth/internal/backend/backendtest"
	"github.com/hearth-run/hearth/internal/code"
)

func TestMain(m *testing.M) {
	backendtest.Main(m, func() (backendtest.Harness, error) { return harness(os.Getenv("HEARTH_TEST_PLAIN") != "", -1), nil })
}

func harness(plain bool, spare int) backendtest.Harness {
	return backendtest.Harness{
		New: func(dir, owner string, store *code.Store) (backend.Backend, error) {
			return New(Config{Dir: filepath.Join(dir, "instances"), Cache: filepath.Join(dir, "cache"), Owner: owner, Code: store, Plain: plain, Spare: spare})
		},
		Left:          left,
		ReadOnlyCode:  !plain,
		MemoryLimited: confine.LimitsMemory(),
	}
}

// left lists what is there of a server's instances: folders, processes, control groups.
func left(dir, owner string) []string {
	var all []string
	folders, _ := filepath.Glob(filepath.Join(dir, "instances", owner, "*", "tmp"))
	all = append(all, folders...)
	filepath.WalkDir("/sys/fs/cgroup", func(p string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && strings.HasPrefix(d.Name(), groupName(owner, "")) {
			all = append(all, p)
		}
		return nil
	})
	environs, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, e := range environs {
		// Every process of an instance has its function's ID, which is the owner's, in its tree's path or here.
		if b, err := os.ReadFile(e); err == nil && strings.Contains(string(b), "AWS_LAMBDA_FUNCTION_NAME=suite\x00") && strings.Contains(string(b), "HEARTH_TEST_OWNER="+owner+"\x00") {
			all = append(all, e)
		}
	}
	return all
}

func TestSuite(t *testing.T) {
	t.Run("isolated", func(t *testing.T) { backendtest.Run(t, harness(false, -1)) })
	t.Run("plain", func(t *testing.T) {
		t.Setenv("HEARTH_TEST_PLAIN", "1")
		backendtest.Run(t, harness(true, -1))
	})
}
