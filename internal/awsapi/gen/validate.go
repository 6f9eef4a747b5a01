package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// validate writes Validate for each input, and what it needs.
func (g *generator) validate() {
	inputs := g.inputs()
	v := &validator{generator: g, uses: map[string]string{}, texts: map[string]bool{}}
	v.checked = map[string]bool{}
	for name := range g.Shapes {
		v.checked[name] = v.constrained(name, map[string]bool{})
	}

	imports := []string{importWire}
	body := g.capture(func() {
		for _, name := range sortedKeys(inputs) {
			g.p("// Validate checks the input against its shape's constraints. The error names all that are broken, in AWS's words.")
			g.p("func (in *%s) Validate() error {", exported(name))
			extra := g.svc.extraChecks[name]
			if !v.checked[name] {
				g.p("return nil\n}\n")
				continue
			}
			g.p("var v wire.Violations")
			v.members(name, "in", `""`)
			for _, e := range extra {
				g.p("if err := v.Err(%q); err != nil { return err }", g.svc.violation)
				g.p("if err := %s(in); err != nil { return err }", e)
				g.p("return nil\n}\n")
			}
			if len(extra) == 0 {
				g.p("return v.Err(%q)\n}\n", g.svc.violation)
			}
		}
		for _, name := range g.shapeNames() {
			if s := g.Shapes[name]; s.Type == "structure" && v.checked[name] && !inputs[name] && v.reached(inputs)[name] {
				g.p("func check%s(v *wire.Violations, in *%s, at string) {", exported(name), exported(name))
				v.members(name, "in", "at")
				g.p("}\n")
			}
		}
		for len(v.texts) > 0 {
			for _, name := range sortedKeys(v.texts) {
				v.text(name)
			}
		}
		g.p("// The constraints of the shapes, in the words of AWS's errors.")
		g.p("var (")
		for _, k := range sortedKeys(v.uses) {
			g.p("%s = %s", k, v.uses[k])
		}
		g.p(")")
	})
	if strings.Contains(body, "strconv.") {
		imports = append(imports, "strconv")
	}
	if strings.Contains(body, "strings.") {
		imports = append(imports, "strings")
	}
	g.header(imports...)
	g.out.WriteString(body)
}

// capture returns what write prints.
func (g *generator) capture(write func()) string {
	before := g.out.String()
	g.out.Reset()
	write()
	text := g.out.String()
	g.out.Reset()
	g.out.WriteString(before)
	return text
}

type validator struct {
	*generator
	checked map[string]bool   // shapes that have constraints, in themselves or within
	uses    map[string]string // variables and their values
	texts   map[string]bool   // structures whose text is needed and not yet written
	written map[string]bool
}

func (v *validator) reached(inputs map[string]bool) map[string]bool {
	return v.reach(sortedKeys(inputs))
}

// constrained says whether a value of the shape can break a constraint.
func (v *validator) constrained(name string, above map[string]bool) bool {
	if above[name] {
		return false
	}
	above[name] = true
	defer delete(above, name)
	s := v.Shapes[name]
	if v.isBounded(name) || s.Pattern != "" || len(s.Enum) > 0 || len(s.Required) > 0 {
		return true
	}
	switch s.Type {
	case "structure":
		for _, m := range s.Members {
			if v.constrained(m.Shape, above) {
				return true
			}
		}
	case "list":
		return v.constrained(s.Member.Shape, above)
	case "map":
		return v.constrained(s.Key.Shape, above) || v.constrained(s.Value.Shape, above)
	}
	return false
}

// minimum and maximum are the shape's bounds, where they bound anything.
func (v *validator) minimum(s *Shape) *float64 {
	if s.Min == nil || *s.Min <= 0 && (s.Type == "string" || s.Type == "list" || s.Type == "map" || s.Type == "blob") {
		return nil
	}
	return s.Min
}

func (v *validator) isBounded(name string) bool {
	s := v.Shapes[name]
	return v.minimum(s) != nil || s.Max != nil
}

// number renders a bound: Java's doubles have a fraction.
func number(s *Shape, n float64) string {
	text := strconv.FormatFloat(n, 'f', -1, 64)
	if (s.Type == "double" || s.Type == "float") && !strings.Contains(text, ".") {
		text += ".0"
	}
	return text
}

func (v *validator) minWords(s *Shape) string {
	if s.Min == nil {
		return ""
	}
	return "Member must have " + what(s) + " greater than or equal to " + number(s, *s.Min)
}

func (v *validator) maxWords(s *Shape) string {
	if s.Max == nil {
		return ""
	}
	return "Member must have " + what(s) + " less than or equal to " + number(s, *s.Max)
}

func what(s *Shape) string {
	if s.Type == "integer" || s.Type == "long" || s.Type == "double" || s.Type == "float" {
		return "value"
	}
	return "length"
}

// boundsLiteral is a wire.Bounds.
func (v *validator) boundsLiteral(s *Shape) string {
	var parts []string
	if m := v.minimum(s); m != nil {
		parts = append(parts, fmt.Sprintf("Min: %s, MinWords: %q", strconv.FormatFloat(*m, 'f', -1, 64), v.minWords(s)))
	}
	if s.Max != nil {
		parts = append(parts, fmt.Sprintf("Max: %s, MaxWords: %q", strconv.FormatFloat(*s.Max, 'f', -1, 64), v.maxWords(s)))
	}
	return "wire.Bounds{" + strings.Join(parts, ", ") + "}"
}

// bounds returns the variable that holds the shape's bounds.
func (v *validator) bounds(name string) string {
	n := "boundsOf" + exported(name)
	v.uses[n] = "&" + v.boundsLiteral(v.Shapes[name])
	return n
}

// stringsVar returns the variable that holds a string shape's constraints. null
// says whether AWS's list of them ends with that of nulls.
func (v *validator) stringsVar(name string, null bool) string {
	s := v.Shapes[name]
	n := "constraintsOf" + exported(name)
	if !null {
		n += "OrNull"
	}
	if _, ok := v.uses[n]; ok {
		return n
	}
	all := []string{}
	if w := v.maxWords(s); w != "" {
		all = append(all, w)
	}
	if w := v.minWords(s); w != "" {
		all = append(all, w)
	}
	parts := []string{"Bounds: " + v.boundsLiteral(s)}
	if s.Pattern != "" {
		shown := s.Pattern
		exprs := []string{s.Pattern}
		if o, ok := v.svc.patterns[name]; ok {
			shown = o
			exprs = append(exprs, o)
		}
		all = append(all, "Member must satisfy regular expression pattern: "+shown)
		quoted := strconv.Quote(shown)
		switch {
		case strings.Contains(s.Pattern, "(?!") || strings.Contains(s.Pattern, "(?<"):
			parts = append(parts, fmt.Sprintf("Pattern: wire.NewPredicate(%s, match%s)", quoted, exported(name)))
		default:
			kind := "NewPattern"
			if v.svc.namePatterns[name] {
				kind = "NewNamePattern"
			}
			for i, e := range exprs {
				exprs[i] = strconv.Quote(e)
			}
			parts = append(parts, fmt.Sprintf("Pattern: wire.%s(%s, %s)", kind, quoted, strings.Join(exprs, ", ")))
		}
	}
	if len(s.Enum) > 0 {
		words := v.enumWords(name)
		all = append(all, words)
		quoted := make([]string, len(s.Enum))
		for i, e := range s.Enum {
			quoted[i] = strconv.Quote(e)
		}
		parts = append(parts, fmt.Sprintf("Enum: []string{%s}, Words: %q", strings.Join(quoted, ", "), words))
	}
	if null {
		all = append(all, "Member must not be null")
	}
	parts = append(parts, fmt.Sprintf("All: %q", "["+strings.Join(all, ", ")+"]"))
	v.uses[n] = "&wire.Strings{" + strings.Join(parts, ", ") + "}"
	return n
}

// enumWords lists an enum's values in the service's order, as far as it was seen.
func (v *validator) enumWords(name string) string {
	list, ok := v.svc.enumOrder[name]
	if !ok {
		list = v.Shapes[name].Enum
	}
	return "Member must satisfy enum value set: [" + strings.Join(list, ", ") + "]"
}

// members checks the members of a structure in the variable in, whose path is the Go expression at.
func (v *validator) members(name, in, at string) {
	s := v.Shapes[name]
	first := v.svc.checkFirst[name]
	ordered := slices.Clone(s.Members)
	slices.SortStableFunc(ordered, func(a, b member) int {
		at := func(m member) int {
			if i := slices.Index(first, m.Name); i >= 0 {
				return i
			}
			return len(first)
		}
		return at(a) - at(b)
	})
	for _, m := range ordered {
		if v.Shapes[m.Shape].EventStream {
			continue
		}
		f := in + "." + m.goName()
		path := strconv.Quote(unexported(m.Name))
		if at != `""` {
			path = at + "+" + path
		}
		required := s.required(m.Name)
		if v.svc.unchecked[name+"."+m.Name] || !required && !v.checked[m.Shape] {
			continue
		}
		if required {
			g := v.generator
			g.p("if %s == nil { v.Null(%s) }", f, path)
			if v.checked[m.Shape] {
				g.out.Truncate(g.out.Len() - 1)
				g.p(" else {")
			}
		} else {
			v.p("if %s != nil {", f)
		}
		if v.checked[m.Shape] {
			v.value(m.Shape, f, path, at == `""`)
			v.p("}")
		}
	}
}

// ref is how check functions take the violations: a pointer already, or the address of a variable.
func ref(top bool) string {
	if top {
		return "&v"
	}
	return "v"
}

// value checks a member that is not nil.
func (v *validator) value(shape, f, path string, top bool) {
	s := v.Shapes[shape]
	switch s.Type {
	case "structure":
		v.p("check%s(%s, %s, %s+\".\")", exported(shape), ref(top), f, path)
	case "string":
		v.p("%s.Check(%s, *%s, %s)", v.stringsVar(shape, true), ref(top), f, path)
	case "integer", "long":
		v.p("%s.Check(%s, float64(*%s), %s, func() string { return strconv.FormatInt(int64(*%s), 10) })", v.bounds(shape), ref(top), f, path, f)
	case "double", "float":
		v.p("%s.Check(%s, *%s, %s, func() string { return wire.Double(*%s) })", v.bounds(shape), ref(top), f, path, f)
	case "blob":
		v.p("%s.Check(%s, float64(len(%s)), %s, func() string { return \"java.nio.HeapByteBuffer[pos=0 lim=\"+strconv.Itoa(len(%s))+\" cap=\"+strconv.Itoa(len(%s))+\"]\" })", v.bounds(shape), ref(top), f, path, f, f)
	case "list":
		if v.isBounded(shape) {
			v.p("%s.Check(%s, float64(len(%s)), %s, func() string { return %s })", v.bounds(shape), ref(top), f, path, v.textOf(shape, f))
		}
		e := v.Shapes[s.Member.Shape]
		switch {
		case !v.checked[s.Member.Shape]:
		case e.Type == "structure":
			v.p("for i := range %s {", f)
			v.p("check%s(%s, &%s[i], %s+\".\"+strconv.Itoa(i+1)+\".member.\")", exported(s.Member.Shape), ref(top), f, path)
			v.p("}")
		case e.Type == "string":
			c := v.stringsVar(s.Member.Shape, !v.svc.nullable[shape])
			if words, ok := v.svc.listWords[shape]; ok {
				n := "constraintsOf" + exported(shape)
				v.uses[n] = strings.TrimSuffix(v.uses[c], "}") + fmt.Sprintf(", Each: %q}", words)
				c = n
			}
			v.p("%s.CheckList(%s, %s, %s)", c, ref(top), f, path)
		}
	case "map":
		if v.isBounded(shape) {
			v.p("%s.Check(%s, float64(len(%s)), %s, func() string { return %s })", v.bounds(shape), ref(top), f, path, v.textOf(shape, f))
		}
		if v.checked[s.Key.Shape] {
			v.p("wire.CheckKeys(%s, %s, %s, %s, func(x %s) string { return %s })", v.stringsVar(s.Key.Shape, false), ref(top), f, path,
				v.goType(s.Value.Shape, false), v.textOf(s.Value.Shape, "x"))
		}
		if !v.checked[s.Value.Shape] {
			return
		}
		switch e := v.Shapes[s.Value.Shape]; e.Type {
		case "string":
			v.p("%s.CheckValues(%s, %s, %s)", v.stringsVar(s.Value.Shape, true), ref(top), f, path)
		case "double", "float":
			all := "[" + v.maxWords(e) + ", " + v.minWords(e) + ", Member must not be null]"
			v.p("%s.CheckFloats(%s, %s, %s, %q)", v.bounds(s.Value.Shape), ref(top), f, path, all)
		case "list":
			v.p("for _, k := range wire.SortedKeys(%s) {", f)
			v.p("x := %s[k]", f)
			v.value(s.Value.Shape, "x", path+"+\".\"+k+\".member\"", top)
			v.p("}")
		default:
			panic("map " + shape + " of constrained values of type " + e.Type)
		}
	}
}

// textOf is an expression that renders f, a value of the shape, as Java's toString does.
func (v *validator) textOf(shape, f string) string {
	s := v.Shapes[shape]
	switch s.Type {
	case "string":
		return f
	case "integer", "long":
		return "strconv.FormatInt(int64(" + f + "), 10)"
	case "double", "float":
		return "wire.Double(" + f + ")"
	case "boolean":
		return "strconv.FormatBool(" + f + ")"
	case "list":
		return fmt.Sprintf("wire.List(%s, func(x %s) string { return %s })", f, v.goType(s.Member.Shape, false), v.textOf(s.Member.Shape, "x"))
	case "map":
		return fmt.Sprintf("wire.Map(%s, func(x %s) string { return %s })", f, v.goType(s.Value.Shape, false), v.textOf(s.Value.Shape, "x"))
	case "structure":
		if !v.written[shape] {
			v.texts[shape] = true
		}
		return "text" + exported(shape) + "(" + f + ")"
	case "timestamp":
		return f + ".String()"
	case "blob":
		return `"java.nio.HeapByteBuffer"`
	}
	panic("text of " + s.Type)
}

// text writes the function that renders a structure.
func (v *validator) text(name string) {
	if v.written == nil {
		v.written = map[string]bool{}
	}
	v.written[name] = true
	delete(v.texts, name)
	v.p("func text%s(x %s) string {", exported(name), exported(name))
	v.p("return %q + strings.Join([]string{", exported(name)+"(")
	for _, m := range v.Shapes[name].Members {
		f := "x." + m.goName()
		switch v.Shapes[m.Shape].Type {
		case "list", "map", "blob":
			v.p("%q + wire.OrNull(%s != nil, func() string { return %s }),", unexported(m.Name)+"=", f, v.textOf(m.Shape, f))
		default:
			v.p("%q + wire.Text(%s, func(x %s) string { return %s }),", unexported(m.Name)+"=", f, v.goType(m.Shape, false), v.textOf(m.Shape, "x"))
		}
	}
	v.p("}, \", \") + \")\"\n}\n")
}
