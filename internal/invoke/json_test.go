package invoke

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestCheckJSON(t *testing.T) {
	const at = "\n at [Source: REDACTED (`StreamReadFeature.INCLUDE_SOURCE_IN_LOCATION` disabled); line: "
	for _, tt := range []struct{ in, want string }{
		{``, ``},
		{`{"a":[1,2.5e3,"ü",null,true]}`, ``},
		{"\x99\xeb,j", "Unexpected character ((CTRL-CHAR, code 153)): expected a valid value (JSON String, Number, Array, Object or token 'null', 'true' or 'false')" + at + "1, column: 1]"},
		{"hello", "Unrecognized token 'hello': was expecting (JSON String, Number, Array, Object or token 'null', 'true' or 'false')" + at + "1, column: 6]"},
		{`{"a"`, "Unexpected end-of-input within/between Object entries" + at + "1, column: 5]"},
		{`{a:1}`, "Unexpected character ('a' (code 97)): was expecting double-quote to start field name" + at + "1, column: 2]"},
		{"0D", "Unexpected character ('D' (code 68)): Expected space separating root-level values" + at + "1, column: 2]"},
		{"n\x87r\x9e\xe9", "Invalid UTF-8 start byte 0x87" + at + "1, column: 3]"},
	} {
		want := tt.want
		if want != "" {
			want = "Could not parse request body into json: Could not parse payload into json: " + want
		}
		if got := CheckEvent([]byte(tt.in)); got != want {
			t.Errorf("CheckEvent(%q) =\n%q, want\n%q", tt.in, got, want)
		}
	}
}

// FuzzCheckJSON: whatever is no JSON has a fault with a place, and whatever is has none.
func FuzzCheckJSON(f *testing.F) {
	for _, s := range []string{`{"a":[1,{"b":"\u00e9"}]}`, "n\x87", `[1,2`, `-`, `1.`, `1e`, `"\`, `"\u12`, strings.Repeat("[", 2000), "{\"a\":\xf0\x9f}", "\"\xf0"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		got := CheckEvent(b)
		if ok := len(b) == 0 || json.Valid(b) && utf8.Valid(b); ok != (got == "") {
			t.Errorf("CheckEvent(%q) = %q, want a fault: %v", b, got, !ok)
		}
		if got != "" && !strings.Contains(got, "line: ") {
			t.Errorf("CheckEvent(%q) = %q, without a place", b, got)
		}
	})
}
