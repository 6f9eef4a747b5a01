package wire

import (
	"bytes"
	"encoding/json"
	"math"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws/protocol/eventstream"
	"github.com/hearth-run/hearth/internal/awsapi"
)

// document reads any value into what encoding/json would make of it.
func document(r *Reader) any {
	switch c := r.peek(); {
	case c == '{':
		m := map[string]any{}
		if r.Object() {
			for k, ok := r.Key(); ok; k, ok = r.Key() {
				key := string(k)
				m[key] = document(r)
			}
		}
		return m
	case c == '[':
		l := []any{}
		if r.Array() {
			for r.Elem() {
				l = append(l, document(r))
			}
		}
		return l
	case c == '"':
		s, _ := r.String()
		return s
	case c == 't' || c == 'f':
		b, _ := r.Bool()
		return b
	case c == 'n':
		r.Skip()
		return nil
	default:
		f, _ := r.Float64()
		return f
	}
}

var documents = []string{
	`{}`, `[]`, `{"a":[1,-2.5e3,"ü\n\u00e9\ud83d\ude00",null,true,false,{"b":{}}]}`, ` [ 1 , 2 ] `, `"\ud800"`, `"\ud800\u0041"`,
	`{"a":1,}`, `[1,]`, `[,1]`, `{,}`, `{"a"}`, `{"a":}`, `[1 2]`, `{"a":1 "b":2}`, `[1}`, `{"a":1]`, `01`, `-`, `1.`, `1e`, `.5`, `+1`,
	`tru`, `nul`, `"`, `"\x"`, `"\u12"`, "\"\x01\"", `{"a":1}}`, `1 2`, ``, ` `, `{1:2}`, `[[[[]]]]`, `"a\/b"`, `1e400`, `NaN`,
}

// FuzzReader compares the reader with encoding/json: what is taken, and as what.
func FuzzReader(f *testing.F) {
	for _, s := range documents {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r := NewReader(b)
		r.Skip()
		if got, want := r.Err() == nil, json.Valid(b); got != want && !tooDeep(b) {
			t.Fatalf("Skip of %q: %v, but valid is %v", b, r.Err(), want)
		}
		if !utf8.Valid(b) || tooDeep(b) {
			return
		}
		var want any
		err := json.Unmarshal(b, &want)
		r = NewReader(b)
		got := document(r)
		if (r.Err() == nil) != (err == nil) {
			t.Fatalf("reading %q: %v, but encoding/json says %v", b, r.Err(), err)
		}
		if err == nil && !reflect.DeepEqual(got, want) {
			t.Fatalf("reading %q = %#v, want %#v", b, got, want)
		}
	})
}

func tooDeep(b []byte) bool {
	return bytes.Count(b, []byte("["))+bytes.Count(b, []byte("{")) > maxDepth
}

func TestReaderTypes(t *testing.T) {
	str := func(r *Reader) any { v, ok := r.String(); return []any{v, ok} }
	i32 := func(r *Reader) any { v, ok := r.Int32(); return []any{v, ok} }
	blob := func(r *Reader) any { v, ok := r.Blob(); return []any{string(v), ok} }
	for _, tt := range []struct {
		in    string
		read  func(*Reader) any
		want  any
		fault string
	}{
		{`"a"`, str, []any{"a", true}, ""},
		{`null`, str, []any{"", false}, ""},
		{`1`, str, nil, "NUMBER_VALUE can not be converted to a String"},
		{`true`, str, nil, "TRUE_VALUE can not be converted to a String"},
		{`[]`, str, nil, "Start of list found where not expected"},
		{`{}`, str, nil, "Start of structure or map found where not expected."},
		{"\"\xff\"", str, nil, "Invalid UTF-8 in a string"},
		{`3`, i32, []any{int32(3), true}, ""},
		{`3.9`, i32, []any{int32(3), true}, ""},
		{`1e3`, i32, []any{int32(1000), true}, ""},
		{`"3"`, i32, nil, "STRING_VALUE can not be converted to an Integer"},
		{`3000000000`, i32, nil, "NUMBER_VALUE can not be converted to an Integer"},
		{`1e300`, i32, nil, "NUMBER_VALUE can not be converted to an Integer"},
		{`"aGk="`, blob, []any{"hi", true}, ""},
		{`"aGk\u003d"`, blob, []any{"hi", true}, ""},
		{`"aGk"`, blob, nil, "Base64 encoded length is expected a multiple of 4 bytes but found: 3"},
		{`"####"`, blob, nil, "Invalid base64-encoded data"},
		{`7`, blob, nil, "only base64-encoded strings are convertible to bytes"},
		{`"x"`, func(r *Reader) any { r.Object(); return nil }, nil, "Unexpected field type"},
		{`[]`, func(r *Reader) any { r.Object(); return nil }, nil, "Start of list found where not expected"},
		{`{`, func(r *Reader) any { r.Object(); r.Key(); return nil }, nil, "Unexpected end-of-input"},
	} {
		r := NewReader([]byte(tt.in))
		got := tt.read(r)
		if tt.fault == "" {
			if err := r.Err(); err != nil || !reflect.DeepEqual(got, tt.want) {
				t.Errorf("reading %s = %v, %v, want %v", tt.in, got, err, tt.want)
			}
			continue
		}
		e, ok := r.Err().(*awsapi.Error)
		if !ok || e.Code != "SerializationException" || e.Message != tt.fault || e.Status != 400 {
			t.Errorf("reading %s: %v, want %s", tt.in, r.Err(), tt.fault)
		}
	}
}

func TestReaderDepth(t *testing.T) {
	r := NewReader([]byte(strings.Repeat("[", 1_000_000)))
	r.Skip()
	if r.Err() == nil {
		t.Error("a million brackets are no document")
	}
}

func TestWriter(t *testing.T) {
	var w Writer
	w.Object()
	w.Key("s")
	w.String("a\"\\\n\x01é\xff<")
	w.Key("l")
	w.Array()
	w.Int(-1)
	w.Bool(true)
	w.Object()
	w.EndObject()
	w.EndArray()
	w.Key("b")
	w.Blob([]byte("hi"))
	w.Key("t")
	w.Time(time.UnixMilli(1740193387123))
	w.EndObject()
	const want = `{"s":"a\"\\\n\u0001é` + "\ufffd" + `<","l":[-1,true,{}],"b":"aGk=","t":1.740193387123E9}`
	if got := string(w.B); got != want {
		t.Errorf("wrote %s\nwant  %s", got, want)
	}
}

// FuzzWriteString: what is written is read again as it was.
func FuzzWriteString(f *testing.F) {
	f.Add("a\"\\\n\x01é\xff<\u2028")
	f.Fuzz(func(t *testing.T, s string) {
		var w Writer
		w.String(s)
		var got string
		if err := json.Unmarshal(w.B, &got); err != nil || got != strings.ToValidUTF8(s, "\ufffd") && utf8.ValidString(s) {
			t.Fatalf("%q is written as %s, and read as %q, %v", s, w.B, got, err)
		}
	})
}

func TestDouble(t *testing.T) {
	for v, want := range map[float64]string{
		0: "0.0", 1: "1.0", -1: "-1.0", 0.5: "0.5", 0.001: "0.001", 1e-4: "1.0E-4", 9999999: "9999999.0", 1e7: "1.0E7", 1740193387: "1.740193387E9",
	} {
		got := Double(v)
		if back, err := strconv.ParseFloat(got, 64); got != want || err != nil || back != v {
			t.Errorf("Double(%v) = %q, want %q", v, got, want)
		}
	}
	if got := Double(math.NaN()); !json.Valid([]byte(got)) {
		t.Errorf("Double(NaN) = %q, which is no JSON", got)
	}
}

// TestEventStream reads the messages with AWS's own decoder, which checks both checksums.
func TestEventStream(t *testing.T) {
	var b []byte
	b = AppendTyped(b, "PayloadChunk", "application/octet-stream", []byte("hello"))
	b = AppendTyped(b, "InvokeComplete", "", nil)
	b = AppendException(b, "SessionTimeoutException", []byte(`{}`))
	in := bytes.NewReader(b)
	d := eventstream.NewDecoder()
	for _, want := range []map[string]string{
		{":event-type": "PayloadChunk", ":content-type": "application/octet-stream", ":message-type": "event", "payload": "hello"},
		{":event-type": "InvokeComplete", ":message-type": "event", "payload": ""},
		{":exception-type": "SessionTimeoutException", ":content-type": "application/json", ":message-type": "exception", "payload": "{}"},
	} {
		m, err := d.Decode(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]string{"payload": string(m.Payload)}
		for _, h := range m.Headers {
			got[h.Name] = h.Value.String()
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("message = %v, want %v", got, want)
		}
	}
	if in.Len() != 0 {
		t.Errorf("%d bytes follow the messages", in.Len())
	}
}

func TestViolations(t *testing.T) {
	c := Strings{
		Bounds:  Bounds{Min: 2, MinWords: "min", Max: 3, MaxWords: "max"},
		Pattern: NewPattern("[a-z]+", "[a-z]+"),
		All:     "[max, min, pattern]",
	}
	for _, tt := range []struct{ in, want string }{
		{"ab", ""},
		{"a", "1 validation error detected: Value 'a' at 'x.y' failed to satisfy constraint: min"},
		{"1", "2 validation errors detected: Value '1' at 'x.y' failed to satisfy constraint: Member must satisfy regular expression pattern: [a-z]+; Value '1' at 'x.y' failed to satisfy constraint: min"},
		{"😀", "1 validation error detected: Value '😀' at 'x.y' failed to satisfy constraint: Member must satisfy regular expression pattern: [a-z]+"}, // two units of UTF-16
		{"a\n", "1 validation error detected: Value 'a\n' at 'x.y' failed to satisfy constraint: Member must satisfy regular expression pattern: [a-z]+"},
	} {
		var v Violations
		c.Check(&v, tt.in, "x.y")
		err := v.Err("ValidationException")
		if tt.want == "" {
			if err != nil {
				t.Errorf("Check(%q) = %v, want none", tt.in, err)
			}
			continue
		}
		if e, ok := err.(*awsapi.Error); !ok || e.Message != tt.want || e.Code != "ValidationException" {
			t.Errorf("Check(%q) = %v, want %s", tt.in, err, tt.want)
		}
	}
	var v Violations
	c.CheckList(&v, []string{"ab", "x1"}, "l")
	CheckKeys(&c, &v, map[string]string{"b1": "2", "ab": "1"}, "m", func(s string) string { return s })
	const want = "2 validation errors detected: Value '[ab, x1]' at 'l' failed to satisfy constraint: Member must satisfy constraint: [max, min, pattern]; " +
		"Value '{ab=1, b1=2}' at 'm' failed to satisfy constraint: Map keys must satisfy constraint: [max, min, pattern]"
	if e, ok := v.Err("X").(*awsapi.Error); !ok || e.Message != want {
		t.Errorf("violations = %v, want %s", v.Err("X"), want)
	}
}
