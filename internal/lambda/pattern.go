package lambda

import (
	"encoding/json"
	"net/netip"
	"slices"
)

// validPattern says whether text is an event filter: a JSON object whose
// leaves are lists of values and of rules such as {"prefix": "a"}.
func validPattern(text string) bool {
	var p map[string]any
	return json.Unmarshal([]byte(text), &p) == nil && len(p) > 0 && validFields(p)
}

func validFields(p map[string]any) bool {
	for name, v := range p {
		switch v := v.(type) {
		case map[string]any:
			if len(v) == 0 || !validFields(v) {
				return false
			}
		case []any:
			if name == "$or" {
				if len(v) < 2 || slices.ContainsFunc(v, func(x any) bool { m, ok := x.(map[string]any); return !ok || len(m) == 0 || !validFields(m) }) {
					return false
				}
				continue
			}
			if len(v) == 0 || slices.ContainsFunc(v, func(x any) bool { return !validLeaf(x) }) {
				return false
			}
		default:
			return false
		}
	}
	return true
}

// validLeaf says whether v can be in the list of a field: a value, or a rule.
func validLeaf(v any) bool {
	rule, ok := v.(map[string]any)
	if !ok {
		_, nested := v.([]any)
		return !nested
	}
	if len(rule) != 1 {
		return false
	}
	for op, arg := range rule {
		switch op {
		case "exists":
			_, ok := arg.(bool)
			return ok
		case "prefix", "suffix":
			return isString(arg) || isRule(arg, "equals-ignore-case")
		case "equals-ignore-case", "wildcard":
			return isString(arg)
		case "cidr":
			s, _ := arg.(string)
			_, err := netip.ParsePrefix(s)
			return err == nil
		case "numeric":
			return validNumeric(arg)
		case "anything-but":
			if list, ok := arg.([]any); ok {
				return len(list) > 0 && !slices.ContainsFunc(list, func(x any) bool { return !isString(x) && !isNumber(x) })
			}
			if sub, ok := arg.(map[string]any); ok && len(sub) == 1 {
				for op, arg := range sub {
					list, isList := arg.([]any)
					return slices.Contains([]string{"prefix", "suffix", "equals-ignore-case", "wildcard"}, op) &&
						(isString(arg) || isList && len(list) > 0 && !slices.ContainsFunc(list, func(x any) bool { return !isString(x) }))
				}
			}
			return isString(arg) || isNumber(arg)
		}
	}
	return false
}

func isString(v any) bool { _, ok := v.(string); return ok }

func isNumber(v any) bool { _, ok := v.(float64); return ok }

// isRule says whether v is a rule of one operator with a string.
func isRule(v any, op string) bool {
	m, ok := v.(map[string]any)
	return ok && len(m) == 1 && isString(m[op])
}

// validNumeric reads comparisons: one, or a lower bound and an upper one.
func validNumeric(arg any) bool {
	list, ok := arg.([]any)
	if !ok || len(list) != 2 && len(list) != 4 {
		return false
	}
	for i := 0; i < len(list); i += 2 {
		op, _ := list[i].(string)
		if !slices.Contains([]string{"<", "<=", "=", ">", ">="}, op) || !isNumber(list[i+1]) || len(list) == 4 && op == "=" {
			return false
		}
	}
	return true
}
