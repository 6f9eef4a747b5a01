package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hearth-run/hearth/internal/hearthtest"
)

// sdk runs a client of one of AWS's SDKs, which is installed from its registry first.
func sdk(t *testing.T, name string, programs []string, install, run []string) {
	t.Helper()
	for _, p := range programs {
		hearthtest.Need(t, "sdks", p)
	}
	if !hearthtest.Required("sdks") {
		t.Skipf("sdks is not in HEARTH_TEST_REQUIRE: %s needs a package registry", strings.Join(install[:2], " "))
	}
	hearthtest.Need(t, "python")
	dir := filepath.Join(t.TempDir(), name)
	if err := os.CopyFS(dir, os.DirFS(filepath.Join("testdata", name))); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(install[0], install[1:]...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(install, " "), err, out)
	}
	s := serve(t, t.TempDir())
	for i, a := range run {
		run[i] = strings.ReplaceAll(a, "ZIP", archive(t, "app.py", handler))
	}
	if out := s.must(t, dir, run[0], run[1:]...); !strings.Contains(out, "ok\n") {
		t.Errorf("the client printed %s", out)
	}
}

func TestJavaScriptSDK(t *testing.T) {
	sdk(t, "js", []string{"node", "npm"}, []string{"npm", "install", "--no-audit", "--no-fund"}, []string{"node", "flow.js", "ZIP"})
}

func TestJavaSDK(t *testing.T) {
	sdk(t, "java", []string{"java", "mvn"}, []string{"mvn", "-q", "-B", "compile"},
		[]string{"mvn", "-q", "-B", "exec:java", "-Dexec.mainClass=e2e.Flow", "-Dexec.args=ZIP", "-Dexec.cleanupDaemonThreads=false"})
}
