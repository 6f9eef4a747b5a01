package main

import (
	"fmt"
	"sort"
	"strconv"
	"strings"
)

// types writes a struct for each structure that is no exception.
func (g *generator) types() {
	var imports []string
	for _, s := range g.Shapes {
		if s.Type == "timestamp" {
			imports = []string{"time"}
		}
	}
	g.header(imports...)
	for _, name := range g.shapeNames() {
		s := g.Shapes[name]
		if s.Type != "structure" || s.Exception || s.EventStream {
			continue
		}
		g.p("// %s %s", exported(name), g.usedBy(name))
		g.p("type %s struct {", exported(name))
		for _, m := range s.Members {
			if g.Shapes[m.Shape].EventStream {
				continue
			}
			var notes []string
			if s.required(m.Name) {
				notes = append(notes, "required")
			}
			if m.Location != "" {
				notes = append(notes, m.Location+" "+m.wire())
			}
			if m.Name == s.Payload {
				notes = append(notes, "the body")
			}
			comment := ""
			if len(notes) > 0 {
				comment = " // " + strings.Join(notes, ", ")
			}
			g.p("%s %s%s", m.goName(), g.goType(m.Shape, true), comment)
		}
		g.p("}\n")
	}
}

// usedBy says what a structure is for, as far as the model shows it.
func (g *generator) usedBy(name string) string {
	var in, out []string
	for _, op := range g.operationNames() {
		if o := g.Operations[op]; o.Input != nil && o.Input.Shape == name {
			in = append(in, op)
		} else if o.Output != nil && o.Output.Shape == name {
			out = append(out, op)
		}
	}
	switch {
	case len(in) > 0:
		return "is the input of " + strings.Join(in, ", ") + "."
	case len(out) > 0:
		return "is the output of " + strings.Join(out, ", ") + "."
	}
	var within []string
	for n, s := range g.Shapes {
		for _, m := range s.Members {
			if m.Shape == name || g.Shapes[m.Shape].Member != nil && g.Shapes[m.Shape].Member.Shape == name {
				within = append(within, exported(n)+"."+m.goName())
			}
		}
	}
	sort.Strings(within)
	if len(within) == 0 {
		return "is a structure of the model."
	}
	more := ""
	if len(within) > 3 {
		within, more = within[:3], " and others"
	}
	return "is the type of " + strings.Join(within, ", ") + more + "."
}

// enums writes the enums' aliases and constants.
func (g *generator) enums() {
	g.header()
	taken := map[string]string{}
	for _, name := range g.shapeNames() {
		taken[exported(name)] = name
	}
	for _, name := range g.shapeNames() {
		s := g.Shapes[name]
		if s.Type != "string" || len(s.Enum) == 0 {
			continue
		}
		g.p("// %s is one of the constants %s….", exported(name), exported(name))
		g.p("type %s = string\n", exported(name))
		g.p("const (")
		for _, v := range s.Enum {
			n := enumName(name, v)
			if by, ok := taken[n]; ok {
				panic(fmt.Sprintf("the constant %s (%s %q) collides with %s", n, name, v, by))
			}
			taken[n] = name
			g.p("%s %s = %q", n, exported(name), v)
		}
		g.p(")\n")
	}
}

// method returns the parameters and results of op's method, without names' types of its own.
func (g *generator) method(op *Operation) string {
	in := "context.Context"
	if op.Input != nil {
		in += ", *" + exported(op.Input.Shape)
	}
	if stream := g.stream(op); stream != "" {
		return fmt.Sprintf("(%s, %s) error", in, op.Name+"Stream")
	}
	if op.Output != nil {
		return fmt.Sprintf("(%s) (*%s, error)", in, exported(op.Output.Shape))
	}
	return fmt.Sprintf("(%s) error", in)
}

// stream returns the shape of op's event stream, or "".
func (g *generator) stream(op *Operation) string {
	if op.Output == nil {
		return ""
	}
	for _, m := range g.Shapes[op.Output.Shape].Members {
		if g.Shapes[m.Shape].EventStream {
			return m.Shape
		}
	}
	return ""
}

// served lists the operations that are methods of Service.
func (g *generator) served() []*Operation {
	var ops []*Operation
	for _, name := range g.operationNames() {
		if !g.svc.door(name) {
			ops = append(ops, g.Operations[name])
		}
	}
	return ops
}

// service writes the interface of the operations, and Unimplemented.
func (g *generator) service() {
	g.header("context", importAWSAPI)
	g.p("// Service answers the operations of the API. Inputs have passed Validate; an")
	g.p("// error that is an *awsapi.Error goes to the client as it is. Methods may be called concurrently.")
	if len(g.svc.doors) > 0 {
		g.p("// %s are no methods: they have doors of their own.", strings.Join(g.svc.doors, ", "))
	}
	g.p("type Service interface {")
	for _, op := range g.served() {
		g.p("%s%s", op.Name, g.method(op))
	}
	g.p("}\n")
	g.p("// Unimplemented answers every operation with a 501 that names it. Embed it, and add methods.")
	g.p("type Unimplemented struct{}\n")
	g.p("var _ Service = Unimplemented{}\n")
	for _, op := range g.served() {
		g.p("func (Unimplemented) %s%s {", op.Name, g.method(op))
		if op.Output != nil && g.stream(op) == "" {
			g.p("return nil, awsapi.Unimplemented(%q)", op.Name)
		} else {
			g.p("return awsapi.Unimplemented(%q)", op.Name)
		}
		g.p("}\n")
	}
	for _, op := range g.served() {
		stream := g.stream(op)
		if stream == "" {
			continue
		}
		g.p("// %sStream takes the events of an answer to %s. Each method returns once the", op.Name, op.Name)
		g.p("// event is written, or an error when the client is gone.")
		g.p("type %sStream interface {", op.Name)
		for _, m := range g.Shapes[stream].Members {
			if !g.Shapes[m.Shape].Exception {
				g.p("%s(*%s) error", m.goName(), exported(m.Shape))
			}
		}
		g.p("}\n")
	}
}

// errors writes a constructor for each exception.
func (g *generator) errors() {
	g.header(importAWSAPI)
	for _, name := range g.shapeNames() {
		s := g.Shapes[name]
		if !s.Exception {
			continue
		}
		fault := "User"
		if s.Fault {
			fault = "Server"
		}
		status := s.Error.HTTPStatusCode
		if status == 0 {
			status = 400
			if s.Fault {
				status = 500
			}
		}
		g.p("// %s is an exception of the model, with status %d.", name, status)
		g.p("func %s(message string) *awsapi.Error {", name)
		g.p("return &awsapi.Error{Code: %q, Status: %d, Fault: %q, Message: message}", name, status, fault)
		g.p("}\n")
	}
	g.p("// MessageKey is how an exception spells its message's member.")
	g.p("func MessageKey(code string) string {")
	g.p("switch code {")
	var upper []string
	for _, name := range g.shapeNames() {
		if s := g.Shapes[name]; s.Exception {
			if _, ok := s.member("Message"); ok {
				upper = append(upper, strconv.Quote(name))
			}
		}
	}
	for _, e := range g.svc.errors {
		if e.upper {
			upper = append(upper, strconv.Quote(e.code))
		}
	}
	if len(upper) > 0 {
		g.p("case %s:\nreturn \"Message\"", strings.Join(upper, ",\n"))
	}
	g.p("}\nreturn \"message\"\n}\n")
	for _, e := range g.svc.errors {
		g.p("// %s is not in the model: %s.", e.code, e.why)
		g.p("func %s(message string) *awsapi.Error {", e.code)
		g.p("return &awsapi.Error{Code: %q, Status: %d, Fault: %q, Message: message}", e.code, e.status, e.fault)
		g.p("}\n")
	}
}
