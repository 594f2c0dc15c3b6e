#!/usr/bin/env bash
# Installs what is missing on a fresh Debian or Ubuntu that has Rust (rustup), git and root.
#   setup.sh build   what building and running needs
#   setup.sh test    that, and what the tests drive: Chromium, Node.js, PostgreSQL, Java and Maven for
#                    Kafka, Python's venv
set -euo pipefail
missing=()
need() { command -v "$1" >/dev/null 2>&1 || missing+=("$2"); }
need cc build-essential
need pkg-config pkg-config
need curl curl
if [ "${1:-build}" = test ]; then
  need chromium chromium
  need node nodejs
  need npm npm
  need java openjdk-17-jre-headless
  need mvn maven
  # Debian keeps the server's programs off the search path.
  ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || need initdb postgresql
  # tests/deploy keeps its packages in a virtual environment.
  python3 -c 'import ensurepip' >/dev/null 2>&1 || missing+=(python3-venv)
fi
if [ "${#missing[@]}" -gt 0 ]; then
  echo "installing: ${missing[*]}" >&2
  apt-get update -q >/dev/null
  DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}" >/dev/null
fi
command -v cargo >/dev/null 2>&1 || { echo "cargo is missing: install Rust from https://rustup.rs and start again" >&2; exit 2; }
