// Package examples tests the examples as their READMEs say: build, then run.
package examples

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hearth-run/hearth/internal/hearthtest"
)

func TestExamples(t *testing.T) {
	bin := t.TempDir()
	if out, err := exec.Command("go", "build", "-o", bin, "../cmd/hearth", "../cmd/hearth-agent").CombinedOutput(); err != nil {
		t.Fatalf("build hearth: %v\n%s", err, out)
	}
	for _, tt := range []struct {
		dir    string
		needs  []string // programs
		build  []string // "" for none; needs a package registry
		target string   // "" means the folder
		args   []string
		want   string // in the response
	}{
		{dir: "python-hello", needs: []string{"python3"}, want: `{"message": "Hello, Ada!", "function": "python-hello"}`},
		{dir: "python-thumbnailer", needs: []string{"python3"}, build: []string{"python3", "-m", "pip", "install", "-q", "-r", "requirements.txt", "-t", "."},
			args: []string{"--timeout", "60", "--memory", "512"}, want: `"statusCode": 200`},
		{dir: "python-api", needs: []string{"python3"}, build: []string{"python3", "-m", "pip", "install", "-q", "-r", "requirements.txt", "-t", "."},
			args: []string{"--timeout", "60", "--memory", "256"}, want: `write a function`},
		{dir: "node-sdk", needs: []string{"node", "npm"}, build: []string{"npm", "install", "--omit=dev", "--no-audit", "--no-fund"},
			args: []string{"--timeout", "60", "--memory", "512"}, want: `{"batchItemFailures":[]}`},
		{dir: "go-function", needs: []string{"go"}, build: []string{"go", "build", "-tags", "lambda.norpc", "-o", "bootstrap", "."}, want: `Hello, Ada!`},
		{dir: "java-events", needs: []string{"java", "mvn"}, build: []string{"mvn", "-q", "-B", "package"}, target: "target/java-events.jar",
			args: []string{"--handler", "example.Handler", "--timeout", "60", "--memory", "512"}, want: `["DOC-EXAMPLE-BUCKET/photos/cat 1.jpg"]`},
	} {
		t.Run(tt.dir, func(t *testing.T) {
			for _, program := range tt.needs {
				hearthtest.Need(t, "examples", program)
			}
			if len(tt.build) > 0 && !hearthtest.Required("examples") {
				t.Skipf("examples is not in HEARTH_TEST_REQUIRE: %s needs a package registry", strings.Join(tt.build[:2], " "))
			}
			dir := filepath.Join(t.TempDir(), tt.dir)
			if err := os.CopyFS(dir, os.DirFS(tt.dir)); err != nil {
				t.Fatal(err)
			}
			if len(tt.build) > 0 {
				cmd := exec.Command(tt.build[0], tt.build[1:]...)
				cmd.Dir = dir
				cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "PIP_DISABLE_PIP_VERSION_CHECK=1", "PIP_ROOT_USER_ACTION=ignore")
				if out, err := cmd.CombinedOutput(); err != nil {
					t.Fatalf("%s: %v\n%s", strings.Join(tt.build, " "), err, out)
				}
			}
			args := append([]string{"run", filepath.Join(dir, tt.target), "--event", filepath.Join(dir, "event.json")}, tt.args...)
			if strings.HasPrefix(tt.dir, "python") && len(tt.build) > 0 {
				// What pip installed is for the Python that it ran on.
				out, err := exec.Command("python3", "-c", "import sys; print('python%d.%d' % sys.version_info[:2])").Output()
				if err != nil {
					t.Fatal(err)
				}
				args = append(args, "--runtime", strings.TrimSpace(string(out)))
			}
			cmd := exec.Command(filepath.Join(bin, "hearth"), args...)
			var out, log bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &log
			if err := cmd.Run(); err != nil || !strings.Contains(out.String(), tt.want) {
				t.Errorf("hearth %s: %v\n%s\nwant %s; log:\n%s", strings.Join(args, " "), err, out.String(), tt.want, log.String())
			}
		})
	}
}
