// Package runtimes finds the language interpreters of this machine and brings
// the bootstraps that run Lambda functions on them.
//
//	i, err := runtimes.Find(ctx, "python3.13")  // which executable
//	dir, err := i.Install(ctx, cacheDir)        // its bootstrap, written once
//	cmd := i.Command(runtimes.Layout{Bootstrap: dir, TaskRoot: "/var/task", Opt: "/opt", …})
//
// A bootstrap loads the function's handler and serves events, over the framed
// socket of docs/runtimes.md or the Runtime API.
package runtimes

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
)

// ErrUnsupported is wrapped by all errors of Find but the context's: no
// interpreter of this machine can run the runtime. The text tells what to install.
var ErrUnsupported = errors.New("unsupported runtime")

// Interpreter is an executable that runs functions of a runtime.
type Interpreter struct {
	Runtime  string // as in the function's configuration: "python3.13"
	Language string // "python", "nodejs", "ruby", "java" or "provided"
	Path     string // the real executable, no version manager's shim; "" for provided
	Version  string // "3.13.0"
	Home     string // its installation: Python's sys.base_prefix, Java's home; "" for provided
	// Warning says in a sentence how the interpreter differs from the runtime
	// ("python3.12 is not installed; running on Python 3.13.0"), or is "".
	Warning string

	lang *language
}

// Layout says where a function's parts are, as its processes see them.
type Layout struct {
	Bootstrap string // what Install returned, or where that folder is mounted
	// Installed is what Install returned, if the processes see the folder there,
	// too. "" means that they don't, or that Bootstrap is that.
	Installed string
	TaskRoot  string // the function's code: "/var/task", or a folder
	Opt       string // its merged layers: "/opt", or a folder
	// Env is the function's environment. Command reads it and changes nothing:
	// AWS_LAMBDA_EXEC_WRAPPER, NODE_PATH, JAVA_TOOL_OPTIONS and the like.
	Env      map[string]string
	MemoryMB int // the function's; 0 means unknown
	// Has reports whether a file (a path as the processes see it) exists. nil
	// means that paths can be looked up as they are.
	Has func(path string) bool
}

// Command starts a runtime.
type Command struct {
	Args []string // Args[0] is an absolute path, as the processes see it
	// Env is what the runtime needs beside what every runtime has. Names that
	// the function's own environment sets are left out.
	Env map[string]string
}

// Find returns the interpreter for a runtime: one of exactly its version if
// there is one, else the nearest with a Warning, else an error that wraps
// ErrUnsupported. It is quick after the first time: what it learns of an
// executable is kept in memory and in the user's cache folder, until the file
// changes. It may be called concurrently; the caller owns the result.
func Find(ctx context.Context, runtime string) (*Interpreter, error) {
	lang, want, err := parse(runtime)
	if err != nil {
		return nil, err
	}
	if lang.locate == nil {
		return &Interpreter{Runtime: runtime, Language: lang.name, lang: lang}, nil
	}
	if i := finder.chosenFor(runtime); i != nil {
		return i, nil
	}
	found, err := finder.search(ctx, lang, want)
	if err != nil {
		return nil, fmt.Errorf("find an interpreter for %s: %w", runtime, err)
	}
	best, ok := nearest(lang, found, want)
	if !ok {
		return nil, fmt.Errorf("%w: %s needs %s on this machine: %s", ErrUnsupported, runtime, lang.title, lang.install(want.String()))
	}
	i := &Interpreter{Runtime: runtime, Language: lang.name, Path: best.Executable, Version: best.Version, Home: best.Home, lang: lang}
	if !lang.same(parseVersion(best.Version), want) {
		i.Warning = fmt.Sprintf("%s is not installed; running on %s %s", runtime, lang.title, best.Version)
	}
	finder.keep(i)
	return i, nil
}

// All returns the interpreters found on this machine, one for each supported
// runtime of which the exact version is there, in the order of Known. It runs
// what it has not seen yet, in parallel; callers that must not wait run it in
// the background.
func All(ctx context.Context) ([]*Interpreter, error) {
	var all []*Interpreter
	for _, lang := range languages {
		if lang.locate == nil {
			continue
		}
		found, err := finder.scan(ctx, lang)
		if err != nil {
			return nil, fmt.Errorf("find %s: %w", lang.title, err)
		}
		for _, runtime := range lang.runtimes {
			_, want, _ := parse(runtime)
			best, ok := nearest(lang, found, want)
			if ok && lang.same(parseVersion(best.Version), want) {
				all = append(all, &Interpreter{Runtime: runtime, Language: lang.name, Path: best.Executable, Version: best.Version, Home: best.Home, lang: lang})
			}
		}
	}
	return all, nil
}

// Known returns the runtimes that Hearth has bootstraps for, and the provided
// ones, oldest first in each language.
func Known() []string {
	var all []string
	for _, lang := range languages {
		all = append(all, lang.runtimes...)
	}
	return all
}

// Install writes the bootstrap of i's language into a folder of dir that is
// named after its content, made ready for i (compiled, where that saves time),
// and returns that folder's path. What is there already is left as it is. It
// may be called concurrently, by several processes too. For provided runtimes
// it does nothing and returns "".
func (i *Interpreter) Install(ctx context.Context, dir string) (string, error) {
	if i.lang.files == nil {
		return "", nil
	}
	at, err := install(ctx, dir, i)
	if err != nil {
		return "", fmt.Errorf("install the %s bootstrap in %s: %w", i.Language, dir, err)
	}
	return at, nil
}

// Command returns what starts i's runtime for a function, through the
// function's AWS_LAMBDA_EXEC_WRAPPER if it has one.
func (i *Interpreter) Command(l Layout) Command {
	c := i.lang.command(i, l)
	if c.Env == nil {
		c.Env = map[string]string{}
	}
	if i.Language != "provided" {
		c.Env["AWS_EXECUTION_ENV"] = "AWS_Lambda_" + i.Runtime
		if l.Opt != "/opt" {
			c.Env["_HEARTH_OPT"] = l.Opt
		}
		// The official images' bootstrap script does this; provided runtimes ignore the variable.
		if w := l.Env["AWS_LAMBDA_EXEC_WRAPPER"]; w != "" {
			c.Args = append([]string{"/bin/sh", "-c", wrapperScript, "sh"}, c.Args...)
		}
	}
	for name := range l.Env {
		delete(c.Env, name)
	}
	return c
}

const wrapperScript = `if [ ! -f "$AWS_LAMBDA_EXEC_WRAPPER" ]; then
  echo "$AWS_LAMBDA_EXEC_WRAPPER: does not exist"; exit 127
elif [ ! -x "$AWS_LAMBDA_EXEC_WRAPPER" ]; then
  echo "$AWS_LAMBDA_EXEC_WRAPPER: is not an executable"; exit 126
fi
exec "$AWS_LAMBDA_EXEC_WRAPPER" "$@"`

// A language says how to find and start the interpreters of its runtimes.
type language struct {
	name     string   // Interpreter.Language
	title    string   // as people write it: "Node.js"
	runtimes []string // oldest first
	prefix   string   // of a runtime's name, before its version
	oldest   version  // that the bootstrap runs on
	depth    int      // how many numbers of a version make a runtime: 2 for python3.13, 1 for nodejs22.x
	// newerFirst: any newer version is better than an older one.
	newerFirst bool

	// locate lists where executables may be, best first. nil means that the
	// runtime needs no interpreter.
	locate func(m machine) []candidate
	// probe are the arguments with which an executable prints three lines:
	// its version, the real executable, its home.
	probe []string
	// parseProbe reads other output of probe; nil means the three lines.
	parseProbe func(executable, output string) (facts, error)
	// install tells how to get a version, e.g. "install Python 3.12 (…)".
	install func(version string) string

	files   func() []file // of the bootstrap; nil means none
	prepare func(ctx context.Context, i *Interpreter, dir string) error
	// finish adds what can only be made where the bootstrap stays, e.g. because it
	// holds paths. It runs once the folder is usable and may run twice.
	finish func(ctx context.Context, i *Interpreter, dir string) error
	// preparedFor names what prepare makes, apart for interpreters that can't share it.
	preparedFor func(i *Interpreter) string
	command     func(i *Interpreter, l Layout) Command
}

// file is a file of a bootstrap.
type file struct {
	name string // slash-separated, relative
	data []byte
	exec bool
}

var languages = []*language{&python, &nodejs, &ruby, &java, &provided}

// same reports whether a version of an interpreter is exactly a runtime's.
func (l *language) same(have, want version) bool {
	return slices.Equal(have.first(l.depth), want.first(l.depth))
}

// parse splits a runtime's name into its language and version.
func parse(runtime string) (*language, version, error) {
	for _, l := range languages {
		if slices.Contains(l.runtimes, runtime) {
			v := strings.TrimPrefix(runtime, l.prefix)
			v, _, _ = strings.Cut(v, ".al")
			return l, parseVersion(strings.TrimSuffix(v, ".x")), nil
		}
	}
	if strings.HasPrefix(runtime, "dotnet") {
		return nil, nil, fmt.Errorf("%w: %s runs from a container image only; publish it as a self-contained executable named bootstrap to use provided.al2023", ErrUnsupported, runtime)
	}
	return nil, nil, fmt.Errorf("%w: %q is no runtime that runs on this machine directly; there are %s", ErrUnsupported, runtime, strings.Join(Known(), ", "))
}

// nearest picks the facts of the best interpreter for a version: of that very
// version, else the nearest, of two equally far the newer; the first found of equal ones.
func nearest(l *language, found []facts, want version) (facts, bool) {
	var usable []facts
	for _, f := range found {
		if !parseVersion(f.Version).less(l.oldest) {
			usable = append(usable, f)
		}
	}
	if len(usable) == 0 {
		return facts{}, false
	}
	rank := func(f facts) int {
		d := parseVersion(f.Version).distance(want, l.depth)
		switch {
		case d == 0:
			return 0
		case d < 0 && l.newerFirst:
			return -d*2 + 1_000_000
		case d < 0:
			return -d*2 + 1
		}
		return d * 2
	}
	return slices.MinFunc(usable, func(a, b facts) int { return cmp.Compare(rank(a), rank(b)) }), true
}

var provided = language{
	name:     "provided",
	title:    "a custom runtime",
	runtimes: []string{"provided.al2", "provided.al2023"},
	command: func(i *Interpreter, l Layout) Command {
		// As on Lambda, the function's bootstrap comes before a layer's.
		args := []string{path.Join(l.TaskRoot, "bootstrap")}
		if inOpt := path.Join(l.Opt, "bootstrap"); !l.has(args[0]) && l.has(inOpt) {
			args = []string{inOpt}
		}
		return Command{Args: args}
	},
}
