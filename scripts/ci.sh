#!/usr/bin/env bash
# Everything that CI checks, in one command: formatting, lints, docs, tests, shipped rules and configuration.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh test
scripts/kafka.sh >/dev/null
cargo fmt --all --check
cargo clippy --workspace --all-targets --locked -- -D warnings
RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked
(cd tests/web && npm ci --no-audit --no-fund --ignore-scripts)
cargo test --workspace --locked
tests/deploy/run.sh
tests/web/run.sh
tests/openapi/run.sh
