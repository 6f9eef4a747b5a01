package logs

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// ErrBadPattern: the text is no filter pattern.
var ErrBadPattern = errors.New("invalid filter pattern")

// Pattern is a filter pattern as CloudWatch Logs has them:
//
//	ERROR "exact phrase" -not        all of the terms, none of those with a minus
//	?ERROR ?WARN                     any of the terms
//	%4[0-9]{2}%                      a regular expression
//	{ $.level = "ERROR" && $.n > 3 } a JSON object's members
//	[ip, user, status=4*, ...]       fields between spaces
//
// https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/FilterAndPatternSyntax.html
type Pattern struct {
	match func(message []byte) bool
}

// Match says whether an event's message matches.
func (p *Pattern) Match(message []byte) bool { return p.match(message) }

// ParsePattern compiles a filter pattern. An empty one matches everything.
// Its errors wrap ErrBadPattern.
func ParsePattern(text string) (*Pattern, error) {
	p := patternParser{s: text}
	p.space()
	var m func([]byte) bool
	var err error
	switch {
	case p.at("{"):
		m, err = p.json()
	case p.at("["):
		m, err = p.fields()
	default:
		m, err = p.terms()
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadPattern, err)
	}
	return &Pattern{m}, nil
}

type patternParser struct {
	s string
	i int
}

func (p *patternParser) space() {
	for p.i < len(p.s) && strings.IndexByte(" \t\r\n", p.s[p.i]) >= 0 {
		p.i++
	}
}

func (p *patternParser) at(s string) bool { return strings.HasPrefix(p.s[p.i:], s) }

// take skips space and s, if it comes next.
func (p *patternParser) take(s string) bool {
	p.space()
	if !p.at(s) {
		return false
	}
	p.i += len(s)
	return true
}

func (p *patternParser) done() bool { p.space(); return p.i == len(p.s) }

func (p *patternParser) unexpected() error {
	if p.done() {
		return errors.New("unexpected end")
	}
	return fmt.Errorf("unexpected %q at character %d", p.s[p.i], p.i+1)
}

// quoted reads a text between double quotes, at the first of which it stands.
func (p *patternParser) quoted() (string, error) {
	var b strings.Builder
	for p.i++; p.i < len(p.s); p.i++ {
		switch c := p.s[p.i]; {
		case c == '\\' && p.i+1 < len(p.s) && (p.s[p.i+1] == '"' || p.s[p.i+1] == '\\'):
			p.i++
			b.WriteByte(p.s[p.i])
		case c == '"':
			p.i++
			return b.String(), nil
		default:
			b.WriteByte(c)
		}
	}
	return "", errors.New("quotes are not closed")
}

// regex reads an expression between percent signs, at the first of which it stands.
func (p *patternParser) regex() (*regexp.Regexp, error) {
	end := strings.IndexByte(p.s[p.i+1:], '%')
	if end <= 0 {
		return nil, errors.New("regular expression is not closed")
	}
	text := p.s[p.i+1 : p.i+1+end]
	p.i += end + 2
	if strings.ContainsAny(text, "()") {
		return nil, errors.New("regular expressions have no groups here")
	}
	return regexp.Compile(text)
}

// word reads up to a space or one of the characters in stop.
func (p *patternParser) word(stop string) string {
	from := p.i
	for p.i < len(p.s) && strings.IndexByte(" \t\r\n"+stop, p.s[p.i]) < 0 {
		p.i++
	}
	return p.s[from:p.i]
}

// terms parses a pattern of words.
func (p *patternParser) terms() (func([]byte) bool, error) {
	var all, any, none []func([]byte) bool
	for !p.done() {
		list := &all
		switch p.s[p.i] {
		case '?':
			list = &any
			p.i++
		case '-':
			list = &none
			p.i++
		}
		if p.i == len(p.s) {
			return nil, p.unexpected()
		}
		var m func([]byte) bool
		switch p.s[p.i] {
		case '%':
			re, err := p.regex()
			if err != nil {
				return nil, err
			}
			m = re.Match
		case '"':
			text, err := p.quoted()
			if err != nil {
				return nil, err
			}
			m = contains(text)
		default:
			text := p.word("")
			if text == "" {
				return nil, p.unexpected()
			}
			m = contains(text)
		}
		*list = append(*list, m)
	}
	if len(all)+len(none) > 0 {
		any = nil // optional terms beside others mean nothing
	}
	return func(b []byte) bool {
		for _, m := range all {
			if !m(b) {
				return false
			}
		}
		for _, m := range none {
			if m(b) {
				return false
			}
		}
		for _, m := range any {
			if m(b) {
				return true
			}
		}
		return len(any) == 0
	}, nil
}

func contains(text string) func([]byte) bool {
	b := []byte(text)
	return func(message []byte) bool { return bytes.Contains(message, b) }
}

// condition is what a value is compared with.
type condition struct {
	op     string // = != < <= > >=
	text   string
	num    float64
	isNum  bool
	quoted bool
	re     *regexp.Regexp
}

// comparison reads an operator and what follows it.
func (p *patternParser) comparison(stop string) (*condition, error) {
	p.space()
	c := &condition{}
	for _, op := range []string{"!=", "<=", ">=", "=", "<", ">"} {
		if p.take(op) {
			c.op = op
			break
		}
	}
	if c.op == "" {
		return nil, p.unexpected()
	}
	p.space()
	var err error
	switch {
	case p.at("%"):
		c.re, err = p.regex()
	case p.at(`"`):
		c.text, err = p.quoted()
		c.quoted = true
	default:
		if c.text = p.word(stop); c.text == "" {
			return nil, p.unexpected()
		}
		c.num, err = strconv.ParseFloat(c.text, 64)
		c.isNum, err = err == nil, nil
	}
	if err == nil && (c.op[0] == '<' || c.op[0] == '>') && !c.isNum {
		err = fmt.Errorf("%s compares numbers", c.op)
	}
	return c, err
}

// holds says whether the condition is true of a text, or of a number.
func (c *condition) holds(text string, num float64, isNum bool) bool {
	if c.op == "=" || c.op == "!=" {
		var eq bool
		switch {
		case c.re != nil:
			eq = c.re.MatchString(text)
		case c.isNum && isNum:
			eq = num == c.num
		default:
			eq = wildcard(c.text, text)
		}
		return eq == (c.op == "=")
	}
	if !isNum {
		return false
	}
	switch c.op {
	case "<":
		return num < c.num
	case "<=":
		return num <= c.num
	case ">":
		return num > c.num
	}
	return num >= c.num
}

// wildcard says whether s is pattern, in which * stands for any text.
func wildcard(pattern, s string) bool {
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return pattern == s
	}
	first, last := parts[0], parts[len(parts)-1]
	if len(s) < len(first)+len(last) || !strings.HasPrefix(s, first) || !strings.HasSuffix(s, last) {
		return false
	}
	s = s[len(first) : len(s)-len(last)]
	for _, part := range parts[1 : len(parts)-1] {
		i := strings.Index(s, part)
		if i < 0 {
			return false
		}
		s = s[i+len(part):]
	}
	return true
}

// test is a compiled expression over a decoded value, for JSON, or over fields.
type test[T any] func(T) bool

// expression parses tests that are joined by && and ||, with parentheses.
func expression[T any](p *patternParser, depth int, atom func() (test[T], error)) (test[T], error) {
	if depth > 50 {
		return nil, errors.New("too many parentheses")
	}
	var or test[T]
	for {
		var and test[T]
		for {
			var t test[T]
			var err error
			if p.take("(") {
				if t, err = expression(p, depth+1, atom); err == nil && !p.take(")") {
					err = p.unexpected()
				}
			} else {
				t, err = atom()
			}
			if err != nil {
				return nil, err
			}
			if before := and; before != nil {
				and = func(v T) bool { return before(v) && t(v) }
			} else {
				and = t
			}
			if !p.take("&&") {
				break
			}
		}
		if before := or; before != nil {
			or = func(v T) bool { return before(v) || and(v) }
		} else {
			or = and
		}
		if !p.take("||") {
			return or, nil
		}
	}
}

// json parses { expression }.
func (p *patternParser) json() (func([]byte) bool, error) {
	p.i++
	t, err := expression(p, 0, p.jsonTest)
	if err != nil {
		return nil, err
	}
	if !p.take("}") || !p.done() {
		return nil, p.unexpected()
	}
	return func(b []byte) bool {
		b = bytes.TrimSpace(b)
		if len(b) == 0 || b[0] != '{' && b[0] != '[' {
			return false
		}
		var v any
		d := json.NewDecoder(bytes.NewReader(b))
		d.UseNumber()
		return d.Decode(&v) == nil && t(v)
	}, nil
}

// jsonTest parses one comparison of a selected member.
func (p *patternParser) jsonTest() (test[any], error) {
	path, err := p.selector()
	if err != nil {
		return nil, err
	}
	member := func(t func(v any) bool) test[any] {
		return func(root any) bool { return selectAny(root, path, t) }
	}
	keywords := func(words ...string) bool {
		at := p.i
		for _, w := range words {
			p.space()
			if !strings.EqualFold(p.word("&|)}"), w) {
				p.i = at
				return false
			}
		}
		return true
	}
	switch {
	case keywords("NOT", "EXISTS"):
		exists := member(func(v any) bool { return true })
		return func(root any) bool { return !exists(root) }, nil
	case keywords("EXISTS"):
		return member(func(v any) bool { return true }), nil
	case keywords("IS", "NULL"):
		return member(func(v any) bool { return v == nil }), nil
	case keywords("IS", "TRUE"):
		return member(func(v any) bool { return v == true }), nil
	case keywords("IS", "FALSE"):
		return member(func(v any) bool { return v == false }), nil
	}
	c, err := p.comparison("&|)}")
	if err != nil {
		return nil, err
	}
	return member(func(v any) bool {
		switch v := v.(type) {
		case string:
			return c.holds(v, 0, false)
		case json.Number:
			f, err := v.Float64()
			if c.quoted {
				return c.op == "!="
			}
			return c.holds(v.String(), f, err == nil)
		case bool:
			return c.holds(strconv.FormatBool(v), 0, false)
		}
		return false
	}), nil
}

// step is one part of a selector: a member's name, an index, or all of either.
type step struct {
	name  string
	index int // -1: not an index
	all   bool
}

// selector parses $.a.b[0]["c"][*].
func (p *patternParser) selector() ([]step, error) {
	if !p.take("$") {
		return nil, p.unexpected()
	}
	var path []step
	for {
		switch {
		case p.at(".["):
			p.i++
		case p.at("."):
			p.i++
			name := p.word(".[=!<>&|(){}")
			if name == "" {
				return nil, p.unexpected()
			}
			path = append(path, step{name: name, index: -1, all: name == "*"})
		case p.at("["):
			p.i++
			p.space()
			var s step
			switch {
			case p.at(`"`):
				name, err := p.quoted()
				if err != nil {
					return nil, err
				}
				s = step{name: name, index: -1}
			case p.at("'"):
				end := strings.IndexByte(p.s[p.i+1:], '\'')
				if end < 0 {
					return nil, errors.New("quotes are not closed")
				}
				s = step{name: p.s[p.i+1 : p.i+1+end], index: -1}
				p.i += end + 2
			default:
				text := p.word("]")
				if text == "*" {
					s = step{index: -1, all: true}
				} else if n, err := strconv.Atoi(text); err == nil && n >= 0 {
					s = step{index: n}
				} else {
					return nil, fmt.Errorf("%q is no index", text)
				}
			}
			if !p.take("]") {
				return nil, p.unexpected()
			}
			path = append(path, s)
		default:
			return path, nil
		}
	}
}

// selectAny says whether t is true of one of the values at path.
func selectAny(v any, path []step, t func(any) bool) bool {
	if len(path) == 0 {
		return t(v)
	}
	s := path[0]
	switch v := v.(type) {
	case map[string]any:
		if s.all && s.name == "*" {
			for _, e := range v {
				if selectAny(e, path[1:], t) {
					return true
				}
			}
			return false
		}
		e, ok := v[s.name]
		return ok && s.index < 0 && selectAny(e, path[1:], t)
	case []any:
		if s.all {
			for _, e := range v {
				if selectAny(e, path[1:], t) {
					return true
				}
			}
			return false
		}
		return s.index >= 0 && s.index < len(v) && selectAny(v[s.index], path[1:], t)
	}
	return false
}

// field is one name of a space-delimited pattern.
type field struct {
	name string
	test test[[]string] // nil: anything
}

// fields parses [a, b = 4*, ..., c].
func (p *patternParser) fields() (func([]byte) bool, error) {
	p.i++
	var list []field
	ellipsis := -1
	for {
		if p.take("...") {
			if ellipsis >= 0 {
				return nil, errors.New("more than one ellipsis")
			}
			ellipsis = len(list)
		} else {
			n := len(list)
			t, err := expression(p, 0, func() (test[[]string], error) { return p.fieldTest(&list, n) })
			if err != nil {
				return nil, err
			}
			list[n].test = t
		}
		if p.take(",") {
			continue
		}
		if !p.take("]") || !p.done() {
			return nil, p.unexpected()
		}
		break
	}
	return func(b []byte) bool {
		got := splitFields(string(b))
		switch {
		case ellipsis < 0 && len(got) != len(list), len(got) < len(list):
			return false
		case ellipsis >= 0:
			got = append(append([]string(nil), got[:ellipsis]...), got[len(got)-(len(list)-ellipsis):]...)
		}
		for _, f := range list {
			if !f.test(got) {
				return false
			}
		}
		return true
	}, nil
}

// fieldTest parses a field's name, and a comparison if one follows. n is the
// field's number; its name may come again, in its own further conditions.
func (p *patternParser) fieldTest(list *[]field, n int) (test[[]string], error) {
	p.space()
	var name string
	if !p.at("=") && !p.at("!") && !p.at("<") && !p.at(">") {
		name = p.word(",]=!<>&|()")
	}
	if len(*list) == n {
		*list = append(*list, field{name: name})
	} else if (*list)[n].name != name {
		return nil, fmt.Errorf("a condition of %q within that of %q", name, (*list)[n].name)
	}
	p.space()
	if p.i == len(p.s) || strings.IndexByte("=!<>", p.s[p.i]) < 0 {
		return func([]string) bool { return true }, nil
	}
	c, err := p.comparison(",]&|()")
	if err != nil {
		return nil, err
	}
	return func(got []string) bool {
		f, err := strconv.ParseFloat(got[n], 64)
		return c.holds(got[n], f, err == nil)
	}, nil
}

// splitFields cuts a line at its spaces; what is in quotes or brackets is one field.
func splitFields(s string) (fields []string) {
	for {
		s = strings.TrimLeft(s, " \t\r\n")
		if s == "" {
			return fields
		}
		if end := map[byte]string{'"': `"`, '[': "]"}[s[0]]; end != "" {
			if i := strings.Index(s[1:], end); i >= 0 {
				fields = append(fields, s[1:1+i])
				s = s[i+2:]
				continue
			}
		}
		i := strings.IndexAny(s, " \t\r\n")
		if i < 0 {
			return append(fields, s)
		}
		fields = append(fields, s[:i])
		s = s[i:]
	}
}
