package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"unicode"
)

// Model is an AWS service model in the form that botocore carries, stripped of its documentation.
type Model struct {
	Source     string                `json:"source"` // "botocore 1.44.8, lambda 2015-03-31"
	Metadata   Metadata              `json:"metadata"`
	Operations map[string]*Operation `json:"operations"`
	Shapes     map[string]*Shape     `json:"shapes"`
}

type Metadata struct {
	Protocol     string `json:"protocol"`
	JSONVersion  string `json:"jsonVersion"`
	TargetPrefix string `json:"targetPrefix"`
}

type Operation struct {
	Name   string `json:"name"`
	HTTP   HTTP   `json:"http"`
	Input  *Ref   `json:"input"`
	Output *Ref   `json:"output"`
	Errors []Ref  `json:"errors"`
}

type HTTP struct {
	Method       string `json:"method"`
	RequestURI   string `json:"requestUri"`
	ResponseCode int    `json:"responseCode"`
}

// Ref is a use of a shape: a member, or an operation's input or output.
type Ref struct {
	Shape           string `json:"shape"`
	Location        string `json:"location"`     // "uri", "querystring", "header", "headers", "statusCode", or "" for the body
	LocationName    string `json:"locationName"` // the name on the wire, where it is another
	TimestampFormat string `json:"timestampFormat"`
	EventPayload    bool   `json:"eventpayload"`
}

type Shape struct {
	Type            string   `json:"type"`
	Members         members  `json:"members"`
	Required        []string `json:"required"`
	Payload         string   `json:"payload"`
	Member          *Ref     `json:"member"` // of a list
	Key             *Ref     `json:"key"`    // of a map
	Value           *Ref     `json:"value"`
	Enum            []string `json:"enum"`
	Min             *float64 `json:"min"`
	Max             *float64 `json:"max"`
	Pattern         string   `json:"pattern"`
	TimestampFormat string   `json:"timestampFormat"`
	Exception       bool     `json:"exception"`
	Fault           bool     `json:"fault"`
	EventStream     bool     `json:"eventstream"`
	Error           struct {
		HTTPStatusCode int `json:"httpStatusCode"`
	} `json:"error"`
}

// members keeps the model's order, which JSON objects lose in a map.
type members []member

type member struct {
	Name string
	Ref
}

func (m *members) UnmarshalJSON(b []byte) error {
	d := json.NewDecoder(bytes.NewReader(b))
	if _, err := d.Token(); err != nil {
		return err
	}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return err
		}
		x := member{Name: key.(string)}
		if err := d.Decode(&x.Ref); err != nil {
			return err
		}
		*m = append(*m, x)
	}
	return nil
}

// wire is the member's name in a document, header, query or path.
func (m member) wire() string {
	if m.LocationName != "" {
		return m.LocationName
	}
	return m.Name
}

// goName is the member's field.
func (m member) goName() string { return exported(m.Name) }

func (s *Shape) member(name string) (member, bool) {
	for _, m := range s.Members {
		if m.Name == name {
			return m, true
		}
	}
	return member{}, false
}

func (s *Shape) required(name string) bool {
	for _, r := range s.Required {
		if r == name {
			return true
		}
	}
	return false
}

// body returns the members that travel in the body's document.
func (s *Shape) body() []member {
	var out []member
	for _, m := range s.Members {
		if m.Location == "" && m.Name != s.Payload {
			out = append(out, m)
		}
	}
	return out
}

// readModel reads a stripped model and what the service's overlay adds to it.
func readModel(dir string, svc service) (*Model, error) {
	b, err := os.ReadFile(filepath.Join(dir, svc.name+".json"))
	if err != nil {
		return nil, err
	}
	var m Model
	if err := json.Unmarshal(b, &m); err != nil {
		return nil, fmt.Errorf("%s.json: %w", svc.name, err)
	}
	if len(svc.operations) > 0 {
		if err := m.keep(svc.operations); err != nil {
			return nil, err
		}
	}
	return &m, nil
}

// keep drops all operations but the named ones, and the shapes that only the others used.
func (m *Model) keep(operations []string) error {
	ops := map[string]*Operation{}
	used := map[string]bool{}
	var use func(name string)
	use = func(name string) {
		if name == "" || used[name] {
			return
		}
		used[name] = true
		s := m.Shapes[name]
		for _, x := range s.Members {
			use(x.Shape)
		}
		for _, r := range []*Ref{s.Member, s.Key, s.Value} {
			if r != nil {
				use(r.Shape)
			}
		}
	}
	for _, name := range operations {
		op := m.Operations[name]
		if op == nil {
			return fmt.Errorf("the model has no operation %s", name)
		}
		ops[name] = op
		for _, r := range []*Ref{op.Input, op.Output} {
			if r != nil {
				use(r.Shape)
			}
		}
		for _, r := range op.Errors {
			use(r.Shape)
		}
	}
	m.Operations = ops
	for name := range m.Shapes {
		if !used[name] {
			delete(m.Shapes, name)
		}
	}
	return nil
}

func (m *Model) operationNames() []string { return sortedKeys(m.Operations) }

func (m *Model) shapeNames() []string { return sortedKeys(m.Shapes) }

func sortedKeys[V any](x map[string]V) []string {
	keys := make([]string, 0, len(x))
	for k := range x {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}

// goType is the type of a field, list element or map value of shape name; a
// field's scalars and structures are pointers, elements are values.
func (m *Model) goType(name string, field bool) string {
	s := m.Shapes[name]
	pointer := ""
	if field {
		pointer = "*"
	}
	switch s.Type {
	case "string":
		if len(s.Enum) > 0 {
			return pointer + exported(name)
		}
		return pointer + "string"
	case "integer":
		return pointer + "int32"
	case "long":
		return pointer + "int64"
	case "boolean":
		return pointer + "bool"
	case "double", "float":
		return pointer + "float64"
	case "timestamp":
		return pointer + "time.Time"
	case "blob":
		return "[]byte"
	case "structure":
		return pointer + exported(name)
	case "list":
		return "[]" + m.goType(s.Member.Shape, false)
	case "map":
		return "map[string]" + m.goType(s.Value.Shape, false)
	}
	panic("shape " + name + " has the unknown type " + s.Type)
}

// exported makes a Go name of a model's name.
func exported(s string) string {
	r := []rune(s)
	r[0] = unicode.ToUpper(r[0])
	return string(r)
}

// enumName makes a constant's name of an enum's value: "python3.13" gives
// RuntimePython313, "RESPONSE_STREAM" gives InvokeModeResponseStream.
func enumName(shape, value string) string {
	var b strings.Builder
	b.WriteString(exported(shape))
	for _, part := range strings.FieldsFunc(value, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) }) {
		if strings.ToUpper(part) == part {
			part = strings.ToLower(part)
		}
		b.WriteString(exported(part))
	}
	return b.String()
}
