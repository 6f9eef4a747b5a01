package policy

import (
	"encoding/json"
	"strings"
	"testing"
)

const fn = "arn:aws:lambda:us-east-1:111111111111:function:fn"

var (
	s3    = Request{Action: "lambda:InvokeFunction", Resource: fn, Service: "s3.amazonaws.com", Context: map[string]string{"aws:SourceArn": "arn:aws:s3:::bucket", "aws:SourceAccount": "111111111111"}}
	other = Request{Action: "lambda:InvokeFunction", Resource: fn, AccountID: "222222222222"}
)

func allow(rest string) string {
	return `{"Effect":"Allow","Action":"lambda:InvokeFunction","Resource":"` + fn + `",` + rest + `}`
}

func TestEvaluate(t *testing.T) {
	for _, tt := range []struct {
		name       string
		statements []string
		r          Request
		want       Decision
	}{
		{"no statements", nil, s3, Silent},
		{"a service", []string{allow(`"Principal":{"Service":"s3.amazonaws.com"}`)}, s3, Allowed},
		{"another service", []string{allow(`"Principal":{"Service":"sns.amazonaws.com"}`)}, s3, Silent},
		{"everybody", []string{allow(`"Principal":"*"`)}, other, Allowed},
		{"everybody means services", []string{allow(`"Principal":"*"`)}, s3, Allowed},
		{"an account", []string{allow(`"Principal":{"AWS":"arn:aws:iam::222222222222:root"}`)}, other, Allowed},
		{"an account by number", []string{allow(`"Principal":{"AWS":["333333333333","222222222222"]}`)}, other, Allowed},
		{"another account", []string{allow(`"Principal":{"AWS":"arn:aws:iam::333333333333:root"}`)}, other, Silent},
		{"a role of the account, who asks is not known", []string{allow(`"Principal":{"AWS":"arn:aws:iam::222222222222:role/r"}`)}, other, Allowed},
		{"a role of the account, another asks", []string{allow(`"Principal":{"AWS":"arn:aws:iam::222222222222:role/r"}`)},
			Request{Action: "lambda:InvokeFunction", Resource: fn, AccountID: "222222222222", PrincipalARN: "arn:aws:iam::222222222222:role/x"}, Silent},
		{"another action", []string{`{"Effect":"Allow","Principal":"*","Action":"lambda:GetFunction","Resource":"` + fn + `"}`}, other, Silent},
		{"actions by pattern", []string{`{"Effect":"Allow","Principal":"*","Action":["LAMBDA:Invoke*"],"Resource":"*"}`}, other, Allowed},
		{"all actions but", []string{`{"Effect":"Allow","Principal":"*","NotAction":"lambda:InvokeFunction","Resource":"*"}`}, other, Silent},
		{"another resource", []string{`{"Effect":"Allow","Principal":"*","Action":"lambda:*","Resource":"` + fn + `:live"}`}, other, Silent},
		{"all resources but", []string{`{"Effect":"Allow","Principal":"*","Action":"lambda:*","NotResource":"` + fn + `"}`}, other, Silent},
		{"nobody named", []string{`{"Effect":"Allow","Action":"lambda:*","Resource":"*"}`}, other, Silent},
		{"deny outweighs", []string{allow(`"Principal":"*"`), `{"Effect":"Deny","Principal":"*","Action":"*","Resource":"*"}`}, other, Denied},
		{"deny others", []string{`{"Effect":"Deny","NotPrincipal":{"AWS":"222222222222"},"Action":"*","Resource":"*"}`}, other, Silent},
		{"a broken statement", []string{`{"Effect":"Allow","Principal":5}`, `x`}, other, Silent},
		{"a broken denial", []string{`{"Effect":"Deny","Principal":5}`}, other, Denied},
	} {
		var ss []json.RawMessage
		for _, s := range tt.statements {
			ss = append(ss, json.RawMessage(s))
		}
		if got := Evaluate(ss, tt.r); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestConditions(t *testing.T) {
	for condition, want := range map[string]bool{
		`{"ArnLike":{"AWS:SourceArn":"arn:aws:s3:::bucket"}}`:                                                     true,
		`{"ArnLike":{"AWS:SourceArn":"arn:aws:s3:::buck*"}}`:                                                      true,
		`{"ArnLike":{"AWS:SourceArn":"arn:aws:*:bucket"}}`:                                                        false,
		`{"ArnNotLike":{"AWS:SourceArn":"arn:aws:s3:::other"}}`:                                                   true,
		`{"StringEquals":{"AWS:SourceAccount":"111111111111"},"ArnLike":{"AWS:SourceArn":"arn:aws:s3:::bucket"}}`: true,
		`{"StringEquals":{"AWS:SourceAccount":"222222222222"},"ArnLike":{"AWS:SourceArn":"arn:aws:s3:::bucket"}}`: false,
		`{"StringEquals":{"AWS:SourceAccount":["1","111111111111"]}}`:                                             true,
		`{"StringNotEquals":{"AWS:SourceAccount":["1","111111111111"]}}`:                                          false,
		`{"StringEquals":{"aws:PrincipalOrgID":"o-1"}}`:                                                           false,
		`{"StringEqualsIfExists":{"aws:PrincipalOrgID":"o-1"}}`:                                                   true,
		`{"StringNotEquals":{"aws:PrincipalOrgID":"o-1"}}`:                                                        true,
		`{"Null":{"aws:PrincipalOrgID":"true"}}`:                                                                  true,
		`{"Null":{"aws:SourceArn":true}}`:                                                                         false,
		`{"StringLike":{"aws:SourceAccount":"1111*"}}`:                                                            true,
		`{"StringLike":{"aws:SourceAccount":"1111?"}}`:                                                            false,
		`{"Bool":{"aws:SecureTransport":true}}`:                                                                   true,
		`{"IpAddress":{"aws:SourceIp":["10.0.0.0/8"]}}`:                                                           true,
		`{"NotIpAddress":{"aws:SourceIp":"10.1.2.3"}}`:                                                            false,
		`{"NumericLessThan":{"x":6}}`:                                                                             true,
		`{"NumericLessThan":{"x":"5"}}`:                                                                           false,
		`{"DateGreaterThan":{"aws:CurrentTime":"2026-01-01T00:00:00Z"}}`:                                          true,
		`{"ForAnyValue:StringEquals":{"aws:SourceAccount":"111111111111"}}`:                                       true,
		`{"ForAllValues:StringEquals":{"none":"x"}}`:                                                              true,
		`{"Unknown":{"aws:SourceAccount":"111111111111"}}`:                                                        false,
	} {
		r := s3
		r.Context = map[string]string{"aws:SourceArn": "arn:aws:s3:::bucket", "aws:SourceAccount": "111111111111", "aws:SecureTransport": "true",
			"aws:SourceIp": "10.1.2.3", "x": "5", "aws:CurrentTime": "2026-11-25T00:00:00Z"}
		got := Evaluate([]json.RawMessage{json.RawMessage(allow(`"Principal":"*","Condition":` + condition))}, r)
		if (got == Allowed) != want {
			t.Errorf("%s: %v, want allowed: %v", condition, got, want)
		}
	}
}

func FuzzLike(f *testing.F) {
	f.Add("a*b?c", "axxbyc")
	f.Add("**", "")
	f.Fuzz(func(t *testing.T, pattern, s string) {
		if !strings.ContainsAny(pattern, "*?") && like(pattern, s) != (pattern == s) {
			t.Errorf("like(%q, %q) without wildcards is no comparison", pattern, s)
		}
		if !like(pattern+"*", s) && like(pattern, s) {
			t.Errorf("like(%q, %q), but not with a star behind it", pattern, s)
		}
	})
}
