#!/bin/bash
# check-reproducible.sh [OUTDIR]: builds the zip and the Debian package of the commit that is checked out in two new folders
# of different names and depth, and compares the bytes. With OUTDIR, packages already made there from a clean tree of the
# same commit stand for the first build.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export CCACHE_DISABLE=1 # what is compared is compiled, not remembered
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
commit=$(git -C "$root" rev-parse HEAD)

# build FOLDER: both packages from a clone of their own; leaves FOLDER/out.
build() {
  git clone -q --no-hardlinks "$root" "$1/tree"
  git -C "$1/tree" checkout -q "$commit"
  (umask 077 && "$1/tree/packaging/make-zip.sh" "$1/out" && "$1/tree/packaging/make-deb.sh" "$1/out") >"$1.log" 2>&1 || {
    tail -n 30 "$1.log" >&2
    exit 1
  }
  rm -rf "$1/tree"
}

first=${1:-}
if [ -z "$first" ] || [ -n "$(git -C "$root" status --porcelain --untracked-files=no)" ]; then
  mkdir -p "$work/one"
  build "$work/one"
  first=$work/one/out
fi
mkdir -p "$work/another/and deeper"
build "$work/another/and deeper"
second="$work/another/and deeper/out"

different=0
for path in "$second"/*.zip "$second"/*.deb; do
  name=${path##*/}
  if cmp -s "$path" "$first/$name"; then
    echo "same      $name $(sha512sum <"$path" | cut -c1-16)"
  else
    echo "DIFFERENT $name" >&2
    different=1
  fi
done
exit "$different"
