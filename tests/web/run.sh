#!/bin/sh
# Drives the console in Chromium: accessibility, keys, no foreign request, no console error.
#   run.sh              over sample findings that it serves itself
#   run.sh URL LINK [FOLDER]   over a running console; LINK is a fresh one-time link
# Screenshots go to FOLDER (default: shots/ beside this file).
set -eu
here=$(cd "$(dirname "$0")" && pwd)
url=${1:-} link=${2:-} shots=${3:-$here/shots}

[ -d "$here/node_modules/playwright-core" ] || (cd "$here" && npm ci --silent)

if [ -z "$url" ]; then
    log=$(mktemp)
    (cd "$here/../.." && cargo build --quiet -p hubwarden-console --example sample)
    target=$(cd "$here/../.." && cargo metadata --format-version 1 --no-deps |
        node -pe 'JSON.parse(require("fs").readFileSync(0)).target_directory')
    "$target/debug/examples/sample" >"$log" &
    server=$!
    trap 'kill "$server" 2>/dev/null; rm -f "$log"' EXIT
    until grep -q '^LINK ' "$log"; do
        kill -0 "$server" || { echo "the sample server ended" >&2; exit 1; }
    done
    url=$(sed -n 's/^URL //p' "$log")
    link=$(sed -n 's/^LINK //p' "$log")
fi

node "$here/console.mjs" "$url" "$link" "$shots"
