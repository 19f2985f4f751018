#!/bin/bash
# test.sh [--all] [--quick]: everything that must hold before a change lands; what CI runs.
# Installs what is missing, builds (release, ASan+UBSan, TSan), lints, runs the unit, fuzz-corpus, wire, interpreter, model, TLS,
# fault and cluster tests, the last by SQL on real IoTDB releases, and looks for anything left behind.
#   --all     also the tests that take long: IoTDB 2.0.10, built from source (about 6 minutes once), and time-outs of 60 s
#   --quick   without the sanitizer builds and the cluster tests, for work on the code
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$root"
# shellcheck source=packaging/common.sh
. "$root/packaging/common.sh"
all=()
quick=
for option in "$@"; do
  case $option in
  --all) all=(--all) ;;
  --quick) quick=yes ;;
  *)
    sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$root/test.sh" >&2
    exit 2
    ;;
  esac
done
logs=$root/build/test-logs
mkdir -p "$logs" "$cache"
rm -f "$logs"/*.log
passed=0
failed=0
failures=()

# step NAME COMMAND...: runs it with its output in a log; a failure is shown and remembered, the others still run.
step() {
  local name=$1 begun=$SECONDS log
  shift
  log=$logs/$(printf '%s' "$name" | tr -c 'a-zA-Z0-9._\n' '-').log
  if "$@" >"$log" 2>&1; then
    passed=$((passed + 1))
    say "ok      $name ($((SECONDS - begun)) s) $(grep -hE '([0-9]+ passed|tests passed)' "$log" | tail -n 1 | tr -d '=')"
  else
    failed=$((failed + 1))
    failures+=("$name")
    say "FAILED  $name ($((SECONDS - begun)) s), the end of $log:"
    tail -n 60 "$log" | sed 's/^/    /'
  fi
}

say "packages"
need_packages "${build_packages[@]}" buildah clang-format clang-tidy debootstrap iproute2 mandoc openssl procps shellcheck strace \
  systemd util-linux
model_python
say "models run with $python"

if [ -z "$quick" ]; then
  # The slow downloads and the build of 2.0.5 go on while our own code is compiled.
  for release in 2.0.1-beta 2.0.5 ${all:+2.0.10}; do
    "$(system_python)" "$root/tests/cluster/iotdb_cluster.py" fetch "$release" || exit 1
  done >"$logs/fetch.log" 2>&1 &
  fetching=$!
  PYTHONPATH=$root/tests/support "$(system_python)" "$root/tests/support/debian.py" >"$logs/debootstrap.log" 2>&1 &
  debootstrapping=$!
fi

say "test environments"
make_venv "$cache/venv-test" "$root/tests/requirements.txt" || fail "pip could not install tests/requirements.txt"
pytest() {
  "$cache/venv-test/bin/python" -m pytest -p no:cacheprovider -q "$@"
}
# The interpreter under test: the one with torch, and beside it what the statistical models need.
models_venv=$cache/venv-builtins
sum=$(cat "$root/venv-bootstrap/requirements/builtins.txt" <(echo "$python") | sha256sum | cut -d ' ' -f 1)
if [ "$(cat "$models_venv/.complete" 2>/dev/null)" != "$sum" ]; then
  rm -rf "$models_venv"
  # The same major NumPy as the torch that is there was built for.
  numpy=$("$python" -c 'import numpy; print("numpy<" + str(int(numpy.__version__.split(".")[0]) + 1))')
  { "$python" -m venv --system-site-packages "$models_venv" \
    && "$models_venv/bin/python" -m pip install -q "$numpy" -r "$root/venv-bootstrap/requirements/builtins.txt" pytest pytest-timeout; } \
    >"$logs/venv-builtins.log" 2>&1 || { tail -n 15 "$logs/venv-builtins.log" >&2; fail "pip could not install requirements/builtins.txt"; }
  echo "$sum" >"$models_venv/.complete"
fi
export AIN_TEST_PYTHON=$models_venv/bin/python
export AINODE_PYTHON=$AIN_TEST_PYTHON

before=$(pgrep -f "$root/build|-ainode-bin/lib" | sort || true)

build() {
  cmake --preset "$1" && cmake --build --preset "$1"
}
say "build and unit tests"
step "build release" build release
step "ctest release" ctest --preset release
if [ -z "$quick" ]; then
  for preset in asan tsan; do
    step "build $preset" build "$preset"
    step "ctest $preset" ctest --preset "$preset"
  done
fi

say "lint"
c_files() {
  git ls-files 'host/*.[ch]' 'pyruntime/*.[ch]' 'bench/*.[ch]' 'tests/*.[ch]'
}
lint_format() {
  c_files | xargs clang-format --dry-run -Werror
}
lint_tidy() {
  git ls-files 'host/*.c' 'pyruntime/*.c' | xargs -P "$(nproc)" -n 8 clang-tidy -p build/release --quiet
}
step "clang-format" lint_format
step "clang-tidy" lint_tidy
step "ruff" "$cache/venv-test/bin/python" -m ruff check .
lint_shell() {
  git ls-files '*.sh' '.ci/run' ':!conf' | xargs shellcheck -x
}
step "shellcheck" lint_shell
step "man pages" bash -c '! mandoc -Tlint -Wwarning docs/man/*.[0-9] | grep -v "missing date"'

say "python tests"
step "wire" pytest tests/wire
step "stand-in ConfigNode" pytest tests/cluster_standin
step "data session" pytest tests/session
step "scripts" pytest tests/scripts
step "fetch" pytest tests/fetch
if [ -d "${PYENV_ROOT:-$HOME/.pyenv}/versions" ]; then
  step "interpreters with packages" "$cache/venv-test/bin/python" tests/interpreters/environments.py
  step "interpreters" pytest tests/interpreters
else
  say "        no pyenv here: of the interpreters only the distribution's python3 is tested"
  step "interpreters" pytest tests/interpreters -k "debian or sandbox or venv or locks or offline"
fi
step "models" "$AIN_TEST_PYTHON" -m pytest -p no:cacheprovider -q tests/models
step "doctor" pytest tests/doctor
step "TLS" pytest tests/tls
step "faults" pytest tests/faults
if [ -z "$quick" ]; then
  for preset in asan tsan; do
    step "concurrency $preset" pytest tests/faults/test_concurrency.py --build-dir "build/$preset"
  done
fi
if [ -z "$quick" ]; then
  wait "$fetching" || { tail -n 20 "$logs/fetch.log"; fail "IoTDB could not be fetched or built"; }
  step "package" packaging/make-zip.sh build/package
  step "Debian package" packaging/make-deb.sh build/package
  step "reproducible build" packaging/check-reproducible.sh build/package
  AINODE_ZIP=$(find "$root/build/package" -name '*-ainode-bin.zip' | head -n 1)
  AINODE_DEB=$(find "$root/build/package" -name '*.deb' | head -n 1)
  export AINODE_ZIP AINODE_DEB
  wait "$debootstrapping" || { tail -n 20 "$logs/debootstrap.log"; fail "debootstrap could not make a base system"; }
  pyenv=()
  [ -d "${PYENV_ROOT:-$HOME/.pyenv}/versions" ] || pyenv=(-k "not pyenv")
  step "packages" pytest tests/packages "${pyenv[@]}"
  step "cluster" pytest tests/cluster "${all[@]}"
  if [ ${#all[@]} -gt 0 ]; then
    step "requests sent again, real times" env AIN_TEST_RESEND_SCALE=1 "$cache/venv-test/bin/python" -m pytest \
      -p no:cacheprovider -q tests/faults/test_resent.py
  fi
fi

# Nothing may be left: no process of a test, no shared memory.
after=$(pgrep -f "$root/build|-ainode-bin/lib" | sort || true)
left=$(comm -13 <(echo "$before") <(echo "$after") | tr '\n' ' ')
if [ -n "${left// /}" ]; then
  failed=$((failed + 1))
  failures+=("left behind: processes $left")
  ps -o pid,args -p "${left// /,}" 2>/dev/null | cut -c1-160 || true
fi

if [ "$failed" -gt 0 ]; then
  say "failed: $(printf '%s; ' "${failures[@]}")"
fi
say "done"
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
