package lambda

import (
	"strings"
	"testing"
)

func TestPatterns(t *testing.T) {
	const fnARN = "arn:aws:lambda:us-east-1:111111111111:function:"
	for _, tt := range []struct {
		name    string
		match   func(string) bool
		yes, no []string
	}{
		{"Alias", matchAlias, []string{"a", "1a", "live-1_2"}, []string{"", "2024", "a.b", "ä"}},
		{"FunctionUrlQualifier", matchFunctionUrlQualifier, []string{"live"}, []string{"", "1", "$LATEST"}},
		{"FunctionUrlFunctionName", matchFunctionUrlFunctionName,
			[]string{"f", "12", "f:live", fnARN + "f", fnARN + "f:live", "111111111111:function:f", "function:1", strings.Repeat("a", 64)},
			[]string{"", "f:1", fnARN + "f:12", strings.Repeat("a", 65), "f:$LATEST", "f:", "a.b"}},
		{"S3Bucket", matchS3Bucket, []string{"b", "my.bucket_1", ""}, []string{"b.", "b/c", "b c"}},
		{"CollectionName", matchCollectionName, []string{"c", "_c", "9", "system", "a.b c"}, []string{"", "system.x", "-c", "a$b", ".a"}},
	} {
		for _, s := range tt.yes {
			if !tt.match(s) {
				t.Errorf("%s does not match %q", tt.name, s)
			}
		}
		for _, s := range tt.no {
			if tt.match(s) {
				t.Errorf("%s matches %q", tt.name, s)
			}
		}
	}
}

// TestAllPatternsCompile: expressions are compiled when they are first used, so that start-up is quick.
func TestAllPatternsCompile(t *testing.T) {
	for _, op := range Operations {
		for _, s := range []string{"", "a", "arn:aws:lambda:us-east-1:111111111111:function:f", "\x00", strings.Repeat("x", 30000)} {
			for _, body := range bodies(s) {
				request(t, op.Name, s, "", body)
			}
		}
	}
}
