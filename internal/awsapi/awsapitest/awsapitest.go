// Package awsapitest fills and compares the structures of AWS's APIs, Hearth's
// and those of AWS's SDK, so that codecs can be tested against the SDK's.
package awsapitest

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"time"

	"github.com/hearth-run/hearth/internal/awsapi/wire"
)

// Fill sets all exported fields under p, a pointer to a structure, to values
// that differ from field to field and are no zero values.
func Fill(p any) {
	n := 0
	fill(reflect.ValueOf(p).Elem(), &n, 0)
}

// maxDepth ends structures that hold themselves.
const maxDepth = 12

func fill(v reflect.Value, n *int, depth int) {
	if depth > maxDepth {
		return
	}
	*n++
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), n, depth+1)
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			v.Set(reflect.ValueOf(time.UnixMilli(1740193387000 + int64(*n)*1000).UTC()))
			return
		}
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.IsExported() && f.Name != "ResultMetadata" {
				fill(v.Field(i), n, depth+1)
			}
		}
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			v.SetBytes(fmt.Appendf(nil, "bytes \xff %d", *n))
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		fill(v.Index(0), n, depth+1)
		fill(v.Index(1), n, depth+1)
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		for range 2 {
			key := reflect.New(v.Type().Key()).Elem()
			value := reflect.New(v.Type().Elem()).Elem()
			fill(key, n, depth+1)
			fill(value, n, depth+1)
			v.SetMapIndex(key, value)
		}
	case reflect.String:
		v.SetString(fmt.Sprintf("text/%d:é \"", *n))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int32, reflect.Int64:
		v.SetInt(int64(*n))
	case reflect.Float64, reflect.Float32:
		v.SetFloat(float64(*n) + 0.5)
	case reflect.Interface: // of the SDK's types only bodies are interfaces
		v.Set(reflect.ValueOf(strings.NewReader("a body")))
	default:
		panic("awsapitest: a " + v.Kind().String())
	}
}

// Plain makes of a structure what Hearth's and the SDK's have in common: maps
// by field name without what is nil. Pointers and named types are gone.
func Plain(x any) any { return plain(reflect.ValueOf(x)) }

func plain(v reflect.Value) any {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			return nil
		}
		if body, ok := v.Interface().(io.ReadSeeker); ok {
			if _, err := body.Seek(0, io.SeekStart); err != nil {
				panic(err)
			}
			b, err := io.ReadAll(body)
			if err != nil {
				panic(err)
			}
			return string(b)
		}
		return plain(v.Elem())
	case reflect.Struct:
		if t, ok := v.Interface().(time.Time); ok {
			return t.UnixMilli()
		}
		m := map[string]any{}
		for i := range v.NumField() {
			f := v.Type().Field(i)
			if !f.IsExported() || f.Name == "ResultMetadata" {
				continue
			}
			if x := plain(v.Field(i)); x != nil {
				m[f.Name] = x
			}
		}
		return m
	case reflect.Slice:
		if v.IsNil() {
			return nil
		}
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return string(v.Bytes())
		}
		l := []any{}
		for i := range v.Len() {
			l = append(l, plain(v.Index(i)))
		}
		return l
	case reflect.Map:
		if v.IsNil() {
			return nil
		}
		m := map[string]any{}
		for it := v.MapRange(); it.Next(); {
			m[it.Key().String()] = plain(it.Value())
		}
		return m
	case reflect.String:
		return v.String()
	case reflect.Bool:
		return v.Bool()
	case reflect.Int32, reflect.Int64:
		return v.Int()
	case reflect.Float32, reflect.Float64:
		return v.Float()
	}
	panic("awsapitest: a " + v.Kind().String())
}

// Known returns what of x, which is Plain, the type t has members for: the SDK
// at hand may be older than the model.
func Known(x any, t reflect.Type) any {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch x := x.(type) {
	case map[string]any:
		m := map[string]any{}
		for k, v := range x {
			switch t.Kind() {
			case reflect.Map:
				m[k] = Known(v, t.Elem())
			case reflect.Struct:
				if f, ok := t.FieldByName(k); ok {
					m[k] = Known(v, f.Type)
				}
			}
		}
		return m
	case []any:
		l := []any{}
		for _, v := range x {
			l = append(l, Known(v, t.Elem()))
		}
		return l
	}
	return x
}

// Request makes of an HTTP request what decoders read. path is the operation's, with {labels}.
func Request(r *http.Request, path string, body []byte) (*wire.Request, error) {
	in := &wire.Request{Header: r.Header, Query: r.URL.RawQuery, Body: body}
	want := strings.Split(path, "/")
	got := strings.Split(strings.TrimSuffix(r.URL.EscapedPath(), "/"), "/")
	if path == "/" {
		return in, nil
	}
	if len(got) != len(want) {
		return nil, fmt.Errorf("%s is not %s", r.URL.EscapedPath(), path)
	}
	for i, seg := range want {
		if !strings.HasPrefix(seg, "{") {
			if seg != got[i] {
				return nil, fmt.Errorf("%s is not %s", r.URL.EscapedPath(), path)
			}
			continue
		}
		label, err := url.PathUnescape(got[i])
		if err != nil {
			return nil, err
		}
		in.Labels = append(in.Labels, label)
	}
	return in, nil
}

// Transport is an http.RoundTripper made of a function.
type Transport func(*http.Request) (*http.Response, error)

// RoundTrip calls t.
func (t Transport) RoundTrip(r *http.Request) (*http.Response, error) { return t(r) }
