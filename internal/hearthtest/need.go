// Package hearthtest helps tests to find what the machine has.
package hearthtest

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// Required says whether HEARTH_TEST_REQUIRE, a comma-separated list, names what.
func Required(what string) bool {
	return slices.Contains(strings.Split(os.Getenv("HEARTH_TEST_REQUIRE"), ","), what)
}

// Skip skips t because what is missing, or fails it if HEARTH_TEST_REQUIRE
// names what.
func Skip(t testing.TB, what, why string) {
	t.Helper()
	if Required(what) {
		t.Fatalf("%s is required and missing: %s", what, why)
	}
	t.Skipf("%s is missing: %s", what, why)
}

// Need skips t unless one of the programs (by default the one named what) is
// on the PATH, and returns the path of the first that is.
func Need(t testing.TB, what string, programs ...string) string {
	t.Helper()
	if len(programs) == 0 {
		programs = []string{map[string]string{"python": "python3"}[what]}
		if programs[0] == "" {
			programs[0] = what
		}
	}
	for _, p := range programs {
		if path, err := exec.LookPath(p); err == nil {
			return path
		}
	}
	Skip(t, what, "no "+strings.Join(programs, " or ")+" on the PATH")
	return ""
}
