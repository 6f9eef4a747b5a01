package hearth

import (
	"encoding/json"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// order lists the packages from the bottom up, each line a layer: a package
// imports only those of the lines above its own, and packages below it in its
// own folder. docs/design.md says why.
var order = []string{
	"internal/hearthtest",
	"internal/awsapi",
	"internal/arn internal/instance",
	"internal/agent",
	"internal/runtimes internal/code",
	"internal/store internal/logs internal/metrics internal/trace internal/queue",
	"internal/backend",
	"internal/pool",
	"internal/awsclient internal/policy",
	"internal/invoke",
	"internal/lambda",
	"internal/source",
	"internal/api internal/console",
	".",
	"cmd examples bench e2e docs testbed",
}

// Imports go one way.
func TestImports(t *testing.T) {
	const module = "github.com/hearth-run/hearth"
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", "./...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	layer := func(path string) (int, string) {
		path = strings.TrimPrefix(strings.TrimPrefix(path, module), "/")
		for i, line := range order {
			for dir := range strings.FieldsSeq(line) {
				if path == dir || strings.HasPrefix(path, dir+"/") || dir == "." && path == "" {
					return i, dir
				}
			}
		}
		return -1, ""
	}
	for dec := json.NewDecoder(strings.NewReader(string(out))); dec.More(); {
		var p struct {
			ImportPath string
			Imports    []string
		}
		if err := dec.Decode(&p); err != nil {
			t.Fatal(err)
		}
		own, dir := layer(p.ImportPath)
		if own < 0 {
			t.Errorf("%s has no place in the order", p.ImportPath)
			continue
		}
		for _, imported := range p.Imports {
			if !strings.HasPrefix(imported, module) {
				if slices.Contains([]string{"internal/agent", "internal/instance"}, dir) && strings.Contains(strings.SplitN(imported, "/", 2)[0], ".") && !strings.HasPrefix(imported, "golang.org/x/sys") {
					if !strings.Contains(p.ImportPath, "test") {
						t.Errorf("%s imports %s: the agent uses the standard library and golang.org/x/sys only", p.ImportPath, imported)
					}
				}
				continue
			}
			its, itsDir := layer(imported)
			if its > own || its == own && itsDir != dir {
				t.Errorf("%s imports %s, which is not below it", p.ImportPath, imported)
			}
		}
	}
}
