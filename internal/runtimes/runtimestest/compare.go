package runtimestest

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var times = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3})?Z`)

// Normal returns r with what no two runs have in common replaced: times, and
// what c.Drop matches.
func Normal(c Case, r Record) Record {
	var drop *regexp.Regexp
	if c.Drop != "" {
		drop = regexp.MustCompile(c.Drop)
	}
	clean := func(s string) string {
		s = times.ReplaceAllString(s, "TIME")
		if drop != nil {
			s = drop.ReplaceAllString(s, "")
		}
		return s
	}
	n := Record{Output: clean(r.Output), Exit: r.Exit}
	for _, a := range r.Answers {
		// The type of an error is in its body; some clients say it beside it, too.
		var e struct{ ErrorType string }
		if a.Kind == "error" && json.Unmarshal([]byte(a.Body), &e) == nil && e.ErrorType == a.ErrorType {
			a.ErrorType = ""
		}
		if a.Kind == "init error" {
			a.ContentType = "" // Nobody looks at it, and not all clients set it.
		}
		a.Body, a.StreamErrorBody = clean(a.Body), clean(a.StreamErrorBody)
		n.Answers = append(n.Answers, a)
	}
	for _, f := range r.Frames {
		f.Message = clean(f.Message)
		n.Frames = append(n.Frames, f)
	}
	return n
}

// Compare fails t if the records differ though c says they must not, or are
// equal though c gives a reason for a difference.
func Compare(t testing.TB, c Case, name string, official, ours Record) {
	t.Helper()
	diff := cmp.Diff(Normal(c, official), Normal(c, ours))
	switch {
	case diff != "" && c.Differs == "":
		t.Errorf("%s, %s (-official +Hearth):\n%s", c.Name, name, diff)
	case diff == "" && c.Differs != "":
		t.Errorf("%s, %s: no difference any more, listed as: %s", c.Name, name, c.Differs)
	}
}

// Cache returns a folder that outlives the test, for what it fetches: below
// HEARTH_TEST_CACHE or the user's cache folder.
func Cache(t testing.TB, name string) string {
	t.Helper()
	root := os.Getenv("HEARTH_TEST_CACHE")
	if root == "" {
		dir, err := os.UserCacheDir()
		if err != nil {
			t.Fatal(err)
		}
		root = filepath.Join(dir, "hearth-test")
	}
	return filepath.Join(root, name)
}

// Fetch fills the folder dir with make, unless that was done before; make
// gets a folder beside it that becomes dir when it succeeds.
func Fetch(dir string, make func(tmp string) error) error {
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(filepath.Dir(dir), ".new-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	if err := make(tmp); err != nil {
		return err
	}
	if err := os.Rename(tmp, dir); err != nil {
		if _, there := os.Stat(dir); there != nil {
			return err
		}
	}
	return nil
}

// Do runs a command in a folder, and returns an error with its output.
func Do(dir string, env []string, args ...string) error {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		lines := strings.Split(strings.TrimSpace(string(out)), "\n")
		return fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, strings.Join(lines[max(0, len(lines)-20):], "\n"))
	}
	return nil
}
