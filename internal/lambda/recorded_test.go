package lambda_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/hearth-run/hearth/internal/awsclient"
	"github.com/hearth-run/hearth/internal/lambda"
	"github.com/hearth-run/hearth/internal/store"
)

// scenario provokes an answer that was recorded on AWS.
type scenario func(s *server) answer

// elsewhere are the recorded answers that this package does not give, and why.
var elsewhere = map[string]string{
	"test_invalid_vpc_config_security_group / create-response-non-existent-security-group":                                     "Hearth has no EC2, and no endpoint of one is asked",
	"test_invalid_vpc_config_subnet / create-response-non-existent-subnet-id":                                                  "Hearth has no EC2, and no endpoint of one is asked",
	`test_lambda_invoke_payload_encoding_error[body-n\x87r\x9e\xe9\xb5\xd7I\xee\x9bmt] / invoke_function_invalid_payload_body`: "an invocation: package invoke",
	`test_lambda_invoke_payload_encoding_error[message-\x99\xeb,j\x07\xa1zYh] / invoke_function_invalid_payload_message`:       "an invocation: package invoke",
	"test_lambda_alias_moving / invocation_exc_not_existent":                                                                   "an invocation: package invoke",
	"test_lambda_concurrency_block / invoke_latest_first_exc":                                                                  "an invocation: package invoke",
}

const (
	layers   = "/2018-10-31/layers"
	mappings = "/2015-03-31/event-source-mappings"
	queue    = "arn:aws:sqs:us-east-1:111111111111:queue"
	stream   = "arn:aws:kinesis:us-east-1:111111111111:stream/test-foobar-81ded7e8"
	table    = "arn:aws:dynamodb:us-east-1:111111111111:table/test-table-4a53f4e8/stream/2025-02-22T03:03:25.490"
)

var escape = url.PathEscape

// requests are scenarios of one request to a server that has the function "fn".
func request(method, path string, body any) scenario {
	return func(s *server) answer {
		s.create("fn")
		return s.do(method, path, body)
	}
}

func creating(changes ...any) scenario {
	return func(s *server) answer { return s.do("POST", functions, function("fn", changes...)) }
}

// published makes fn with a version 1, and changes it so that another can be published.
func published(then scenario) scenario {
	return func(s *server) answer {
		s.create("fn", "Publish", true)
		s.ok("PUT", functions+"/fn/configuration", object{"Description": "two"})
		s.ok("POST", functions+"/fn/versions", nil)
		return then(s)
	}
}

func permission(sid string) object {
	return object{"StatementId": sid, "Action": "lambda:InvokeFunction", "Principal": "s3.amazonaws.com"}
}

func layer(s *server, name string) string {
	return s.ok("POST", layers+"/"+name+"/versions", object{"Content": object{"ZipFile": archive(name)}}).str("LayerVersionArn")
}

func mapping(source string, changes ...any) object {
	o := object{"FunctionName": "fn", "EventSourceArn": source}
	for i := 0; i < len(changes); i += 2 {
		o[changes[i].(string)] = changes[i+1]
	}
	return o
}

func twice(m object) scenario {
	return func(s *server) answer {
		s.create("fn")
		s.ok("POST", mappings, m)
		return s.do("POST", mappings, m)
	}
}

func selfManaged(hosts ...string) object {
	return object{
		"FunctionName": "fn", "Topics": []string{"topic"}, "SelfManagedEventSource": object{"Endpoints": object{"KAFKA_BOOTSTRAP_SERVERS": hosts}},
		"SourceAccessConfigurations": []object{{"Type": "BASIC_AUTH", "URI": "arn:aws:secretsmanager:us-east-1:111111111111:secret:s"}},
	}
}

// nowhere answers that nothing is there.
type nowhere struct{}

func (nowhere) Role(context.Context, string, string) error   { return nil }
func (nowhere) Queue(context.Context, string, string) error  { return awsclient.ErrNotFound }
func (nowhere) Stream(context.Context, string, string) error { return awsclient.ErrNotFound }

// refusing answers as S3 does for what is not there.
type refusing struct{}

func (refusing) GetObject(_ context.Context, _, bucket, key, _ string) (io.ReadCloser, error) {
	if bucket == "nowhere" {
		return nil, &awsclient.Error{Code: "NoSuchBucket", Message: "The specified bucket does not exist"}
	}
	return nil, &awsclient.Error{Code: "NoSuchKey", Message: "The specified key does not exist."}
}

// stuck never activates what is updated.
type stuck struct{}

func (a stuck) Activate(ctx context.Context, _ *store.Function, v *store.Version) (string, error) {
	if v.State == "Pending" {
		return "", nil
	}
	<-ctx.Done()
	return "", ctx.Err()
}

// zeros gives n zero bytes.
func zeros(n int) []byte { return make([]byte, n) }

func largeZip(size int) string {
	return base64.StdEncoding.EncodeToString(zipped(strings.Repeat("x", size)))
}

const eventInvokePath = "/2019-09-25/functions/fn/event-invoke-config"

// scenarios by what was tried. Where AWS recorded several answers to the same
// attempt, one scenario stands for each, in the order of the file.
var scenarios = map[string][]scenario{
	"test_function_arns / function_arn_other_account_exc": {creating("FunctionName", "arn:aws:lambda:us-east-1:222222222222:function:fn")},
	"test_reserved_provisioned_overlap / reserved_lower_than_provisioned_exc": {published(func(s *server) answer {
		s.ok("PUT", "/2019-09-30/functions/fn/provisioned-concurrency?Qualifier=1", object{"ProvisionedConcurrentExecutions": 2})
		return s.do("PUT", "/2017-10-31/functions/fn/concurrency", object{"ReservedConcurrentExecutions": 1})
	})},
	"test_notfound_and_invalid_routingconfigs / target_version_exc_version_latest": {published(func(s *server) answer {
		return s.do("POST", functions+"/fn/aliases", object{"Name": "custom", "FunctionVersion": "$LATEST", "RoutingConfig": object{"AdditionalVersionWeights": object{"1": 0.5}}})
	})},
	"test_ops_with_arn_qualifier_mismatch[delete_function] / match_exception":     {request("DELETE", functions+"/fn:$LATEST?Qualifier=$LATEST", nil)},
	"test_ops_with_arn_qualifier_mismatch[delete_function] / not_match_exception": {request("DELETE", functions+"/"+escape(fnARN+":$LATEST")+"?Qualifier=1", nil)},
	"test_ops_with_arn_qualifier_mismatch[get_function] / match_exception":        {request("GET", functions+"/"+escape("arn:aws:lambda:us-east-1:111111111111:function:some-function:$LATEST")+"?Qualifier=$LATEST", nil)},
	"test_function_arns / long_function_name_exc":                                 {creating("FunctionName", strings.Repeat("a", 65))},
	"test_create_event_source_validation / no_starting_position":                  {request("POST", mappings, mapping(table))},
	"test_create_event_source_validation / invalid_starting_position":             {request("POST", mappings, mapping(table, "StartingPosition", "invalid"))},
	"test_create_event_source_validation / incompatible_starting_position":        {request("POST", mappings, mapping(table, "StartingPosition", "AT_TIMESTAMP", "StartingPositionTimestamp", 1741010802))},
	"test_tag_exceptions / tag_empty_tags":                                        {request("POST", "/2017-03-31/tags/"+escape(fnARN), object{"Tags": object{}})},
	"test_tag_exceptions / tag_lambda_qualifier_doesnotexist":                     {request("POST", "/2017-03-31/tags/"+escape(fnARN+":v1"), object{"Tags": object{"a": "b"}})},
	"test_tag_exceptions / tag_lambda_doesnotexist":                               {request("POST", "/2017-03-31/tags/"+escape("arn:aws:lambda:us-east-1:111111111111:function:doesnotexist"), object{"Tags": object{"a": "b"}})},
	"test_tag_exceptions / tag_lambda_invalidarn":                                 {request("POST", "/2017-03-31/tags/"+escape("arn:aws:something"), object{"Tags": object{"a": "b"}})},
	"test_tag_exceptions / untag_empty_keys":                                      {request("DELETE", "/2017-03-31/tags/"+escape(fnARN), nil)},
	"test_tag_limits / tag_lambda_too_many_tags": {func(s *server) answer {
		s.create("fn")
		tags := object{}
		for i := range 51 {
			tags[fmt.Sprint(i, "_key")] = "v"
		}
		return s.do("POST", "/2017-03-31/tags/"+escape(fnARN), object{"Tags": tags})
	}},
	"test_layer_function_quota_exception / create_function_with_six_layers": {func(s *server) answer {
		var arns []string
		for i := range 6 {
			arns = append(arns, layer(s, fmt.Sprint("l", i)))
		}
		return s.do("POST", functions, function("fn", "Layers", arns))
	}},
	"test_layer_function_exceptions / add_nonexistent_layer_version_exc": {func(s *server) answer {
		layer(s, "libs")
		return s.do("POST", functions, function("fn", "Layers", []string{"arn:aws:lambda:us-east-1:111111111111:layer:libs:9"}))
	}},
	"test_layer_function_exceptions / add_nonexistent_layer_exc":                      {creating("Layers", []string{"arn:aws:lambda:us-east-1:111111111111:layer:doesnotexist:1"})},
	"test_layer_function_exceptions / add_layer_arn_without_version_exc":              {creating("Layers", []string{"arn:aws:lambda:us-east-1:111111111111:layer:libs"})},
	"test_layer_function_exceptions / create_function_with_layer_in_different_region": {creating("Layers", []string{"arn:aws:lambda:eu-central-1:111111111111:layer:libs:1"})},
	"test_layer_function_exceptions / two_identical_layer_versions_single_function_exc": {func(s *server) answer {
		l := layer(s, "libs")
		return s.do("POST", functions, function("fn", "Layers", []string{l, l}))
	}},
	"test_layer_function_exceptions / two_layer_versions_single_function_exc": {func(s *server) answer {
		a, b := layer(s, "libs"), layer(s, "libs")
		return s.do("POST", functions, function("fn", "Layers", []string{a, b}))
	}},
	"test_publish_with_wrong_sha256 / publish_wrong_sha256_exc":                   {request("POST", functions+"/fn/versions", object{"CodeSha256": "somenonexistentsha256"})},
	"test_publish_with_wrong_revisionid / publish_wrong_revisionid_exc":           {request("POST", functions+"/fn/versions", object{"RevisionId": "wrong"})},
	"test_create_lambda_exceptions / invalid_zip_exc":                             {creating("Code", object{"ZipFile": base64.StdEncoding.EncodeToString([]byte("this is not a zip file, random string"))})},
	"test_create_lambda_exceptions / uppercase_runtime_exc":                       {creating("Runtime", "PYTHON3.9")},
	"test_create_lambda_exceptions / invalid_runtime_exc":                         {creating("Runtime", "non-existent-runtime")},
	"test_create_lambda_exceptions / uppercase_architecture":                      {creating("Architectures", []string{"X86_64"})},
	"test_create_lambda_exceptions / multiple_architectures":                      {creating("Architectures", []string{"x86_64", "arm64"})},
	"test_create_lambda_exceptions / invalid_role_arn_exc":                        {creating("Role", "r1")},
	"test_lambda_code_location_s3_errors / create-error-wrong-bucket":             {creating("Code", object{"S3Bucket": "nowhere", "S3Key": "k"})},
	"test_lambda_code_location_s3_errors / create-error-wrong-key":                {creating("Code", object{"S3Bucket": "bucket", "S3Key": "k"})},
	"test_esm_with_not_existing_sqs_queue / error":                                {request("POST", mappings, mapping(queue))},
	"test_esm_with_not_existing_dynamodb_stream / error":                          {request("POST", mappings, mapping(table, "StartingPosition", "LATEST"))},
	"test_esm_with_not_existing_kinesis_stream / error":                           {request("POST", mappings, mapping(stream, "StartingPosition", "LATEST"))},
	"test_event_source_mapping_exceptions / create_unknown_params":                {request("POST", mappings, mapping(queue, "FunctionName", "doesnotexist"))},
	"test_event_source_mapping_exceptions / create_no_event_source_arn":           {request("POST", mappings, object{"FunctionName": "doesnotexist"})},
	"test_event_source_mapping_exceptions / destination_config_failure":           {request("POST", mappings, mapping(queue, "DestinationConfig", object{"OnSuccess": object{"Destination": queue}}))},
	"test_sqs_invalid_event_filter[None] / create_event_source_mapping_exception": {request("POST", mappings, mapping(queue, "FilterCriteria", object{"Filters": []object{{"Pattern": "[]"}}}))},
	"test_event_source_mapping_default_batch_size / invalid-update-event-source-mapping": {func(s *server) answer {
		s.create("fn")
		id := s.ok("POST", mappings, mapping(queue)).str("UUID")
		return s.do("PUT", mappings+"/"+id, object{"BatchSize": 11})
	}},
	"test_create_event_source_self_managed / missing-source-access-configuration": {func(s *server) answer {
		s.create("fn")
		m := selfManaged("kafka:1000")
		delete(m, "SourceAccessConfigurations")
		return s.do("POST", mappings, m)
	}},
	"test_create_event_source_self_managed / duplicate-source":          {twice(selfManaged("kafka:1000"))},
	"test_create_event_source_self_managed / multiple-duplicate-source": {twice(selfManaged("kafka:1000", "kafka:2000"))},
	"test_duplicate_event_source_mappings / error": {
		twice(mapping(queue)),
		twice(mapping(table, "StartingPosition", "LATEST")),
		twice(mapping(stream, "StartingPosition", "LATEST")),
	},
	"test_notfound_and_invalid_routingconfigs / routing_config_exc_sameversion": {published(func(s *server) answer {
		return s.do("POST", functions+"/fn/aliases", object{"Name": "custom", "FunctionVersion": "1", "RoutingConfig": object{"AdditionalVersionWeights": object{"1": 0.5}}})
	})},
	"test_notfound_and_invalid_routingconfigs / routing_config_exc_toomany": {published(func(s *server) answer {
		return s.do("POST", functions+"/fn/aliases", object{"Name": "custom", "FunctionVersion": "1", "RoutingConfig": object{"AdditionalVersionWeights": object{"1": 0.8, "2": 0.5}}})
	})},
	"test_notfound_and_invalid_routingconfigs / routing_config_exc_version_latest": {published(func(s *server) answer {
		return s.do("POST", functions+"/fn/aliases", object{"Name": "custom", "FunctionVersion": "1", "RoutingConfig": object{"AdditionalVersionWeights": object{"$LATEST": 0.5}}})
	})},
	"test_notfound_and_invalid_routingconfigs / routing_config_exc_subzero": {published(func(s *server) answer {
		return s.do("POST", functions+"/fn/aliases", object{"Name": "custom", "FunctionVersion": "1", "RoutingConfig": object{"AdditionalVersionWeights": object{"2": -1.0}}})
	})},
	"test_notfound_and_invalid_routingconfigs / routing_config_exc_toohigh": {published(func(s *server) answer {
		return s.do("POST", functions+"/fn/aliases", object{"Name": "custom", "FunctionVersion": "1", "RoutingConfig": object{"AdditionalVersionWeights": object{"2": 2.0}}})
	})},
	"test_notfound_and_invalid_routingconfigs / routing_config_exc_already_exist": {published(func(s *server) answer {
		a := object{"Name": "custom", "FunctionVersion": "1"}
		s.ok("POST", functions+"/fn/aliases", a)
		return s.do("POST", functions+"/fn/aliases", a)
	})},
	"test_notfound_and_invalid_routingconfigs / alias_does_not_exist_esc":           {request("GET", functions+"/fn/aliases/non-existent", nil)},
	"test_notfound_and_invalid_routingconfigs / routing_config_exc_fn_doesnotexist": {request("POST", functions+"/fn-unknown/aliases", object{"Name": "custom", "FunctionVersion": "1", "RoutingConfig": object{"AdditionalVersionWeights": object{"2": 0.5}}})},
	"test_notfound_and_invalid_routingconfigs / target_version_doesnotexist": {published(func(s *server) answer {
		return s.do("POST", functions+"/fn/aliases", object{"Name": "custom", "FunctionVersion": "10", "RoutingConfig": object{"AdditionalVersionWeights": object{"2": 0.5}}})
	})},
	"test_non_existent_alias_update / update_alias_response":                           {request("PUT", functions+"/fn/aliases/non-existent", object{"Description": "d"})},
	"test_alias_lifecycle / get_function_alias_notfound_exc":                           {request("GET", functions+"/fn?Qualifier=aliasdoesnotexist", nil)},
	"test_alias_naming / create_alias_number_exception":                                {request("POST", functions+"/fn/aliases", object{"Name": "2024", "FunctionVersion": "1"})},
	"test_large_environment_variables_fails / failed_create_fn_result":                 {creating("Environment", object{"Variables": object{"LARGE_VAR": strings.Repeat("x", 4096)}})},
	"test_large_environment_fails_multiple_keys / failured_create_fn_result_multi_key": {creating("Environment", object{"Variables": object{"SMALL_VAR": "ok", "LARGE_VAR": strings.Repeat("x", 4096)}})},
	"test_layer_exceptions / get_layer_version_exc_layer_version_doesnotexist_negative": {func(s *server) answer {
		layer(s, "libs")
		return s.do("GET", layers+"/libs/versions/-1", nil)
	}},
	"test_layer_exceptions / list_layers_exc_compatiblearchitecture_invalid": {request("GET", layers+"?CompatibleArchitecture=archdoesnotexist", nil)},
	"test_layer_exceptions / list_layers_exc_compatibleruntime_invalid":      {request("GET", layers+"?CompatibleRuntime=runtimedoesnotexist", nil)},
	"test_layer_exceptions / get_layer_version_by_arn_exc_invalidarn":        {request("GET", layers+"?find=LayerVersion&Arn="+url.QueryEscape("arn:aws:lambda:us-east-1:111111111111:layer:libs"), nil)},
	"test_layer_exceptions / publish_layer_version_exc_partially_invalid_values": {request("POST", layers+"/libs/versions", object{
		"Content": object{"ZipFile": archive("x")}, "CompatibleRuntimes": []string{"invalidruntime", "invalidruntime2", "nodejs20.x"}, "CompatibleArchitectures": []string{"invalidarch", "x86_64"}})},
	"test_layer_exceptions / publish_layer_version_exc_invalid_runtime_arch": {request("POST", layers+"/libs/versions", object{
		"Content": object{"ZipFile": archive("x")}, "CompatibleRuntimes": []string{"invalidruntime"}, "CompatibleArchitectures": []string{"invalidarch"}})},
	"test_reserved_provisioned_overlap / reserved_equals_provisioned_another_provisioned_exc": {published(func(s *server) answer {
		s.ok("PUT", "/2019-09-30/functions/fn/provisioned-concurrency?Qualifier=1", object{"ProvisionedConcurrentExecutions": 2})
		s.ok("PUT", "/2017-10-31/functions/fn/concurrency", object{"ReservedConcurrentExecutions": 2})
		return s.do("PUT", "/2019-09-30/functions/fn/provisioned-concurrency?Qualifier=2", object{"ProvisionedConcurrentExecutions": 1})
	})},
	"test_function_concurrency_limits / put_function_concurrency_account_limit_exceeded":              {request("PUT", "/2017-10-31/functions/fn/concurrency", object{"ReservedConcurrentExecutions": 901})},
	"test_function_concurrency_exceptions / put_function_concurrency_with_qualified_arn":              {request("PUT", "/2017-10-31/functions/"+escape(fnARN+":$LATEST")+"/concurrency", object{"ReservedConcurrentExecutions": 0})},
	"test_function_concurrency_exceptions / put_function_concurrency_with_function_name_doesnotexist": {request("PUT", "/2017-10-31/functions/doesnotexist/concurrency", object{"ReservedConcurrentExecutions": 0})},
	"test_lambda_provisioned_concurrency_moves_with_alias / provisioned_concurrency_notfound": {published(func(s *server) answer {
		return s.do("GET", "/2019-09-30/functions/fn/provisioned-concurrency?Qualifier=1", nil)
	})},
	"test_lambda_eventinvokeconfig_exceptions / put_destination_lambda_doesntexist":  {request("PUT", eventInvokePath, object{"DestinationConfig": object{"OnSuccess": object{"Destination": "arn:aws:lambda:us-east-1:111111111111:function:doesnotexist"}}})},
	"test_lambda_eventinvokeconfig_exceptions / put_destination_invalid_service_arn": {request("PUT", eventInvokePath, object{"DestinationConfig": object{"OnSuccess": object{"Destination": "arn:aws:iam:us-east-1:111111111111:function:fn"}}})},
	"test_lambda_eventinvokeconfig_exceptions / put_destination_recursive":           {request("PUT", eventInvokePath, object{"DestinationConfig": object{"OnSuccess": object{"Destination": fnARN}}})},
	"test_lambda_eventinvokeconfig_exceptions / put_destination_invalid_arn_pattern": {request("PUT", eventInvokePath, object{"DestinationConfig": object{"OnFailure": object{"Destination": "arn:aws:_-/!lambda:us-east-1:111111111111:function:fn"}}})},
	"test_lambda_eventinvokeconfig_exceptions / put_functionname_nootherargs":        {request("PUT", eventInvokePath, object{})},
	"test_lambda_eventinvokeconfig_exceptions / put_functionname_name_notfound":      {request("PUT", "/2019-09-25/functions/doesnotexist/event-invoke-config", object{"MaximumRetryAttempts": 1})},
	"test_lambda_eventinvokeconfig_exceptions / delete_function_not_found":           {request("DELETE", eventInvokePath, nil)},
	"test_lambda_eventinvokeconfig_exceptions / delete_function_doesnotexist":        {request("DELETE", "/2019-09-25/functions/doesnotexist/event-invoke-config", nil)},
	"test_lambda_eventinvokeconfig_exceptions / get_qualifier_doesnotexist":          {request("GET", eventInvokePath+"?Qualifier=doesnotexist", nil)},
	"test_lambda_eventinvokeconfig_exceptions / get_eventinvokeconfig_doesnotexist": {published(func(s *server) answer {
		s.ok("POST", functions+"/fn/aliases", object{"Name": "eventinvokealias", "FunctionVersion": "1"})
		return s.do("GET", eventInvokePath+"?Qualifier=eventinvokealias", nil)
	})},
	"test_lambda_eventinvokeconfig_lifecycle / get_invokeconfig_postpublish": {published(func(s *server) answer {
		s.ok("PUT", eventInvokePath, object{"MaximumRetryAttempts": 1})
		return s.do("GET", eventInvokePath+"?Qualifier=1", nil)
	})},
	"test_ops_on_nonexisting_version[get_function_event_invoke_config] / version_not_found_exception": {request("GET", eventInvokePath+"?Qualifier=1221", nil)},
	"test_ops_on_nonexisting_fn[get_function_event_invoke_config] / not_found_exception":              {request("GET", "/2019-09-25/functions/missing/event-invoke-config", nil)},
	"test_ops_on_nonexisting_fn[get_function_url_config] / not_found_exception":                       {request("GET", "/2021-10-31/functions/missing/url", nil)},
	"test_ops_on_nonexisting_fn[delete_function] / not_found_exception":                               {request("DELETE", functions+"/missing", nil)},
	"test_ops_on_nonexisting_version[get_function] / version_not_found_exception":                     {request("GET", functions+"/fn?Qualifier=1221", nil)},
	"test_delete_on_nonexisting_version / delete_function_response_non_existent":                      {request("DELETE", functions+"/missing?Qualifier=1", nil)},
	"test_function_lifecycle / delete_postdelete": {func(s *server) answer {
		s.create("fn")
		s.ok("DELETE", functions+"/fn", nil)
		return s.do("GET", functions+"/fn", nil)
	}},
	"test_get_function_wrong_region[get_function] / wrong_region_exception": {request("GET", functions+"/"+escape("arn:aws:lambda:eu-central-1:111111111111:function:fn"), nil)},
	"test_function_arns / function_arn_other_region_exc":                    {creating("FunctionName", "arn:aws:lambda:ap-southeast-1:111111111111:function:fn")},
	"test_function_arns / long_function_arn_exc":                            {creating("FunctionName", fnARN+strings.Repeat("a", 141))},
	"test_function_arns / invalid_function_name_exc":                        {creating("FunctionName", "invalid:function:name")},
	"test_permission_exceptions / add_permission_principal_invalid":         {request("POST", functions+"/fn/policy", object{"StatementId": "s", "Action": "lambda:InvokeFunction", "Principal": "invalid.nonaws.com"})},
	"test_permission_exceptions / add_permission_fn_qualifier_latest":       {request("POST", functions+"/fn/policy?Qualifier=$LATEST", permission("s"))},
	"test_permission_exceptions / add_permission_conflicting_statement_id": {func(s *server) answer {
		s.create("fn")
		s.ok("POST", functions+"/fn/policy", permission("s3"))
		return s.do("POST", functions+"/fn/policy", permission("s3"))
	}},
	"test_permission_exceptions / add_permission_fn_alias_doesnotexist":           {request("POST", functions+"/fn/policy?Qualifier=alias-doesnotexist", permission("s"))},
	"test_permission_exceptions / add_permission_fn_version_doesnotexist":         {request("POST", functions+"/fn/policy?Qualifier=42", permission("s"))},
	"test_permission_exceptions / add_permission_fn_qualifier_valid_doesnotexist": {request("POST", functions+"/fn/policy?Qualifier=valid-with-$-but-doesnotexist", permission("s"))},
	"test_permission_exceptions / add_permission_fn_qualifier_invalid":            {request("POST", functions+"/fn/policy?Qualifier=invalid-qualifier-with-%3F-char", permission("s"))},
	"test_permission_exceptions / add_permission_invalid_statement_id":            {request("POST", functions+"/fn/policy", permission("example.com"))},
	"test_permission_exceptions / remove_permission_fn_doesnotexist":              {request("DELETE", functions+"/doesnotexist/policy/s", nil)},
	"test_permission_exceptions / remove_permission_policy_doesnotexist":          {request("DELETE", functions+"/fn/policy/s", nil)},
	"test_remove_multi_permissions / remove_permission_exception_nonexisting_sid": {func(s *server) answer {
		s.create("fn")
		s.ok("POST", functions+"/fn/policy", permission("s3"))
		return s.do("DELETE", functions+"/fn/policy/non-existent", nil)
	}},
	"test_lambda_permission_fn_versioning / add_permission_alias_revision_exception": {published(func(s *server) answer {
		s.ok("POST", functions+"/fn/aliases", object{"Name": "permission-alias", "FunctionVersion": "1"})
		p := permission("s")
		p["RevisionId"] = "wrong"
		return s.do("POST", functions+"/fn/policy?Qualifier=permission-alias", p)
	})},
	"test_layer_policy_exceptions / layer_permission_action_invalid": {func(s *server) answer {
		layer(s, "libs")
		return s.do("POST", layers+"/libs/versions/1/policy", object{"StatementId": "s1", "Action": "*", "Principal": "*"})
	}},
	"test_layer_policy_exceptions / layer_permission_wrong_revision": {func(s *server) answer {
		layer(s, "libs")
		p := object{"StatementId": "s1", "Action": "lambda:GetLayerVersion", "Principal": "*"}
		s.ok("POST", layers+"/libs/versions/1/policy", p)
		p["StatementId"] = "s2"
		return s.do("POST", layers+"/libs/versions/1/policy?RevisionId=wrong", p)
	}},
	"test_layer_policy_exceptions / layer_permission_duplicate_statement": {func(s *server) answer {
		layer(s, "libs")
		p := object{"StatementId": "s1", "Action": "lambda:GetLayerVersion", "Principal": "*"}
		s.ok("POST", layers+"/libs/versions/1/policy", p)
		return s.do("POST", layers+"/libs/versions/1/policy", p)
	}},
	"test_layer_policy_exceptions / layer_permission_layername_doesnotexist_add": {request("POST", layers+"/libs-doesnotexist/versions/1/policy", object{"StatementId": "s1", "Action": "lambda:GetLayerVersion", "Principal": "*"})},
	"test_layer_policy_exceptions / layer_permission_layerversion_doesnotexist_add": {func(s *server) answer {
		layer(s, "libs")
		return s.do("POST", layers+"/libs/versions/2/policy", object{"StatementId": "s1", "Action": "lambda:GetLayerVersion", "Principal": "*"})
	}},
	"test_layer_policy_exceptions / layer_permission_statementid_doesnotexist_remove": {func(s *server) answer {
		layer(s, "libs")
		s.ok("POST", layers+"/libs/versions/1/policy", object{"StatementId": "s1", "Action": "lambda:GetLayerVersion", "Principal": "*"})
		return s.do("DELETE", layers+"/libs/versions/1/policy/doesnotexist", nil)
	}},
	"test_lambda_concurrent_code_updates / update-during-in-progress-update-exc": {func(s *server) answer {
		s.create("fn")
		s.send("PUT", functions+"/fn/code", object{"ZipFile": archive("one")})
		return s.send("PUT", functions+"/fn/code", object{"ZipFile": archive("two")})
	}},
	"test_oversized_lambda / invalid_param_exc":               {creating("Code", object{"ZipFile": largeZip(262_144_001)})},
	"test_oversized_zipped_create_lambda / invalid_param_exc": {creating("Code", object{"ZipFile": base64.StdEncoding.EncodeToString(zeros(52_428_801))})},
	"test_oversized_request_create_lambda / invalid_param_exc": {func(s *server) answer {
		return s.do("POST", functions, io.LimitReader(endless{}, 70_167_212))
	}},
	"test_lambda_url_invalid_invoke_mode / invoke_function_invalid_invoke_type":              {request("POST", "/2021-10-31/functions/fn/url", object{"AuthType": "NONE", "InvokeMode": "UNKNOWN"})},
	"test_invalid_vpc_config_security_group / create-response-invalid-format-security-group": {creating("VpcConfig", object{"SubnetIds": []string{"subnet-1"}, "SecurityGroupIds": []string{"bad-sg"}})},
	"test_invalid_vpc_config_subnet / create-response-invalid-format-subnet-id":              {creating("VpcConfig", object{"SubnetIds": []string{"bad-subnet"}, "SecurityGroupIds": []string{"sg-1"}})},
	"test_invalid_invoke / invoke_function_name_pattern_exc":                                 {request("POST", functions+"/"+escape("arn:aws:lambda:us-east-1:123400000000@function:myfn")+"/invocations", nil)},
	"test_list_functions / list_functions_invalid_functionversion":                           {request("GET", functions+"?FunctionVersion=invalid", nil)},
	"test_snapstart_exceptions / create_function_invalid_snapstart_apply":                    {creating("SnapStart", object{"ApplyOn": "invalidOption"})},
}

func init() {
	for _, r := range []string{"dotnetcore3.1", "go1.x", "java8", "nodejs12.x", "nodejs14.x", "provided", "python3.7", "ruby2.7"} {
		scenarios["test_create_deprecated_function_runtime_with_validation_enabled["+r+"] / deprecation_error"] = []scenario{creating("Runtime", r)}
	}
}

// endless is a JSON string that does not end.
type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}

var placeholder = regexp.MustCompile(`<[a-zA-Z0-9_: -]+>`)

// pattern returns what a recorded message matches: itself, with something for
// each of its placeholders.
func pattern(message string) *regexp.Regexp {
	message = strings.ReplaceAll(message, "<partition>", "aws")
	message = strings.ReplaceAll(message, "<region>", region)
	message = strings.ReplaceAll(message, "<wrong-region>", "eu-central-1")
	var b strings.Builder
	for {
		loc := placeholder.FindStringIndex(message)
		if loc == nil {
			break
		}
		b.WriteString(regexp.QuoteMeta(message[:loc[0]]) + `[^ ]+?`)
		message = message[loc[1]:]
	}
	b.WriteString(strings.ReplaceAll(regexp.QuoteMeta(message), "x…", "x+"))
	return regexp.MustCompile(`^` + b.String() + `$`)
}

// TestRecorded gives every answer that was recorded on AWS, over HTTP.
func TestRecorded(t *testing.T) {
	data, err := os.ReadFile("../awsapi/testdata/lambda-errors.tsv")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	for i, line := range strings.Split(strings.TrimSpace(string(data)), "\n") {
		row := strings.Split(line, "\t")
		if i == 0 {
			continue
		}
		errorCode, status, message, tried := row[0], row[1], row[2], row[3]
		if elsewhere[tried] != "" {
			continue
		}
		n := seen[tried]
		seen[tried]++
		t.Run(strings.ReplaceAll(tried, " ", ""), func(t *testing.T) {
			if n >= len(scenarios[tried]) {
				t.Fatalf("no scenario for %s: %s", errorCode, message)
			}
			t.Parallel()
			s := newServer(t, "sqlite", func(c *lambda.Config) {
				c.Objects = refusing{}
				if strings.Contains(tried, "not_existing") {
					c.Checker = nowhere{}
				}
				if strings.Contains(tried, "in-progress") {
					c.Activator = stuck{}
				}
			})
			got := scenarios[tried][n](s)
			if got.code() != errorCode || fmt.Sprint(got.status) != status {
				t.Errorf("%d %s, want %s %s: %s", got.status, got.code(), status, errorCode, got.raw)
			}
			if message == "" {
				return // AWS's words are not known
			}
			if want := pattern(message); !want.MatchString(got.message()) {
				t.Errorf("message\n%.600s\nwant\n%.600s", got.message(), message)
			}
		})
	}
}
