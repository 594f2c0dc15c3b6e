#!/usr/bin/env bash
# Puts into a root folder what a program needs of the system: the libraries it links, trusted
# certificates, names of users, and for scanners the record of the packages these came from.
#   image-root.sh ROOT PROGRAM
set -euo pipefail
root=$1
program=$2
packages=()
belongs() { # the package of a file; bookworm knows some by their path before /usr was merged
  dpkg -S "$1" 2>/dev/null || dpkg -S "${1#/usr}" 2>/dev/null || dpkg -S "/usr$1" 2>/dev/null
}
mapfile -t libraries < <(ldd "$program" | grep -o '/[^ ]*')
for library in "${libraries[@]}"; do
  install -D -m 755 "$(readlink -f "$library")" "$root$library"
  owner=$(belongs "$(readlink -f "$library")") || { echo "$library belongs to no package" >&2; exit 1; }
  packages+=("${owner%%:*}")
done
install -D -m 644 /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
packages+=(ca-certificates)
mkdir -p "$root/var/lib/dpkg/status.d"
for package in $(printf '%s\n' "${packages[@]}" | sort -u); do
  dpkg-query -s "$package" >"$root/var/lib/dpkg/status.d/$package"
done
cp /etc/os-release "$root/etc/os-release"
echo "hosts: files dns" >"$root/etc/nsswitch.conf"
printf 'root:x:0:0:root:/:/sbin/nologin\nhubwarden:x:65532:65532:hubwarden:/var/lib/hubwarden:/sbin/nologin\n' >"$root/etc/passwd"
printf 'root:x:0:\nhubwarden:x:65532:\n' >"$root/etc/group"
install -d -m 1777 "$root/tmp"
