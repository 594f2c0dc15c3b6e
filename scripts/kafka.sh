#!/usr/bin/env bash
# Fetches the Apache Kafka that the tests run, from Maven Central: about 90 jars, 54 MB.
# Keeps it under the target folder, once, and prints the folder of the jars.
# HUBWARDEN_KAFKA_HOME names a folder with a `libs` of its own instead.
set -euo pipefail
cd "$(dirname "$0")/.."
version=4.3.1
if [ -n "${HUBWARDEN_KAFKA_HOME:-}" ]; then
  [ -d "$HUBWARDEN_KAFKA_HOME/libs" ] || { echo "HUBWARDEN_KAFKA_HOME has no folder libs" >&2; exit 2; }
  echo "$HUBWARDEN_KAFKA_HOME/libs"
  exit 0
fi
tools="$(mkdir -p "${CARGO_TARGET_DIR:-target}/tools" && cd "${CARGO_TARGET_DIR:-target}/tools" && pwd)"
libs="$tools/kafka-$version/libs"
exec 9>"$tools/kafka.lock"
flock 9 # two tests that want it wait for one download
if [ -d "$libs" ]; then
  echo "$libs"
  exit 0
fi
command -v mvn >/dev/null || { echo "mvn is missing: run scripts/setup.sh test first" >&2; exit 2; }
work="$(mktemp -d "$tools/kafka-fetch.XXXXXX")"
trap 'rm -rf "$work"' EXIT
echo "fetching Apache Kafka $version from Maven Central" >&2
cat >"$work/pom.xml" <<POM
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>hubwarden</groupId>
  <artifactId>kafka-for-tests</artifactId>
  <version>1</version>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>$version</version></dependency>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka-tools</artifactId><version>$version</version></dependency>
  </dependencies>
</project>
POM
mvn -q -B -f "$work/pom.xml" dependency:copy-dependencies -DoutputDirectory="$work/libs" >&2
mkdir -p "$(dirname "$libs")"
mv "$work/libs" "$libs"
echo "$libs"
