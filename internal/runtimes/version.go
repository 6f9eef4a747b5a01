package runtimes

import (
	"slices"
	"strconv"
	"strings"
)

// version is a version's leading numbers: 3.13.0rc1 is {3, 13, 0}.
type version []int

func parseVersion(s string) version {
	var v version
	s = strings.TrimPrefix(strings.TrimPrefix(s, "v"), "V")
	for part := range strings.SplitSeq(s, ".") {
		digits := part[:len(part)-len(strings.TrimLeft(part, "0123456789"))]
		n, err := strconv.Atoi(digits)
		if err != nil {
			break
		}
		v = append(v, n)
		if digits != part {
			break
		}
	}
	return v
}

func (v version) String() string {
	parts := make([]string, len(v))
	for i, n := range v {
		parts[i] = strconv.Itoa(n)
	}
	return strings.Join(parts, ".")
}

func (v version) less(w version) bool { return slices.Compare(v, w) < 0 }

// first returns the first n numbers; missing ones are left out.
func (v version) first(n int) version { return v[:min(n, len(v))] }

// distance says how many releases v is newer than w, in the first depth
// numbers. The first number weighs more than the second can.
func (v version) distance(w version, depth int) int {
	d := 0
	for i := range depth {
		d *= 1000
		if i < len(v) {
			d += v[i]
		}
		if i < len(w) {
			d -= w[i]
		}
	}
	return d
}
