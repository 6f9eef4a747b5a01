package runtimes

import (
	"bytes"
	"embed"
	"fmt"
	"path/filepath"
	"strings"
)

var nodejs = language{
	name:     "nodejs",
	title:    "Node.js",
	runtimes: []string{"nodejs18.x", "nodejs20.x", "nodejs22.x", "nodejs24.x", "nodejs26.x"},
	prefix:   "nodejs",
	oldest:   version{18},
	depth:    1,
	locate: func(m machine) []candidate {
		found := m.onPath("node", "nodejs")
		return append(found, m.below(
			"~/.nvm/versions/node/*/bin/node",
			"~/.volta/tools/image/node/*/bin/node",
			"~/.local/share/fnm/node-versions/*/installation/bin/node",
			"~/.fnm/node-versions/*/installation/bin/node",
			"~/Library/Application Support/fnm/node-versions/*/installation/bin/node",
			"~/.asdf/installs/nodejs/*/bin/node",
			"~/.local/share/mise/installs/node/*/bin/node",
			"~/.nodenv/versions/*/bin/node",
			"~/.n/bin/node",
			"/usr/local/n/versions/node/*/bin/node",
			"/opt/node*/bin/node",
			"/usr/local/bin/node",
			"/usr/bin/node",
			"/opt/homebrew/opt/node*/bin/node",
			"/usr/local/opt/node*/bin/node",
			"/home/linuxbrew/.linuxbrew/opt/node*/bin/node",
		)...)
	},
	probe: []string{"-p", `process.versions.node + "\n" + process.execPath + "\n" + require("path").dirname(require("path").dirname(process.execPath))`},
	install: func(v string) string {
		return "install Node.js " + v + " (nvm install " + v + ", fnm install " + v + ", or the system's package nodejs)"
	},
	files: func() []file { return []file{{name: "index.js", data: bundleNode(embedded(nodeFiles, "node"))}} },
	command: func(i *Interpreter, l Layout) Command {
		major, _, _ := strings.Cut(i.Version, ".")
		opt := filepath.Join(l.Opt, "nodejs")
		return Command{
			Args: []string{i.Path, "--expose-gc", "--max-http-header-size", "81920", filepath.Join(l.Bootstrap, "index.js")},
			Env: map[string]string{"NODE_PATH": strings.Join([]string{
				filepath.Join(opt, "node"+major, "node_modules"), filepath.Join(opt, "node_modules"),
				l.Bootstrap, l.TaskRoot,
			}, ":")},
		}
	},
}

//go:embed node
var nodeFiles embed.FS

// bundleNode makes one script of the bootstrap's modules, since finding and
// reading each costs half a millisecond of every start. A module still runs
// when it is first required.
func bundleNode(files []file) []byte {
	var b bytes.Buffer
	b.WriteString(`'use strict';
const modules = {};
const loaded = {};
function bundled(name) {
  if (!(name in modules)) return require(name);
  if (!(name in loaded)) {
    const module = { exports: {} };
    modules[name](module, bundled);
    loaded[name] = module.exports;
  }
  return loaded[name];
}
`)
	for _, f := range files {
		fmt.Fprintf(&b, "modules['./%s'] = function (module, require) {\n%s};\n", f.name, f.data)
	}
	b.WriteString("bundled('./index.js');\n")
	return b.Bytes()
}
