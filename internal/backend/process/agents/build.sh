#!/bin/sh
# Builds the agents that a release of hearth carries. Then:
#   go build -tags release ./cmd/hearth
set -eu
cd "$(dirname "$0")"
for arch in amd64 arm64; do
	CGO_ENABLED=0 GOOS=linux GOARCH=$arch go build -trimpath -buildvcs=false -ldflags='-s -w' -o "hearth-agent-linux-$arch" ../../../../cmd/hearth-agent
	gzip -9nf "hearth-agent-linux-$arch"
done
