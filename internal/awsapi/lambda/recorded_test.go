package lambda

import (
	"bufio"
	"context"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/hearth-run/hearth/internal/awsapi"
	"github.com/hearth-run/hearth/internal/awsapi/wire"
)

// recorded is an answer of AWS's, from testdata/lambda-errors.tsv.
type recorded struct{ code, message, tried string }

func recordedErrors(t *testing.T) []recorded {
	t.Helper()
	f, err := os.Open("../testdata/lambda-errors.tsv")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var out []recorded
	for s := bufio.NewScanner(f); s.Scan(); {
		parts := strings.Split(s.Text(), "\t")
		if len(parts) != 4 {
			t.Fatalf("%q has no four columns", s.Text())
		}
		out = append(out, recorded{parts[0], parts[2], parts[3]})
	}
	return out[1:]
}

// call serves an operation without a service behind it: an input without
// fault gives Unimplemented.
func call(t *testing.T, operation string, in *wire.Request) *awsapi.Error {
	t.Helper()
	for _, op := range Operations {
		if op.Name != operation {
			continue
		}
		var err error
		if op.Serve == nil {
			var v *InvocationRequest
			if v, err = DecodeInvocationRequest(in); err == nil {
				err = v.Validate()
			}
		} else {
			err = op.Serve(context.Background(), Unimplemented{}, in, &wire.Response{Header: map[string][]string{}})
		}
		var e *awsapi.Error
		if !errors.As(err, &e) {
			t.Fatalf("%s: %v is no *awsapi.Error", operation, err)
		}
		return e
	}
	t.Fatalf("no operation %s", operation)
	return nil
}

const (
	role   = "arn:aws:iam::111111111111:role/r"
	create = `"FunctionName":"f","Role":"` + role + `","Code":{"ZipFile":"UEsFBgAAAAAAAAAAAAAAAAAAAAAAAA=="}`
	fn     = "arn:aws:lambda:us-east-1:111111111111:function:"
	layer  = "arn:aws:lambda:us-east-1:111111111111:layer:libs"
)

var long = strings.Repeat("a", 141)

// inputs are what was tried to get the recorded answers about constraints, by
// the last column. values stands for what the recording hides, in the order of the message.
var inputs = map[string]struct {
	operation string
	labels    []string
	query     string
	body      string
	values    []string // for <resource:1> and the like: old, new, old, new …
}{
	"test_create_lambda_exceptions / uppercase_runtime_exc":                                  {operation: "CreateFunction", body: `{` + create + `,"Runtime":"PYTHON3.9"}`},
	"test_create_lambda_exceptions / invalid_runtime_exc":                                    {operation: "CreateFunction", body: `{` + create + `,"Runtime":"non-existent-runtime"}`},
	"test_create_lambda_exceptions / invalid_role_arn_exc":                                   {operation: "CreateFunction", body: `{` + strings.Replace(create, role, "r1", 1) + `}`},
	"test_create_lambda_exceptions / uppercase_architecture":                                 {operation: "CreateFunction", body: `{` + create + `,"Architectures":["X86_64"]}`},
	"test_create_lambda_exceptions / multiple_architectures":                                 {operation: "CreateFunction", body: `{` + create + `,"Architectures":["x86_64","arm64"]}`},
	"test_layer_policy_exceptions / layer_permission_action_invalid":                         {operation: "AddLayerVersionPermission", labels: []string{"l", "1"}, body: `{"Action":"*","Principal":"*","StatementId":"s"}`},
	"test_alias_naming / create_alias_number_exception":                                      {operation: "CreateAlias", labels: []string{"f"}, body: `{"Name":"2024","FunctionVersion":"1"}`},
	"test_lambda_url_invalid_invoke_mode / invoke_function_invalid_invoke_type":              {operation: "CreateFunctionUrlConfig", labels: []string{"f"}, body: `{"AuthType":"NONE","InvokeMode":"UNKNOWN"}`},
	"test_invalid_vpc_config_security_group / create-response-invalid-format-security-group": {operation: "CreateFunction", body: `{` + create + `,"VpcConfig":{"SecurityGroupIds":["bad-sg"]}}`, values: []string{"<security_group_id_2>", "bad-sg"}},
	"test_invalid_vpc_config_subnet / create-response-invalid-format-subnet-id":              {operation: "CreateFunction", body: `{` + create + `,"VpcConfig":{"SubnetIds":["bad-subnet"]}}`, values: []string{"<subnet_id_2>", "bad-subnet"}},
	"test_layer_function_exceptions / add_layer_arn_without_version_exc":                     {operation: "CreateFunction", body: `{` + create + `,"Layers":["` + layer + `"]}`, values: []string{"<resource:1>", "libs"}},
	"test_layer_exceptions / list_layers_exc_compatiblearchitecture_invalid":                 {operation: "ListLayers", query: "CompatibleArchitecture=archdoesnotexist"},
	"test_layer_exceptions / list_layers_exc_compatibleruntime_invalid":                      {operation: "ListLayers", query: "CompatibleRuntime=runtimedoesnotexist"},
	"test_lambda_eventinvokeconfig_exceptions / put_destination_invalid_arn_pattern":         {operation: "PutFunctionEventInvokeConfig", labels: []string{"f"}, body: `{"DestinationConfig":{"OnFailure":{"Destination":"arn:aws:_-/!lambda:us-east-1:111111111111:function:f"}}}`, values: []string{"<function-name:1>", "f"}},
	"test_function_arns / long_function_arn_exc":                                             {operation: "CreateFunction", body: `{` + strings.Replace(create, `"f"`, `"`+fn+long+`"`, 1) + `}`, values: []string{"<function-name>", long}},
	"test_function_arns / invalid_function_name_exc":                                         {operation: "CreateFunction", body: `{` + strings.Replace(create, `"f"`, `"invalid:function:name"`, 1) + `}`},
	"test_layer_exceptions / get_layer_version_by_arn_exc_invalidarn":                        {operation: "GetLayerVersionByArn", query: "find=LayerVersion&Arn=" + layer, values: []string{"<resource:1>", "libs"}},
	"test_invalid_invoke / invoke_function_name_pattern_exc":                                 {operation: "Invoke", labels: []string{"arn:aws:lambda:us-east-1:123400000000@function:myfn"}},
	"test_tag_exceptions / tag_lambda_invalidarn":                                            {operation: "TagResource", labels: []string{"arn:aws:something"}, body: `{"Tags":{"a":"b"}}`},
	"test_tag_exceptions / untag_empty_keys":                                                 {operation: "UntagResource", labels: []string{fn + "f"}},
	"test_permission_exceptions / add_permission_invalid_statement_id":                       {operation: "AddPermission", labels: []string{"f"}, body: `{"Action":"lambda:InvokeFunction","Principal":"*","StatementId":"example.com"}`},
	"test_permission_exceptions / add_permission_fn_qualifier_invalid":                       {operation: "AddPermission", labels: []string{"f"}, query: "Qualifier=invalid-qualifier-with-%3F-char", body: `{"Action":"lambda:InvokeFunction","Principal":"*","StatementId":"s"}`},
	"test_list_functions / list_functions_invalid_functionversion":                           {operation: "ListFunctions", query: "FunctionVersion=invalid"},
	"test_create_event_source_validation / invalid_starting_position":                        {operation: "CreateEventSourceMapping", body: `{"FunctionName":"f","StartingPosition":"invalid"}`},
	"test_snapstart_exceptions / create_function_invalid_snapstart_apply":                    {operation: "CreateFunction", body: `{` + create + `,"SnapStart":{"ApplyOn":"invalidOption"}}`},
	"test_notfound_and_invalid_routingconfigs / routing_config_exc_version_latest":           {operation: "CreateAlias", labels: []string{"f"}, body: `{"Name":"a","FunctionVersion":"1","RoutingConfig":{"AdditionalVersionWeights":{"$LATEST":0.5}}}`},
	"test_notfound_and_invalid_routingconfigs / routing_config_exc_subzero":                  {operation: "CreateAlias", labels: []string{"f"}, body: `{"Name":"a","FunctionVersion":"1","RoutingConfig":{"AdditionalVersionWeights":{"2":-1}}}`},
	"test_notfound_and_invalid_routingconfigs / routing_config_exc_toohigh":                  {operation: "CreateAlias", labels: []string{"f"}, body: `{"Name":"a","FunctionVersion":"1","RoutingConfig":{"AdditionalVersionWeights":{"2":2.0}}}`},
	"test_layer_exceptions / publish_layer_version_exc_partially_invalid_values":             {operation: "PublishLayerVersion", labels: []string{"l"}, body: `{"Content":{"ZipFile":""},"CompatibleArchitectures":["invalidarch","x86_64"],"CompatibleRuntimes":["invalidruntime","invalidruntime2","nodejs20.x"]}`},
	"test_layer_exceptions / publish_layer_version_exc_invalid_runtime_arch":                 {operation: "PublishLayerVersion", labels: []string{"l"}, body: `{"Content":{"ZipFile":""},"CompatibleArchitectures":["invalidarch"],"CompatibleRuntimes":["invalidruntime"]}`},
}

// TestRecorded gives AWS's own words for each recorded answer that is about constraints alone.
func TestRecorded(t *testing.T) {
	rows := 0
	for _, r := range recordedErrors(t) {
		in, ok := inputs[r.tried]
		if !ok {
			if r.code == "ValidationException" {
				t.Errorf("%s: no input is known for the recorded %s", r.tried, r.message)
			}
			continue
		}
		rows++
		want := strings.NewReplacer(append([]string{"<partition>", "aws", "<region>", "us-east-1"}, in.values...)...).Replace(r.message)
		e := call(t, in.operation, &wire.Request{Labels: in.labels, Query: in.query, Body: []byte(in.body)})
		if e.Code != r.code || e.Message != want || e.Status != 400 {
			t.Errorf("%s:\n%d %s: %s, want 400 %s\n%s", r.tried, e.Status, e.Code, e.Message, r.code, want)
		}
	}
	if rows != len(inputs) {
		t.Errorf("%d inputs have a recorded answer, want all %d", rows, len(inputs))
	}
}
