# Shared by quickstart.sh and test.sh; bash, sourced. Set `root` first.
# shellcheck shell=bash

cache=${IOTDB_AINODE_CACHE:-$HOME/.cache/iotdb-ainode}
export IOTDB_AINODE_CACHE=$cache PIP_DISABLE_PIP_VERSION_CHECK=1
started=$SECONDS

# say TEXT...: a progress line with the time since the start.
say() {
  printf '[%4d s] %s\n' $((SECONDS - started)) "$*"
}

# fail TEXT...: one sentence on stderr, and the end.
fail() {
  printf '[%4d s] FAILED: %s\n' $((SECONDS - started)) "$*" >&2
  exit 1
}

# shellcheck disable=SC2034 # used by the scripts that source this
# What the build, the package and a real IoTDB need, by the names of Debian and Ubuntu.
build_packages=(binutils cmake default-jdk-headless gcc git libc6-dev libffi-dev libglib2.0-dev libpcre2-dev
  libjansson-dev libssl-dev libthrift-c-glib-dev libyaml-dev maven ninja-build pkg-config python3 python3-dev python3-pip python3-venv
  thrift-compiler unzip zip zlib1g-dev)

# need_packages NAME...: installs what is missing, without questions; sudo when not root.
need_packages() {
  local missing=() name as=()
  if ! command -v dpkg-query >/dev/null; then
    say "this is no Debian or Ubuntu: taking for granted that these are installed: $*"
    return
  fi
  for name in "$@"; do
    # A package whose programs are here in another way (a hand-made JDK, say) is not asked for again.
    case $name in
    default-jdk-headless) command -v javac >/dev/null && continue ;;
    maven) command -v mvn >/dev/null && continue ;;
    esac
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null)" = installed ] || missing+=("$name")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || fail "these packages are missing and there is no sudo; as root: apt-get install ${missing[*]}"
    as=(sudo)
  fi
  say "installing with apt: ${missing[*]}"
  as+=(env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o Dpkg::Use-Pty=0)
  mkdir -p "$cache"
  if ! { "${as[@]}" update && "${as[@]}" install --no-install-recommends "${missing[@]}"; } >"$cache/apt.log" 2>&1; then
    tail -n 15 "$cache/apt.log" >&2
    fail "apt-get could not install ${missing[*]} (whole log: $cache/apt.log)"
  fi
}

# system_python: the distribution's interpreter where there is one.
system_python() {
  if [ -x /usr/bin/python3 ]; then
    echo /usr/bin/python3
  else
    command -v python3
  fi
}

# make_venv FOLDER REQUIREMENTS: a virtual environment with those packages; made anew when the list changed.
make_venv() {
  local venv=$1 list=$2 sum
  sum=$(sha256sum "$list" | cut -d ' ' -f 1)
  [ "$(cat "$venv/.complete" 2>/dev/null)" = "$sum" ] && return 0
  rm -rf "$venv"
  mkdir -p "$cache"
  if ! { "$(system_python)" -m venv "$venv" && "$venv/bin/python" -m pip install -q -r "$list"; } >"$venv.log" 2>&1; then
    tail -n 15 "$venv.log" >&2
    return 1
  fi
  echo "$sum" >"$venv/.complete"
}

# has_torch PYTHON: whether that interpreter can run models.
has_torch() {
  "$1" -c 'import numpy, torch' >/dev/null 2>&1
}

# model_python: sets `python` to an interpreter with numpy and torch. The distribution's packages (CPU only) are a
# fraction of the wheels that pip would bring; pip is the way where the distribution has none.
model_python() {
  python=$(system_python)
  has_torch "$python" && return 0
  if [ "$python" = /usr/bin/python3 ] && command -v apt-cache >/dev/null; then
    apt-cache show python3-torch >/dev/null 2>&1 || need_packages python3-numpy # brings fresh package lists
    if apt-cache show python3-torch >/dev/null 2>&1; then
      need_packages python3-numpy python3-torch
      has_torch "$python" && return 0
    fi
  fi
  say "the distribution has no python3-torch: installing torch with pip into $cache/venv-models (this may take minutes)"
  printf 'numpy\ntorch\n' >"$cache/venv-models.txt"
  make_venv "$cache/venv-models" "$cache/venv-models.txt" || fail "pip could not install numpy and torch"
  python=$cache/venv-models/bin/python
  has_torch "$python" || fail "torch was installed into $cache/venv-models but cannot be imported"
}
