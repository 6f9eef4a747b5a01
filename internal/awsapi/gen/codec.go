package main

import (
	"fmt"
	"net/http"
	"strings"
)

// reach returns the structures, lists and maps that travel in documents from the given shapes.
func (g *generator) reach(roots []string) map[string]bool {
	seen := map[string]bool{}
	var visit func(name string)
	visit = func(name string) {
		if seen[name] {
			return
		}
		s := g.Shapes[name]
		switch s.Type {
		case "structure":
			seen[name] = true
			for _, m := range s.Members {
				if m.Location == "" {
					visit(m.Shape)
				}
			}
		case "list":
			seen[name] = true
			visit(s.Member.Shape)
		case "map":
			seen[name] = true
			visit(s.Value.Shape)
		}
	}
	for _, r := range roots {
		visit(r)
	}
	return seen
}

// inputs are the structures that operations take.
func (g *generator) inputs() map[string]bool {
	in := map[string]bool{}
	for _, op := range g.Operations {
		if op.Input != nil {
			in[op.Input.Shape] = true
		}
	}
	return in
}

// decode writes the readers of inputs.
func (g *generator) decode() {
	g.header(importWire)
	inputs := g.inputs()
	reached := g.reach(sortedKeys(inputs))
	for _, name := range sortedKeys(inputs) {
		g.decodeInput(name)
	}
	for _, name := range sortedKeys(reached) {
		s := g.Shapes[name]
		switch {
		case s.Type == "structure" && !inputs[name]:
			g.p("func read%s(r *wire.Reader) *%s {", exported(name), exported(name))
			g.p("if !r.Object() { return nil }")
			g.p("v := &%s{}", exported(name))
			g.readMembers(s.body(), "v")
			g.p("return v\n}\n")
		case s.Type == "list":
			g.p("func read%s(r *wire.Reader) %s {", exported(name), g.goType(name, false))
			g.p("if !r.Array() { return nil }")
			g.p("v := %s{}", g.goType(name, false))
			g.p("for r.Elem() {")
			g.readValue(s.Member.Shape, func(x string) string { return fmt.Sprintf("v = append(v, %s)", x) })
			g.p("}\nreturn v\n}\n")
		case s.Type == "map":
			g.p("func read%s(r *wire.Reader) %s {", exported(name), g.goType(name, false))
			g.p("if !r.Object() { return nil }")
			g.p("v := %s{}", g.goType(name, false))
			g.p("for k, ok := r.Key(); ok; k, ok = r.Key() {")
			g.p("key := string(k)")
			g.readValue(s.Value.Shape, func(x string) string { return "v[key] = " + x })
			g.p("}\nreturn v\n}\n")
		}
	}
}

// readMembers writes the loop over an object's keys.
func (g *generator) readMembers(members []member, v string) {
	if len(members) == 0 {
		g.p("for _, ok := r.Key(); ok; _, ok = r.Key() { r.Skip() }")
		return
	}
	g.p("for k, ok := r.Key(); ok; k, ok = r.Key() {")
	g.p("switch string(k) {")
	for _, m := range members {
		if g.Shapes[m.Shape].EventStream {
			continue
		}
		g.p("case %q:", m.wire())
		g.readField(m, v)
	}
	g.p("default: r.Skip()")
	g.p("}\n}")
}

var readers = map[string]string{"string": "String", "integer": "Int32", "long": "Int64", "boolean": "Bool", "double": "Float64", "float": "Float64", "timestamp": "Time", "blob": "Blob"}

// readField reads a member of v.
func (g *generator) readField(m member, v string) {
	switch s := g.Shapes[m.Shape]; s.Type {
	case "structure", "list", "map":
		g.p("%s.%s = read%s(r)", v, m.goName(), exported(m.Shape))
	case "blob":
		g.p("%s.%s, _ = r.Blob()", v, m.goName())
	default:
		g.p("if x, ok := r.%s(); ok { %s.%s = &x }", readers[s.Type], v, m.goName())
	}
}

// readValue reads an element or a map's value, and uses it if it is no null.
func (g *generator) readValue(shape string, use func(x string) string) {
	switch s := g.Shapes[shape]; s.Type {
	case "structure":
		g.p("if x := read%s(r); x != nil { %s }", exported(shape), use("*x"))
	case "list", "map":
		g.p("if x := read%s(r); x != nil { %s }", exported(shape), use("x"))
	default:
		g.p("if x, ok := r.%s(); ok { %s }", readers[s.Type], use("x"))
	}
}

// decodeInput writes the function that reads a whole input from a request.
func (g *generator) decodeInput(name string) {
	s := g.Shapes[name]
	g.p("// Decode%s reads an input; its constraints are not checked yet.", exported(name))
	g.p("func Decode%s(in *wire.Request) (*%s, error) {", exported(name), exported(name))
	g.p("v := &%s{}", exported(name))
	labels := g.labels(name)
	for _, m := range s.Members {
		ms := g.Shapes[m.Shape]
		from := ""
		switch m.Location {
		case "":
			continue
		case "uri":
			from = fmt.Sprintf("&in.Labels[%d]", labels[m.wire()])
		case "querystring":
			if ms.Type == "list" {
				g.p("v.%s = in.QueryList(%q)", m.goName(), m.wire())
				continue
			}
			from = fmt.Sprintf("in.QueryString(%q)", m.wire())
		case "header":
			from = fmt.Sprintf("in.HeaderString(%q)", http.CanonicalHeaderKey(m.wire()))
		default:
			panic("input member in " + m.Location)
		}
		if ms.Type == "string" {
			g.p("v.%s = %s", m.goName(), from)
		} else {
			g.p("v.%s = in.%s(%s)", m.goName(), readers[ms.Type], from)
		}
	}
	switch body := s.body(); {
	case s.Payload != "":
		m, _ := s.member(s.Payload)
		if g.Shapes[m.Shape].Type == "blob" {
			g.p("v.%s = in.Body", m.goName())
			break
		}
		g.p("if len(in.Body) > 0 {")
		g.p("r := wire.NewReader(in.Body)")
		g.p("v.%s = read%s(r)", m.goName(), exported(m.Shape))
		g.p("if err := r.Err(); err != nil { return nil, err }")
		g.p("}")
	case len(body) > 0:
		g.p("if len(in.Body) > 0 {")
		g.p("r := wire.NewReader(in.Body)")
		g.p("if r.Object() {")
		g.readMembers(body, "v")
		g.p("}")
		g.p("if err := r.Err(); err != nil { return nil, err }")
		g.p("}")
	}
	g.p("return v, in.Err()\n}\n")
}

// labels returns where in the path each label of the operation with this input stands.
func (g *generator) labels(input string) map[string]int {
	var first map[string]int
	for _, op := range g.Operations {
		if op.Input == nil || op.Input.Shape != input {
			continue
		}
		labels := map[string]int{}
		path, _, _ := strings.Cut(op.HTTP.RequestURI, "?")
		for seg := range strings.SplitSeq(path, "/") {
			if name, ok := strings.CutPrefix(seg, "{"); ok {
				if strings.HasSuffix(name, "+}") {
					panic(op.Name + ": greedy labels are not supported")
				}
				labels[strings.TrimSuffix(name, "}")] = len(labels)
			}
		}
		if first != nil && fmt.Sprint(first) != fmt.Sprint(labels) {
			panic("two operations share the input " + input + " and differ in labels")
		}
		first = labels
	}
	return first
}

// encode writes the writers of outputs.
func (g *generator) encode() {
	outputs := map[string]bool{}
	events := map[string]bool{}
	for _, op := range g.served() {
		if stream := g.stream(op); stream != "" {
			for _, m := range g.Shapes[stream].Members {
				if !g.Shapes[m.Shape].Exception {
					events[m.Shape] = true
				}
			}
		} else if op.Output != nil {
			outputs[op.Output.Shape] = true
		}
	}
	g.header(importWire)
	for _, name := range sortedKeys(outputs) {
		g.encodeOutput(name)
	}
	reached := g.reach(append(sortedKeys(outputs), sortedKeys(events)...))
	for _, name := range sortedKeys(reached) {
		s := g.Shapes[name]
		switch {
		case s.Type == "structure" && (!outputs[name] || g.nested(name, reached)):
			g.p("func write%s(w *wire.Writer, v *%s) {", exported(name), exported(name))
			g.p("w.Object()")
			g.writeMembers(s.body())
			g.p("w.EndObject()\n}\n")
		case s.Type == "list":
			g.p("func write%s(w *wire.Writer, v %s) {", exported(name), g.goType(name, false))
			g.p("w.Array()")
			g.p("for i := range v {")
			g.writeValue(s.Member.Shape, "v[i]", "&v[i]")
			g.p("}\nw.EndArray()\n}\n")
		case s.Type == "map":
			g.p("func write%s(w *wire.Writer, v %s) {", exported(name), g.goType(name, false))
			g.p("w.Object()")
			g.p("for _, k := range wire.SortedKeys(v) {")
			g.p("w.Key(k)")
			if g.Shapes[s.Value.Shape].Type == "structure" {
				g.p("x := v[k]")
			}
			g.writeValue(s.Value.Shape, "v[k]", "&x")
			g.p("}\nw.EndObject()\n}\n")
		}
	}
}

// nested says whether a structure is used within another that is written.
func (g *generator) nested(name string, reached map[string]bool) bool {
	for other := range reached {
		s := g.Shapes[other]
		if s.Member != nil && s.Member.Shape == name || s.Value != nil && s.Value.Shape == name {
			return true
		}
		for _, m := range s.Members {
			if m.Shape == name && m.Location == "" {
				return true
			}
		}
	}
	return false
}

func (g *generator) writeMembers(members []member) {
	for _, m := range members {
		g.p("if v.%s != nil {", m.goName())
		g.p("w.Key(%q)", m.wire())
		f := "v." + m.goName()
		switch g.Shapes[m.Shape].Type {
		case "structure", "list", "map", "blob":
			g.writeValue(m.Shape, f, f)
		default:
			g.writeValue(m.Shape, "*"+f, f)
		}
		g.p("}")
	}
}

// writeValue writes a value, of which pointer is the address where it is a structure.
func (g *generator) writeValue(shape, value, pointer string) {
	switch s := g.Shapes[shape]; s.Type {
	case "structure":
		g.p("write%s(w, %s)", exported(shape), pointer)
	case "list", "map":
		g.p("write%s(w, %s)", exported(shape), value)
	case "string":
		g.p("w.String(%s)", value)
	case "integer":
		g.p("w.Int(int64(%s))", value)
	case "long":
		g.p("w.Int(%s)", value)
	case "boolean":
		g.p("w.Bool(%s)", value)
	case "double", "float":
		g.p("w.Float(%s)", value)
	case "timestamp":
		g.p("w.Time(%s)", value)
	case "blob":
		g.p("w.Blob(%s)", value)
	}
}

// encodeOutput writes the function that puts a whole output into a response.
func (g *generator) encodeOutput(name string) {
	s := g.Shapes[name]
	g.p("func encode%s(out *wire.Response, v *%s) {", exported(name), exported(name))
	for _, m := range s.Members {
		switch m.Location {
		case "":
		case "statusCode":
			g.p("if v.%s != nil { out.Status = int(*v.%s) }", m.goName(), m.goName())
		case "header":
			g.p("if v.%s != nil { out.Header.Set(%q, *v.%s) }", m.goName(), m.wire(), m.goName())
		default:
			panic("output member in " + m.Location)
		}
	}
	if s.Payload != "" {
		panic(name + ": outputs with a payload have doors of their own")
	}
	body := s.body()
	if len(body) == 0 && len(s.Members) > 0 {
		g.p("}\n")
		return
	}
	g.p("w := &out.Writer")
	g.p("w.Object()")
	g.writeMembers(body)
	g.p("w.EndObject()\n}\n")
}

// routes writes the table of operations.
func (g *generator) routes() {
	g.header("context", importWire)
	if g.Metadata.TargetPrefix != "" {
		g.p("// TargetPrefix and a dot come before an operation's name in X-Amz-Target.")
		g.p("const TargetPrefix = %q\n", g.Metadata.TargetPrefix)
	}
	g.p("// Operations are the API's operations, by name. Those with a door of their own have neither Serve nor Stream.")
	g.p("var Operations = []wire.Operation[Service]{")
	for _, name := range g.operationNames() {
		op := g.Operations[name]
		path, query, _ := strings.Cut(op.HTTP.RequestURI, "?")
		status := op.HTTP.ResponseCode
		if s, ok := g.svc.statuses[name]; ok {
			status = s
		}
		if status == 0 {
			status = 200
		}
		field := ""
		switch {
		case g.svc.door(name):
		case g.stream(op) != "":
			field = ", Stream: stream" + name
		default:
			field = ", Serve: serve" + name
		}
		if query != "" {
			field = fmt.Sprintf(", Query: %q", query) + field
		}
		g.p("{Name: %q, Method: %q, Path: %q, Status: %d%s},", name, op.HTTP.Method, path, status, field)
	}
	g.p("}\n")
	for _, op := range g.served() {
		stream := g.stream(op) != ""
		in := exported(op.Input.Shape)
		if stream {
			g.p("func stream%s(ctx context.Context, s Service, in *wire.Request, out *wire.EventWriter) error {", op.Name)
		} else {
			g.p("func serve%s(ctx context.Context, s Service, in *wire.Request, out *wire.Response) error {", op.Name)
		}
		g.p("v, err := Decode%s(in)", in)
		g.p("if err != nil { return err }")
		g.p("if err := v.Validate(); err != nil { return err }")
		switch {
		case stream:
			g.p("return s.%s(ctx, v, %sWriter{out})", op.Name, unexported(op.Name))
		case op.Output == nil:
			g.p("return s.%s(ctx, v)", op.Name)
		default:
			g.p("res, err := s.%s(ctx, v)", op.Name)
			g.p("if err != nil { return err }")
			g.p("if res != nil { encode%s(out, res) }", exported(op.Output.Shape))
			g.p("return nil")
		}
		g.p("}\n")
		if stream {
			g.streamWriter(op)
		}
	}
}

// streamWriter writes the implementation of an operation's Stream interface.
func (g *generator) streamWriter(op *Operation) {
	name := unexported(op.Name) + "Writer"
	g.p("// %s writes the events of an answer to %s.", name, op.Name)
	g.p("type %s struct{ w *wire.EventWriter }\n", name)
	for _, m := range g.Shapes[g.stream(op)].Members {
		if g.Shapes[m.Shape].Exception {
			continue
		}
		g.p("func (s %s) %s(v *%s) error {", name, m.goName(), exported(m.Shape))
		g.p("var w wire.Writer")
		g.p("write%s(&w, v)", exported(m.Shape))
		g.p("return s.w.Send(%q, w.B)", m.Name)
		g.p("}\n")
	}
}

func unexported(s string) string { return strings.ToLower(s[:1]) + s[1:] }

// testTables writes the codecs by operation, for tests that go through all.
func (g *generator) testTables() {
	g.header(importWire)
	g.p("// decoders read the input of an operation.")
	g.p("var decoders = map[string]func(*wire.Request) (any, error){")
	for _, name := range g.operationNames() {
		g.p("%q: func(in *wire.Request) (any, error) { return Decode%s(in) },", name, exported(g.Operations[name].Input.Shape))
	}
	g.p("}\n")
	g.p("// An encoder makes an empty output of an operation, and encodes it.")
	g.p("type encoder struct {\nempty func() any\nencode func(*wire.Response, any)\n}\n")
	g.p("var encoders = map[string]encoder{")
	for _, op := range g.served() {
		if op.Output == nil || g.stream(op) != "" {
			continue
		}
		out := exported(op.Output.Shape)
		g.p("%q: {func() any { return new(%s) }, func(res *wire.Response, v any) { encode%s(res, v.(*%s)) }},", op.Name, out, out, out)
	}
	g.p("}")
}
