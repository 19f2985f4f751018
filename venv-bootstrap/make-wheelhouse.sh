#!/bin/bash
# make-wheelhouse.sh [-i PYTHON] [--python 3.N] [-m INDEX] [-o FILE] [SET ...]: on a machine with a network, makes one archive
# of all packages that an AINode without one installs from:
#   lib/ainode env create --wheelhouse FILE      or: FILE as wheelhouse.tar in the installation, and ain_install_offline=1
#   -i PYTHON      the interpreter whose pip downloads, and which the wheels are for (default: python3)
#   --python 3.N   the wheels are for this version instead
#   -m INDEX       package index for pip
#   -o FILE        the archive (default: wheelhouse.tar here)
#   SET            core (the default), builtins, transformers, or a requirements file with a name of its own
# The machine without a network must have this one's architecture, and a C library that is not older.
set -euo pipefail

self=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
python=python3
version=
index=()
out=wheelhouse.tar
sets=()

fail() {
  echo "make-wheelhouse: $*" >&2
  exit 1
}

while [ $# -gt 0 ]; do
  case $1 in
  -h | --help)
    sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$self/make-wheelhouse.sh"
    exit 0
    ;;
  -i | --python | -m | -o)
    [ $# -ge 2 ] || fail "$1 needs a value; see --help"
    case $1 in
    -i) python=$2 ;;
    --python) version=$2 ;;
    -m) index=(--index-url "$2") ;;
    -o) out=$2 ;;
    esac
    shift
    ;;
  -*)
    echo "make-wheelhouse: unknown option '$1'; see --help" >&2
    exit 2
    ;;
  *) sets+=("$1") ;;
  esac
  shift
done
[ ${#sets[@]} -gt 0 ] || sets=(core)

"$python" -m pip --version >/dev/null 2>&1 || fail "$python has no pip: name an interpreter that has it with -i PYTHON"
running=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
version=${version:-$running}
[[ $version =~ ^3\.[0-9]+$ ]] || fail "'$version' is no version like 3.11"
machine=$(uname -m)
pip=("$python" -m pip download --disable-pip-version-check --no-input --only-binary=:all: "${index[@]}")
if [ "$version" != "$running" ]; then
  # As that Python on this C library would choose.
  libc=$(getconf GNU_LIBC_VERSION)
  pip+=(--implementation cp --python-version "$version" --abi "cp${version/./}" --abi abi3 --abi none)
  for tag in $(seq -f 'manylinux_2_%g' "${libc##*.}" -1 5) manylinux2014 manylinux2010 manylinux1 linux; do
    pip+=(--platform "${tag}_$machine")
  done
fi

# pins LOCK: the lines of a lock that count for that version and this machine, without their conditions; nothing when the
# lock is for other versions.
pins() {
  "$python" - "$1" "$version" <<'PYTHON'
import re
import sys

from pip._vendor.packaging.markers import Marker

lock, version = sys.argv[1:]
with open(lock) as file:
    text = file.read()
span = re.match(r"# CPython 3\.(\d+)-3\.(\d+)", text)
if span and int(span.group(1)) <= int(version.split(".")[1]) <= int(span.group(2)):
    for entry in text.replace("\\\n", " ").splitlines():
        pin, _, hashes = entry.partition(" --hash")
        pin, _, condition = pin.partition(";")
        here = {"python_version": version, "python_full_version": version + ".0"}
        if pin.strip() and not pin.startswith("#") and (not condition.strip() or Marker(condition).evaluate(here)):
            print(pin.strip() + " --hash" + " ".join(hashes.split()))
PYTHON
}

folder=$(cd "$(dirname "$out")" && pwd) || fail "there is no folder for $out"
work=$(mktemp -d "$folder/.wheelhouse-XXXXXX")
trap 'rm -rf "$work"' EXIT
mkdir "$work/wheelhouse"
first=(wheelhouse/made-for.txt wheelhouse/SHA256SUMS)
for set in "${sets[@]}"; do
  ranges=$self/requirements/$set.txt
  case $set in
  *.txt) ranges=$set ;;
  esac
  [ -f "$ranges" ] || fail "there is no requirements file $ranges"
  name=$(basename "$ranges" .txt)
  lock=${ranges%.txt}.lock
  : >"$work/pins"
  [ ! -f "$lock" ] || pins "$lock" >"$work/pins"
  echo "Downloading the packages of $name for CPython $version on $machine ..."
  if [ -s "$work/pins" ]; then
    "${pip[@]}" --no-deps --require-hashes -r "$work/pins" -d "$work/set"
  elif [ "$version" = "$running" ]; then
    echo "There are no exact versions of $name for it: any that $ranges allows will do."
    "${pip[@]}" -r "$ranges" -d "$work/set"
  else
    fail "$ranges has no exact versions for Python $version; name an interpreter of that version with -i PYTHON"
  fi
  # What the archive holds, exactly, is what will be installed from it.
  {
    echo "# CPython $version-$version: what this wheelhouse holds of $name."
    (cd "$work/set" && sha256sum -- *.whl) | sed -E 's/^([0-9a-f]{64})..([^-]+)-([^-]+)-.*$/\2==\3 --hash=sha256:\1/'
  } >"$work/wheelhouse/$name.lock"
  first+=("wheelhouse/$name.lock")
  mv -f "$work/set"/*.whl "$work/wheelhouse/"
  rmdir "$work/set"
done

echo "CPython $version $machine" >"$work/wheelhouse/made-for.txt"
(cd "$work/wheelhouse" && sha256sum -- *.lock *.whl >SHA256SUMS)
(cd "$work" && tar --create --file archive.tar --owner=0 --group=0 --numeric-owner "${first[@]}" wheelhouse/*.whl)
mv -f "$work/archive.tar" "$out"
echo "$out: $(find "$work/wheelhouse" -name '*.whl' | wc -l) wheels, $(du -h "$out" | cut -f1), for CPython $version on $machine"
