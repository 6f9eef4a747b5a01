package runtimes

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// machine is where interpreters are looked for.
type machine struct {
	home string   // the user's home folder, or ""
	path []string // the folders of PATH
	env  func(string) string
}

func thisMachine() machine {
	home, _ := os.UserHomeDir()
	return machine{home: home, path: filepath.SplitList(os.Getenv("PATH")), env: os.Getenv}
}

// candidate is a file that may be an interpreter.
type candidate struct {
	path string
	hint version // what its name says of its version, or nil
	// chosen by the user, so it comes first, whatever its name says.
	chosen bool
}

// onPath returns the files on the PATH with one of these names (patterns of
// filepath.Match), folder by folder. In place of a version manager's shims
// stands what they would start: the versions in the manager's own folder.
func (m machine) onPath(patterns ...string) []candidate {
	var found []candidate
	for _, dir := range m.path {
		if !filepath.IsAbs(dir) {
			continue
		}
		if filepath.Base(dir) == "shims" {
			root := filepath.Dir(dir)
			for _, pattern := range patterns {
				found = append(found, m.below(filepath.Join(root, "versions/*/bin", pattern))...)
				found = append(found, m.below(filepath.Join(root, "installs/*/*/bin", pattern))...)
			}
			continue
		}
		for _, pattern := range patterns {
			found = append(found, glob(filepath.Join(dir, pattern))...)
		}
	}
	return found
}

// below returns the files that match patterns, which may begin with "~/";
// newest version first, as far as the paths tell.
func (m machine) below(patterns ...string) []candidate {
	var found []candidate
	for _, pattern := range patterns {
		if rest, ok := strings.CutPrefix(pattern, "~/"); ok {
			if m.home == "" {
				continue
			}
			pattern = filepath.Join(m.home, rest)
		}
		some := glob(pattern)
		slices.SortStableFunc(some, func(a, b candidate) int { return slices.Compare(b.hint, a.hint) })
		found = append(found, some...)
	}
	return found
}

func glob(pattern string) []candidate {
	paths, err := filepath.Glob(pattern)
	if err != nil {
		return nil
	}
	var found []candidate
	for _, p := range paths {
		found = append(found, candidate{path: p, hint: hint(p)})
	}
	return found
}

// hint reads a version out of a path: the last element that holds one.
func hint(path string) version {
	for path != "/" && path != "." {
		base := filepath.Base(path)
		if i := strings.IndexAny(base, "0123456789"); i >= 0 {
			v := parseVersion(base[i:])
			// python3 and java-1.17.0 say less than they seem to.
			if len(v) > 1 && v[0] != 1 || len(v) == 1 && v[0] > 3 {
				return v
			}
		}
		path = filepath.Dir(path)
	}
	return nil
}

// facts is what an executable said of itself.
type facts struct {
	Version    string
	Executable string
	Home       string
}

// searcher learns about executables and remembers it. The zero value works.
type searcher struct {
	mu    sync.Mutex
	known map[string]seen   // by the path that was run
	read  bool              // the file of the cache folder has been read
	found map[string]chosen // by runtime
}

// chosen is the interpreter found for a runtime, kept so that a launch does
// not look through folders. It is good while its file stays the same and the
// search would begin at the same places; one of another version than the
// runtime's only for a while, since a better one may get installed.
type chosen struct {
	interpreter Interpreter
	size, mtime int64
	places      string
	at          time.Time
}

const nearestGood = 10 * time.Second

// places says where a search begins.
func places() string {
	return os.Getenv("PATH") + "\x00" + os.Getenv("HOME") + "\x00" + os.Getenv("VIRTUAL_ENV") + "\x00" + os.Getenv("JAVA_HOME")
}

// chosenFor returns what keep has kept for a runtime, if that is still good.
func (s *searcher) chosenFor(runtime string) *Interpreter {
	s.mu.Lock()
	c, ok := s.found[runtime]
	s.mu.Unlock()
	if !ok || c.places != places() || c.interpreter.Warning != "" && time.Since(c.at) > nearestGood {
		return nil
	}
	info, err := os.Stat(c.interpreter.Path)
	if err != nil || info.Size() != c.size || info.ModTime().UnixNano() != c.mtime {
		return nil
	}
	i := c.interpreter
	return &i
}

func (s *searcher) keep(i *Interpreter) {
	info, err := os.Stat(i.Path)
	if err != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.found == nil {
		s.found = map[string]chosen{}
	}
	s.found[i.Runtime] = chosen{*i, info.Size(), info.ModTime().UnixNano(), places(), time.Now()}
}

// seen is what is known of an executable, good while the file stays the same.
type seen struct {
	Size  int64
	MTime int64 // nanoseconds
	Facts facts // zero: it is no such interpreter
}

var finder searcher

// search returns what is known of lang's interpreters, and runs as few as it
// can to find one of version want.
func (s *searcher) search(ctx context.Context, lang *language, want version) ([]facts, error) {
	candidates := lang.locate(thisMachine())
	// Those first whose name says that they are it, then those that say nothing.
	order := func(c candidate) int {
		switch {
		case c.chosen:
			return -1
		case len(c.hint) >= lang.depth && lang.same(c.hint, want):
			return 0
		case len(c.hint) < lang.depth:
			return 1
		}
		return 2
	}
	slices.SortStableFunc(candidates, func(a, b candidate) int { return order(a) - order(b) })
	var found []facts
	changed := false
	defer func() {
		if changed {
			s.save()
		}
	}()
	for _, c := range candidates {
		f, new, err := s.learn(ctx, lang, c.path)
		changed = changed || new
		if err != nil {
			return nil, err
		}
		if f == (facts{}) {
			continue
		}
		found = append(found, f)
		if lang.same(parseVersion(f.Version), want) {
			break
		}
	}
	return found, nil
}

// scan returns what is known of all of lang's interpreters.
func (s *searcher) scan(ctx context.Context, lang *language) ([]facts, error) {
	candidates := lang.locate(thisMachine())
	results := make([]facts, len(candidates))
	errs := make([]error, len(candidates))
	var (
		wg      sync.WaitGroup
		mu      sync.Mutex
		changed bool
		slots   = make(chan struct{}, 4)
	)
	for i, c := range candidates {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			f, new, err := s.learn(ctx, lang, c.path)
			results[i], errs[i] = f, err
			mu.Lock()
			defer mu.Unlock()
			changed = changed || new
		})
	}
	wg.Wait()
	if changed {
		s.save()
	}
	return slices.DeleteFunc(results, func(f facts) bool { return f == (facts{}) }), errors.Join(errs...)
}

// learn returns the facts of the executable at path, zero if it is none, and
// whether it had to run it. The only errors are ctx's.
func (s *searcher) learn(ctx context.Context, lang *language, path string) (f facts, new bool, err error) {
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() || info.Mode()&0o111 == 0 {
		return facts{}, false, nil
	}
	key := lang.name + ":" + path
	s.mu.Lock()
	s.loadLocked()
	old, ok := s.known[key]
	s.mu.Unlock()
	if ok && old.Size == info.Size() && old.MTime == info.ModTime().UnixNano() {
		if _, err := os.Stat(old.Facts.Executable); err == nil || old.Facts == (facts{}) {
			return old.Facts, false, nil
		}
	}
	f, err = run(ctx, lang, path)
	if ctx.Err() != nil {
		return facts{}, false, ctx.Err()
	}
	if err != nil {
		f = facts{} // It doesn't start, or is something else by that name.
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.known[key] = seen{info.Size(), info.ModTime().UnixNano(), f}
	return f, true, nil
}

// run asks an executable what it is.
func run(ctx context.Context, lang *language, path string) (facts, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, lang.probe...)
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "LC_ALL=C"}
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		return facts{}, fmt.Errorf("%s: %w: %s", path, err, bytes.TrimSpace(out))
	}
	if lang.parseProbe != nil {
		return lang.parseProbe(path, string(out))
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	if len(lines) != 3 || parseVersion(lines[0]) == nil || !filepath.IsAbs(lines[1]) {
		return facts{}, fmt.Errorf("%s printed %q", path, out)
	}
	real, err := filepath.EvalSymlinks(lines[1])
	if err != nil {
		return facts{}, err
	}
	// A virtual environment is what it is by the path it is started with.
	if _, err := os.Stat(filepath.Join(filepath.Dir(filepath.Dir(lines[1])), "pyvenv.cfg")); err == nil {
		real = lines[1]
	}
	return facts{Version: lines[0], Executable: real, Home: lines[2]}, nil
}

// cacheFile is where facts outlive the process, or "".
func cacheFile() string {
	dir, err := os.UserCacheDir()
	if err != nil {
		return ""
	}
	return filepath.Join(dir, "hearth", "interpreters.json")
}

func (s *searcher) loadLocked() {
	if s.read {
		return
	}
	s.read = true
	if data, err := os.ReadFile(cacheFile()); err == nil {
		// A file that can't be read is written anew.
		_ = json.Unmarshal(data, &s.known)
	}
	if s.known == nil {
		s.known = map[string]seen{}
	}
}

// save writes what is known to the cache folder. Without one, or when it can't
// be written, the next process asks the executables again.
func (s *searcher) save() {
	name := cacheFile()
	if name == "" {
		return
	}
	s.mu.Lock()
	data, err := json.MarshalIndent(s.known, "", "\t")
	s.mu.Unlock()
	if err != nil {
		return
	}
	_ = writeFile(name, data, 0o644)
}
