// Package wire holds what generated codecs are made of: reading and writing
// JSON without reflection, reading headers and queries, checking constraints in
// AWS's words, and event streams.
package wire

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"math"
	"strconv"
	"time"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/hearth-run/hearth/internal/awsapi"
)

// A Reader reads one JSON document. It is strict, and remembers the first
// fault: after one, all methods return zero values and false, so that
// callers ask Err once, at the end. Strings that it returns are copies.
type Reader struct {
	b     []byte
	i     int
	depth int
	first bool // an object or array was just begun: no comma before its first entry
	err   *awsapi.Error
}

// maxDepth bounds how deep documents may nest.
const maxDepth = 1000

// NewReader returns a Reader of b.
func NewReader(b []byte) *Reader { return &Reader{b: b} }

// Err returns the first fault, or nil. It finds fault with anything after the document, too.
func (r *Reader) Err() error {
	if r.err == nil {
		if r.space(); r.i < len(r.b) {
			r.unexpected()
		}
	}
	if r.err == nil {
		return nil
	}
	return r.err
}

// Fail records a fault of the document's types, in Coral's words.
func (r *Reader) Fail(message string) {
	if r.err == nil {
		r.err = SerializationError(message)
		r.i = len(r.b)
	}
}

// SerializationError is AWS's answer to a document that cannot be an input.
func SerializationError(message string) *awsapi.Error {
	return &awsapi.Error{Code: "SerializationException", Status: 400, Message: message}
}

func (r *Reader) unexpected() {
	if r.i >= len(r.b) {
		r.Fail("Unexpected end-of-input")
		return
	}
	r.Fail(fmt.Sprintf("Unexpected character (%q (code %d)) at byte %d", rune(r.b[r.i]), r.b[r.i], r.i+1))
}

func (r *Reader) space() {
	for r.i < len(r.b) {
		switch r.b[r.i] {
		case ' ', '\t', '\r', '\n':
			r.i++
		default:
			return
		}
	}
}

// peek returns the first byte of the next token, or 0 at the end or after a fault.
func (r *Reader) peek() byte {
	if r.err != nil {
		return 0
	}
	if r.space(); r.i < len(r.b) {
		return r.b[r.i]
	}
	r.unexpected()
	return 0
}

func (r *Reader) literal(s string) bool {
	if r.i+len(s) <= len(r.b) && string(r.b[r.i:r.i+len(s)]) == s {
		r.i += len(s)
		return true
	}
	r.unexpected()
	return false
}

// null reads a null, if it is the next token.
func (r *Reader) null() bool { return r.peek() == 'n' && r.literal("null") }

// kind names the next token as Coral does.
func kind(c byte) string {
	switch c {
	case '"':
		return "STRING_VALUE"
	case 't':
		return "TRUE_VALUE"
	case 'f':
		return "FALSE_VALUE"
	}
	return "NUMBER_VALUE"
}

// mismatch records that the next token is no scalar of the type that is wanted, such as "a String".
func (r *Reader) mismatch(want string) {
	switch c := r.peek(); {
	case c == '{':
		r.Fail("Start of structure or map found where not expected.")
	case c == '[':
		r.Fail("Start of list found where not expected")
	case c == '"' || c == 't' || c == 'f' || c == '-' || isDigit(c):
		r.Fail(kind(c) + " can not be converted to " + want)
	case c != 0:
		r.unexpected()
	}
}

// Object begins an object. It reports false for null and after a fault; else Key follows.
func (r *Reader) Object() bool { return r.begin('{') }

// Array begins an array. It reports false for null and after a fault; else Elem follows.
func (r *Reader) Array() bool { return r.begin('[') }

func (r *Reader) begin(open byte) bool {
	switch c := r.peek(); {
	case c == open:
		if r.depth++; r.depth > maxDepth {
			r.Fail("Document nesting depth exceeds the maximum allowed")
			return false
		}
		r.i++
		r.first = true
		return true
	case c == 'n':
		r.literal("null")
	case c == '{' || c == '[':
		r.mismatch("")
	case c == '"' || c == 't' || c == 'f' || c == '-' || isDigit(c):
		r.Fail("Unexpected field type")
	case c != 0:
		r.unexpected()
	}
	return false
}

// Key returns the object's next key, or false at its end and after a fault.
// The value follows, which must be read or skipped. The key is valid until the next call.
func (r *Reader) Key() ([]byte, bool) {
	if !r.more('}') {
		return nil, false
	}
	if r.peek() != '"' {
		r.unexpected()
		return nil, false
	}
	key, ok := r.text()
	if !ok {
		return nil, false
	}
	if r.peek() != ':' {
		r.unexpected()
		return nil, false
	}
	r.i++
	return key, true
}

// Elem reports whether the array has a next element, which must be read or skipped.
func (r *Reader) Elem() bool { return r.more(']') }

func (r *Reader) more(end byte) bool {
	c := r.peek()
	first := r.first
	r.first = false
	switch {
	case c == end:
		r.i++
		r.depth--
		return false
	case first && c != 0:
		return true
	case c == ',':
		r.i++
		if r.peek() == end {
			r.unexpected()
		}
		return r.err == nil
	case c != 0:
		r.unexpected()
	}
	return false
}

// text reads a string and returns its bytes: a part of the document, if it has no escapes.
func (r *Reader) text() ([]byte, bool) {
	start := r.i + 1
	n := bytes.IndexByte(r.b[start:], '"')
	if n < 0 {
		r.Fail("Unexpected end-of-input in a string")
		return nil, false
	}
	s := r.b[start : start+n]
	if bytes.IndexByte(s, '\\') >= 0 {
		return r.escaped(start)
	}
	for i, c := range s {
		if c < ' ' {
			r.i = start + i
			r.unexpected()
			return nil, false
		}
	}
	r.i = start + n + 1
	return s, true
}

// escaped reads a string with escapes that begins at start.
func (r *Reader) escaped(start int) ([]byte, bool) {
	var out []byte
	for i := start; i < len(r.b); {
		c := r.b[i]
		switch {
		case c == '"':
			r.i = i + 1
			return out, true
		case c < ' ':
			r.i = i
			r.unexpected()
			return nil, false
		case c != '\\':
			out = append(out, c)
			i++
			continue
		}
		if i+1 == len(r.b) {
			break
		}
		switch c := r.b[i+1]; c {
		case '"', '\\', '/':
			out = append(out, c)
		case 'b':
			out = append(out, '\b')
		case 'f':
			out = append(out, '\f')
		case 'n':
			out = append(out, '\n')
		case 'r':
			out = append(out, '\r')
		case 't':
			out = append(out, '\t')
		case 'u':
			c, ok := hex4(r.b[i+2:])
			if !ok {
				r.i = i
				r.Fail("Unexpected character in a \\u escape")
				return nil, false
			}
			i += 4
			if utf16.IsSurrogate(c) {
				low, ok := rune(0), false
				if i+4 <= len(r.b) && r.b[i+2] == '\\' && r.b[i+3] == 'u' {
					low, ok = hex4(r.b[i+4:])
				}
				if both := utf16.DecodeRune(c, low); ok && both != utf8.RuneError {
					c = both
					i += 6
				} else {
					c = utf8.RuneError
				}
			}
			out = utf8.AppendRune(out, c)
		default:
			r.i = i + 1
			r.unexpected()
			return nil, false
		}
		i += 2
	}
	r.Fail("Unexpected end-of-input in a string")
	return nil, false
}

func hex4(b []byte) (rune, bool) {
	if len(b) < 4 {
		return 0, false
	}
	var v rune
	for _, c := range b[:4] {
		switch {
		case isDigit(c):
			v = v<<4 | rune(c-'0')
		case c >= 'a' && c <= 'f':
			v = v<<4 | rune(c-'a'+10)
		case c >= 'A' && c <= 'F':
			v = v<<4 | rune(c-'A'+10)
		default:
			return 0, false
		}
	}
	return v, true
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// String reads a string. It reports false for null and after a fault, as the other scalars do.
func (r *Reader) String() (string, bool) {
	if r.null() {
		return "", false
	}
	if r.peek() != '"' {
		r.mismatch("a String")
		return "", false
	}
	s, ok := r.text()
	if ok && !utf8.Valid(s) {
		r.Fail("Invalid UTF-8 in a string")
		return "", false
	}
	return string(s), ok
}

// Bool reads a boolean.
func (r *Reader) Bool() (v, ok bool) {
	switch r.peek() {
	case 't':
		return true, r.literal("true")
	case 'f':
		return false, r.literal("false")
	case 'n':
		r.literal("null")
		return false, false
	}
	r.mismatch("a Boolean")
	return false, false
}

// number reads a number's text.
func (r *Reader) number(want string) ([]byte, bool) {
	c := r.peek()
	if c == 'n' {
		r.literal("null")
		return nil, false
	}
	if c != '-' && !isDigit(c) {
		r.mismatch(want)
		return nil, false
	}
	start := r.i
	digits := func() bool {
		from := r.i
		for r.i < len(r.b) && isDigit(r.b[r.i]) {
			r.i++
		}
		if r.i == from {
			r.unexpected()
		}
		return r.err == nil
	}
	if c == '-' {
		r.i++
	}
	if r.i+1 < len(r.b) && r.b[r.i] == '0' && isDigit(r.b[r.i+1]) {
		r.Fail("Invalid numeric value: Leading zeroes not allowed")
	}
	if !digits() {
		return nil, false
	}
	if r.i < len(r.b) && r.b[r.i] == '.' {
		if r.i++; !digits() {
			return nil, false
		}
	}
	if r.i < len(r.b) && (r.b[r.i] == 'e' || r.b[r.i] == 'E') {
		r.i++
		if r.i < len(r.b) && (r.b[r.i] == '+' || r.b[r.i] == '-') {
			r.i++
		}
		if !digits() {
			return nil, false
		}
	}
	return r.b[start:r.i], true
}

// Int64 reads a whole number; as on AWS, a fraction is dropped.
func (r *Reader) Int64() (int64, bool) { return r.integer("a Long", math.MinInt64, math.MaxInt64) }

// Int32 reads a whole number of 32 bits; as on AWS, a fraction is dropped.
func (r *Reader) Int32() (int32, bool) {
	v, ok := r.integer("an Integer", math.MinInt32, math.MaxInt32)
	return int32(v), ok
}

func (r *Reader) integer(want string, low, high int64) (int64, bool) {
	text, ok := r.number(want)
	if !ok {
		return 0, false
	}
	v, err := strconv.ParseInt(string(text), 10, 64)
	if err != nil {
		f, ferr := strconv.ParseFloat(string(text), 64)
		if ferr != nil || f < math.MinInt64 || f >= math.MaxInt64 {
			r.Fail("NUMBER_VALUE can not be converted to " + want)
			return 0, false
		}
		v = int64(f)
	}
	if v < low || v > high {
		r.Fail("NUMBER_VALUE can not be converted to " + want)
		return 0, false
	}
	return v, true
}

// Float64 reads a number.
func (r *Reader) Float64() (float64, bool) {
	text, ok := r.number("a Double")
	if !ok {
		return 0, false
	}
	v, err := strconv.ParseFloat(string(text), 64)
	if err != nil {
		r.Fail("NUMBER_VALUE can not be converted to a Double")
		return 0, false
	}
	return v, true
}

// Time reads a timestamp: seconds since the epoch.
func (r *Reader) Time() (time.Time, bool) {
	text, ok := r.number("milliseconds since epoch")
	if !ok {
		return time.Time{}, false
	}
	v, err := strconv.ParseFloat(string(text), 64)
	if err != nil || math.Abs(v) > maxSeconds {
		r.Fail("NUMBER_VALUE can not be converted to milliseconds since epoch")
		return time.Time{}, false
	}
	return seconds(v), true
}

// maxSeconds keeps timestamps within the years that have four digits.
const maxSeconds = 253402300799

func seconds(v float64) time.Time {
	return time.UnixMilli(int64(math.Round(v * 1000))).UTC()
}

// Blob reads base64.
func (r *Reader) Blob() ([]byte, bool) {
	if r.null() {
		return nil, false
	}
	if c := r.peek(); c != '"' {
		if c == '{' || c == '[' {
			r.mismatch("")
		} else if c != 0 {
			r.Fail("only base64-encoded strings are convertible to bytes")
		}
		return nil, false
	}
	s, ok := r.text()
	if !ok {
		return nil, false
	}
	if len(s)%4 != 0 {
		r.Fail(fmt.Sprintf("Base64 encoded length is expected a multiple of 4 bytes but found: %d", len(s)))
		return nil, false
	}
	out := make([]byte, base64.StdEncoding.DecodedLen(len(s)))
	n, err := base64.StdEncoding.Decode(out, s)
	if err != nil {
		r.Fail("Invalid base64-encoded data")
		return nil, false
	}
	return out[:n], true
}

// Skip reads and drops any value.
func (r *Reader) Skip() {
	switch c := r.peek(); {
	case c == '{':
		if r.Object() {
			for _, ok := r.Key(); ok; _, ok = r.Key() {
				r.Skip()
			}
		}
	case c == '[':
		if r.Array() {
			for r.Elem() {
				r.Skip()
			}
		}
	case c == '"':
		r.text()
	case c == 't':
		r.literal("true")
	case c == 'f':
		r.literal("false")
	case c == 'n':
		r.literal("null")
	case c == '-' || isDigit(c):
		r.number("")
	case c != 0:
		r.unexpected()
	}
}
