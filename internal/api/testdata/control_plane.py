"""Takes the Lambda API's resources through their lives with boto3, and checks what AWS would answer."""
import hashlib, base64, io, sys, urllib.request, zipfile

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

ROLE = "arn:aws:iam::000000000000:role/r"


def client(key="test", region="us-east-1"):
    return boto3.client("lambda", endpoint_url=sys.argv[1], region_name=region, aws_access_key_id=key,
                        aws_secret_access_key="s", config=Config(retries={"max_attempts": 1}))


def archive(text):
    buf = io.BytesIO()
    with zipfile.ZipFile(buf, "w") as z:
        z.writestr("lambda_function.py", text)
    return buf.getvalue()


def refused(code, status, message, call, **params):
    try:
        call(**params)
    except ClientError as e:
        got = (e.response["Error"]["Code"], e.response["ResponseMetadata"]["HTTPStatusCode"], e.response["Error"]["Message"])
        assert got == (code, status, message), got
        return e.response
    raise AssertionError(f"{params} was not refused")


c = client()
zip1, zip2 = archive("a = 1"), archive("a = 2")

# Functions.
f = c.create_function(FunctionName="f", Runtime="python3.13", Role=ROLE, Handler="lambda_function.handler", Code={"ZipFile": zip1},
                      Environment={"Variables": {"KEY": "ü"}}, Tags={"team": "x"})
assert f["State"] == "Pending" and f["StateReasonCode"] == "Creating" and "LastUpdateStatus" not in f, f
assert f["FunctionArn"] == "arn:aws:lambda:us-east-1:000000000000:function:f" and f["Version"] == "$LATEST"
assert f["CodeSha256"] == base64.b64encode(hashlib.sha256(zip1).digest()).decode() and f["CodeSize"] == len(zip1)
assert f["ResponseMetadata"]["HTTPStatusCode"] == 201 and "Layers" not in f, f
c.get_waiter("function_active_v2").wait(FunctionName="f", WaiterConfig={"Delay": 0.1})
g = c.get_function(FunctionName="000000000000:function:f")
assert g["Configuration"]["State"] == "Active" and g["Configuration"]["LastUpdateStatus"] == "Successful" and g["Tags"] == {"team": "x"}, g
assert g["Configuration"]["Environment"] == {"Variables": {"KEY": "ü"}}
assert urllib.request.urlopen(g["Code"]["Location"]).read() == zip1
refused("ResourceConflictException", 409, "Function already exist: f", c.create_function, FunctionName="f", Runtime="python3.13", Role=ROLE,
        Handler="h", Code={"ZipFile": zip1})
r = refused("ResourceNotFoundException", 404, "Function not found: arn:aws:lambda:us-east-1:000000000000:function:none", c.get_function, FunctionName="none")
assert r["Type"] == "User" and r["Message"].startswith("Function not found"), r
refused("ResourceNotFoundException", 404, "Functions from 'eu-west-1' are not reachable in this region ('us-east-1')",
        c.get_function, FunctionName="arn:aws:lambda:eu-west-1:000000000000:function:f")
refused("InvalidParameterValueException", 400, "The derived qualifier from the function name does not match the specified qualifier.",
        c.get_function, FunctionName="f:1", Qualifier="2")
refused("InvalidParameterValueException", 400, "1 validation error detected: Value '" + "a" * 65 + "' at 'functionName' failed to satisfy constraint: "
        "Member must have length less than or equal to 64", c.create_function, FunctionName="a" * 65, Runtime="python3.13", Role=ROLE, Handler="h", Code={"ZipFile": zip1})
refused("InvalidParameterValueException", 400, "Could not unzip uploaded file. Please check your file, then try to upload again.",
        c.create_function, FunctionName="bad", Runtime="python3.13", Role=ROLE, Handler="h", Code={"ZipFile": b"no archive"})
u = c.update_function_configuration(FunctionName="f", MemorySize=256, Environment={"Variables": {}})
assert u["MemorySize"] == 256 and u["LastUpdateStatus"] == "InProgress", u
c.get_waiter("function_updated_v2").wait(FunctionName="f", WaiterConfig={"Delay": 0.1})

# Versions and aliases.
v1 = c.publish_version(FunctionName="f")
assert v1["Version"] == "1" and c.publish_version(FunctionName="f")["Version"] == "1", v1
c.get_waiter("function_updated_v2").wait(FunctionName="f", WaiterConfig={"Delay": 0.1})
c.update_function_code(FunctionName="f", ZipFile=zip2)
c.get_waiter("function_updated_v2").wait(FunctionName="f", WaiterConfig={"Delay": 0.1})
assert c.publish_version(FunctionName="f")["Version"] == "2"
a = c.create_alias(FunctionName="f", Name="live", FunctionVersion="2", RoutingConfig={"AdditionalVersionWeights": {"1": 0.25}})
assert a["AliasArn"] == "arn:aws:lambda:us-east-1:000000000000:function:f:live" and a["RoutingConfig"] == {"AdditionalVersionWeights": {"1": 0.25}}, a
assert [v["Version"] for v in c.list_versions_by_function(FunctionName="f")["Versions"]] == ["$LATEST", "1", "2"]
assert c.get_function(FunctionName="f:live")["Configuration"]["Version"] == "2"
refused("PreconditionFailedException", 412, "The Revision Id provided does not match the latest Revision Id. Call the GetFunction/GetAlias API to retrieve the latest Revision Id",
        c.update_alias, FunctionName="f", Name="live", RevisionId="00000000-0000-0000-0000-000000000000")

# Layers.
l = c.publish_layer_version(LayerName="libs", Content={"ZipFile": zip1}, CompatibleRuntimes=["python3.13"])
assert l["LayerVersionArn"] == "arn:aws:lambda:us-east-1:000000000000:layer:libs:1" and l["Version"] == 1, l
assert c.get_layer_version_by_arn(Arn=l["LayerVersionArn"])["Content"]["CodeSize"] == len(zip1)
assert [x["LayerName"] for x in c.list_layers(CompatibleRuntime="python3.13")["Layers"]] == ["libs"]
u = c.update_function_configuration(FunctionName="f", Layers=[l["LayerVersionArn"]])
assert u["Layers"] == [{"Arn": l["LayerVersionArn"], "CodeSize": len(zip1)}], u
c.get_waiter("function_updated_v2").wait(FunctionName="f", WaiterConfig={"Delay": 0.1})

# Tags, policies, concurrency, configurations.
arn = f["FunctionArn"]
c.tag_resource(Resource=arn, Tags={"a": "1", "b": "2"})
c.untag_resource(Resource=arn, TagKeys=["a", "team"])
assert c.list_tags(Resource=arn)["Tags"] == {"b": "2"}
c.add_permission(FunctionName="f", StatementId="s1", Action="lambda:InvokeFunction", Principal="s3.amazonaws.com")
assert '"Sid":"s1"' in c.get_policy(FunctionName="f")["Policy"]
refused("ResourceConflictException", 409, "The statement id (s1) provided already exists. Please provide a new statement id, or remove the existing statement.",
        c.add_permission, FunctionName="f", StatementId="s1", Action="lambda:InvokeFunction", Principal="s3.amazonaws.com")
assert c.put_function_concurrency(FunctionName="f", ReservedConcurrentExecutions=5)["ReservedConcurrentExecutions"] == 5
assert c.get_function_concurrency(FunctionName="f")["ReservedConcurrentExecutions"] == 5
e = c.put_function_event_invoke_config(FunctionName="f", MaximumRetryAttempts=0)
assert e["MaximumRetryAttempts"] == 0 and e["LastModified"].year >= 2024, e
url = c.create_function_url_config(FunctionName="f", AuthType="NONE", Cors={"AllowOrigins": ["*"]})
assert url["AuthType"] == "NONE" and url["FunctionUrl"].startswith("http"), url
assert c.get_account_settings()["AccountLimit"]["ConcurrentExecutions"] == 1000

# Pages, accounts and regions.
for i in range(7):
    c.create_function(FunctionName=f"p{i}", Runtime="nodejs22.x", Role=ROLE, Handler="index.handler", Code={"ZipFile": zip1})
pages = list(c.get_paginator("list_functions").paginate(PaginationConfig={"PageSize": 3}))
assert sorted(x["FunctionName"] for p in pages for x in p["Functions"]) == ["f"] + [f"p{i}" for i in range(7)] and len(pages) >= 3, pages
assert client(region="eu-west-1").list_functions()["Functions"] == []
assert client(key="123456789012").list_functions()["Functions"] == []
other = client(key="123456789012").create_function(FunctionName="f", Runtime="python3.13", Role=ROLE, Handler="h", Code={"ZipFile": zip1})
assert other["FunctionArn"] == "arn:aws:lambda:us-east-1:123456789012:function:f"

# Ends.
assert c.delete_function(FunctionName="p0")["ResponseMetadata"]["HTTPStatusCode"] in (200, 204)
assert c.delete_alias(FunctionName="f", Name="live")["ResponseMetadata"]["HTTPStatusCode"] == 204
c.delete_function(FunctionName="f")
refused("ResourceNotFoundException", 404, f"Function not found: {arn}", c.delete_function, FunctionName="f")
print("ok")
