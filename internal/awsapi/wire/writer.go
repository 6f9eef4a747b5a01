package wire

import (
	"encoding/base64"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// A Writer appends one JSON document to B. Commas come by themselves.
type Writer struct{ B []byte }

func (w *Writer) comma() {
	if n := len(w.B); n > 0 {
		switch w.B[n-1] {
		case '{', '[', ':':
		default:
			w.B = append(w.B, ',')
		}
	}
}

// Object begins an object, as a value or as an element of an array.
func (w *Writer) Object() {
	w.comma()
	w.B = append(w.B, '{')
}

// EndObject ends an object.
func (w *Writer) EndObject() { w.B = append(w.B, '}') }

// Array begins an array, as a value or as an element of an array.
func (w *Writer) Array() {
	w.comma()
	w.B = append(w.B, '[')
}

// EndArray ends an array.
func (w *Writer) EndArray() { w.B = append(w.B, ']') }

// Key writes a key; its value must follow.
func (w *Writer) Key(key string) {
	w.comma()
	w.B = appendString(w.B, key)
	w.B = append(w.B, ':')
}

// String writes a string. Bytes that are no UTF-8 become U+FFFD.
func (w *Writer) String(s string) {
	w.comma()
	w.B = appendString(w.B, s)
}

const hexDigits = "0123456789abcdef"

func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= ' ' && c < utf8.RuneSelf && c != '"' && c != '\\' {
			i++
			continue
		}
		if c >= utf8.RuneSelf {
			r, n := utf8.DecodeRuneInString(s[i:])
			if r != utf8.RuneError || n > 1 {
				i += n
				continue
			}
			b = append(b, s[start:i]...)
			b = utf8.AppendRune(b, utf8.RuneError)
			i++
			start = i
			continue
		}
		b = append(b, s[start:i]...)
		switch c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\n':
			b = append(b, '\\', 'n')
		case '\r':
			b = append(b, '\\', 'r')
		case '\t':
			b = append(b, '\\', 't')
		case '\b':
			b = append(b, '\\', 'b')
		case '\f':
			b = append(b, '\\', 'f')
		default:
			b = append(b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		}
		i++
		start = i
	}
	b = append(b, s[start:]...)
	return append(b, '"')
}

// Int writes a whole number.
func (w *Writer) Int(v int64) {
	w.comma()
	w.B = strconv.AppendInt(w.B, v, 10)
}

// Bool writes a boolean.
func (w *Writer) Bool(v bool) {
	w.comma()
	w.B = strconv.AppendBool(w.B, v)
}

// Float writes a number as Java's Double.toString does: "0.5", "2.0", "1.740193387E9".
func (w *Writer) Float(v float64) {
	w.comma()
	w.B = append(w.B, Double(v)...)
}

// Double renders v as Java's Double.toString does.
func Double(v float64) string {
	abs := math.Abs(v)
	if v == 0 || abs >= 1e-3 && abs < 1e7 {
		s := strconv.FormatFloat(v, 'f', -1, 64)
		if !strings.ContainsRune(s, '.') {
			s += ".0"
		}
		return s
	}
	s := strconv.FormatFloat(v, 'E', -1, 64)
	mantissa, exponent, ok := strings.Cut(s, "E")
	if !ok {
		return "0.0" // NaN and infinities have no JSON
	}
	if !strings.ContainsRune(mantissa, '.') {
		mantissa += ".0"
	}
	n, _ := strconv.Atoi(exponent)
	return mantissa + "E" + strconv.Itoa(n)
}

// Time writes a timestamp: seconds since the epoch, to the millisecond.
func (w *Writer) Time(t time.Time) { w.Float(float64(t.UnixMilli()) / 1000) }

// Blob writes base64.
func (w *Writer) Blob(b []byte) {
	w.comma()
	w.B = append(w.B, '"')
	w.B = base64.StdEncoding.AppendEncode(w.B, b)
	w.B = append(w.B, '"')
}
