package runtimestest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hearth-run/hearth/internal/hearthtest"
	"github.com/hearth-run/hearth/internal/runtimes"
)

const awslambdaric = "4.2.2"

// officialPython installs awslambdaric for an interpreter.
func officialPython(t *testing.T, i *runtimes.Interpreter) Client {
	minor := strings.Join(strings.Split(i.Version, ".")[:2], ".")
	dir := Cache(t, "awslambdaric-"+awslambdaric+"-python"+minor)
	err := Fetch(dir, func(tmp string) error {
		return Do(tmp, nil, i.Path, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input",
			"--only-binary", ":all:", "--target", tmp, "awslambdaric=="+awslambdaric)
	})
	if err != nil {
		hearthtest.Skip(t, "awslambdaric", err.Error())
	}
	// As in the images: the script puts the function's folders first.
	const script = `import os, sys
sys.path[0:1] = [os.environ["LAMBDA_TASK_ROOT"], "/opt/python/lib/python%d.%d/site-packages" % sys.version_info[:2], "/opt/python"]
from awslambdaric.__main__ import main
main([sys.argv[0], os.environ["_HANDLER"]])
`
	at := filepath.Join(t.TempDir(), "bootstrap.py")
	write(t, at, script)
	return Client{Name: "awslambdaric", Command: func(Case, string) ([]string, map[string]string) {
		return []string{i.Path, at}, map[string]string{"PYTHONPATH": dir, "AWS_EXECUTION_ENV": "AWS_Lambda_" + i.Runtime}
	}}
}

func hearth(t *testing.T, i *runtimes.Interpreter) Client {
	dir, err := i.Install(context.Background(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return Client{Name: "Hearth", Command: func(c Case, task string) ([]string, map[string]string) {
		cmd := i.Command(runtimes.Layout{Bootstrap: dir, TaskRoot: task, Opt: "/opt", Env: c.Env})
		return cmd.Args, cmd.Env
	}}
}

// exact returns the interpreters of these runtimes that are here in exactly their version.
func exact(t *testing.T, what string, names ...string) []*runtimes.Interpreter {
	var found []*runtimes.Interpreter
	for _, name := range names {
		i, err := runtimes.Find(t.Context(), name)
		if err == nil && i.Warning == "" {
			found = append(found, i)
		}
	}
	if len(found) == 0 {
		hearthtest.Skip(t, what, fmt.Sprintf("none of %v is installed", names))
	}
	return found
}

// TestPython compares Hearth's Python runtime with AWS's.
func TestPython(t *testing.T) {
	found := exact(t, "python", "python3.9", "python3.10", "python3.11", "python3.12", "python3.13", "python3.14")
	if testing.Short() {
		found = found[len(found)-1:]
	}
	for _, i := range found {
		t.Run(i.Runtime, func(t *testing.T) {
			t.Parallel()
			ours := hearth(t, i)
			if i.Runtime == "python3.9" {
				// AWS's current client does not run there; ours must at least agree with itself.
				for _, c := range pythonCases {
					t.Run(c.Name, func(t *testing.T) {
						c.Differs = ""
						task := Task(t, c)
						Compare(t, c, "framed and HTTP", Run(t, ours, c, task, Mode{}), Run(t, ours, c, task, Mode{Framed: true}))
					})
				}
				return
			}
			compareAll(t, officialPython(t, i), ours, pythonCases)
		})
	}
}

// compareAll runs all cases through both clients, over both ways, with both kinds of log.
func compareAll(t *testing.T, official, ours Client, cases []Case) {
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			task := Task(t, c)
			want := Run(t, official, c, task, Mode{})
			Compare(t, c, "HTTP, standard output", want, Run(t, ours, c, task, Mode{}))
			want = Run(t, official, c, task, Mode{Telemetry: true})
			Compare(t, c, "framed, telemetry", want, Run(t, ours, c, task, Mode{Telemetry: true, Framed: true}))
		})
	}
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
