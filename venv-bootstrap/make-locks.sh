#!/bin/bash
# make-locks.sh [UV]: writes requirements/SET.lock for every requirements/SET.txt: exact versions and the hashes of their
# files, for every Python and machine that the first line of each lock names. For maintainers; needs a network, and uv
# (the program named here, or the one on PATH; `pip install uv` brings it).
set -euo pipefail

folder=$(cd "$(dirname "${BASH_SOURCE[0]}")/requirements" && pwd)
uv=${1:-uv}
oldest=9  # of CPython 3.x
newest=13 # what is newer installs from the ranges until it was tried
if ! command -v "$uv" >/dev/null; then
  echo "make-locks: there is no program $uv; install it with pip (its name is uv) and name it: make-locks.sh PATH/uv" >&2
  exit 1
fi
if [ -z "${SSL_CERT_FILE:-}" ] && [ -n "${PIP_CERT:-}" ]; then
  export SSL_CERT_FILE=$PIP_CERT # what pip is told about certificates holds for uv, too
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# compile OUT CONSTRAINTS FILE...: no index, no names of this machine in the output; wheels only.
compile() {
  local out=$1 constraints=$2
  shift 2
  (cd "$folder" && "$uv" pip compile --quiet --universal --python-version "3.$oldest" --only-binary :all: --generate-hashes \
    --no-header --no-annotate --constraints "$constraints" --output-file "$out" "$@") >/dev/null
}

cd "$folder"
sets=(*.txt)
# All sets together first: what one installs must suit the others, which go into the same environment.
: >"$work/none"
compile "$work/all" "$work/none" "${sets[@]}"
sed -n 's/ *\\$//; /^[a-zA-Z0-9]/p' "$work/all" >"$work/pins"
for set in "${sets[@]}"; do
  compile "$work/$set" "$work/pins" "$set"
  if grep -E '://|^ *-(i|f)|^ *--(index|extra|find|trusted)' "$work/$set"; then
    echo "make-locks: these lines of ${set%.txt} name places, which a lock must not" >&2
    exit 1
  fi
  {
    echo "# CPython 3.$oldest-3.$newest: made by make-locks.sh from $set; do not edit."
    cat "$work/$set"
  } >"${set%.txt}.lock"
  echo "${set%.txt}.lock: $(grep -c '==' "${set%.txt}.lock") pins"
done
