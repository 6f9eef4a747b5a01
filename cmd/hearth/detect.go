package main

import (
	"archive/zip"
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
)

// target is a function found in a folder or an archive.
type target struct {
	Path    string // the folder or archive
	Archive bool
	Name    string
	// Language is "python", "nodejs", "ruby", "java" or "provided".
	Language string
	Handler  string
}

// unbuilt is the error for a folder that must be built before it can run.
type unbuilt struct{ what, command string }

func (e *unbuilt) Error() string {
	return e.what + "; build it with:\n\n    " + e.command + "\n"
}

// detect finds the function at p by the conventions of the language it is
// written in. language and handler, if not empty, override what it finds.
func detect(p, language, handler string) (*target, error) {
	info, err := os.Stat(p)
	if err != nil {
		return nil, err
	}
	abs, err := filepath.Abs(p)
	if err != nil {
		return nil, err
	}
	t := &target{Path: abs, Archive: !info.IsDir(), Name: functionName(abs), Language: language, Handler: handler}
	var fsys fs.FS = os.DirFS(abs)
	if t.Archive {
		z, err := zip.OpenReader(abs)
		if err != nil {
			return nil, fmt.Errorf("%s is neither a folder nor a zip archive: %w", p, err)
		}
		defer z.Close()
		fsys = z
	}
	if !t.Archive {
		if err := checkBuilt(fsys, p); err != nil {
			return nil, err
		}
	}
	for _, find := range []func(fs.FS, *target) bool{findBootstrap, findPython, findNode, findRuby, findJava} {
		if t.Language != "" && t.Handler != "" {
			break
		}
		guess := *t
		if find(fsys, &guess) && (t.Language == "" || t.Language == guess.Language) {
			t.Language = guess.Language
			if t.Handler == "" {
				t.Handler = guess.Handler
			}
			break
		}
	}
	switch {
	case t.Language == "" && t.Handler == "" && withoutHandler(fsys) != "":
		return nil, fmt.Errorf("%s in %s defines no handler by convention (lambda_handler, handler): say --handler and --runtime", withoutHandler(fsys), p)
	case t.Language == "" && t.Handler == "":
		return nil, fmt.Errorf("no function found in %s: expected lambda_function.py, index.js, index.mjs, lambda_function.rb, a jar or an executable bootstrap; or say --runtime and --handler", p)
	case t.Language == "":
		return nil, fmt.Errorf("cannot tell the language of %s: say --runtime", p)
	case t.Handler == "" && t.Language == "provided":
		t.Handler = "bootstrap"
	case t.Handler == "":
		return nil, fmt.Errorf("found no %s handler by convention in %s: say --handler", t.Language, p)
	}
	return t, nil
}

// withoutHandler returns the first file of a function's usual name, for an error
// that says what is wrong with it rather than that there is none.
func withoutHandler(fsys fs.FS) string {
	for _, f := range []string{"lambda_function.py", "index.js", "index.mjs", "lambda_function.rb"} {
		if info, err := fs.Stat(fsys, f); err == nil && info.Mode().IsRegular() {
			return f
		}
	}
	return ""
}

var notInName = regexp.MustCompile(`[^A-Za-z0-9_-]+`)

// functionName makes a valid function name of a path's last element.
func functionName(p string) string {
	base := filepath.Base(p)
	switch filepath.Ext(base) {
	case ".zip", ".jar":
		base = strings.TrimSuffix(base, filepath.Ext(base))
	}
	name := strings.Trim(notInName.ReplaceAllString(base, "-"), "-")
	if len(name) > 64 {
		name = name[:64]
	}
	if name == "" {
		return "function"
	}
	return name
}

func findBootstrap(fsys fs.FS, t *target) bool {
	info, err := fs.Stat(fsys, "bootstrap")
	if err != nil || info.IsDir() {
		return false
	}
	t.Language, t.Handler = "provided", "bootstrap"
	return true
}

// defined returns the module and the first of names that file defines by one of
// the patterns, in which %s stands for the name.
func defined(fsys fs.FS, files []string, names []string, patterns ...string) (file, name string) {
	for _, f := range files {
		text, err := fs.ReadFile(fsys, f)
		if err != nil {
			continue
		}
		for _, n := range names {
			for _, p := range patterns {
				if regexp.MustCompile(`(?m)` + fmt.Sprintf(p, n)).Match(text) {
					return f, n
				}
			}
		}
	}
	return "", ""
}

// sources lists preferred first, then the other files at the top that match glob.
func sources(fsys fs.FS, glob string, preferred ...string) []string {
	rest, _ := fs.Glob(fsys, glob)
	for _, f := range rest {
		if !slices.Contains(preferred, f) {
			preferred = append(preferred, f)
		}
	}
	return preferred
}

func findPython(fsys fs.FS, t *target) bool {
	file, name := defined(fsys, sources(fsys, "*.py", "lambda_function.py", "app.py", "main.py", "index.py", "handler.py"),
		[]string{"lambda_handler", "handler"}, `^(async )?def %s\(`, `^%s\s*=`)
	if file == "" {
		return false
	}
	t.Language, t.Handler = "python", strings.TrimSuffix(file, ".py")+"."+name
	return true
}

func findNode(fsys fs.FS, t *target) bool {
	var files []string
	for _, stem := range []string{"index", "app", "handler", "main"} {
		for _, ext := range []string{".mjs", ".js", ".cjs"} {
			files = append(files, stem+ext)
		}
	}
	var pkg struct{ Main string }
	if text, err := fs.ReadFile(fsys, "package.json"); err == nil && json.Unmarshal(text, &pkg) == nil && pkg.Main != "" {
		files = append([]string{path.Clean(pkg.Main)}, files...)
	}
	file, name := defined(fsys, files, []string{"handler", "lambdaHandler"},
		`exports\.%s\s*=`, `export\s+(const|let|var|async function|function)\s+%s\b`, `export\s*\{[^}]*\b%s\b`, `exports\s*=\s*\{[^}]*\b%s\b`, `__export\([^)]*\{\s*%s\b`)
	if file == "" {
		return false
	}
	t.Language, t.Handler = "nodejs", strings.TrimSuffix(file, path.Ext(file))+"."+name
	return true
}

func findRuby(fsys fs.FS, t *target) bool {
	file, name := defined(fsys, sources(fsys, "*.rb", "lambda_function.rb", "app.rb", "handler.rb"),
		[]string{"lambda_handler", "handler"}, `^def (self\.)?%s\b`)
	if file == "" {
		return false
	}
	t.Language, t.Handler = "ruby", strings.TrimSuffix(file, ".rb")+"."+name
	return true
}

// findJava tells Java by its archives or classes; no convention names a handler.
func findJava(fsys fs.FS, t *target) bool {
	for _, glob := range []string{"*.jar", "lib/*.jar", "*.class", "*/*/*.class", "META-INF/MANIFEST.MF"} {
		if found, _ := fs.Glob(fsys, glob); len(found) > 0 {
			t.Language = "java"
			return true
		}
	}
	return false
}

// checkBuilt returns an *unbuilt error when the folder holds sources or lists
// dependencies, and what is made of them is missing.
func checkBuilt(fsys fs.FS, dir string) error {
	has := func(globs ...string) bool {
		for _, g := range globs {
			if found, _ := fs.Glob(fsys, g); len(found) > 0 {
				return true
			}
		}
		return false
	}
	in := "cd " + quote(dir) + " && "
	arch := runtime.GOARCH
	switch {
	case has("bootstrap"):
		return nil
	case has("go.mod", "main.go"):
		return &unbuilt{"it holds Go source and no bootstrap", in + "GOOS=linux GOARCH=" + arch + " CGO_ENABLED=0 go build -tags lambda.norpc -o bootstrap ."}
	case has("Cargo.toml"):
		return &unbuilt{"it holds Rust source and no bootstrap", in + "cargo build --release && cp target/release/NAME bootstrap"}
	case has("pom.xml") && !has("*.jar", "lib/*.jar"):
		return &unbuilt{"it holds a Maven project; run its jar instead", in + "mvn -q package && hearth run --handler CLASS target/NAME.jar"}
	case has("build.gradle", "build.gradle.kts") && !has("*.jar", "lib/*.jar"):
		return &unbuilt{"it holds a Gradle project; run its archive instead", in + "gradle build && hearth run --handler CLASS build/libs/NAME.jar"}
	case has("*.csproj"):
		return &unbuilt{"it holds .NET source, which local processes cannot run", in + "dotnet publish, then run it in a container: --backend docker"}
	}
	for _, stem := range []string{"index", "app", "handler", "main"} {
		if has(stem+".ts", stem+".mts") && !has(stem+".js", stem+".mjs", stem+".cjs") {
			return &unbuilt{"it holds TypeScript and no JavaScript made of it", in + "npx esbuild " + stem + ".ts --bundle --platform=node --outfile=" + stem + ".js"}
		}
	}
	if missing := missingPython(fsys); missing != "" {
		return &unbuilt{"requirements.txt is not installed (" + missing + " is missing)", in + "python3 -m pip install -r requirements.txt -t ."}
	}
	if missing := missingNode(fsys); missing != "" {
		command := "npm install --omit=dev"
		if has("package-lock.json") {
			command = "npm ci --omit=dev"
		}
		return &unbuilt{"package.json is not installed (" + missing + " is missing)", in + command}
	}
	return nil
}

// missingPython returns the first requirement that is not installed in the folder.
func missingPython(fsys fs.FS) string {
	f, err := fsys.Open("requirements.txt")
	if err != nil {
		return ""
	}
	defer f.Close()
	installed := map[string]bool{}
	infos, _ := fs.Glob(fsys, "*.dist-info")
	for _, i := range infos {
		installed[pythonName(strings.SplitN(strings.TrimSuffix(i, ".dist-info"), "-", 2)[0])] = true
	}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		line, _, _ := strings.Cut(lines.Text(), "#")
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "-") || strings.Contains(line, "://") {
			continue
		}
		requirement, marker, _ := strings.Cut(line, ";")
		name := requirementName.FindString(requirement)
		if name == "" || strings.Contains(marker, "==") && !strings.Contains(marker, "linux") {
			continue
		}
		if !installed[pythonName(name)] {
			return name
		}
	}
	return ""
}

var (
	requirementName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*`)
	pythonDashes    = regexp.MustCompile(`[-_.]+`)
)

func pythonName(s string) string { return strings.ToLower(pythonDashes.ReplaceAllString(s, "-")) }

// missingNode returns the first dependency that is in no node_modules.
func missingNode(fsys fs.FS) string {
	text, err := fs.ReadFile(fsys, "package.json")
	if err != nil {
		return ""
	}
	var pkg struct{ Dependencies map[string]string }
	if json.Unmarshal(text, &pkg) != nil {
		return ""
	}
	var missing []string
	for name := range pkg.Dependencies {
		if _, err := fs.Stat(fsys, path.Join("node_modules", name)); errors.Is(err, fs.ErrNotExist) {
			missing = append(missing, name)
		}
	}
	if len(missing) == 0 {
		return ""
	}
	return slices.Min(missing)
}

var plain = regexp.MustCompile(`^[A-Za-z0-9_./@%+=:,-]+$`)

// quote quotes s for a shell if it needs that.
func quote(s string) string {
	if plain.MatchString(s) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
