#!/usr/bin/env bash
# Builds programs and lays out the root folder of an image for each; the Dockerfile runs it.
#   image-build.sh OUT PROGRAM...
# OUT/PROGRAM is the root folder, OUT/data what goes to /var/lib and belongs to the user of the image.
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# -ge 2 ] || { echo "usage: image-build.sh OUT PROGRAM..." >&2; exit 2; }
out=$1
shift
target=${CARGO_TARGET_DIR:-target}
mkdir -p "$out/data/hubwarden" "$out/data/hubwarden-snapshots"
for program in "$@"; do
  name=${program#hubwarden-}
  root=$out/$program
  cargo build --release --locked --package "$program" --bin "$program"
  # Fails when the lock file would have to change: the SBOM tells what was built.
  cargo cyclonedx --quiet --format json --spec-version 1.5 --no-build-deps \
    --override-filename "$program.cdx" --manifest-path "crates/$name/Cargo.toml"
  install -D -m 755 "$target/release/$program" "$root/usr/local/bin/$program"
  install -D -m 644 "crates/$name/$program.cdx.json" "$root/usr/share/sbom/$program.cdx.json"
  install -D -m 644 -t "$root/usr/share/doc/hubwarden" LICENSE NOTICE
  # The mount point of further configuration, and the example with every default.
  install -d -m 755 "$root/etc/hubwarden/conf.d"
  if [ -f "config/$name.toml" ]; then
    install -m 644 "config/$name.toml" "$root/etc/hubwarden/$name.toml"
  fi
  scripts/image-root.sh "$root" "$root/usr/local/bin/$program"
done
