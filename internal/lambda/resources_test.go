package lambda_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestEventInvokeConfig(t *testing.T) {
	s := newServer(t, "sqlite", nil)
	s.create("fn")
	s.create("to")
	want := object{"DestinationConfig": object{"OnFailure": object{}, "OnSuccess": object{}}, "FunctionArn": fnARN + ":$LATEST", "LastModified": "<number>", "MaximumRetryAttempts": 0.0}
	compare(t, "Put", s.ok("PUT", eventInvokePath, object{"MaximumRetryAttempts": 0}), want)
	to := "arn:aws:lambda:us-east-1:111111111111:function:to"
	want = with(want, "MaximumEventAgeInSeconds", 60.0, "DestinationConfig", object{"OnFailure": object{}, "OnSuccess": object{"Destination": to}})
	compare(t, "Update", s.ok("POST", eventInvokePath, object{"MaximumEventAgeInSeconds": 60, "DestinationConfig": object{"OnSuccess": object{"Destination": to}}}), want)
	compare(t, "List", s.ok("GET", eventInvokePath+"/list", nil), object{"FunctionEventInvokeConfigs": []any{want}})
	compare(t, "Put replaces", s.ok("PUT", eventInvokePath+"?Qualifier=$LATEST", object{"MaximumEventAgeInSeconds": 120}),
		object{"DestinationConfig": object{"OnFailure": object{}, "OnSuccess": object{}}, "FunctionArn": fnARN + ":$LATEST", "LastModified": "<number>", "MaximumEventAgeInSeconds": 120.0})
	s.ok("DELETE", eventInvokePath, nil)
}

func TestEventSourceMappings(t *testing.T) {
	onBoth(t, func(t *testing.T, database string) {
		s := newServer(t, database, nil)
		s.create("fn")
		a := s.ok("POST", mappings, mapping(queue, "Tags", object{"a": "b"}))
		id := a.str("UUID")
		arn := "arn:aws:lambda:us-east-1:111111111111:event-source-mapping:" + id
		want := object{"BatchSize": 10.0, "EventSourceArn": queue, "EventSourceMappingArn": arn, "FunctionArn": fnARN, "FunctionResponseTypes": []any{}, "LastModified": "<number>",
			"MaximumBatchingWindowInSeconds": 0.0, "State": "Creating", "StateTransitionReason": "USER_INITIATED", "UUID": id}
		compare(t, "CreateEventSourceMapping for SQS", a, want)
		if a.status != 202 {
			t.Errorf("status %d, want 202", a.status)
		}
		compare(t, "GetEventSourceMapping", s.ok("GET", mappings+"/"+id, nil), with(want, "State", "Enabled"))
		compare(t, "ListTags", s.ok("GET", "/2017-03-31/tags/"+escape(arn), nil), object{"Tags": object{"a": "b"}})
		compare(t, "UpdateEventSourceMapping", s.ok("PUT", mappings+"/"+id, object{"Enabled": false, "BatchSize": 5}), with(want, "State", "Disabling", "BatchSize", 5.0))
		compare(t, "ListEventSourceMappings", s.ok("GET", mappings+"?FunctionName=fn&EventSourceArn="+url.QueryEscape(queue), nil), object{"EventSourceMappings": []any{with(want, "State", "Disabled", "BatchSize", 5.0)}})
		compare(t, "ListEventSourceMappings of another", s.ok("GET", mappings+"?FunctionName=other", nil), object{"EventSourceMappings": []any{}})
		compare(t, "DeleteEventSourceMapping", s.ok("DELETE", mappings+"/"+id, nil), with(want, "State", "Deleting", "BatchSize", 5.0))
		if a := s.do("GET", mappings+"/"+id, nil); a.status != 404 {
			t.Errorf("GetEventSourceMapping when it is gone: %d %s", a.status, a.raw)
		}
		a = s.ok("POST", mappings, mapping(table, "StartingPosition", "TRIM_HORIZON", "BatchSize", 1, "MaximumBatchingWindowInSeconds", 1, "MaximumRetryAttempts", 1, "DestinationConfig", object{"OnFailure": object{"Destination": queue}}))
		id = a.str("UUID")
		compare(t, "CreateEventSourceMapping for DynamoDB", a, object{"BatchSize": 1.0, "BisectBatchOnFunctionError": false, "DestinationConfig": object{"OnFailure": object{"Destination": queue}}, "EventSourceArn": table,
			"EventSourceMappingArn": "arn:aws:lambda:us-east-1:111111111111:event-source-mapping:" + id, "FunctionArn": fnARN, "FunctionResponseTypes": []any{}, "LastModified": "<number>",
			"LastProcessingResult": "No records processed", "MaximumBatchingWindowInSeconds": 1.0, "MaximumRecordAgeInSeconds": -1.0, "MaximumRetryAttempts": 1.0, "ParallelizationFactor": 1.0,
			"StartingPosition": "TRIM_HORIZON", "State": "Creating", "StateTransitionReason": "User action", "TumblingWindowInSeconds": 0.0, "UUID": id})
		for what, m := range map[string]struct {
			body object
			want string
		}{
			"position for SQS":          {mapping(queue, "StartingPosition", "LATEST"), "StartingPosition is not valid for SQS event sources."},
			"timestamp without reason":  {mapping(stream, "StartingPosition", "LATEST", "StartingPositionTimestamp", 1), "Timestamp only valid with StartingPosition AT_TIMESTAMP"},
			"bisect for SQS":            {mapping(queue, "BisectBatchOnFunctionError", true), "Unsupported BisectBatchOnFunctionError parameter for given event source mapping type."},
			"a large batch":             {mapping(queue, "BatchSize", 11), "Maximum batch window in seconds must be greater than 0 if maximum batch size is greater than 10"},
			"a bad filter":              {mapping(queue, "FilterCriteria", object{"Filters": []object{{"Pattern": `{"a":1}`}}}), "Invalid filter pattern definition."},
			"a source of no such kind":  {mapping("arn:aws:s3:::bucket"), "Unrecognized event source."},
			"Kafka without topics":      {mapping("arn:aws:kafka:us-east-1:111111111111:cluster/c/1"), "Required 'topics' parameter is missing."},
			"Amazon MQ without a queue": {mapping("arn:aws:mq:us-east-1:111111111111:broker:b:b-1"), "Required 'queues' parameter is missing."},
		} {
			if a := s.do("POST", mappings, m.body); a.status != 400 || a.message() != m.want {
				t.Errorf("%s: %d %s, want %s", what, a.status, a.raw, m.want)
			}
		}
		for source, more := range map[string][]any{
			"arn:aws:kafka:us-east-1:111111111111:cluster/c/1": {"Topics", []string{"topic"}},
			"arn:aws:mq:us-east-1:111111111111:broker:b:b-1":   {"Queues", []string{"q"}, "SourceAccessConfigurations", []object{{"Type": "BASIC_AUTH", "URI": "arn:aws:secretsmanager:us-east-1:111111111111:secret:s"}}},
			"arn:aws:rds:us-east-1:111111111111:cluster:docs":  {"DocumentDBEventSourceConfig", object{"DatabaseName": "d"}},
			"arn:aws:sqs:us-east-1:111111111111:q.fifo":        {"ScalingConfig", object{"MaximumConcurrency": 5}},
			stream: {"StartingPosition", "LATEST", "FilterCriteria", object{"Filters": []object{{"Pattern": `{"data":{"a":[{"prefix":"x"},{"numeric":[">",0,"<=",5]},null]}}`}}}},
		} {
			if a := s.do("POST", mappings, mapping(source, more...)); a.status != 202 {
				t.Errorf("mapping of %s: %d %s", source, a.status, a.raw)
			}
		}
	})
}

func TestLayers(t *testing.T) {
	s := newServer(t, "sqlite", nil)
	a := s.ok("POST", layers+"/libs/versions", object{"Content": object{"ZipFile": archive("l")}, "CompatibleRuntimes": []string{"python3.12"}, "Description": "d", "LicenseInfo": "MIT"})
	libs := "arn:aws:lambda:us-east-1:111111111111:layer:libs"
	want := object{"CompatibleRuntimes": []any{"python3.12"}, "Content": object{"CodeSha256": "<sha256>", "CodeSize": "<number>", "Location": "<url>"}, "CreatedDate": "<modified>", "Description": "d",
		"LayerArn": libs, "LayerVersionArn": libs + ":1", "LicenseInfo": "MIT", "Version": 1.0}
	compare(t, "PublishLayerVersion", a, want)
	compare(t, "GetLayerVersion", s.ok("GET", layers+"/libs/versions/1", nil), want)
	compare(t, "GetLayerVersionByArn", s.ok("GET", layers+"?find=LayerVersion&Arn="+url.QueryEscape(libs+":1"), nil), want)
	layer(s, "libs")
	item := func(n float64, changes ...any) object {
		return with(object{"CreatedDate": "<modified>", "Description": "", "LayerVersionArn": fmt.Sprint(libs, ":", n), "Version": n}, changes...)
	}
	first := item(1, "Description", "d", "CompatibleRuntimes", []any{"python3.12"}, "LicenseInfo", "MIT")
	compare(t, "ListLayerVersions", s.ok("GET", layers+"/libs/versions", nil), object{"LayerVersions": []any{item(2), first}})
	compare(t, "ListLayers", s.ok("GET", layers, nil), object{"Layers": []any{object{"LayerName": "libs", "LayerArn": libs, "LatestMatchingVersion": item(2)}}})
	compare(t, "ListLayers for a runtime", s.ok("GET", layers+"?CompatibleRuntime=python3.12", nil), object{"Layers": []any{object{"LayerName": "libs", "LayerArn": libs, "LatestMatchingVersion": first}}})
	// What was given as empty is shown as empty.
	s.ok("POST", layers+"/empty/versions", object{"Content": object{"ZipFile": archive("e")}, "CompatibleRuntimes": []string{}, "CompatibleArchitectures": []string{}})
	if got := s.ok("GET", layers+"/empty/versions/1", nil); !cmp.Equal(got.get("CompatibleRuntimes"), any([]any{})) || !cmp.Equal(got.get("CompatibleArchitectures"), any([]any{})) {
		t.Errorf("empty lists are shown as %s", got.raw)
	}
	// Functions keep what they have; numbers are not used again.
	s.create("fn", "Layers", []string{libs + ":2"})
	s.ok("DELETE", layers+"/libs/versions/2", nil)
	s.ok("DELETE", layers+"/libs/versions/2", nil)
	if a := s.ok("PUT", functions+"/fn/configuration", object{"Description": "x"}); len(a.get("Layers").([]any)) != 1 {
		t.Errorf("the function lost its layer: %s", a.raw)
	}
	if got := layer(s, "libs"); got != libs+":3" {
		t.Errorf("version after a deleted one: %s", got)
	}
	// Another account needs the layer's permission.
	other := *s
	other.account = "222222222222"
	if a := other.do("POST", functions, function("fn", "Layers", []string{libs + ":3"})); a.status != 403 {
		t.Errorf("a layer of another account: %d %s", a.status, a.raw)
	}
	a = s.ok("POST", layers+"/libs/versions/3/policy", object{"StatementId": "s1", "Action": "lambda:GetLayerVersion", "Principal": "222222222222"})
	if a.str("RevisionId") == "" || s.ok("GET", layers+"/libs/versions/3/policy", nil).str("RevisionId") != a.str("RevisionId") {
		t.Errorf("revision of the layer's policy: %s", a.raw)
	}
	if a := other.do("POST", functions, function("fn", "Layers", []string{libs + ":3"})); a.status != 201 {
		t.Errorf("a layer that another account shares: %d %s", a.status, a.raw)
	}
}

func TestURLsAndSigning(t *testing.T) {
	s := newServer(t, "sqlite", nil)
	s.create("fn")
	const path = "/2021-10-31/functions/fn/url"
	compare(t, "CreateFunctionUrlConfig", s.ok("POST", path, object{"AuthType": "NONE"}), object{"AuthType": "NONE", "CreationTime": "<zulu>", "FunctionArn": fnARN, "FunctionUrl": "<furl>"})
	if a := s.do("POST", path, object{"AuthType": "NONE"}); a.status != 409 || a.message() != "Failed to create function url config for [functionArn = "+fnARN+"]. Error message:  FunctionUrlConfig exists for this Lambda function" {
		t.Errorf("second URL: %d %s", a.status, a.raw)
	}
	want := object{"AuthType": "NONE", "CreationTime": "<zulu>", "FunctionArn": fnARN, "FunctionUrl": "<furl>", "InvokeMode": "BUFFERED", "LastModifiedTime": "<zulu>"}
	compare(t, "GetFunctionUrlConfig", s.ok("GET", path, nil), want)
	compare(t, "UpdateFunctionUrlConfig", s.ok("PUT", path, object{"AuthType": "AWS_IAM", "Cors": object{"AllowOrigins": []string{"*"}, "MaxAge": 5}}),
		with(want, "AuthType", "AWS_IAM", "InvokeMode", nil, "Cors", object{"AllowOrigins": []any{"*"}, "MaxAge": 5.0}))
	compare(t, "ListFunctionUrlConfigs", s.ok("GET", path+"s", nil), object{"FunctionUrlConfigs": []any{with(want, "AuthType", "AWS_IAM", "Cors", object{"AllowOrigins": []any{"*"}, "MaxAge": 5.0})}})
	s.ok("DELETE", path, nil)
	if a := s.do("GET", path, nil); a.status != 404 {
		t.Errorf("URL that is gone: %d %s", a.status, a.raw)
	}

	const configs = "/2020-04-22/code-signing-configs"
	profile := "arn:aws:signer:us-east-1:111111111111:/signing-profiles/test/abcdefghij"
	a := s.ok("POST", configs, object{"AllowedPublishers": object{"SigningProfileVersionArns": []string{profile}}, "Description": "d", "CodeSigningPolicies": object{"UntrustedArtifactOnDeployment": "Enforce"}})
	csc := a.str("CodeSigningConfig.CodeSigningConfigArn")
	compare(t, "CreateCodeSigningConfig", a, object{"CodeSigningConfig": object{"AllowedPublishers": object{"SigningProfileVersionArns": []any{profile}}, "CodeSigningConfigArn": csc,
		"CodeSigningConfigId": csc[strings.LastIndex(csc, ":")+1:], "CodeSigningPolicies": object{"UntrustedArtifactOnDeployment": "Enforce"}, "Description": "d", "LastModified": "<modified>"}})
	compare(t, "PutFunctionCodeSigningConfig", s.ok("PUT", "/2020-06-30/functions/fn/code-signing-config", object{"CodeSigningConfigArn": csc}), object{"CodeSigningConfigArn": csc, "FunctionName": "fn"})
	compare(t, "ListFunctionsByCodeSigningConfig", s.ok("GET", configs+"/"+escape(csc)+"/functions", nil), object{"FunctionArns": []any{fnARN}})
	// Hearth verifies no signatures, and says so where AWS would have verified one.
	if a := s.do("PUT", functions+"/fn/code", object{"ZipFile": archive("x")}); a.code() != "CodeVerificationFailedException" {
		t.Errorf("unsigned code where signed code is enforced: %d %s", a.status, a.raw)
	}
	if a := s.do("DELETE", configs+"/"+escape(csc), nil); a.status != 409 {
		t.Errorf("deleting a configuration in use: %d %s", a.status, a.raw)
	}
	s.ok("DELETE", "/2020-06-30/functions/fn/code-signing-config", nil)
	compare(t, "GetFunctionCodeSigningConfig without one", s.ok("GET", "/2020-06-30/functions/fn/code-signing-config", nil), object{})
	if a := s.ok("DELETE", configs+"/"+escape(csc), nil); a.status != 204 {
		t.Errorf("DeleteCodeSigningConfig: status %d, want 204", a.status)
	}
}

// The smaller settings.
func TestManagement(t *testing.T) {
	s := newServer(t, "sqlite", nil)
	s.create("fn")
	compare(t, "GetRuntimeManagementConfig", s.ok("GET", "/2021-07-20/functions/fn/runtime-management-config", nil), object{"FunctionArn": fnARN, "UpdateRuntimeOn": "Auto"})
	s.ok("PUT", "/2021-07-20/functions/fn/runtime-management-config", object{"UpdateRuntimeOn": "FunctionUpdate"})
	compare(t, "GetRuntimeManagementConfig", s.ok("GET", "/2021-07-20/functions/fn/runtime-management-config", nil), object{"FunctionArn": fnARN, "UpdateRuntimeOn": "FunctionUpdate"})
	if a := s.do("PUT", "/2021-07-20/functions/fn/runtime-management-config", object{"UpdateRuntimeOn": "Manual", "RuntimeVersionArn": "arn:aws:lambda:us-east-1::runtime:" + strings.Repeat("a", 64)}); a.status != 400 {
		t.Errorf("an unknown runtime version: %d %s", a.status, a.raw)
	}
	compare(t, "GetFunctionRecursionConfig", s.ok("GET", "/2024-08-31/functions/fn/recursion-config", nil), object{"RecursiveLoop": "Terminate"})
	s.ok("PUT", "/2024-08-31/functions/fn/recursion-config", object{"RecursiveLoop": "Allow"})
	compare(t, "GetFunctionRecursionConfig", s.ok("GET", "/2024-08-31/functions/fn/recursion-config", nil), object{"RecursiveLoop": "Allow"})
	compare(t, "ListDurableExecutionsByFunction", s.ok("GET", "/2025-12-01/functions/fn/durable-executions", nil), object{"DurableExecutions": []any{}})

	const providers = "/2025-11-30/capacity-providers"
	provider := "arn:aws:lambda:us-east-1:111111111111:capacity-provider:cp"
	a := s.ok("POST", providers, object{"CapacityProviderName": "cp", "VpcConfig": object{"SubnetIds": []string{"subnet-1"}, "SecurityGroupIds": []string{"sg-1"}}, "PermissionsConfig": object{"CapacityProviderOperatorRoleArn": role}})
	if a.str("CapacityProvider.State") != "Pending" || a.str("CapacityProvider.CapacityProviderArn") != provider {
		t.Errorf("CreateCapacityProvider: %s", a.raw)
	}
	if got := s.ok("GET", providers+"/cp", nil).str("CapacityProvider.State"); got != "Active" {
		t.Errorf("state = %s, want Active", got)
	}
	s.create("managed", "CapacityProviderConfig", object{"LambdaManagedInstancesCapacityProviderConfig": object{"CapacityProviderArn": provider}}, "MemorySize", 2048)
	if a := s.ok("GET", functions+"/managed/configuration", nil); a.str("State") != "ActiveNonInvocable" || !strings.Contains(a.str("StateReason"), "capacity provider") {
		t.Errorf("a function on a capacity provider: %s", a.raw)
	}
	s.ok("POST", functions+"/managed/versions", object{"PublishTo": "LATEST_PUBLISHED"})
	s.ok("PUT", "/2025-11-30/functions/managed/function-scaling-config?Qualifier=$LATEST.PUBLISHED", object{"FunctionScalingConfig": object{"MinExecutionEnvironments": 1, "MaxExecutionEnvironments": 3}})
	compare(t, "GetFunctionScalingConfig", s.ok("GET", "/2025-11-30/functions/managed/function-scaling-config?Qualifier=1", nil),
		object{"FunctionArn": "arn:aws:lambda:us-east-1:111111111111:function:managed:1", "RequestedFunctionScalingConfig": object{"MinExecutionEnvironments": 1.0, "MaxExecutionEnvironments": 3.0}})
	if got := s.ok("GET", providers+"/cp/function-versions", nil).get("FunctionVersions").([]any); len(got) != 2 {
		t.Errorf("versions on the provider: %v", got)
	}
	if a := s.do("DELETE", providers+"/cp", nil); a.status != 409 {
		t.Errorf("deleting a provider in use: %d %s", a.status, a.raw)
	}
	s.ok("DELETE", functions+"/managed", nil)
	s.ok("DELETE", providers+"/cp", nil)
	if a := s.do("GET", providers+"/cp", nil); a.status != 404 {
		t.Errorf("a provider that is gone: %d %s", a.status, a.raw)
	}
}

// Code can be downloaded from the link, which is signed and expires.
func TestDownloads(t *testing.T) {
	s := newServer(t, "sqlite", nil)
	s.create("fn")
	link, err := url.Parse(s.ok("GET", functions+"/fn", nil).str("Code.Location"))
	if err != nil {
		t.Fatal(err)
	}
	get := func(u string) answer { return s.do("GET", u, nil) }
	if a := get(link.RequestURI()); a.status != 200 || a.raw != string(zipped("def handler(e, c): pass")) {
		t.Errorf("download: %d, %d bytes", a.status, len(a.raw))
	}
	q := link.Query()
	q.Set("X-Hearth-Expires", "99999999999")
	if a := get(link.Path + "?" + q.Encode()); a.status != http.StatusForbidden {
		t.Errorf("a link that was made to last: %d", a.status)
	}
	if a := get(link.Path); a.status != http.StatusForbidden {
		t.Errorf("a link without a signature: %d", a.status)
	}
}
