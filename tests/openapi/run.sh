#!/bin/sh
# Holds the simulated GitHub against GitHub's own OpenAPI description, and reads it with GitHub's own client.
set -eu
here=$(cd "$(dirname "$0")" && pwd)

# Installing unpacks 400 MB: again only when the lock file has changed since.
[ "$here/node_modules/.package-lock.json" -nt "$here/package-lock.json" ] ||
    (cd "$here" && npm ci --silent --ignore-scripts --no-audit --no-fund)
cd "$here/../.."
cargo build --quiet --locked -p hubwarden-simulator --bin hubwarden-simulator
target=$(cargo metadata --format-version 1 --no-deps --locked |
    node -pe 'JSON.parse(require("fs").readFileSync(0)).target_directory')
exec node "$here/check.mjs" "$target/debug/hubwarden-simulator"
