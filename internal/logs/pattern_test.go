package logs

import (
	"errors"
	"strings"
	"testing"
)

func TestPattern(t *testing.T) {
	const (
		js    = `{"level":"ERROR","n":5,"ok":true,"no":false,"nil":null,"user":{"id":"u-1","tags":["a","b"]},"list":[{"x":1},{"x":2}],"a.b":"dotted","ip":"10.0.0.7","big":1.5e3}`
		line  = `127.0.0.1 - frank [10/Oct/2000:13:25:15 -0700] "GET /index.html HTTP/1.0" 404 1534`
		plain = "[ERROR] 2026 Something failed: disk full"
	)
	for _, tt := range []struct {
		pattern, message string
		want             bool
	}{
		{"", plain, true},
		{"  ", plain, true},
		{`""`, plain, true},
		{"ERROR", plain, true},
		{"error", plain, false},
		{"ERROR failed", plain, true},
		{"ERROR missing", plain, false},
		{`"disk full"`, plain, true},
		{`"full disk"`, plain, false},
		{`"failed: disk"`, plain, true},
		{`say\"`, `he say\" it`, true},
		{`"a \"b\""`, `x a "b" y`, true},
		{"?WARN ?ERROR", plain, true},
		{"?WARN ?INFO", plain, false},
		{"ERROR -disk", plain, false},
		{"ERROR -net", plain, true},
		{"-net", plain, true},
		{"?WARN ERROR", plain, true},
		{"%[Ff]ailed%", plain, true},
		{"%^Something%", plain, false},

		{`{ $.level = "ERROR" }`, js, true},
		{`{$.level="ERR*"}`, js, true},
		{`{ $.level = ERROR }`, js, true},
		{`{ $.level = "WARN" }`, js, false},
		{`{ $.level != "WARN" }`, js, true},
		{`{ $.absent != "WARN" }`, js, false},
		{`{ $.level = %^E% }`, js, true},
		{`{ $.n > 4 }`, js, true},
		{`{ $.n >= 5 && $.n <= 5 }`, js, true},
		{`{ $.n < 5 || $.n = 5 }`, js, true},
		{`{ $.n = 5.0 }`, js, true},
		{`{ $.n = "5" }`, js, false},
		{`{ $.big = 1500 }`, js, true},
		{`{ $.ok IS TRUE && $.no IS FALSE && $.nil IS NULL }`, js, true},
		{`{ $.ok = true }`, js, true},
		{`{ $.absent NOT EXISTS }`, js, true},
		{`{ $.level NOT EXISTS }`, js, false},
		{`{ $.user.id = "u-1" }`, js, true},
		{`{ $.user.tags[1] = "b" }`, js, true},
		{`{ $.user.tags[2] = "b" }`, js, false},
		{`{ $.user.tags[*] = "b" }`, js, true},
		{`{ $.list[*].x = 2 }`, js, true},
		{`{ $["a.b"] = "dotted" }`, js, true},
		{`{ $.['a.b'] = "dotted" }`, js, true},
		{`{ $.ip = 10.0.* }`, js, true},
		{`{ ($.level = "WARN" || $.n = 5) && ($.ok IS TRUE) }`, js, true},
		{`{ $.level = "WARN" || $.n = 5 && $.ok IS FALSE }`, js, false},
		{`{ $.level = "ERROR" }`, plain, false},
		{`{ $.level = "ERROR" }`, `{"level":`, false},

		{"[ip, id, user, time, request, status, size]", line, true},
		{"[ip, id, user, time, request, status]", line, false},
		{"[ip, id, user, time, request, status=4*, size]", line, true},
		{"[ip, id, user, time, request, status=404, size>1000]", line, true},
		{"[ip, id, user, time, request, status=404, size>2000]", line, false},
		{"[ip, id, user, time, request=*index*, status=404 || status=500, size]", line, true},
		{"[ip, id, user, time, request, status!=404 && status!=500, size]", line, false},
		{"[ip, ..., size]", line, true},
		{"[..., status, size=1534]", line, true},
		{"[ip=127.0.0.1, ...]", line, true},
		{"[ip=%^127%, ...]", line, true},
		{"[a, b, c, d, e, f, g, h, ...]", line, false},
		{"[,,,,,=404,]", line, true},
	} {
		p, err := ParsePattern(tt.pattern)
		if err != nil {
			t.Errorf("ParsePattern(%q): %v", tt.pattern, err)
			continue
		}
		if got := p.Match([]byte(tt.message)); got != tt.want {
			t.Errorf("%q matches %q: %v, want %v", tt.pattern, tt.message, got, tt.want)
		}
	}
	for _, bad := range []string{`"open`, "%open", "%a(b)%", "{", "{ $.a }", "{ a = 1 }", "{ $.a = }", "{ $.a > x }", "{ $.a = 1 ", "{ $.a = 1 } x",
		"[", "[a", "[..., ...]", "[a] b", "[a=1 && b=2]", "{ $.a[x] = 1 }", "{ " + strings.Repeat("(", 100) + "$.a = 1", "?", "-"} {
		if _, err := ParsePattern(bad); !errors.Is(err, ErrBadPattern) {
			t.Errorf("ParsePattern(%q) = %v, want ErrBadPattern", bad, err)
		}
	}
}

// FuzzPattern: no pattern and no message make it panic.
func FuzzPattern(f *testing.F) {
	for _, s := range []string{`{ ($.a[*].b = "x*" || $.c IS NULL) && $.d NOT EXISTS }`, `[a, b=4*, ..., c>3 && c<9]`, `?a -"b c" %d+%`} {
		f.Add(s, `{"a":[{"b":"xy"}],"c":null}`)
	}
	f.Fuzz(func(t *testing.T, pattern, message string) {
		if p, err := ParsePattern(pattern); err == nil {
			p.Match([]byte(message))
		} else if !errors.Is(err, ErrBadPattern) {
			t.Errorf("ParsePattern(%q) = %v", pattern, err)
		}
	})
}
