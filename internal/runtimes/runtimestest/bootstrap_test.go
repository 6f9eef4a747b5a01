package runtimestest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hearth-run/hearth/internal/runtimes"
)

// languages are the newest interpreters here of the languages whose bootstraps
// this file tests, beside what AWS's clients can be compared for.
func languages(t *testing.T) map[string]*runtimes.Interpreter {
	all, err := runtimes.All(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]*runtimes.Interpreter{}
	for _, i := range all {
		if _, ok := echoes[i.Language]; ok {
			found[i.Language] = i
		}
	}
	if len(found) == 0 {
		t.Skip("neither Python nor Node.js is here")
	}
	return found
}

// A function's wrapper script starts the runtime; it may change its arguments,
// put a proxy in front of the Runtime API, or close descriptors.
func TestWrapper(t *testing.T) {
	for language, i := range languages(t) {
		option := map[string]string{"python": "-Xdev", "nodejs": "--no-warnings"}[language]
		for _, c := range []struct{ name, script, want string }{
			{"environment", "export WRAPPED=yes\nexec \"$@\"\n", `"yes"`},
			{"arguments", "args=(\"$@\")\nexport WRAPPED=also\nexec \"${args[@]:0:$#-1}\" " + option + " \"${args[@]: -1}\"\n", `"also"`},
			{"proxy", "export WRAPPED=proxied AWS_LAMBDA_RUNTIME_API=localhost:${AWS_LAMBDA_RUNTIME_API##*:}\nexec \"$@\"\n", `"proxied"`},
			{"closed descriptor", "export WRAPPED=closed\nexec 3>&-\nexec \"$@\"\n", `"closed"`},
		} {
			t.Run(language+" "+c.name, func(t *testing.T) {
				wrapper := filepath.Join(t.TempDir(), "wrapper")
				if err := os.WriteFile(wrapper, []byte("#!/bin/bash\n"+c.script), 0o755); err != nil {
					t.Fatal(err)
				}
				fn := Case{Name: c.name, Handler: "app.handler", Env: map[string]string{"AWS_LAMBDA_EXEC_WRAPPER": wrapper}, Files: map[string]string{
					"app.py": "import os\ndef handler(event, context):\n    return os.environ['WRAPPED']\n",
					"app.js": "exports.handler = async () => process.env.WRAPPED;\n",
				}}
				r := Run(t, hearth(t, i), fn, Task(t, fn), Mode{Framed: true})
				if len(r.Answers) != 1 || r.Answers[0].Body != c.want {
					t.Errorf("answers %+v, output %q, exit %q, want one %s", r.Answers, r.Output, r.Exit, c.want)
				}
			})
		}
	}
}

// A wrapper that is not there ends the process, as the images' script does.
func TestWrapperMissing(t *testing.T) {
	for language, i := range languages(t) {
		for name, want := range map[string]string{"nothing": "exit status 127", "plain file": "exit status 126"} {
			t.Run(language+" "+name, func(t *testing.T) {
				wrapper := filepath.Join(t.TempDir(), "wrapper")
				if name == "plain file" {
					write(t, wrapper, "")
				}
				fn := echoes[language]
				fn.Env = map[string]string{"AWS_LAMBDA_EXEC_WRAPPER": wrapper}
				r := Run(t, hearth(t, i), fn, Task(t, fn), Mode{Framed: true})
				if r.Exit != want || !strings.HasPrefix(r.Output, wrapper+": ") {
					t.Errorf("exit %q with output %q, want %s and a line on %s", r.Exit, r.Output, want, wrapper)
				}
			})
		}
	}
}

// Layers that are not at /opt are found where they are.
func TestLayersElsewhere(t *testing.T) {
	for language, i := range languages(t) {
		t.Run(language, func(t *testing.T) {
			opt := t.TempDir()
			for name, text := range map[string]string{
				"python/lib_of_layer.py":                    "value = 'layer'\n",
				"nodejs/node_modules/lib_of_layer/index.js": "exports.value = 'layer';\n",
			} {
				path := filepath.Join(opt, name)
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				write(t, path, text)
			}
			dir, err := i.Install(t.Context(), t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			client := Client{Name: "Hearth", Command: func(c Case, task string) ([]string, map[string]string) {
				cmd := i.Command(runtimes.Layout{Bootstrap: dir, TaskRoot: task, Opt: opt})
				return cmd.Args, cmd.Env
			}}
			fn := Case{Handler: "app.handler", Files: map[string]string{
				"app.py": "import os, lib_of_layer\ndef handler(event, context):\n    return [lib_of_layer.value, '_HEARTH_OPT' in os.environ]\n",
				"app.js": "const l = require('lib_of_layer');\nexports.handler = async () => [l.value, '_HEARTH_OPT' in process.env];\n",
			}}
			r := Run(t, client, fn, Task(t, fn), Mode{Framed: true})
			if len(r.Answers) != 1 || strings.ReplaceAll(r.Answers[0].Body, " ", "") != `["layer",false]` {
				t.Errorf("answers %+v, output %q", r.Answers, r.Output)
			}
		})
	}
}

// Children of a function inherit neither the agent's socket nor the log pipe.
func TestDescriptorsStayInside(t *testing.T) {
	if _, err := os.Stat("/proc/self/fd"); err != nil {
		t.Skip("this system has no /proc")
	}
	for language, i := range languages(t) {
		t.Run(language, func(t *testing.T) {
			fn := Case{Handler: "app.handler", Files: map[string]string{
				"app.py": "import subprocess\ndef handler(event, context):\n    return subprocess.run(['readlink', '/proc/self/fd/3', '/proc/self/fd/4'], stdout=subprocess.PIPE, close_fds=False).stdout.decode()\n",
				"app.js": "exports.handler = async () => require('child_process').spawnSync('readlink', ['/proc/self/fd/3', '/proc/self/fd/4']).stdout.toString();\n",
			}}
			r := Run(t, hearth(t, i), fn, Task(t, fn), Mode{Framed: true, Telemetry: true})
			if len(r.Answers) != 1 || strings.Contains(r.Answers[0].Body, "socket:") || strings.Contains(r.Answers[0].Body, "pipe:") {
				t.Errorf("answers %+v, output %q, want no socket and no pipe", r.Answers, r.Output)
			}
		})
	}
}

// An instrumentation's sitecustomize runs before the function is loaded.
func TestSitecustomize(t *testing.T) {
	i := languages(t)["python"]
	if i == nil {
		t.Skip("Python is not here")
	}
	dir := t.TempDir()
	write(t, filepath.Join(dir, "sitecustomize.py"), "import builtins\nbuiltins.instrumented = True\n")
	fn := Case{Handler: "app.handler", Env: map[string]string{"PYTHONPATH": dir}, Files: map[string]string{
		"app.py": "import sys\ndef handler(event, context):\n    return [instrumented, sys.path.index(" + `"` + dir + `"` + ")]\n",
	}}
	r := Run(t, hearth(t, i), fn, Task(t, fn), Mode{Framed: true})
	if len(r.Answers) != 1 || r.Answers[0].Body != "[true, 3]" {
		t.Errorf("answers %+v, output %q, want [true, 3]: the folder after the function's and the layers'", r.Answers, r.Output)
	}
}

// Events and
// answers near the limit pass through the framed socket whole.
func TestLargeAnswers(t *testing.T) {
	for language, i := range languages(t) {
		t.Run(language, func(t *testing.T) {
			fn := Case{Handler: "app.handler", Files: map[string]string{
				"app.py": "def handler(event, context):\n    return 'x' * 6_000_000\n",
				"app.js": "exports.handler = async () => 'x'.repeat(6_000_000);\n",
			}, Events: []Event{{Payload: `"` + strings.Repeat("é", 3_000_000) + `"`}, {}}}
			r := Run(t, hearth(t, i), fn, Task(t, fn), Mode{Framed: true})
			if len(r.Answers) != 2 {
				t.Fatalf("%d answers, output %.200q, want 2", len(r.Answers), r.Output)
			}
			for _, a := range r.Answers {
				if len(a.Body) != 6_000_002 || strings.Trim(a.Body, `"x`) != "" {
					t.Errorf("an answer of %d bytes, want 6,000,002", len(a.Body))
				}
			}
		})
	}
}

func TestLargeStream(t *testing.T) {
	i := languages(t)["nodejs"]
	if i == nil {
		t.Skip("Node.js is not here")
	}
	fn := Case{Handler: "app.handler", Files: map[string]string{"app.js": `
exports.handler = awslambda.streamifyResponse(async (event, stream) => {
  for (let k = 0; k < 20; k++) {
    if (!stream.write('y'.repeat(1 << 20))) await new Promise((r) => stream.once('drain', r));
  }
  stream.end();
});
`}}
	for _, framed := range []bool{false, true} {
		r := Run(t, hearth(t, i), fn, Task(t, fn), Mode{Framed: framed})
		if len(r.Answers) != 1 || r.Answers[0].Kind != "stream" || len(r.Answers[0].Body) != 20<<20 {
			t.Errorf("framed %v: %d answers, output %.200q, want one stream of 20 MB", framed, len(r.Answers), r.Output)
		}
	}
}

// The Node.js bootstrap reads the framed socket with parts of Node.js that
// may go one day; it then uses module net.
func TestWithoutBinding(t *testing.T) {
	i := languages(t)["nodejs"]
	if i == nil {
		t.Skip("Node.js is not here")
	}
	preload := filepath.Join(t.TempDir(), "preload.js")
	write(t, preload, "process.binding = () => { throw new Error('gone'); };\n")
	fn := Case{Handler: "app.handler", Env: map[string]string{"NODE_OPTIONS": "--require " + preload}, Files: map[string]string{
		"app.js": "exports.handler = async (event) => { await new Promise((r) => setTimeout(r, 5)); return event; };\n",
	}, Events: []Event{{Payload: `1`}, {Payload: `"` + strings.Repeat("x", 200_000) + `"`}, {Payload: `3`}}}
	r := Run(t, hearth(t, i), fn, Task(t, fn), Mode{Framed: true})
	if len(r.Answers) != 3 || r.Answers[0].Body != "1" || len(r.Answers[1].Body) != 200_002 || r.Answers[2].Body != "3" {
		t.Errorf("%d answers, output %.300q, exit %q, want three", len(r.Answers), r.Output, r.Exit)
	}
}
