package runtimes

import (
	"embed"
	"path/filepath"
)

var python = language{
	name:     "python",
	title:    "Python",
	runtimes: []string{"python3.9", "python3.10", "python3.11", "python3.12", "python3.13", "python3.14", "python3.15"},
	prefix:   "python",
	oldest:   version{3, 9},
	depth:    2,
	locate: func(m machine) []candidate {
		var found []candidate
		if venv := m.env("VIRTUAL_ENV"); venv != "" {
			found = append(found, candidate{path: filepath.Join(venv, "bin", "python3")})
		}
		found = append(found, m.onPath("python3", "python3.[0-9]", "python3.[0-9][0-9]", "python")...)
		return append(found, m.below(
			"~/.pyenv/versions/*/bin/python3",
			"~/.local/share/uv/python/*/bin/python3",
			"~/.asdf/installs/python/*/bin/python3",
			"~/.local/share/mise/installs/python/*/bin/python3",
			"/opt/python/*/bin/python3",
			"/opt/python3*/bin/python3",
			"/usr/local/bin/python3.[0-9]*[0-9]",
			"/usr/bin/python3.[0-9]*[0-9]",
			"/opt/homebrew/opt/python@3*/bin/python3*[0-9]",
			"/usr/local/opt/python@3*/bin/python3*[0-9]",
			"/home/linuxbrew/.linuxbrew/opt/python@3*/bin/python3*[0-9]",
			"/Library/Frameworks/Python.framework/Versions/3*/bin/python3",
		)...)
	},
	probe: []string{"-I", "-S", "-c", `import sys
print("%d.%d.%d" % sys.version_info[:3])
print(sys.executable)
print(sys.base_prefix)`},
	install: func(v string) string {
		return "install Python " + v + " (pyenv install " + v + ", uv python install " + v + ", or the system's package python" + v + ")"
	},
	files: func() []file { return embedded(pythonFiles, "python") },
	command: func(i *Interpreter, l Layout) Command {
		return Command{Args: []string{i.Path, filepath.Join(l.Bootstrap, "bootstrap.py")}}
	},
}

//go:embed python/*.py
var pythonFiles embed.FS
