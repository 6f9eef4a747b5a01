package lambda

import (
	"encoding/base64"
	"encoding/json"

	"github.com/hearth-run/hearth/internal/awsapi"
)

// page returns how many items a list is to have at most, and sets *after to
// the key that a marker says the page before ended with.
func page[K any](maxItems *int32, most int, marker *string, after **K) (int, error) {
	n := most
	if maxItems != nil && *maxItems > 0 {
		n = min(n, int(*maxItems))
	}
	if marker == nil || *marker == "" {
		return n, nil
	}
	b, err := base64.RawURLEncoding.DecodeString(*marker)
	if err == nil {
		k := new(K)
		if err = json.Unmarshal(b, k); err == nil {
			*after = k
			return n, nil
		}
	}
	return 0, invalid("Invalid marker.")
}

// nextMarker returns the marker for what follows last, or nil if the list asked
// for one item more than it shows and did not get it.
func nextMarker[K any](more bool, last K) *string {
	if !more {
		return nil
	}
	b, err := json.Marshal(last)
	if err != nil {
		panic("lambda: a key always marshals: " + err.Error())
	}
	return awsapi.Ptr(base64.RawURLEncoding.EncodeToString(b))
}

// cut returns the first n of items, and whether there were more.
func cut[T any](items []T, n int) ([]T, bool) {
	if len(items) > n {
		return items[:n], true
	}
	return items, false
}

// ptr returns a pointer to v, or nil if v is its type's zero value: members
// that AWS leaves out when they say nothing.
func ptr[T comparable](v T) *T {
	var zero T
	if v == zero {
		return nil
	}
	return &v
}

// list returns s, never nil: members that AWS shows empty.
func list[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}
