// Package policy evaluates resource policies: whether the statements of a
// function's or a layer's policy let somebody do something to it, as IAM reads them.
package policy

import (
	"encoding/json"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hearth-run/hearth/internal/arn"
)

// Request is what somebody wants to do.
type Request struct {
	Action   string // "lambda:InvokeFunction"
	Resource string // its ARN
	// AccountID is the account of who asks, or "" for a service.
	AccountID string
	// PrincipalARN is who asks, if more than the account is known.
	PrincipalARN string
	// Service is the AWS service that asks: "s3.amazonaws.com", or "".
	Service string
	// Context has what conditions speak of, by key: "aws:SourceArn",
	// "lambda:FunctionUrlAuthType" … Keys are compared without regard to case.
	Context map[string]string
}

// Decision is what a policy says to a request.
type Decision int

const (
	// Silent: no statement is about the request. Within an account that leaves it
	// to the identity's own policies; from another account it is a refusal.
	Silent Decision = iota
	Allowed
	Denied // an explicit Deny, which nothing outweighs
)

// Evaluate decides on r. Statements that it cannot read are as if they were
// not there, but for those that deny: what they forbid is unknown, so that they deny everything.
func Evaluate(statements []json.RawMessage, r Request) Decision {
	out := Silent
	for _, raw := range statements {
		var s statement
		if err := json.Unmarshal(raw, &s); err != nil {
			if strings.Contains(string(raw), `"Deny"`) {
				return Denied
			}
			continue
		}
		if !s.matches(r) {
			continue
		}
		switch s.Effect {
		case "Deny":
			return Denied
		case "Allow":
			out = Allowed
		}
	}
	return out
}

type statement struct {
	Effect       string
	Principal    principals
	NotPrincipal principals
	Action       values
	NotAction    values
	Resource     values
	NotResource  values
	Condition    map[string]map[string]values
}

// values is a string or a list of strings; numbers and booleans are as their text.
type values []string

func (v *values) UnmarshalJSON(b []byte) error {
	var list []json.RawMessage
	if err := json.Unmarshal(b, &list); err != nil {
		list = []json.RawMessage{b}
	}
	*v = values{}
	for _, raw := range list {
		var s string
		if err := json.Unmarshal(raw, &s); err != nil {
			var scalar any
			if err := json.Unmarshal(raw, &scalar); err != nil {
				return err
			}
			s = strings.TrimSpace(string(raw))
		}
		*v = append(*v, s)
	}
	return nil
}

// principals are "*", or lists by type: AWS, Service …
type principals map[string]values

func (p *principals) UnmarshalJSON(b []byte) error {
	var all string
	if json.Unmarshal(b, &all) == nil {
		*p = principals{"AWS": {all}}
		if all == "*" {
			(*p)["Service"] = values{"*"}
		}
		return nil
	}
	var m map[string]values
	err := json.Unmarshal(b, &m)
	*p = m
	return err
}

func (s *statement) matches(r Request) bool {
	switch {
	case s.Principal != nil && !s.Principal.match(r):
		return false
	case s.NotPrincipal != nil && s.NotPrincipal.match(r):
		return false
	case s.Principal == nil && s.NotPrincipal == nil:
		return false // no resource policy leaves out whom it is about
	case s.Action != nil && !slices.ContainsFunc(s.Action, func(a string) bool { return like(strings.ToLower(a), strings.ToLower(r.Action)) }):
		return false
	case s.NotAction != nil && slices.ContainsFunc(s.NotAction, func(a string) bool { return like(strings.ToLower(a), strings.ToLower(r.Action)) }):
		return false
	case s.Resource != nil && !slices.ContainsFunc(s.Resource, func(p string) bool { return like(p, r.Resource) }):
		return false
	case s.NotResource != nil && slices.ContainsFunc(s.NotResource, func(p string) bool { return like(p, r.Resource) }):
		return false
	}
	for operator, keys := range s.Condition {
		for key, want := range keys {
			if !holds(operator, r.value(key), want) {
				return false
			}
		}
	}
	return true
}

func (p principals) match(r Request) bool {
	if r.Service != "" && slices.ContainsFunc(p["Service"], func(s string) bool { return s == "*" || s == r.Service }) {
		return true
	}
	return r.AccountID != "" && slices.ContainsFunc(p["AWS"], func(s string) bool {
		if s == "*" || s == r.AccountID || s == r.PrincipalARN && s != "" {
			return true
		}
		a, ok := arn.Parse(s)
		if !ok || a.AccountID != r.AccountID {
			return false
		}
		// Whoever is known by the account alone stands for all of it.
		return a.Resource == "root" || r.PrincipalARN == ""
	})
}

// value returns the request's value of a condition's key, or nil if it has none.
func (r Request) value(key string) *string {
	for k, v := range r.Context {
		if strings.EqualFold(k, key) {
			return &v
		}
	}
	if strings.EqualFold(key, "aws:PrincipalAccount") && r.AccountID != "" {
		return &r.AccountID
	}
	if strings.EqualFold(key, "aws:PrincipalArn") && r.PrincipalARN != "" {
		return &r.PrincipalARN
	}
	return nil
}

// holds says whether a condition holds for a value of the request, or for none.
func holds(operator string, have *string, want values) bool {
	if operator == "Null" {
		return slices.Contains(want, strconv.FormatBool(have == nil))
	}
	operator, optional := strings.CutSuffix(operator, "IfExists")
	if op, ok := strings.CutPrefix(operator, "ForAllValues:"); ok {
		operator, optional = op, true
	} else {
		operator = strings.TrimPrefix(operator, "ForAnyValue:")
	}
	// The negated operators hold for what is not there.
	positive, negated := operator, false
	for _, not := range [][2]string{
		{"StringNotEqualsIgnoreCase", "StringEqualsIgnoreCase"}, {"StringNotEquals", "StringEquals"}, {"StringNotLike", "StringLike"}, {"ArnNotEquals", "ArnLike"}, {"ArnNotLike", "ArnLike"},
		{"NotIpAddress", "IpAddress"}, {"NumericNotEquals", "NumericEquals"}, {"DateNotEquals", "DateEquals"},
	} {
		if operator == not[0] {
			positive, negated = not[1], true
		}
	}
	if have == nil {
		return optional || negated
	}
	return slices.ContainsFunc(want, func(w string) bool { return compare(positive, *have, w) }) != negated
}

func compare(operator, have, want string) bool {
	switch operator {
	case "StringEquals":
		return have == want
	case "StringEqualsIgnoreCase":
		return strings.EqualFold(have, want)
	case "StringLike":
		return like(want, have)
	case "ArnLike", "ArnEquals":
		return likeARN(want, have)
	case "Bool":
		return strings.EqualFold(have, want)
	case "IpAddress":
		ip, err := netip.ParseAddr(have)
		if err != nil {
			return false
		}
		if prefix, err := netip.ParsePrefix(want); err == nil {
			return prefix.Contains(ip)
		}
		single, err := netip.ParseAddr(want)
		return err == nil && single == ip
	}
	if op, ok := strings.CutPrefix(operator, "Numeric"); ok {
		h, err1 := strconv.ParseFloat(have, 64)
		w, err2 := strconv.ParseFloat(want, 64)
		return err1 == nil && err2 == nil && ordered(op, h, w)
	}
	if op, ok := strings.CutPrefix(operator, "Date"); ok {
		h, ok1 := date(have)
		w, ok2 := date(want)
		return ok1 && ok2 && ordered(op, h, w)
	}
	return false // an operator that IAM does not have, either
}

func ordered(op string, have, want float64) bool {
	switch op {
	case "Equals":
		return have == want
	case "LessThan":
		return have < want
	case "LessThanEquals":
		return have <= want
	case "GreaterThan":
		return have > want
	case "GreaterThanEquals":
		return have >= want
	}
	return false
}

// date reads a time in ISO 8601 or in seconds.
func date(s string) (float64, bool) {
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return float64(t.UnixNano()) / 1e9, true
	}
	f, err := strconv.ParseFloat(s, 64)
	return f, err == nil
}

// likeARN compares ARNs part by part, so that a wildcard does not reach over a colon
// but in the last part.
func likeARN(pattern, s string) bool {
	p, v := strings.SplitN(pattern, ":", 6), strings.SplitN(s, ":", 6)
	if len(p) != 6 || len(v) != 6 {
		return pattern == "*" || pattern == s
	}
	for i := range p {
		if !like(p[i], v[i]) {
			return false
		}
	}
	return true
}

// like matches s with a pattern in which "*" stands for anything and "?" for any one byte.
func like(pattern, s string) bool {
	star, from := -1, 0
	i, j := 0, 0
	for j < len(s) {
		switch {
		case i < len(pattern) && pattern[i] == '*':
			star, from = i, j
			i++
		case i < len(pattern) && (pattern[i] == '?' || pattern[i] == s[j]):
			i++
			j++
		case star >= 0:
			from++
			i, j = star+1, from
		default:
			return false
		}
	}
	return strings.Trim(pattern[i:], "*") == ""
}
