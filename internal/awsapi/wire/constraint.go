package wire

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/hearth-run/hearth/internal/awsapi"
)

// Violations collects what is wrong with an input, to be told at once, in AWS's words.
type Violations struct{ list []string }

// Err returns the answer to an input with violations, as the exception code; or nil if there are none.
func (v *Violations) Err(code string) error {
	switch n := len(v.list); n {
	case 0:
		return nil
	case 1:
		return v.error(code, "1 validation error detected: ")
	default:
		return v.error(code, strconv.Itoa(n)+" validation errors detected: ")
	}
}

func (v *Violations) error(code, intro string) error {
	return &awsapi.Error{Code: code, Status: 400, Message: intro + strings.Join(v.list, "; ")}
}

// Add records that the value at path, rendered as Text renders it, breaks constraint.
func (v *Violations) Add(value, path, constraint string) {
	v.list = append(v.list, "Value "+value+" at '"+path+"' failed to satisfy constraint: "+constraint)
}

// Null records that a required value is missing.
func (v *Violations) Null(path string) { v.Add("null", path, NotNull) }

// Quote renders a value in a violation.
func Quote(s string) string { return "'" + s + "'" }

// NotNull is the constraint of required members.
const NotNull = "Member must not be null"

// Bounds are the limits of a length or of a value, and their words. Empty words mean no limit.
type Bounds struct {
	Min, Max           float64
	MinWords, MaxWords string
}

// Check records what of n is out of bounds; value is rendered only then.
func (c *Bounds) Check(v *Violations, n float64, path string, value func() string) {
	if c.MinWords != "" && n < c.Min {
		v.Add(Quote(value()), path, c.MinWords)
	}
	if c.MaxWords != "" && n > c.Max {
		v.Add(Quote(value()), path, c.MaxWords)
	}
}

func (c *Bounds) holds(n float64) bool {
	return (c.MinWords == "" || n >= c.Min) && (c.MaxWords == "" || n <= c.Max)
}

// Strings are the constraints of a string's shape.
type Strings struct {
	Bounds
	Pattern *Pattern // or nil
	Enum    []string // or nil
	Words   string   // the enum's, as AWS orders them
	// All is how AWS words all the constraints together, for elements of lists and keys of maps.
	All string
	// Each is how AWS words them for the elements of this list, if not by All.
	Each string
}

// Check records what is wrong with s.
func (c *Strings) Check(v *Violations, s, path string) {
	if c.Pattern != nil && !c.Pattern.Match(s) {
		v.Add(Quote(s), path, c.Pattern.Words)
	}
	c.Bounds.Check(v, float64(Length(s)), path, func() string { return s })
	if c.Enum != nil && !slices.Contains(c.Enum, s) {
		v.Add(Quote(s), path, c.Words)
	}
}

// Holds says whether s meets all constraints.
func (c *Strings) Holds(s string) bool {
	return c.holds(float64(Length(s))) && (c.Pattern == nil || c.Pattern.Match(s)) && (c.Enum == nil || slices.Contains(c.Enum, s))
}

// CheckList records if any element of a list breaks the constraints; AWS then shows the whole list.
func (c *Strings) CheckList(v *Violations, list []string, path string) {
	for _, s := range list {
		if !c.Holds(s) {
			words := c.Each
			if words == "" {
				words = "Member must satisfy constraint: " + c.All
			}
			v.Add(Quote(List(list, func(s string) string { return s })), path, words)
			return
		}
	}
}

// CheckKeys records if any key of a map breaks the constraints.
func CheckKeys[V any](c *Strings, v *Violations, m map[string]V, path string, text func(V) string) {
	for k := range m {
		if !c.Holds(k) {
			v.Add(Quote(Map(m, text)), path, "Map keys must satisfy constraint: "+c.All)
			return
		}
	}
}

// CheckValues records if any value of a map of strings breaks the constraints.
func (c *Strings) CheckValues(v *Violations, m map[string]string, path string) {
	for _, s := range m {
		if !c.Holds(s) {
			v.Add(Quote(Map(m, func(s string) string { return s })), path, "Map value must satisfy constraint: "+c.All)
			return
		}
	}
}

// CheckFloats records if any value of a map of numbers is out of bounds.
func (c *Bounds) CheckFloats(v *Violations, m map[string]float64, path, all string) {
	for _, n := range m {
		if !c.holds(n) {
			v.Add(Quote(Map(m, Double)), path, "Map value must satisfy constraint: "+all)
			return
		}
	}
}

// Length counts as Java does: in UTF-16 code units.
func Length(s string) int {
	n := utf8.RuneCountInString(s)
	for i := 0; i < len(s); i++ {
		if s[i] >= 0xf0 { // four bytes of UTF-8 are a pair in UTF-16
			n++
		}
	}
	return n
}

// Pattern is a regular expression that a whole string must match.
type Pattern struct {
	Words string
	Match func(s string) bool
}

// NewPattern returns the pattern of a shape. words is the expression as AWS
// shows it in errors; expr, if not empty, are further expressions that match too.
func NewPattern(words string, expr ...string) *Pattern {
	all := sync.OnceValue(func() *regexp.Regexp {
		return regexp.MustCompile(`\A(?:` + strings.Join(expr, "|") + `)\z`)
	})
	return &Pattern{Words: patternWords + words, Match: func(s string) bool { return all().MatchString(s) }}
}

// NewNamePattern is NewPattern for expressions that match every non-empty
// string of letters, digits, "-" and "_": those need not ask the expression.
func NewNamePattern(words string, expr ...string) *Pattern {
	p := NewPattern(words, expr...)
	slow := p.Match
	p.Match = func(s string) bool { return IsName(s) || slow(s) }
	return p
}

// NewPredicate is NewPattern for expressions that Go's regexp lacks the means for.
func NewPredicate(words string, match func(s string) bool) *Pattern {
	return &Pattern{Words: patternWords + words, Match: match}
}

const patternWords = "Member must satisfy regular expression pattern: "

// IsName says whether s is one or more letters, digits, "-" and "_".
func IsName(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', isDigit(c), c == '-', c == '_':
		default:
			return false
		}
	}
	return s != ""
}

// List renders a list as Java's toString does.
func List[T any](list []T, text func(T) string) string {
	parts := make([]string, len(list))
	for i, x := range list {
		parts[i] = text(x)
	}
	return "[" + strings.Join(parts, ", ") + "]"
}

// Map renders a map as Java's toString does, in the order of its keys.
func Map[V any](m map[string]V, text func(V) string) string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for i, k := range keys {
		keys[i] = k + "=" + text(m[k])
	}
	return "{" + strings.Join(keys, ", ") + "}"
}

// Text renders a member of a structure as Java's toString does: "null" if it is absent.
func Text[T any](p *T, text func(T) string) string {
	if p == nil {
		return "null"
	}
	return text(*p)
}

// OrNull renders a list or map of a structure: "null" if it is absent.
func OrNull(present bool, text func() string) string {
	if !present {
		return "null"
	}
	return text()
}

// SortedKeys returns the keys of m in order.
func SortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
