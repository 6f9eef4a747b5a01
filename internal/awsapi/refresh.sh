#!/bin/sh
# Takes AWS's service models from the newest botocore and generates the wire packages anew.
set -eu
cd "$(dirname "$0")/../.."
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
pip download --quiet --no-deps --dest "$tmp" botocore
go run ./internal/awsapi/gen -wheel "$tmp"/botocore-*.whl
git --no-pager diff --stat -- internal/awsapi
