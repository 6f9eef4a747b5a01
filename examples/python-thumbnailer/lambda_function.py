"""Makes a thumbnail of an image.

Takes an HTTP request (API Gateway v2 or a function URL) whose body is the
image, or an S3 event, whose objects' thumbnails go beside them as
thumbnails/KEY.
"""

import base64
import io
import os
import urllib.parse

from PIL import Image

SIZE = int(os.environ.get("SIZE", "128"))


def thumbnail(data):
    image = Image.open(io.BytesIO(data))
    image.thumbnail((SIZE, SIZE))
    out = io.BytesIO()
    image.convert("RGB").save(out, "JPEG")
    print(f"{image.format or 'image'} of {len(data)} bytes, now {image.width} x {image.height}")
    return out.getvalue()


def lambda_handler(event, context):
    if "Records" in event:
        return [from_s3(r["s3"]) for r in event["Records"]]
    body = event.get("body") or ""
    if not event.get("isBase64Encoded"):
        return {"statusCode": 400, "body": "send an image"}
    return {
        "statusCode": 200,
        "headers": {"content-type": "image/jpeg"},
        "isBase64Encoded": True,
        "body": base64.b64encode(thumbnail(base64.b64decode(body))).decode(),
    }


def from_s3(record):
    import boto3  # at AWS_ENDPOINT_URL_S3, if that is set

    s3 = boto3.client("s3")
    bucket, key = record["bucket"]["name"], urllib.parse.unquote_plus(record["object"]["key"])
    data = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    s3.put_object(Bucket=bucket, Key=f"thumbnails/{key}", Body=thumbnail(data), ContentType="image/jpeg")
    return f"thumbnails/{key}"
