package api

import (
	"net/url"
	"strings"

	"github.com/hearth-run/hearth/internal/awsapi/wire"
)

// router finds the operation of a method and a path.
type router[S any] struct {
	// routes are listed by the path's first two segments, of which none is a label.
	routes map[string][]route[S]
}

type route[S any] struct {
	op       *wire.Operation[S]
	segments []string // those after the first two; "" for a label
	labels   int
	key      string // of a query parameter that belongs to the URI, or ""
	value    string
}

func newRouter[S any](operations []wire.Operation[S]) router[S] {
	t := router[S]{routes: map[string][]route[S]{}}
	for i := range operations {
		op := &operations[i]
		prefix, rest := cutSegments(op.Path)
		n := route[S]{op: op}
		n.key, n.value, _ = strings.Cut(op.Query, "=")
		for seg := range strings.SplitSeq(rest, "/") {
			if rest == "" {
				break
			}
			if strings.HasPrefix(seg, "{") {
				seg = ""
				n.labels++
			}
			n.segments = append(n.segments, seg)
		}
		// Those that ask for a query parameter are tried before those that do not.
		list := t.routes[prefix]
		if n.key != "" {
			t.routes[prefix] = append([]route[S]{n}, list...)
		} else {
			t.routes[prefix] = append(list, n)
		}
	}
	return t
}

// cutSegments divides a path behind its second segment: "/a/b/c/d" gives "/a/b" and "c/d".
func cutSegments(path string) (prefix, rest string) {
	at := 1
	for range 2 {
		i := strings.IndexByte(path[min(at, len(path)):], '/')
		if i < 0 {
			return path, ""
		}
		at += i + 1
	}
	return path[:at-1], path[at:]
}

// find returns the operation and the decoded labels, or nil.
func (t router[S]) find(method, escapedPath, query string) (op *wire.Operation[S], labels []string) {
	prefix, rest := cutSegments(escapedPath)
	rest = strings.TrimSuffix(rest, "/") // old clients end some paths so
	list := t.routes[prefix]
	for _, wide := range []bool{false, true} {
		for i := range list {
			n := &list[i]
			if n.op.Method != method || n.key != "" && !hasParameter(query, n.key, n.value) {
				continue
			}
			raw, ok := n.match(rest, wide)
			if !ok {
				continue
			}
			for i, s := range raw {
				if strings.IndexByte(s, '%') >= 0 {
					if u, err := url.PathUnescape(s); err == nil {
						raw[i] = u
					}
				}
			}
			return n.op, raw
		}
	}
	return nil, nil
}

// match returns the labels' values, still escaped. If wide, the first label, which
// must be an ARN, takes all segments that would be too many: slashes that were not escaped.
func (n *route[S]) match(rest string, wide bool) ([]string, bool) {
	if wide {
		extra := strings.Count(rest, "/") + 1 - len(n.segments)
		if extra <= 0 || n.labels == 0 {
			return nil, false
		}
		parts := strings.Split(rest, "/")
		for i, seg := range n.segments {
			if seg == "" {
				joined := strings.Join(parts[i:i+extra+1], "/")
				if !strings.HasPrefix(joined, "arn") {
					return nil, false
				}
				parts = append(parts[:i:i], append([]string{joined}, parts[i+extra+1:]...)...)
				break
			}
		}
		return n.matchParts(func(i int) (string, bool) { return parts[i], i < len(parts)-1 })
	}
	if rest == "" {
		return nil, len(n.segments) == 0
	}
	if len(n.segments) == 0 {
		return nil, false
	}
	return n.matchParts(func(int) (string, bool) {
		part, after, more := strings.Cut(rest, "/")
		rest = after
		return part, more
	})
}

// matchParts compares the path's parts, which next returns in order with whether more follow.
func (n *route[S]) matchParts(next func(i int) (string, bool)) ([]string, bool) {
	var labels []string
	for i, seg := range n.segments {
		part, more := next(i)
		if more != (i < len(n.segments)-1) {
			return nil, false
		}
		switch {
		case seg == "":
			if part == "" {
				return nil, false
			}
			if labels == nil {
				labels = make([]string, 0, n.labels)
			}
			labels = append(labels, part)
		case seg != part:
			return nil, false
		}
	}
	return labels, true
}

// hasParameter says whether a raw query has key=value.
func hasParameter(query, key, value string) bool {
	for p := range strings.SplitSeq(query, "&") {
		if k, v, _ := strings.Cut(p, "="); k == key && v == value {
			return true
		}
	}
	return false
}
