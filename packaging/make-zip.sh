#!/bin/bash
# make-zip.sh OUTDIR: builds the release preset and makes apache-iotdb-<version>-ainode-bin.zip and its .sha512 in OUTDIR.
# The same commit gives the same bytes: sorted names, fixed modes, the commit's time. AIN_BUILD_JOBS limits the build.
set -euo pipefail

if [ $# -ne 1 ] || [ "${1#-}" != "$1" ]; then
  echo "usage: packaging/make-zip.sh OUTDIR" >&2
  exit 2
fi
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
mkdir -p "$1"
out=$(cd "$1" && pwd)
for program in cmake ninja python3 zip strip readelf sha512sum; do
  if ! command -v "$program" >/dev/null; then
    echo "make-zip: '$program' is not installed; quickstart.sh and test.sh install what is needed" >&2
    exit 1
  fi
done

version=$(sed -n 's/^project(iotdb_ainode VERSION \([0-9.]*\).*/\1/p' "$root/CMakeLists.txt")
name=apache-iotdb-$version-ainode-bin
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git -C "$root" log -1 --format=%ct 2>/dev/null || echo 1577836800)}
export SOURCE_DATE_EPOCH TZ=UTC LC_ALL=C

cd "$root"
cmake --preset release >/dev/null
cmake --build --preset release -j "${AIN_BUILD_JOBS:-$(nproc)}" --target ainode ainode_runtime ainode_module >/dev/null || {
  cmake --build --preset release -j 1 --target ainode ainode_runtime ainode_module # once more, to show the errors
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
home=$work/$name
mkdir -p "$home/lib/pyruntime"

for binary in ainode ainode-runtime _ainode.abi3.so; do
  cp "build/release/lib/$binary" "$home/lib/$binary"
  strip --strip-debug "$home/lib/$binary"
  # What else it needed would have to be on the operator's machine.
  readelf -d "$home/lib/$binary" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' >"$work/needed"
  if grep -Ev '^(libc|libm|libdl|librt|libpthread)\.so\.[0-9]+$|^ld-linux' "$work/needed" >"$work/foreign"; then
    echo "make-zip: lib/$binary needs libraries besides libc: $(tr '\n' ' ' <"$work/foreign")" >&2
    exit 1
  fi
done

# Python files as they are in the tree: no caches, no C sources.
for folder in pyruntime/ainode pyruntime/iotdb venv-bootstrap; do
  if [ -d "$folder" ]; then
    find "$folder" -type f ! -name '*.pyc' ! -path '*/__pycache__/*' ! -name make-locks.sh -exec cp --parents -t "$home/lib" {} +
  fi
done
mkdir "$home/lib/licenses"
cp packaging/licenses/*.txt "$home/lib/licenses/"
python3 packaging/make-sbom.py "$version" "$(git rev-parse --short=7 HEAD 2>/dev/null || echo unknown)" "$home" \
  >"$home/lib/licenses/sbom.cdx.json"
cp -R sbin conf LICENSE NOTICE README.md README_ZH.md "$home/"
# What the README links to.
mkdir "$home/docs"
cp docs/*.md "$home/docs/"
find CHANGELOG.md examples -type f ! -name '*.pyc' -exec cp --parents -t "$home" {} +

find "$home" -type d -exec chmod 755 {} +
find "$home" -type f -exec chmod 644 {} +
chmod 755 "$home/lib/ainode" "$home/lib/ainode-runtime" "$home/lib/_ainode.abi3.so"
find "$home/sbin" "$home/conf" "$home/lib/venv-bootstrap" -name '*.sh' -exec chmod 755 {} +
find "$home" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +

rm -f "$out/$name.zip" "$out/$name.zip.sha512"
(cd "$work" && find "$name" | sort | zip -q -X -9 -@ "$out/$name.zip")
(cd "$out" && sha512sum "$name.zip" >"$name.zip.sha512")

glibc=$(readelf -V "$home"/lib/ainode "$home"/lib/ainode-runtime "$home"/lib/_ainode.abi3.so |
  grep -o 'GLIBC_[0-9.]*' | sort -Vu | tail -n 1)
echo "$out/$name.zip ($(du -h "$out/$name.zip" | cut -f1), runs with glibc ${glibc#GLIBC_} and later)"
