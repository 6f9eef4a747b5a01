"""Calls every operation that boto3's Lambda client has, but the invocations, and checks what comes back.

usage: operations.py ENDPOINT
"""
import io
import json
import sys
import urllib.request
import zipfile

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

endpoint = sys.argv[1]
client = boto3.client(
    "lambda", endpoint_url=endpoint, region_name="us-east-1",
    aws_access_key_id="111111111111", aws_secret_access_key="x",
    config=Config(retries={"max_attempts": 0}),
)
called = set()
client.meta.events.register("before-call.lambda", lambda model, **_: called.add(model.name))

ROLE = "arn:aws:iam::111111111111:role/r"
ARN = "arn:aws:lambda:us-east-1:111111111111:"


def package(text):
    b = io.BytesIO()
    with zipfile.ZipFile(b, "w") as z:
        z.writestr("index.py", text)
    return b.getvalue()


def refused(code, operation, **kwargs):
    try:
        operation(**kwargs)
    except ClientError as e:
        assert e.response["Error"]["Code"] == code, e.response
        return e.response
    raise AssertionError(f"{operation.__name__} was not refused with {code}")


def create(name, **kwargs):
    kwargs = {"Runtime": "python3.12", "Handler": "index.handler", "Code": {"ZipFile": package("def handler(e, c): pass")}} | kwargs
    answer = client.create_function(FunctionName=name, Role=ROLE, **kwargs)
    assert answer["State"] == "Pending", answer
    client.get_waiter("function_active_v2").wait(FunctionName=name, WaiterConfig={"Delay": 0.05, "MaxAttempts": 100})
    return answer


# Functions, versions, aliases.
create("fn", Tags={"a": "b"}, Environment={"Variables": {"KEY": "value"}}, Publish=True)
refused("ResourceConflictException", client.create_function, FunctionName="fn", Role=ROLE, Runtime="python3.12", Handler="h.h", Code={"ZipFile": package("")})
got = client.get_function(FunctionName="fn")
assert got["Tags"] == {"a": "b"}, got
with urllib.request.urlopen(got["Code"]["Location"]) as r:
    assert zipfile.ZipFile(io.BytesIO(r.read())).namelist() == ["index.py"]
assert client.get_function_configuration(FunctionName="fn", Qualifier="1")["Version"] == "1"
client.update_function_configuration(FunctionName="fn", Description="two", MemorySize=256)
client.get_waiter("function_updated_v2").wait(FunctionName="fn", WaiterConfig={"Delay": 0.05, "MaxAttempts": 100})
client.update_function_code(FunctionName="fn", ZipFile=package("# two"))
client.get_waiter("function_updated_v2").wait(FunctionName="fn", WaiterConfig={"Delay": 0.05, "MaxAttempts": 100})
assert client.publish_version(FunctionName="fn")["Version"] == "2"
client.get_waiter("published_version_active").wait(FunctionName="fn", Qualifier="2", WaiterConfig={"Delay": 0.05, "MaxAttempts": 100})
assert [v["Version"] for p in client.get_paginator("list_versions_by_function").paginate(FunctionName="fn", PaginationConfig={"PageSize": 1}) for v in p["Versions"]] == ["$LATEST", "1", "2"]
for i in range(3):
    create(f"more{i}")
names = [f["FunctionName"] for p in client.get_paginator("list_functions").paginate(PaginationConfig={"PageSize": 2}) for f in p["Functions"]]
assert names == ["fn", "more0", "more1", "more2"], names
client.create_alias(FunctionName="fn", Name="live", FunctionVersion="1", RoutingConfig={"AdditionalVersionWeights": {"2": 0.25}})
assert client.get_alias(FunctionName="fn", Name="live")["RoutingConfig"]["AdditionalVersionWeights"] == {"2": 0.25}
client.update_alias(FunctionName="fn", Name="live", Description="d", RoutingConfig={})
assert len(client.list_aliases(FunctionName="fn")["Aliases"]) == 1

# Tags and account.
client.tag_resource(Resource=ARN + "function:fn", Tags={"c": "d"})
client.untag_resource(Resource=ARN + "function:fn", TagKeys=["a"])
assert client.list_tags(Resource=ARN + "function:fn")["Tags"] == {"c": "d"}
assert client.get_account_settings()["AccountUsage"]["FunctionCount"] == 4

# Permissions.
statement = json.loads(client.add_permission(FunctionName="fn", StatementId="s3", Action="lambda:InvokeFunction", Principal="s3.amazonaws.com", SourceArn="arn:aws:s3:::b")["Statement"])
assert statement["Condition"] == {"ArnLike": {"AWS:SourceArn": "arn:aws:s3:::b"}}, statement
assert json.loads(client.get_policy(FunctionName="fn")["Policy"])["Statement"] == [statement]
client.remove_permission(FunctionName="fn", StatementId="s3")
refused("ResourceNotFoundException", client.get_policy, FunctionName="fn")
if hasattr(client, "put_resource_policy"):
    client.put_resource_policy(ResourceArn=ARN + "function:fn", Policy=json.dumps({"Version": "2012-10-17", "Statement": [statement]}))
    client.get_resource_policy(ResourceArn=ARN + "function:fn")
    client.delete_resource_policy(ResourceArn=ARN + "function:fn")

# Concurrency.
client.put_function_concurrency(FunctionName="fn", ReservedConcurrentExecutions=5)
assert client.get_function_concurrency(FunctionName="fn")["ReservedConcurrentExecutions"] == 5
client.delete_function_concurrency(FunctionName="fn")
client.put_provisioned_concurrency_config(FunctionName="fn", Qualifier="live", ProvisionedConcurrentExecutions=1)
assert client.get_provisioned_concurrency_config(FunctionName="fn", Qualifier="live")["RequestedProvisionedConcurrentExecutions"] == 1
assert len(client.list_provisioned_concurrency_configs(FunctionName="fn")["ProvisionedConcurrencyConfigs"]) == 1
client.delete_provisioned_concurrency_config(FunctionName="fn", Qualifier="live")

# Asynchronous invocations.
client.put_function_event_invoke_config(FunctionName="fn", MaximumRetryAttempts=1)
client.update_function_event_invoke_config(FunctionName="fn", MaximumEventAgeInSeconds=60)
config = client.get_function_event_invoke_config(FunctionName="fn")
assert (config["MaximumRetryAttempts"], config["MaximumEventAgeInSeconds"]) == (1, 60) and config["LastModified"].year >= 2026, config
assert len(client.list_function_event_invoke_configs(FunctionName="fn")["FunctionEventInvokeConfigs"]) == 1
client.delete_function_event_invoke_config(FunctionName="fn")

# Event source mappings.
queue = "arn:aws:sqs:us-east-1:111111111111:queue"
mapping = client.create_event_source_mapping(FunctionName="fn", EventSourceArn=queue, FilterCriteria={"Filters": [{"Pattern": '{"body":{"a":["b"]}}'}]})
assert mapping["State"] == "Creating" and mapping["BatchSize"] == 10, mapping
while client.get_event_source_mapping(UUID=mapping["UUID"])["State"] != "Enabled":
    pass
client.update_event_source_mapping(UUID=mapping["UUID"], BatchSize=5)
assert client.list_event_source_mappings(FunctionName="fn")["EventSourceMappings"][0]["BatchSize"] == 5
while client.get_event_source_mapping(UUID=mapping["UUID"])["State"] != "Enabled":
    pass
assert client.delete_event_source_mapping(UUID=mapping["UUID"])["State"] == "Deleting"

# URLs.
client.create_function_url_config(FunctionName="fn", AuthType="NONE", Cors={"AllowOrigins": ["*"]})
client.update_function_url_config(FunctionName="fn", InvokeMode="RESPONSE_STREAM")
assert client.get_function_url_config(FunctionName="fn")["InvokeMode"] == "RESPONSE_STREAM"
assert len(client.list_function_url_configs(FunctionName="fn")["FunctionUrlConfigs"]) == 1
client.delete_function_url_config(FunctionName="fn")

# Code signing.
profile = "arn:aws:signer:us-east-1:111111111111:/signing-profiles/test/abcdefghij"
csc = client.create_code_signing_config(AllowedPublishers={"SigningProfileVersionArns": [profile]})["CodeSigningConfig"]["CodeSigningConfigArn"]
client.update_code_signing_config(CodeSigningConfigArn=csc, Description="d")
assert client.get_code_signing_config(CodeSigningConfigArn=csc)["CodeSigningConfig"]["Description"] == "d"
assert len(client.list_code_signing_configs()["CodeSigningConfigs"]) == 1
client.put_function_code_signing_config(FunctionName="fn", CodeSigningConfigArn=csc)
assert client.get_function_code_signing_config(FunctionName="fn")["CodeSigningConfigArn"] == csc
assert client.list_functions_by_code_signing_config(CodeSigningConfigArn=csc)["FunctionArns"] == [ARN + "function:fn"]
client.delete_function_code_signing_config(FunctionName="fn")
client.delete_code_signing_config(CodeSigningConfigArn=csc)

# Layers.
layer = client.publish_layer_version(LayerName="libs", Content={"ZipFile": package("# layer")}, CompatibleRuntimes=["python3.12"])
assert layer["Version"] == 1, layer
assert client.get_layer_version(LayerName="libs", VersionNumber=1)["LayerVersionArn"] == layer["LayerVersionArn"]
assert client.get_layer_version_by_arn(Arn=layer["LayerVersionArn"])["Version"] == 1
assert len(client.list_layers(CompatibleRuntime="python3.12")["Layers"]) == 1
assert len(client.list_layer_versions(LayerName="libs")["LayerVersions"]) == 1
client.add_layer_version_permission(LayerName="libs", VersionNumber=1, StatementId="s", Action="lambda:GetLayerVersion", Principal="*")
assert "s" in client.get_layer_version_policy(LayerName="libs", VersionNumber=1)["Policy"]
client.remove_layer_version_permission(LayerName="libs", VersionNumber=1, StatementId="s")
client.delete_layer_version(LayerName="libs", VersionNumber=1)

# Runtimes and recursion.
client.put_runtime_management_config(FunctionName="fn", UpdateRuntimeOn="FunctionUpdate")
assert client.get_runtime_management_config(FunctionName="fn")["UpdateRuntimeOn"] == "FunctionUpdate"
client.put_function_recursion_config(FunctionName="fn", RecursiveLoop="Allow")
assert client.get_function_recursion_config(FunctionName="fn")["RecursiveLoop"] == "Allow"

# Capacity providers.
if hasattr(client, "create_capacity_provider"):
    client.create_capacity_provider(CapacityProviderName="cp", VpcConfig={"SubnetIds": ["subnet-1"], "SecurityGroupIds": ["sg-1"]}, PermissionsConfig={"CapacityProviderOperatorRoleArn": ROLE})
    while client.get_capacity_provider(CapacityProviderName="cp")["CapacityProvider"]["State"] != "Active":
        pass
    client.update_capacity_provider(CapacityProviderName="cp", CapacityProviderScalingConfig={"MaxVCpuCount": 12, "ScalingMode": "Auto"})
    assert len(client.list_capacity_providers()["CapacityProviders"]) == 1
    client.create_function(
        FunctionName="managed", Role=ROLE, Runtime="python3.12", Handler="index.handler", Code={"ZipFile": package("")}, Publish=True, MemorySize=2048,
        CapacityProviderConfig={"LambdaManagedInstancesCapacityProviderConfig": {"CapacityProviderArn": ARN + "capacity-provider:cp"}},
    )
    client.put_function_scaling_config(FunctionName="managed", Qualifier="1", FunctionScalingConfig={"MinExecutionEnvironments": 1, "MaxExecutionEnvironments": 2})
    assert client.get_function_scaling_config(FunctionName="managed", Qualifier="1")["RequestedFunctionScalingConfig"]["MaxExecutionEnvironments"] == 2
    assert len(client.list_function_versions_by_capacity_provider(CapacityProviderName="cp")["FunctionVersions"]) == 2
    client.delete_function(FunctionName="managed")
    client.delete_capacity_provider(CapacityProviderName="cp")

# Durable executions: there is none.
if hasattr(client, "get_durable_execution"):
    execution = ARN + "function:fn:1/durable-execution/x/12345678-1234-1234-1234-123456789012"
    assert client.list_durable_executions_by_function(FunctionName="fn")["DurableExecutions"] == []
    missing = "ResourceNotFoundException"
    refused(missing, client.get_durable_execution, DurableExecutionArn=execution)
    refused(missing, client.get_durable_execution_history, DurableExecutionArn=execution)
    refused(missing, client.get_durable_execution_state, DurableExecutionArn=execution, CheckpointToken="dG9rZW4=")
    refused(missing, client.checkpoint_durable_execution, DurableExecutionArn=execution, CheckpointToken="dG9rZW4=")
    refused(missing, client.stop_durable_execution, DurableExecutionArn=execution)
    callback = "Y2FsbGJhY2s="
    refused(missing, client.send_durable_execution_callback_success, CallbackId=callback)
    refused(missing, client.send_durable_execution_callback_failure, CallbackId=callback)
    refused(missing, client.send_durable_execution_callback_heartbeat, CallbackId=callback)
    for name in ("pause_durable_execution", "resume_durable_execution", "delete_durable_execution"):
        if hasattr(client, name):
            refused(missing, getattr(client, name), DurableExecutionArn=execution)

client.delete_alias(FunctionName="fn", Name="live")
for name in client.list_functions()["Functions"]:
    client.delete_function(FunctionName=name["FunctionName"])
refused("ResourceNotFoundException", client.get_function, FunctionName="fn")
assert client.get_account_settings()["AccountUsage"]["TotalCodeSize"] == 0

left = set(client.meta.service_model.operation_names) - called - {"Invoke", "InvokeAsync", "InvokeWithResponseStream"}
assert not left, f"operations not called: {sorted(left)}"
print(len(called), "operations")
