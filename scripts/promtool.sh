#!/usr/bin/env bash
# Prints the path of `promtool`: the installed one, else that of the Debian package `prometheus`,
# unpacked into the target folder, so that no server is installed or started.
set -euo pipefail
cd "$(dirname "$0")/.."
if command -v promtool; then exit 0; fi
tools="$(mkdir -p "${CARGO_TARGET_DIR:-target}/tools" && cd "${CARGO_TARGET_DIR:-target}/tools" && pwd)"
program="$tools/prometheus/usr/bin/promtool"
exec 9>"$tools/promtool.lock"
flock 9
if [ ! -x "$program" ]; then
  work="$(mktemp -d "$tools/promtool.XXXXXX")"
  trap 'rm -rf "$work"' EXIT
  chmod 755 "$work"
  echo "fetching the package prometheus" >&2
  fetch() { (cd "$work" && apt-get download -q -o APT::Sandbox::User=root prometheus >&2); }
  fetch || { apt-get update -q >&2; fetch; }
  dpkg -x "$work"/prometheus_*.deb "$work/prometheus"
  mv "$work/prometheus" "$tools/prometheus"
fi
echo "$program"
