#!/usr/bin/env bash
# From a fresh checkout to real findings: installs what is missing, builds, runs the demo, keeps serving.
# Arguments go to `hubwarden demo`.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh build
cargo build --release --locked --package hubwarden --bin hubwarden
exec "${CARGO_TARGET_DIR:-target}/release/hubwarden" demo "$@"
