package runtimes

import (
	"context"
	"embed"
	"fmt"
	"os/exec"
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
			found = append(found, candidate{path: filepath.Join(venv, "bin", "python3"), chosen: true})
		}
		// Names one by one: the folders of the system have thousands of files.
		names := []string{"python3", "python"}
		for minor := 9; minor < 20; minor++ {
			names = append(names, fmt.Sprintf("python3.%d", minor))
		}
		found = append(found, m.onPath(names...)...)
		for _, name := range names {
			found = append(found, m.below("/usr/local/bin/"+name, "/usr/bin/"+name)...)
		}
		return append(found, m.below(
			"~/.pyenv/versions/*/bin/python3",
			"~/.local/share/uv/python/*/bin/python3",
			"~/.asdf/installs/python/*/bin/python3",
			"~/.local/share/mise/installs/python/*/bin/python3",
			"/opt/python/*/bin/python3",
			"/opt/python3*/bin/python3",
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
	files:       func() []file { return embedded(pythonFiles, "python") },
	prepare:     preparePython,
	preparedFor: func(i *Interpreter) string { return i.Path + " " + i.Version + preparation },
	command: func(i *Interpreter, l Layout) Command {
		// -S: the bootstrap does itself what a function needs of the site module.
		// -X utf8: as the locale of AWS's images has it, whatever locales are here.
		return Command{Args: []string{i.Path, "-S", "-X", "utf8", filepath.Join(l.Bootstrap, "bootstrap.py")}}
	},
}

//go:embed all:python
var pythonFiles embed.FS

// preparePython notes where the interpreter has its packages and compiles the
// bootstrap, so that a start does neither.
func preparePython(ctx context.Context, i *Interpreter, dir string) error {
	cmd := exec.CommandContext(ctx, i.Path, "-E", "-c", preparation)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("compile for %s: %w: %s", i.Path, err, out)
	}
	return nil
}

const preparation = `
import os, py_compile, site, sys
folders = site.getsitepackages() + ([site.getusersitepackages()] if site.ENABLE_USER_SITE else [])
name = os.path.join("_hearth", "site.py")
with open(name) as f:
    text = f.read()
line = "packages = []"
assert line in text
text = text.replace(line, "packages = %r" % folders, 1)
if sys.prefix != sys.base_prefix:
    text = text.replace("prefix = None", "prefix = %r" % sys.prefix, 1)
with open(name, "w") as f:
    f.write(text)
for f in os.listdir("_hearth"):
    if f.endswith(".py"):
        # Their content never changes, so no start compares times.
        py_compile.compile(os.path.join("_hearth", f), doraise=True, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
`
