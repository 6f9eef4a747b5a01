package lambda_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hearth-run/hearth/internal/backend"
	"github.com/hearth-run/hearth/internal/code"
	"github.com/hearth-run/hearth/internal/lambda"
	"github.com/hearth-run/hearth/internal/store"
	"github.com/hearth-run/hearth/internal/store/storetest"
)

// onBoth runs a test on both databases.
func onBoth(t *testing.T, test func(t *testing.T, database string)) {
	for _, database := range []string{"sqlite", "postgres"} {
		t.Run(database, func(t *testing.T) { test(t, database) })
	}
}

var formats = map[string]*regexp.Regexp{
	"<uuid>":     regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`),
	"<modified>": regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+0000$`),
	"<sha256>":   regexp.MustCompile(`^[A-Za-z0-9+/]{43}=$`),
	"<runtime>":  regexp.MustCompile(`^arn:aws:lambda:us-east-1::runtime:[0-9a-f]{64}$`),
	"<url>":      regexp.MustCompile(`^http://localhost:9001/_hearth/code/[0-9a-f]{64}\?`),
	"<furl>":     regexp.MustCompile(`^http://[a-z0-9]{32}\.lambda-url\.us-east-1\.localhost:9001/$`),
	"<zulu>":     regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$`),
}

// normal replaces the values of got that have the format which want names there.
func normal(got, want any) any {
	switch w := want.(type) {
	case string:
		if f, ok := formats[w]; ok {
			if s, ok := got.(string); ok && f.MatchString(s) {
				return w
			}
		}
		if w == "<number>" {
			if n, ok := got.(float64); ok && n > 0 {
				return w
			}
		}
	case map[string]any:
		if g, ok := got.(map[string]any); ok {
			out := map[string]any{}
			for k, v := range g {
				out[k] = normal(v, w[k])
			}
			return out
		}
	case []any:
		if g, ok := got.([]any); ok {
			out := make([]any, len(g))
			for i := range g {
				out[i] = g[i]
				if i < len(w) {
					out[i] = normal(g[i], w[i])
				}
			}
			return out
		}
	}
	return got
}

func compare(t testing.TB, what string, got answer, want object) {
	t.Helper()
	if diff := cmp.Diff(any(want), normal(got.body, any(want))); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// with returns a copy of o with changes: pairs of names and values; nil removes.
func with(o object, changes ...any) object {
	out := object{}
	for k, v := range o {
		out[k] = v
	}
	for i := 0; i < len(changes); i += 2 {
		if changes[i+1] == nil {
			delete(out, changes[i].(string))
		} else {
			out[changes[i].(string)] = changes[i+1]
		}
	}
	return out
}

// created is what AWS answers to the creation of a function, member for member.
var created = object{
	"Architectures": []any{"x86_64"}, "CodeSha256": "<sha256>", "CodeSize": "<number>", "Description": "", "EphemeralStorage": object{"Size": 512.0},
	"FunctionArn": fnARN, "FunctionName": "fn", "Handler": "index.handler", "LastModified": "<modified>",
	"LoggingConfig": object{"LogFormat": "Text", "LogGroup": "/aws/lambda/fn"}, "MemorySize": 128.0, "PackageType": "Zip", "RevisionId": "<uuid>", "Role": role,
	"Runtime": "python3.12", "RuntimeVersionConfig": object{"RuntimeVersionArn": "<runtime>"}, "SnapStart": object{"ApplyOn": "None", "OptimizationStatus": "Off"},
	"State": "Pending", "StateReason": "The function is being created.", "StateReasonCode": "Creating", "Timeout": 3.0, "TracingConfig": object{"Mode": "PassThrough"}, "Version": "$LATEST",
}

var (
	active  = with(created, "State", "Active", "StateReason", nil, "StateReasonCode", nil, "LastUpdateStatus", "Successful")
	updated = with(active, "LastUpdateStatus", "InProgress", "LastUpdateStatusReason", "The function is being created.", "LastUpdateStatusReasonCode", "Creating")
	inList  = with(active, "State", nil, "LastUpdateStatus", nil, "RuntimeVersionConfig", nil)
)

// A function's life, with the members that AWS's answers have, and no others.
func TestFunctionLifecycle(t *testing.T) {
	onBoth(t, func(t *testing.T, database string) {
		s := newServer(t, database, nil)
		a := s.create("fn")
		if a.status != 201 {
			t.Errorf("CreateFunction: status %d, want 201", a.status)
		}
		compare(t, "CreateFunction", a, created)
		first := a.str("RevisionId")
		a = s.ok("GET", functions+"/fn", nil)
		compare(t, "GetFunction", a, object{"Code": object{"Location": "<url>", "RepositoryType": "S3"}, "Configuration": active})
		if second := a.str("Configuration.RevisionId"); second == first {
			t.Error("RevisionId is the same when the function has become Active")
		}
		compare(t, "GetFunction $LATEST", s.ok("GET", functions+"/fn?Qualifier=$LATEST", nil),
			object{"Code": object{"Location": "<url>", "RepositoryType": "S3"}, "Configuration": with(active, "FunctionArn", fnARN+":$LATEST")})
		compare(t, "UpdateFunctionConfiguration", s.ok("PUT", functions+"/fn/configuration", object{"Environment": object{"Variables": object{}}, "Timeout": 10}),
			with(updated, "Environment", object{"Variables": object{}}, "Timeout", 10.0))
		compare(t, "GetFunctionConfiguration", s.ok("GET", functions+"/fn/configuration", nil), with(active, "Environment", object{"Variables": object{}}, "Timeout", 10.0))
		compare(t, "UpdateFunctionCode", s.ok("PUT", functions+"/fn/code", object{"ZipFile": archive("other")}), with(updated, "Environment", object{"Variables": object{}}, "Timeout", 10.0))
		compare(t, "ListFunctions", s.ok("GET", functions, nil), object{"Functions": []any{with(inList, "Environment", object{"Variables": object{}}, "Timeout", 10.0)}})
		if a := s.do("DELETE", functions+"/fn", nil); a.status != 204 || a.raw != "" {
			t.Errorf("DeleteFunction: %d %q, want 204 and no body", a.status, a.raw)
		}
		compare(t, "ListFunctions", s.ok("GET", functions, nil), object{"Functions": []any{}})
		// All options at once.
		l := layer(s, "libs")
		a = s.create("fn", "Layers", []string{l}, "Environment", object{"Variables": object{"AB": "b"}}, "Description", "d", "MemorySize", 512, "EphemeralStorage", object{"Size": 1024},
			"KMSKeyArn", "arn:aws:kms:us-east-1:111111111111:key/k", "DeadLetterConfig", object{"TargetArn": queue}, "TracingConfig", object{"Mode": "Active"}, "Architectures", []string{"arm64"},
			"VpcConfig", object{"SubnetIds": []string{"subnet-1"}, "SecurityGroupIds": []string{"sg-1"}}, "LoggingConfig", object{"LogFormat": "JSON", "LogGroup": "g"},
			"FileSystemConfigs", []object{{"Arn": "arn:aws:elasticfilesystem:us-east-1:111111111111:access-point/fsap-11111111111111111", "LocalMountPath": "/mnt/x"}},
			"Tags", object{"k": "v"})
		compare(t, "CreateFunction with options", a, with(created, "Layers", []any{object{"Arn": l, "CodeSize": "<number>"}}, "Environment", object{"Variables": object{"AB": "b"}},
			"Description", "d", "MemorySize", 512.0, "EphemeralStorage", object{"Size": 1024.0}, "KMSKeyArn", "arn:aws:kms:us-east-1:111111111111:key/k", "DeadLetterConfig", object{"TargetArn": queue},
			"TracingConfig", object{"Mode": "Active"}, "Architectures", []any{"arm64"},
			"VpcConfig", object{"SubnetIds": []any{"subnet-1"}, "SecurityGroupIds": []any{"sg-1"}, "VpcId": "", "Ipv6AllowedForDualStack": false},
			"LoggingConfig", object{"LogFormat": "JSON", "LogGroup": "g", "ApplicationLogLevel": "INFO", "SystemLogLevel": "INFO"},
			"FileSystemConfigs", []any{object{"Arn": "arn:aws:elasticfilesystem:us-east-1:111111111111:access-point/fsap-11111111111111111", "LocalMountPath": "/mnt/x"}}))
		if got := s.ok("GET", functions+"/fn", nil).get("Tags"); !cmp.Equal(got, any(object{"k": "v"})) {
			t.Errorf("Tags = %v", got)
		}
		// And back to none.
		a = s.ok("PUT", functions+"/fn/configuration", object{"Layers": []string{}, "KMSKeyArn": "", "DeadLetterConfig": object{"TargetArn": ""}, "FileSystemConfigs": []object{}})
		for _, member := range []string{"Layers", "KMSKeyArn", "DeadLetterConfig", "FileSystemConfigs"} {
			if v := a.get(member); v != nil {
				t.Errorf("%s = %v after it was cleared", member, v)
			}
		}
	})
}

func TestVersions(t *testing.T) {
	onBoth(t, func(t *testing.T, database string) {
		s := newServer(t, database, nil)
		a := s.create("fn", "Publish", true)
		compare(t, "CreateFunction with Publish", a, with(created, "Version", "1"))
		compare(t, "GetFunction 1", s.ok("GET", functions+"/fn:1", nil), object{"Code": object{"Location": "<url>", "RepositoryType": "S3"}, "Configuration": with(active, "FunctionArn", fnARN+":1", "Version", "1")})
		revision := s.ok("GET", functions+"/fn/configuration", nil).str("RevisionId")
		again := s.ok("POST", functions+"/fn/versions", object{"Description": "ignored"})
		compare(t, "PublishVersion of what has not changed", again, with(active, "FunctionArn", fnARN+":1", "Version", "1"))
		if got := s.ok("GET", functions+"/fn/configuration", nil).str("RevisionId"); got != revision {
			t.Error("publishing what has not changed changed the RevisionId")
		}
		s.ok("PUT", functions+"/fn/configuration", object{"Description": "two"})
		revision = s.ok("GET", functions+"/fn/configuration", nil).str("RevisionId")
		compare(t, "PublishVersion", s.ok("POST", functions+"/fn/versions", nil), with(active, "FunctionArn", fnARN+":2", "Version", "2", "Description", "two"))
		if got := s.ok("GET", functions+"/fn/configuration", nil).str("RevisionId"); got == revision {
			t.Error("publishing did not change the RevisionId of $LATEST")
		}
		compare(t, "UpdateFunctionCode with Publish", s.ok("PUT", functions+"/fn/code", object{"ZipFile": archive("three"), "Publish": true}),
			with(created, "FunctionArn", fnARN+":3", "Version", "3", "Description", "two"))
		a = s.ok("GET", functions+"/fn/versions?MaxItems=3", nil)
		var got []string
		for _, v := range a.get("Versions").([]any) {
			got = append(got, v.(map[string]any)["FunctionArn"].(string))
		}
		if want := []string{fnARN + ":$LATEST", fnARN + ":1", fnARN + ":2"}; !cmp.Equal(got, want) {
			t.Errorf("first page of versions = %q, want %q", got, want)
		}
		a = s.ok("GET", functions+"/fn/versions?MaxItems=3&Marker="+url.QueryEscape(a.str("NextMarker")), nil)
		if vs := a.get("Versions").([]any); len(vs) != 1 || vs[0].(map[string]any)["Version"] != "3" || a.get("NextMarker") != nil {
			t.Errorf("second page of versions = %v", a.raw)
		}
		// A version that an alias names stays; one that is gone is no error, and its number is not used again.
		s.ok("POST", functions+"/fn/aliases", object{"Name": "live", "FunctionVersion": "3"})
		if a := s.do("DELETE", functions+"/fn?Qualifier=3", nil); a.code() != "ResourceConflictException" {
			t.Errorf("deleting a version with an alias: %d %s", a.status, a.raw)
		}
		s.ok("DELETE", functions+"/fn/aliases/live", nil)
		for range 2 {
			if a := s.do("DELETE", functions+"/fn?Qualifier=3", nil); a.status != 204 {
				t.Errorf("deleting a version: %d %s", a.status, a.raw)
			}
		}
		if v := s.ok("POST", functions+"/fn/versions", nil).str("Version"); v != "4" {
			t.Errorf("version after a deleted one = %s, want 4", v)
		}
		// FunctionVersion=ALL pages through functions and their versions.
		s.create("fo", "Publish", true)
		var all []string
		for marker := ""; ; {
			a := s.ok("GET", functions+"?FunctionVersion=ALL&MaxItems=2&Marker="+url.QueryEscape(marker), nil)
			for _, f := range a.get("Functions").([]any) {
				all = append(all, strings.TrimPrefix(f.(map[string]any)["FunctionArn"].(string), "arn:aws:lambda:us-east-1:111111111111:function:"))
			}
			if marker = a.str("NextMarker"); marker == "" {
				break
			}
		}
		if want := []string{"fn:$LATEST", "fn:1", "fn:2", "fn:4", "fo:$LATEST", "fo:1"}; !cmp.Equal(all, want) {
			t.Errorf("all versions = %q, want %q", all, want)
		}
	})
}

func TestAliases(t *testing.T) {
	s := newServer(t, "sqlite", nil)
	s.create("fn", "Publish", true)
	s.ok("PUT", functions+"/fn/configuration", object{"Description": "two"})
	s.ok("POST", functions+"/fn/versions", nil)
	want := object{"AliasArn": fnARN + ":live", "Description": "", "FunctionVersion": "1", "Name": "live", "RevisionId": "<uuid>"}
	a := s.ok("POST", functions+"/fn/aliases", object{"Name": "live", "FunctionVersion": "1", "RoutingConfig": object{"AdditionalVersionWeights": object{}}})
	compare(t, "CreateAlias", a, want)
	revision := a.str("RevisionId")
	weighted := with(want, "RoutingConfig", object{"AdditionalVersionWeights": object{"2": 0.5}}, "Description", "d")
	a = s.ok("PUT", functions+"/fn/aliases/live", object{"Description": "d", "RevisionId": revision, "RoutingConfig": object{"AdditionalVersionWeights": object{"2": 0.5}}})
	compare(t, "UpdateAlias", a, weighted)
	if a.str("RevisionId") == revision {
		t.Error("UpdateAlias did not change the RevisionId")
	}
	if a := s.do("PUT", functions+"/fn/aliases/live", object{"RevisionId": revision}); a.status != 412 {
		t.Errorf("UpdateAlias with an old revision: %d %s", a.status, a.raw)
	}
	compare(t, "ListAliases of version 2", s.ok("GET", functions+"/fn/aliases?FunctionVersion=2", nil), object{"Aliases": []any{weighted}})
	compare(t, "GetFunction live", s.ok("GET", functions+"/fn/configuration?Qualifier=live", nil), with(active, "FunctionArn", fnARN+":live", "Version", "1"))
	for range 2 {
		if a := s.do("DELETE", functions+"/fn/aliases/live", nil); a.status != 204 {
			t.Errorf("DeleteAlias: %d %s", a.status, a.raw)
		}
	}
}

// Policies, their revisions, and the statements' form.
func TestPermissions(t *testing.T) {
	onBoth(t, func(t *testing.T, database string) {
		s := newServer(t, database, nil)
		s.create("fn")
		before := s.ok("GET", functions+"/fn/configuration", nil).str("RevisionId")
		a := s.ok("POST", functions+"/fn/policy", object{"StatementId": "s3", "Action": "lambda:InvokeFunction", "Principal": "s3.amazonaws.com", "SourceArn": "arn:aws:s3:::b", "SourceAccount": account, "RevisionId": before})
		statement := `{"Sid":"s3","Effect":"Allow","Principal":{"Service":"s3.amazonaws.com"},"Action":"lambda:InvokeFunction","Resource":"` + fnARN +
			`","Condition":{"ArnLike":{"AWS:SourceArn":"arn:aws:s3:::b"},"StringEquals":{"AWS:SourceAccount":"111111111111"}}}`
		if a.status != 201 || a.str("Statement") != statement {
			t.Errorf("AddPermission: %d\n%s, want\n%s", a.status, a.str("Statement"), statement)
		}
		a = s.ok("GET", functions+"/fn/policy", nil)
		if want := `{"Version":"2012-10-17","Id":"default","Statement":[` + statement + `]}`; a.str("Policy") != want {
			t.Errorf("GetPolicy = %s, want %s", a.str("Policy"), want)
		}
		if revision := s.ok("GET", functions+"/fn/configuration", nil).str("RevisionId"); revision == before || a.str("RevisionId") != revision {
			t.Errorf("the policy's revision is %s, the function's %s, before %s", a.str("RevisionId"), revision, before)
		}
		for principal, want := range map[string]string{"*": `"*"`, "222222222222": `{"AWS":"arn:aws:iam::222222222222:root"}`, "arn:aws:iam::222222222222:role/r": `{"AWS":"arn:aws:iam::222222222222:role/r"}`} {
			a := s.ok("POST", functions+"/fn/policy", object{"StatementId": "p" + fmt.Sprint(len(principal)), "Action": "lambda:GetFunction", "Principal": principal})
			if !strings.Contains(a.str("Statement"), `"Principal":`+want+`,`) {
				t.Errorf("principal %s: %s", principal, a.str("Statement"))
			}
		}
		// Another account may do what the policy says, and nothing else.
		other := *s
		other.account = "222222222222"
		if a := other.do("GET", functions+"/"+escape(fnARN), nil); a.status != 200 {
			t.Errorf("GetFunction across accounts: %d %s", a.status, a.raw)
		}
		if a := other.do("GET", functions+"/"+escape(fnARN)+"/configuration", nil); a.status != 403 || a.code() != "AccessDeniedException" {
			t.Errorf("GetFunctionConfiguration across accounts: %d %s", a.status, a.raw)
		}
		if a := other.do("GET", functions+"/fn", nil); a.status != 404 {
			t.Errorf("the other account has a function of its own: %d", a.status)
		}
		// The whole policy at once.
		a = s.ok("PUT", "/2026-07-09/resource-policy/"+escape(fnARN), object{"Policy": `{"Version":"2012-10-17","Statement":{"Sid":"x","Effect":"Deny","Principal":"*","Action":"lambda:*","Resource":"` + fnARN + `"}}`})
		if p := s.ok("GET", functions+"/fn/policy", nil); p.str("Policy") != a.str("Policy") || p.str("RevisionId") != a.str("RevisionId") {
			t.Errorf("GetPolicy = %s, want what PutResourcePolicy answered: %s", p.raw, a.raw)
		}
		for _, bad := range []string{"x", "{}", `{"Version":"2012-10-17","Statement":[{"Effect":"Maybe","Principal":"*","Action":"a"}]}`} {
			if a := s.do("PUT", "/2026-07-09/resource-policy/"+escape(fnARN), object{"Policy": bad}); a.status != 400 {
				t.Errorf("PutResourcePolicy of %s: %d %s", bad, a.status, a.raw)
			}
		}
		s.ok("DELETE", functions+"/fn/policy/x", nil)
		if a := s.do("GET", functions+"/fn/policy", nil); a.status != 404 {
			t.Errorf("GetPolicy without statements: %d %s", a.status, a.raw)
		}
		// Too large.
		for i := 0; ; i++ {
			a := s.do("POST", functions+"/fn/policy", object{"StatementId": fmt.Sprintf("%0100d", i), "Action": "lambda:InvokeFunction", "Principal": "s3.amazonaws.com"})
			if a.status == 201 && i < 200 {
				continue
			}
			if a.code() != "PolicyLengthExceededException" {
				t.Errorf("statement %d: %d %s", i, a.status, a.raw)
			}
			break
		}
	})
}

func TestConcurrencySettings(t *testing.T) {
	onBoth(t, func(t *testing.T, database string) {
		s := newServer(t, database, nil)
		s.create("fn", "Publish", true)
		unreserved := func() any {
			return s.ok("GET", "/2016-08-19/account-settings", nil).get("AccountLimit.UnreservedConcurrentExecutions")
		}
		s.ok("PUT", "/2017-10-31/functions/fn/concurrency", object{"ReservedConcurrentExecutions": 900})
		if got := unreserved(); got != 100.0 {
			t.Errorf("unreserved = %v, want 100", got)
		}
		compare(t, "GetFunctionConcurrency", s.ok("GET", "/2019-09-30/functions/fn/concurrency", nil), object{"ReservedConcurrentExecutions": 900.0})
		if got := s.ok("GET", functions+"/fn", nil).get("Concurrency"); !cmp.Equal(got, any(object{"ReservedConcurrentExecutions": 900.0})) {
			t.Errorf("GetFunction's Concurrency = %v", got)
		}
		s.ok("PUT", "/2017-10-31/functions/fn/concurrency", object{"ReservedConcurrentExecutions": 10})
		s.ok("DELETE", "/2017-10-31/functions/fn/concurrency", nil)
		compare(t, "GetFunctionConcurrency without any", s.ok("GET", "/2019-09-30/functions/fn/concurrency", nil), object{})
		a := s.ok("PUT", "/2019-09-30/functions/fn/provisioned-concurrency?Qualifier=1", object{"ProvisionedConcurrentExecutions": 5})
		want := object{"AllocatedProvisionedConcurrentExecutions": 0.0, "AvailableProvisionedConcurrentExecutions": 0.0, "LastModified": "<modified>", "RequestedProvisionedConcurrentExecutions": 5.0, "Status": "IN_PROGRESS"}
		compare(t, "PutProvisionedConcurrencyConfig", a, want)
		if a.status != 202 {
			t.Errorf("PutProvisionedConcurrencyConfig: status %d, want 202", a.status)
		}
		ready := with(want, "AllocatedProvisionedConcurrentExecutions", 5.0, "AvailableProvisionedConcurrentExecutions", 5.0, "Status", "READY")
		compare(t, "GetProvisionedConcurrencyConfig", s.ok("GET", "/2019-09-30/functions/fn/provisioned-concurrency?Qualifier=1", nil), ready)
		compare(t, "ListProvisionedConcurrencyConfigs", s.ok("GET", "/2019-09-30/functions/fn/provisioned-concurrency?List=ALL", nil), object{"ProvisionedConcurrencyConfigs": []any{with(ready, "FunctionArn", fnARN+":1")}})
		if got := unreserved(); got != 995.0 {
			t.Errorf("unreserved = %v, want 995", got)
		}
		s.ok("POST", functions+"/fn/aliases", object{"Name": "live", "FunctionVersion": "1"})
		if a := s.do("PUT", "/2019-09-30/functions/fn/provisioned-concurrency?Qualifier=live", object{"ProvisionedConcurrentExecutions": 1}); a.status != 409 || a.message() != "Alias can't be used for Provisioned Concurrency configuration on an already Provisioned version" {
			t.Errorf("provisioning twice: %d %s", a.status, a.raw)
		}
		s.ok("DELETE", "/2019-09-30/functions/fn/provisioned-concurrency?Qualifier=1", nil)
		s.ok("PUT", "/2019-09-30/functions/fn/provisioned-concurrency?Qualifier=live", object{"ProvisionedConcurrentExecutions": 1})
		if a := s.do("PUT", "/2019-09-30/functions/fn/provisioned-concurrency?Qualifier=1", object{"ProvisionedConcurrentExecutions": 1}); a.message() != "Version is pointed by a Provisioned Concurrency alias" {
			t.Errorf("provisioning twice: %d %s", a.status, a.raw)
		}
		for q, want := range map[string]string{"$LATEST": "Provisioned Concurrency Configs cannot be applied to unpublished function versions.", "noalias": "Cannot find alias arn: " + fnARN + ":noalias", "10": "Function not found: " + fnARN + ":10"} {
			if a := s.do("PUT", "/2019-09-30/functions/fn/provisioned-concurrency?Qualifier="+q, object{"ProvisionedConcurrentExecutions": 1}); a.message() != want {
				t.Errorf("provisioning %s: %d %s", q, a.status, a.raw)
			}
		}
		s.ok("DELETE", functions+"/fn", nil)
		a = s.ok("GET", "/2016-08-19/account-settings", nil)
		compare(t, "GetAccountSettings when all is gone", a, object{
			"AccountLimit": object{"TotalCodeSize": 80530636800.0, "CodeSizeUnzipped": 262144000.0, "CodeSizeZipped": 52428800.0, "ConcurrentExecutions": 1000.0, "UnreservedConcurrentExecutions": 1000.0},
			"AccountUsage": object{"TotalCodeSize": 0.0, "FunctionCount": 0.0},
		})
	})
}

// failing fails as a backend does.
type failing struct{ err error }

func (f failing) Activate(_ context.Context, _ *store.Function, v *store.Version) (string, error) {
	if v.Description == "good" {
		return "repo@sha256:" + strings.Repeat("a", 64), nil
	}
	return "", f.err
}

// A version that cannot be activated says why, in AWS's codes.
func TestActivationFails(t *testing.T) {
	s := newServer(t, "sqlite", func(c *lambda.Config) {
		c.Activator = failing{fmt.Errorf("pull repo:tag: %w", backend.ErrImageNotFound)}
	})
	image := []any{"PackageType", "Image", "Runtime", nil, "Handler", nil, "Code", object{"ImageUri": "111111111111.dkr.ecr.us-east-1.amazonaws.com/repo:tag"}}
	s.create("fn", image...)
	if a := s.ok("GET", functions+"/fn/configuration", nil); a.str("State") != "Failed" || a.str("StateReasonCode") != "InvalidImage" || !strings.Contains(a.str("StateReason"), "pull repo:tag") {
		t.Errorf("after a failed creation: %s", a.raw)
	}
	s.ok("PUT", functions+"/fn/configuration", object{"Description": "good"})
	a := s.ok("GET", functions+"/fn", nil)
	if a.str("Configuration.State") != "Active" || a.str("Configuration.CodeSha256") != strings.Repeat("a", 64) || a.str("Code.ResolvedImageUri") != "repo@sha256:"+strings.Repeat("a", 64) || a.get("Configuration.Runtime") != nil {
		t.Errorf("after a good update: %s", a.raw)
	}
	s.ok("PUT", functions+"/fn/configuration", object{"Description": "bad"})
	if a := s.ok("GET", functions+"/fn/configuration", nil); a.str("State") != "Active" || a.str("LastUpdateStatus") != "Failed" || a.str("LastUpdateStatusReasonCode") != "InvalidImage" {
		t.Errorf("after a failed update: %s", a.raw)
	}
	if a := s.do("PUT", functions+"/fn/code", object{"ZipFile": archive("x")}); a.status != 400 {
		t.Errorf("a zip for an image: %d %s", a.status, a.raw)
	}
}

// What a dead server left Pending becomes Active under the next.
func TestResume(t *testing.T) {
	onBoth(t, func(t *testing.T, database string) {
		st := storetest.Open(t, storetest.Config(t, database))
		dead := serverOn(t, st, func(c *lambda.Config) { c.Activator = never{} })
		dead.send("POST", functions, function("fn"))
		if err := dead.service.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := dead.send("GET", functions+"/fn/configuration", nil).str("State"); got != "Pending" {
			t.Fatalf("State = %s, want Pending", got)
		}
		next := serverOn(t, st, nil)
		next.service.Start()
		for deadline := time.Now().Add(10 * time.Second); next.send("GET", functions+"/fn/configuration", nil).str("State") != "Active"; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("the function did not become Active")
			}
		}
	})
}

type never struct{}

func (never) Activate(ctx context.Context, _ *store.Function, _ *store.Version) (string, error) {
	<-ctx.Done()
	return "", ctx.Err()
}

// Those who create, update and delete one function at once, through two
// servers where they share a database, get AWS's answers, and leave counts that are right.
func TestRaces(t *testing.T) {
	onBoth(t, func(t *testing.T, database string) {
		cfg := storetest.Config(t, database)
		servers := []*server{serverOn(t, storetest.Open(t, cfg), nil)}
		if database == "postgres" {
			servers = append(servers, serverOn(t, storetest.Open(t, cfg), nil))
		}
		var wg sync.WaitGroup
		for i := range 8 {
			s := servers[i%len(servers)]
			wg.Go(func() {
				for j := range 5 {
					for _, a := range []answer{
						s.send("POST", functions, function("fn", "Publish", i%2 == 0)),
						s.send("PUT", functions+"/fn/code", object{"ZipFile": archive(fmt.Sprint(i, j))}),
						s.send("POST", functions+"/fn/versions", nil),
						s.send("POST", functions+"/fn/aliases", object{"Name": "a", "FunctionVersion": "1"}),
						s.send("PUT", "/2017-10-31/functions/fn/concurrency", object{"ReservedConcurrentExecutions": 5}),
						s.send("DELETE", functions+"/fn?Qualifier=1", nil),
						s.send("DELETE", functions+"/fn", nil),
					} {
						if a.status/100 == 5 {
							t.Errorf("%d %s", a.status, a.raw)
						}
					}
				}
			})
		}
		wg.Wait()
		for _, s := range servers {
			s.service.Settle()
		}
		s := servers[0]
		s.do("DELETE", functions+"/fn", nil)
		err := s.store.View(t.Context(), func(tx *store.Tx) error {
			u, err := tx.Usage(store.Scope{AccountID: account, Region: region})
			if u != (store.Usage{}) {
				t.Errorf("usage when all is gone = %+v", u)
			}
			ts, err2 := tx.Tasks().List(store.Range[store.TaskKey]{})
			if len(ts) != 0 {
				t.Errorf("tasks when all is gone: %v", ts)
			}
			return errors.Join(err, err2)
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}

// Quotas are the configuration's.
func TestQuotas(t *testing.T) {
	s := newServer(t, "sqlite", func(c *lambda.Config) {
		c.Quotas = lambda.Quotas{CodeStorage: 400, Layers: 1, Tags: 1, Environment: 20}
	})
	s.create("a")
	s.create("b")
	if a := s.do("POST", functions, function("c")); a.code() != "CodeStorageExceededException" {
		t.Errorf("beyond the code storage: %d %s", a.status, a.raw)
	}
	if a := s.do("GET", functions+"/c", nil); a.status != 404 {
		t.Errorf("the refused function is there: %d", a.status)
	}
	s.ok("DELETE", functions+"/a", nil)
	if a := s.do("POST", functions, function("c", "Tags", object{"a": "1", "b": "2"})); a.status != 400 {
		t.Errorf("too many tags: %d", a.status)
	}
	if a := s.do("POST", functions, function("c", "Environment", object{"Variables": object{"AB": strings.Repeat("x", 20)}})); a.status != 400 || !strings.Contains(a.message(), "exceeded the 20 byte limit") {
		t.Errorf("too large an environment: %d %s", a.status, a.raw)
	}
	s.create("c")
}

// objects is an S3 with one object.
type objects struct{}

func (objects) GetObject(_ context.Context, region, bucket, key, version string) (io.ReadCloser, error) {
	return io.NopCloser(strings.NewReader(string(zipped(strings.Join([]string{region, bucket, key, version}, "/"))))), nil
}

func TestCodeFromS3(t *testing.T) {
	s := newServer(t, "sqlite", func(c *lambda.Config) { c.Objects = objects{} })
	one := s.create("fn", "Code", object{"S3Bucket": "bucket", "S3Key": "k", "S3ObjectVersion": "1"}).str("CodeSha256")
	if a := s.ok("PUT", functions+"/fn/code", object{"S3Bucket": "bucket", "S3Key": "k", "S3ObjectVersion": "2", "DryRun": true}); a.str("CodeSha256") == one {
		t.Errorf("a dry run shows the old code: %s", a.raw)
	}
	if got := s.ok("GET", functions+"/fn/configuration", nil).str("CodeSha256"); got != one {
		t.Error("a dry run changed the code")
	}
	for what, source := range map[string]object{
		"two sources": {"S3Bucket": "bucket", "S3Key": "k", "ZipFile": archive("x")}, "no source": {}, "no key": {"S3Bucket": "bucket"},
	} {
		if a := s.do("POST", functions, function("other", "Code", source)); a.status != 400 {
			t.Errorf("%s: %d %s", what, a.status, a.raw)
		}
	}
}

// Several regions and partitions are apart.
func TestRegions(t *testing.T) {
	s := newServer(t, "sqlite", nil)
	s.create("fn")
	china := *s
	china.region = "cn-north-1"
	if a := china.do("GET", functions+"/fn", nil); a.status != 404 || a.message() != "Function not found: arn:aws-cn:lambda:cn-north-1:111111111111:function:fn" {
		t.Errorf("another region: %d %s", a.status, a.raw)
	}
	if got := china.create("fn", "Role", "arn:aws-cn:iam::111111111111:role/r").str("FunctionArn"); got != "arn:aws-cn:lambda:cn-north-1:111111111111:function:fn" {
		t.Errorf("FunctionArn = %s", got)
	}
}

// Code that nothing uses is removed; what versions and functions still use stays.
func TestCollect(t *testing.T) {
	c, err := code.Open(t.TempDir(), code.Config{Grace: time.Nanosecond})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	s := newServer(t, "sqlite", func(cfg *lambda.Config) { cfg.Code = c })
	l := layer(s, "libs")
	s.create("fn", "Publish", true, "Layers", []string{l})
	s.ok("DELETE", layers+"/libs/versions/1", nil)                       // fn still uses it
	s.ok("PUT", functions+"/fn/code", object{"ZipFile": archive("two")}) // version 1 still has the first
	s.ok("PUT", functions+"/fn/code", object{"ZipFile": archive("three")})
	n, freed, err := s.service.Collect(t.Context())
	if n != 1 || freed != int64(len(zipped("two"))) || err != nil {
		t.Errorf("Collect = %d, %d, %v, want the one archive of %d bytes that was replaced", n, freed, err, len(zipped("two")))
	}
	s.ok("DELETE", functions+"/fn", nil)
	if n, _, err := s.service.Collect(t.Context()); n != 3 || err != nil {
		t.Errorf("Collect when all is deleted = %d, %v, want 3", n, err)
	}
}
