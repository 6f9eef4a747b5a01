#!/bin/sh
# Compiles Hearth's Java runtime to lib/hearth.jar, which is committed, since machines that run
# Java functions may have no compiler. Needs a JDK from 9 to 25; reproducible with the same one.
set -eu
cd "$(dirname "$0")"
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
core=$(ls lib/aws-lambda-java-core-*.jar)
serialization=$(ls lib/aws-lambda-java-serialization-*.jar)
javac --release 8 -Xlint:all,-options,-rawtypes -g:source,lines -cp "$core:$serialization" -d "$out" src/run/hearth/runtime/*.java
mkdir "$out/META-INF"
# What the classes were made from, so that a test needs no compiler to see that they are current.
cat src/run/hearth/runtime/*.java | sha256sum | cut -d' ' -f1 >"$out/META-INF/sources.sha256"
cat >"$out/manifest" <<EOF
Main-Class: run.hearth.runtime.Main
Class-Path: ${core#lib/} ${serialization#lib/}
Add-Opens: java.base/java.io
EOF
rm -f lib/hearth.jar
(cd "$out" && find run META-INF -exec touch -d 2020-01-01T00:00:00Z {} + && jar --create --date=2020-01-01T00:00:00Z --file hearth.jar --manifest manifest META-INF/sources.sha256 run)
mv "$out/hearth.jar" lib/hearth.jar
