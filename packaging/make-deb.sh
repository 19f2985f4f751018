#!/bin/bash
# make-deb.sh OUTDIR: builds the release preset and makes iotdb-ainode_<version>_<arch>.deb and its .sha512 in OUTDIR.
# The same commit, built with the same compiler and libraries, gives the same bytes. AIN_BUILD_JOBS limits the build.
set -euo pipefail

if [ $# -ne 1 ] || [ "${1#-}" != "$1" ]; then
  echo "usage: packaging/make-deb.sh OUTDIR" >&2
  exit 2
fi
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
mkdir -p "$1"
out=$(cd "$1" && pwd)
for program in cmake cpack ninja dpkg-deb strip gzip sha512sum python3; do
  if ! command -v "$program" >/dev/null; then
    echo "make-deb: '$program' is not installed; quickstart.sh and test.sh install what is needed" >&2
    exit 1
  fi
done
cd "$root"
version=$(sed -n 's/^project(iotdb_ainode VERSION \([0-9.]*\).*/\1/p' CMakeLists.txt)
commit=$(git rev-parse --short=7 HEAD 2>/dev/null || echo unknown)
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 1577836800)}
export SOURCE_DATE_EPOCH TZ=UTC LC_ALL=C
umask 022

cmake --preset release >/dev/null
cmake --build --preset release -j "${AIN_BUILD_JOBS:-$(nproc)}" --target ainode ainode_runtime ainode_module >/dev/null

# What only a Debian system wants: links, compressed pages, copyright, changelog.
files=build/release/deb-files
rm -rf "$files"
home=$files/lib/iotdb-ainode
doc=$files/share/doc/iotdb-ainode
mkdir -p "$home/lib" "$doc" "$files/bin" "$files/share/man/man1" "$files/share/man/man5"
ln -s /etc/iotdb-ainode "$home/conf"
ln -s /var/lib/iotdb-ainode "$home/data"
ln -s /var/log/iotdb-ainode "$home/logs"
ln -s /var/lib/iotdb-ainode/venv "$home/venv"
ln -s ../lib/iotdb-ainode/lib/ainode "$files/bin/ainode"
gzip -9 -n -c docs/man/ainode.1 >"$files/share/man/man1/ainode.1.gz"
gzip -9 -n -c docs/man/iotdb-ainode.properties.5 >"$files/share/man/man5/iotdb-ainode.properties.5.gz"
{
  printf 'iotdb-ainode (%s) unstable; urgency=medium\n\n' "$version"
  printf '  * Commit %s; what changed: CHANGELOG.md.\n\n' "$commit"
  printf ' -- Apache IoTDB AINode maintainers <root@localhost>  %s\n' "$(date -u -R -d "@$SOURCE_DATE_EPOCH")"
} | gzip -9 -n >"$doc/changelog.gz"
{
  printf 'AINode for Apache IoTDB\n\nCopyright: 2026 the authors of this project\nLicense: Apache License 2.0\n'
  printf 'The text is in /usr/share/common-licenses/Apache-2.0; the licences of the libraries inside are in NOTICE.\n'
} >"$doc/copyright"
mkdir -p "$home/lib/licenses"
cp packaging/licenses/*.txt "$home/lib/licenses/"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/lib"
for binary in ainode ainode-runtime _ainode.abi3.so; do
  cp "build/release/lib/$binary" "$work/lib/"
  strip "$work/lib/$binary" # as CPack does
done
python3 packaging/make-sbom.py "$version" "$commit" "$work" >"$doc/sbom.cdx.json"
find "$files" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +

rm -f "$out"/iotdb-ainode_*.deb "$out"/iotdb-ainode_*.deb.sha512
cpack --config build/release/CPackConfig.cmake -B "$work/cpack" >"$work/cpack.log" || { cat "$work/cpack.log" >&2; exit 1; }
mv "$work"/cpack/*.deb "$out/"
cd "$out"
name=$(ls iotdb-ainode_*.deb)
sha512sum "$name" >"$name.sha512"
echo "$out/$name ($(du -h "$name" | cut -f1))"
