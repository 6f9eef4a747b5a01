package arn

import (
	"errors"
	"regexp"
	"strings"
	"testing"

	"github.com/hearth-run/hearth/internal/awsapi"
)

var req = &awsapi.Request{Partition: "aws", AccountID: "111111111111", Region: "us-east-1"}

func TestParseFunction(t *testing.T) {
	own := func(name, qualifier string) Function {
		return Function{"aws", "us-east-1", "111111111111", name, qualifier}
	}
	for _, tt := range []struct {
		name, qualifier string
		want            Function
	}{
		{"f", "", own("f", "")},
		{"f", "7", own("f", "7")},
		{"f:live", "", own("f", "live")},
		{"f:live", "live", own("f", "live")},
		{"f:$LATEST", "", own("f", "$LATEST")},
		{"f:$LATEST.PUBLISHED", "", own("f", "$LATEST.PUBLISHED")},
		{"function:f", "", own("f", "")},
		{"function", "", own("function", "")},
		{"function:function", "", own("function", "")},
		{"function:f:3", "", own("f", "3")},
		{"111111111111:function:f", "", own("f", "")},
		{"111111111111:f", "", own("f", "")},
		{"111111111111", "", own("111111111111", "")},
		{"222222222222:function:f:1", "", Function{"aws", "us-east-1", "222222222222", "f", "1"}},
		{"us-east-1:111111111111:function:f", "", own("f", "")},
		{"us-east-1", "", own("us-east-1", "")},
		{"arn:aws:lambda:us-east-1:111111111111:function:f", "", own("f", "")},
		{"arn:aws:lambda:us-east-1:111111111111:function:f:live", "live", own("f", "live")},
		{"arn:aws:lambda:us-east-1:222222222222:function:f", "", Function{"aws", "us-east-1", "222222222222", "f", ""}},
		{strings.Repeat("a", 64), "", own(strings.Repeat("a", 64), "")},
	} {
		got, err := ParseFunction(tt.name, tt.qualifier, req)
		if err != nil || got != tt.want {
			t.Errorf("ParseFunction(%q, %q) = %+v, %v, want %+v", tt.name, tt.qualifier, got, err, tt.want)
		}
	}
}

func TestParseFunctionErrors(t *testing.T) {
	long := strings.Repeat("a", 65)
	for _, tt := range []struct {
		name, qualifier, code, message string
		status                         int
	}{
		{long, "", "InvalidParameterValueException", "1 validation error detected: Value '" + long + "' at 'functionName' failed to satisfy constraint: Member must have length less than or equal to 64", 400},
		{"invalid:function:name", "", "ValidationException", "1 validation error detected: Value 'invalid:function:name' at 'functionName' failed to satisfy constraint: Member must satisfy regular expression pattern: " + functionPattern, 400},
		{"arn:aws:lambda:ap-southeast-1:111111111111:function:f", "", "ResourceNotFoundException", "Functions from 'ap-southeast-1' are not reachable in this region ('us-east-1')", 404},
		{"arn:aws-cn:lambda:us-east-1:111111111111:function:f", "", "ResourceNotFoundException", "Function not found: arn:aws-cn:lambda:us-east-1:111111111111:function:f", 404},
		{"f:1", "2", "InvalidParameterValueException", "The derived qualifier from the function name does not match the specified qualifier.", 400},
	} {
		_, err := ParseFunction(tt.name, tt.qualifier, req)
		var e *awsapi.Error
		if !errors.As(err, &e) || e.Code != tt.code || e.Message != tt.message || e.Status != tt.status {
			t.Errorf("ParseFunction(%q, %q) = %v, want %d %s: %s", tt.name, tt.qualifier, err, tt.status, tt.code, tt.message)
		}
	}
}

func TestFunctionARN(t *testing.T) {
	f := Function{"aws-cn", "cn-north-1", "123456789012", "f", "live"}
	if got, want := f.ARN(), "arn:aws-cn:lambda:cn-north-1:123456789012:function:f:live"; got != want {
		t.Errorf("ARN() = %q, want %q", got, want)
	}
	if got, want := f.WithQualifier("").ARN(), "arn:aws-cn:lambda:cn-north-1:123456789012:function:f"; got != want {
		t.Errorf("ARN() = %q, want %q", got, want)
	}
	if !f.IsAlias() || f.IsVersion() || f.WithQualifier("$LATEST").IsAlias() || !f.WithQualifier("12").IsVersion() {
		t.Error("a qualifier is taken for what it is not")
	}
}

func TestParseLayers(t *testing.T) {
	if l, ok := ParseLayer("libs", req); !ok || l.Version(3) != "arn:aws:lambda:us-east-1:111111111111:layer:libs:3" {
		t.Errorf("ParseLayer(libs) = %+v, %v", l, ok)
	}
	const v = "arn:aws:lambda:eu-west-1:222222222222:layer:libs:12"
	if l, n, ok := ParseLayerVersion(v); !ok || l.Version(n) != v {
		t.Errorf("ParseLayerVersion(%q) = %+v, %d, %v", v, l, n, ok)
	}
	for _, s := range []string{"", "libs", "libs:1", strings.TrimSuffix(v, ":12"), v + "x", v + ":1", v + "99999999999999999999"} {
		if l, n, ok := ParseLayerVersion(s); ok {
			t.Errorf("ParseLayerVersion(%q) = %+v, %d, true, want none", s, l, n)
		}
	}
}

func TestParseResource(t *testing.T) {
	const uuid = "0d0c2a5e-6a5b-4c3d-8e9f-0123456789ab"
	for _, tt := range []struct {
		kind Kind
		id   string
		ok   bool
	}{
		{KindFunction, "f", true},
		{KindFunction, "f:live", true},
		{KindFunction, "f:", false},
		{KindLayer, "libs", true},
		{KindEventSourceMapping, uuid, true},
		{KindEventSourceMapping, uuid[1:], false},
		{KindCodeSigningConfig, "csc-0123456789abcdefg", true},
		{KindCodeSigningConfig, "csc-1", false},
		{KindCapacityProvider, "big", true},
		{"table", "t", false},
	} {
		s := Resource(req, tt.kind, tt.id)
		kind, id, a, ok := ParseResource(s)
		if ok != tt.ok || ok && (kind != tt.kind || id != tt.id || a.String() != s) {
			t.Errorf("ParseResource(%q) = %q, %q, %v, %v, want %v", s, kind, id, a, ok, tt.ok)
		}
	}
}

func TestRegions(t *testing.T) {
	for region, partition := range map[string]string{
		"us-east-1": "aws", "cn-north-1": "aws-cn", "us-gov-west-1": "aws-us-gov", "us-iso-east-1": "aws-iso",
		"us-isob-east-1": "aws-iso-b", "eusc-de-east-1": "aws-eusc",
	} {
		if !IsRegion(region) || PartitionOf(region) != partition {
			t.Errorf("IsRegion(%q), PartitionOf = %v, %q, want true, %q", region, IsRegion(region), PartitionOf(region), partition)
		}
	}
	for _, s := range []string{"", "local", "us-east", "us-east-12", "US-east-1", "us-east-1:"} {
		if IsRegion(s) {
			t.Errorf("IsRegion(%q) = true", s)
		}
	}
}

// FuzzSplitFunction compares SplitFunction with AWS's own pattern.
func FuzzSplitFunction(f *testing.F) {
	for _, s := range []string{"f", "f:1", "function:f:$LATEST", "111111111111:function:f", "us-east-1:111111111111:function:f",
		"arn:aws:lambda:us-east-1:111111111111:function:f:live", "arn::lambda:f", "arn:aws:lambda:function", "function:function:function",
		"us-isoz-a-1:f", "f:", ":f", "us-east-1:", "a.b:$LATEST.PUBLISHED", "111111111111:111111111111", "arn:1", "aa-iso-0:0", "function:$LATEST"} {
		f.Add(s)
	}
	pattern := regexp.MustCompile("^(?:" + functionPattern + ")$")
	f.Fuzz(func(t *testing.T, s string) {
		if strings.ContainsAny(s, "\n") {
			return
		}
		got, ok := SplitFunction(s)
		m := pattern.FindStringSubmatch(s)
		if ok != (m != nil) {
			t.Fatalf("SplitFunction(%q) = %+v, %v, but AWS's pattern says %v", s, got, ok, m)
		}
		if ok {
			want := Function{Partition: m[2], Region: strings.TrimSuffix(m[3], ":"), AccountID: strings.TrimSuffix(m[9], ":"), Name: m[11], Qualifier: m[13]}
			if got != want {
				t.Fatalf("SplitFunction(%q) = %+v, want %+v", s, got, want)
			}
		}
	})
}

// FuzzParse: what can be taken apart is put together again as it was.
func FuzzParse(f *testing.F) {
	f.Add("arn:aws:sqs:us-east-1:111111111111:queue")
	f.Add("arn:aws:s3:::bucket/key:with:colons")
	f.Fuzz(func(t *testing.T, s string) {
		if a, ok := Parse(s); ok && a.String() != s {
			t.Fatalf("Parse(%q) = %+v, whose String is %q", s, a, a.String())
		}
		ParseLayer(s, req)
		ParseLayerVersion(s)
		ParseResource(s)
	})
}
