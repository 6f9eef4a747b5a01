package docker

import (
	"context"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hearth-run/hearth/internal/backend"
	"github.com/hearth-run/hearth/internal/backend/process"
	"github.com/hearth-run/hearth/internal/hearthtest"
)

// outcome is what a client and an operator see of one event.
type outcome struct {
	Payload, FunctionError string
	Log                    []string
}

var (
	requestID = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)
	times     = regexp.MustCompile(`\d{4}-\d\d-\d\dT[0-9:.]+Z`)
	figures   = regexp.MustCompile(`(Duration|Billed Duration|Max Memory Used|Init Duration): [0-9.]+`)
	// What the official clients, over HTTP, do not tell of the function's own errors.
	reported = regexp.MustCompile(`\tError Type: [A-Za-z.]+`)
	// The client's own frames of a Node.js stack.
	frames = regexp.MustCompile(`("    at |\\n    at )Runtime\.[^"]*`)
)

// outcomes runs a function on a backend and returns what comes of its events.
func outcomes(t *testing.T, b backend.Backend, d backend.Deployment, events []string) []outcome {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	logs := &records{}
	in, err := b.Launch(ctx, d, backend.Output{Stream: "stream", Logs: logs})
	if err != nil {
		t.Fatalf("%s: Launch() = %v, want nil", b.Name(), err)
	}
	defer b.Terminate(context.WithoutCancel(ctx), in.Handle)
	var all []outcome
	seen := 0
	for _, event := range events {
		res, err := try(ctx, in, event)
		if err != nil {
			t.Fatalf("%s: Invoke(%s) = %v, want nil", b.Name(), event, err)
		}
		if res.Settled != nil {
			<-res.Settled
		}
		o := outcome{Payload: normal(string(res.Payload)), FunctionError: string(res.FunctionError)}
		var lines []string
		for {
			// Log records come on a connection of their own.
			lines = strings.Split(normal(logs.String()), "\n")
			if strings.HasPrefix(lines[len(lines)-1], "REPORT ") && len(lines) > seen {
				break
			}
			if ctx.Err() != nil {
				t.Fatalf("%s: the log of %s has no REPORT: %s", b.Name(), event, logs)
			}
			time.Sleep(time.Millisecond)
		}
		for _, line := range lines[seen:] {
			if line != "" && !strings.HasPrefix(line, "INIT_START") {
				o.Log = append(o.Log, line)
			}
		}
		seen = len(lines)
		all = append(all, o)
	}
	return all
}

func normal(s string) string {
	s = requestID.ReplaceAllString(s, "ID")
	s = times.ReplaceAllString(s, "TIME")
	s = reported.ReplaceAllString(s, "")
	s = frames.ReplaceAllString(s, "${1}Runtime")
	return figures.ReplaceAllString(s, "$1: N")
}

// A function answers, fails and prints in AWS's images as it does under the
// process backend, to the byte but for numbers, times and the clients' own stack frames.
func TestSameAsProcess(t *testing.T) {
	engines(t, func(t *testing.T, open func(*testing.T) *Engine) {
		if strings.HasSuffix(t.Name(), "podman-rootless") {
			t.Skip("the same Podman is covered as root")
		}
		e := open(t)
		f := newFixture(t, e)
		local, err := process.New(process.Config{Dir: filepath.Join(t.TempDir(), "process"), Owner: "test", Code: f.code})
		if err != nil {
			t.Fatal(err)
		}
		defer local.Close()
		for _, c := range []struct {
			name, runtime, handler string
			files                  map[string]string
			events                 []string
		}{
			{"python", "python3.12", "app.handler", map[string]string{"app.py": `
import json, logging, os
logging.getLogger().setLevel("INFO")
class Odd(Exception): pass
def handler(event, context):
    do = event.get("do") if isinstance(event, dict) else None
    if do == "raise": raise Odd("no äöü")
    if do == "print": print("one\ntwo"); return None
    if do == "log": logging.info("logged %s", 1); return context.function_name
    if do == "bytes": return b"x"
    if do == "context": return [context.memory_limit_in_mb, context.function_version, context.invoked_function_arn, context.log_group_name, context.log_stream_name]
    return event
`}, []string{`{"a": [1, 2.5, null, "ä"]}`, `"text"`, `{"do": "raise"}`, `{"do": "print"}`, `{"do": "log"}`, `{"do": "bytes"}`, `{"do": "context"}`}},
			{"python without a handler", "python3.12", "app.nothing", map[string]string{"app.py": "x = 1\n"}, []string{`{}`}},
			{"python without a module", "python3.12", "nowhere.handler", map[string]string{"app.py": "x = 1\n"}, []string{`{}`}},
			{"node", "nodejs20.x", "app.handler", map[string]string{"app.js": `
exports.handler = async (event, context) => {
  if (event.do === "throw") throw new TypeError("no äöü");
  if (event.do === "print") { console.log("one\ntwo"); console.error("an error %d", 1); return; }
  if (event.do === "context") return [context.memoryLimitInMB, context.functionVersion, context.invokedFunctionArn, context.logGroupName, context.logStreamName];
  return event;
};
`}, []string{`{"a": [1, 2.5, null, "ä"]}`, `{"do": "throw"}`, `{"do": "print"}`, `{"do": "context"}`}},
			{"provided", "provided.al2023", "x", map[string]string{"bootstrap": `#!/bin/sh
echo "$_HANDLER in $PWD"
echo last words >&2
exit 4
`}, []string{`{}`, `{}`}},
			{"nothing to start", "provided.al2023", "x", map[string]string{"other": "x"}, []string{`{}`}},
		} {
			t.Run(c.name, func(t *testing.T) {
				d := f.deployment()
				d.Runtime, d.Handler, d.CodeHash = c.runtime, c.handler, f.put(c.files)
				if err := local.CanRun(d); err != nil {
					hearthtest.Skip(t, c.runtime, err.Error())
				}
				want := outcomes(t, local, d, c.events)
				got := outcomes(t, f, d, c.events)
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("process (-) and %s (+) differ:\n%s", f.Name(), diff)
				}
			})
		}
	})
}
