package invoke

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// CheckEvent returns "" if b is one JSON value (or empty, which AWS takes as an
// empty object), else the words with which AWS refuses it. AWS parses events with
// Jackson, so the words are that parser's.
func CheckEvent(b []byte) string {
	if len(b) == 0 || json.Valid(b) && utf8.Valid(b) {
		return ""
	}
	p := jsonParser{b: b, line: 1, col: 1}
	p.document()
	if p.problem == "" { // Jackson is stricter nowhere, so this is ours to explain
		p.fail("Unexpected end-of-input")
	}
	return "Could not parse request body into json: Could not parse payload into json: " + p.problem
}

const (
	valueList = "(JSON String, Number, Array, Object or token 'null', 'true' or 'false')"
	maxDepth  = 1000 // as Jackson's StreamReadConstraints
)

// jsonParser finds the first fault of a text and words it; col counts bytes.
type jsonParser struct {
	b         []byte
	i         int
	line, col int
	depth     int
	problem   string
}

func (p *jsonParser) fail(format string, args ...any) {
	if p.problem != "" {
		return
	}
	p.problem = fmt.Sprintf(format, args...) +
		fmt.Sprintf("\n at [Source: REDACTED (`StreamReadFeature.INCLUDE_SOURCE_IN_LOCATION` disabled); line: %d, column: %d]", p.line, p.col)
}

func (p *jsonParser) failChar(c byte, want string) {
	what := fmt.Sprintf("'%c' (code %d)", c, c)
	if c < 0x20 || c >= 0x7f && c < 0xa0 {
		what = fmt.Sprintf("(CTRL-CHAR, code %d)", c)
	} else if c >= 0xa0 {
		what = fmt.Sprintf("'%c' (code %d / 0x%x)", rune(c), c, c)
	}
	p.fail("Unexpected character (%s): %s", what, want)
}

func (p *jsonParser) next() {
	if p.b[p.i] == '\n' {
		p.line, p.col = p.line+1, 0
	}
	p.i++
	p.col++
}

func (p *jsonParser) space() {
	for p.i < len(p.b) && strings.IndexByte(" \t\r\n", p.b[p.i]) >= 0 {
		p.next()
	}
}

func (p *jsonParser) document() {
	p.space()
	if p.i == len(p.b) {
		p.fail("No content to map due to end-of-input")
		return
	}
	number := strings.IndexByte("-0123456789", p.b[p.i]) >= 0
	p.value()
	if p.problem != "" {
		return
	}
	if number && p.i < len(p.b) && strings.IndexByte(" \t\r\n", p.b[p.i]) < 0 {
		p.failChar(p.b[p.i], "Expected space separating root-level values")
		return
	}
	p.space()
	if p.i < len(p.b) {
		before := p.i
		p.value()
		if p.problem == "" {
			p.fail("Trailing token (of type %s) found after value (bound as `java.lang.Object`): not allowed as per `DeserializationFeature.FAIL_ON_TRAILING_TOKENS`", tokenType(p.b[before]))
		}
	}
}

func tokenType(c byte) string {
	switch c {
	case '{':
		return "START_OBJECT"
	case '[':
		return "START_ARRAY"
	case '"':
		return "VALUE_STRING"
	case 't':
		return "VALUE_TRUE"
	case 'f':
		return "VALUE_FALSE"
	case 'n':
		return "VALUE_NULL"
	}
	return "VALUE_NUMBER_INT"
}

func (p *jsonParser) value() {
	if p.depth++; p.depth > maxDepth {
		p.fail("Document nesting depth (%d) exceeds the maximum allowed (%d, from `StreamReadConstraints.getMaxNestingDepth()`)", p.depth, maxDepth)
	}
	defer func() { p.depth-- }()
	if p.problem != "" {
		return
	}
	switch c := p.b[p.i]; {
	case c == '{':
		p.container('}', "Object", func() {
			if p.b[p.i] != '"' {
				p.failChar(p.b[p.i], "was expecting double-quote to start field name")
				return
			}
			p.text("in field name")
			p.space()
			if p.ended("within/between Object entries") {
				return
			}
			if p.b[p.i] != ':' {
				p.failChar(p.b[p.i], "was expecting a colon to separate field name and value")
				return
			}
			p.next()
			p.space()
			if !p.ended("within/between Object entries") {
				p.value()
			}
		})
	case c == '[':
		p.container(']', "Array", p.value)
	case c == '"':
		p.text("in VALUE_STRING")
	case c == '-' || c >= '0' && c <= '9':
		p.number()
	case c == 't':
		p.token("true")
	case c == 'f':
		p.token("false")
	case c == 'n':
		p.token("null")
	case c < 0x80 && (unicode.IsLetter(rune(c)) || c == '_' || c == '$'):
		p.token("")
	default:
		p.next()
		p.col--
		p.failChar(c, "expected a valid value "+valueList)
	}
}

// ended reports the end of the text, as a fault.
func (p *jsonParser) ended(where string) bool {
	if p.problem == "" && p.i == len(p.b) {
		p.fail("Unexpected end-of-input %s", where)
	}
	return p.problem != ""
}

// container reads an object or array, whose entries item reads.
func (p *jsonParser) container(end byte, kind string, item func()) {
	line, col := p.line, p.col
	unclosed := func() bool {
		if p.problem == "" && p.i == len(p.b) {
			p.fail("Unexpected end-of-input: expected close marker for %s (start marker at [Source: REDACTED (`StreamReadFeature.INCLUDE_SOURCE_IN_LOCATION` disabled); line: %d, column: %d])", kind, line, col)
		}
		return p.problem != ""
	}
	p.next()
	for first := true; ; first = false {
		p.space()
		if unclosed() {
			return
		}
		if p.b[p.i] == end {
			p.next()
			return
		}
		if !first {
			if p.b[p.i] != ',' {
				p.failChar(p.b[p.i], "was expecting comma to separate "+kind+" entries")
				return
			}
			p.next()
			p.space()
			if unclosed() {
				return
			}
		}
		item()
		if p.problem != "" {
			return
		}
	}
}

func (p *jsonParser) token(want string) {
	end := p.i
	for end < len(p.b) && (p.b[end] == '_' || p.b[end] == '$' || p.b[end] < 0x80 && (unicode.IsLetter(rune(p.b[end])) || unicode.IsDigit(rune(p.b[end])))) {
		end++
	}
	got := string(p.b[p.i:end])
	if len(got) > 256 {
		got = got[:256] + "..."
	}
	p.col += end - p.i
	p.i = end
	if got != want && p.i < len(p.b) && p.b[p.i] >= 0x80 && !p.rune() {
		return
	}
	if got != want {
		p.fail("Unrecognized token '%s': was expecting %s", got, valueList)
	}
}

func (p *jsonParser) number() {
	digits := func(where string) {
		if p.i == len(p.b) || p.b[p.i] < '0' || p.b[p.i] > '9' {
			if p.i == len(p.b) {
				p.fail("Unexpected end-of-input within/between %s", where)
			} else {
				p.failChar(p.b[p.i], where)
			}
			return
		}
		for p.i < len(p.b) && p.b[p.i] >= '0' && p.b[p.i] <= '9' {
			p.next()
		}
	}
	if p.b[p.i] == '-' {
		p.next()
	}
	if p.i+1 < len(p.b) && p.b[p.i] == '0' && p.b[p.i+1] >= '0' && p.b[p.i+1] <= '9' {
		p.next()
		p.fail("Invalid numeric value: Leading zeroes not allowed")
		return
	}
	digits("expected digit (0-9) to follow minus sign, for valid numeric value")
	if p.problem == "" && p.i < len(p.b) && p.b[p.i] == '.' {
		p.next()
		digits("Decimal point not followed by a digit")
	}
	if p.problem == "" && p.i < len(p.b) && (p.b[p.i] == 'e' || p.b[p.i] == 'E') {
		p.next()
		if p.i < len(p.b) && (p.b[p.i] == '+' || p.b[p.i] == '-') {
			p.next()
		}
		digits("Exponent indicator not followed by a digit")
	}
}

func (p *jsonParser) text(where string) {
	p.next()
	for {
		if p.i == len(p.b) {
			p.fail("Unexpected end-of-input %s", where)
			return
		}
		c := p.b[p.i]
		switch {
		case c == '"':
			p.next()
			return
		case c == '\\':
			p.next()
			if p.i == len(p.b) {
				continue
			}
			if e := p.b[p.i]; strings.IndexByte(`"\/bfnrtu`, e) < 0 {
				p.fail("Unrecognized character escape '%c' (code %d)", e, e)
				return
			} else if e == 'u' {
				for range 4 {
					p.next()
					if p.i == len(p.b) {
						break
					}
					if h := p.b[p.i]; strings.IndexByte("0123456789abcdefABCDEF", h) < 0 {
						p.failChar(h, "expected a hex-digit for character escape sequence")
						return
					}
				}
				if p.i == len(p.b) {
					continue
				}
			}
			p.next()
		case c < 0x20:
			p.fail("Illegal unquoted character ((CTRL-CHAR, code %d)): has to be escaped using backslash to be included in string value", c)
			return
		case c < 0x80:
			p.next()
		default:
			if !p.rune() {
				return
			}
		}
	}
}

// rune reads one character beyond ASCII, and reports whether it was well-formed.
func (p *jsonParser) rune() bool {
	c := p.b[p.i]
	r, n := utf8.DecodeRune(p.b[p.i:])
	if r == utf8.RuneError && n == 1 {
		p.col++ // the fault is placed behind the byte
		if c < 0xc2 || c > 0xf4 {
			p.fail("Invalid UTF-8 start byte 0x%x", c)
		} else {
			p.fail("Invalid UTF-8 middle byte 0x%x", append(p.b[p.i+1:], 0)[0])
		}
		return false
	}
	p.i += n
	p.col += n
	return true
}
