#!/bin/bash
# test.sh [--all] [--quick]: everything that must hold before a change lands; what CI runs.
# Installs what is missing, builds (release, ASan+UBSan, TSan), lints, runs the unit, fuzz-corpus, wire, interpreter, model, TLS,
# fault and cluster tests, the last by SQL on real IoTDB releases, and looks for anything left behind. After the release build
# two lanes of steps run side by side: tests that mostly wait, and what computes. Each step's output is in build/test-logs.
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
results=$logs/results # a line for each step, of both lanes: "passed" or "FAILED" and its name
: >"$results"

# step NAME COMMAND...: runs it with its output in a log; a failure is shown and remembered, the others still run.
# What is said goes out at once, so that the lines of two lanes do not mix.
step() {
  local name=$1 begun=$SECONDS log
  shift
  log=$logs/$(printf '%s' "$name" | tr -c 'a-zA-Z0-9._\n' '-').log
  if "$@" >"$log" 2>&1; then
    echo "passed $name" >>"$results"
    say "ok      $name ($((SECONDS - begun)) s) $(grep -hE '([0-9]+ passed|tests passed)' "$log" | tail -n 1 | tr -d '=')"
  else
    echo "FAILED $name" >>"$results"
    say "FAILED  $name ($((SECONDS - begun)) s), the end of $log:
$(tail -n 60 "$log" | sed 's/^/    /')"
  fi
}

say "packages"
need_packages "${build_packages[@]}" buildah ccache clang-format clang-tidy debootstrap iproute2 mandoc openssl procps shellcheck strace \
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
# A clone made anew on the same path compiles only what changed; the reproducible build does without.
if command -v ccache >/dev/null; then
  export CMAKE_C_COMPILER_LAUNCHER=${CMAKE_C_COMPILER_LAUNCHER:-ccache} CCACHE_DIR=${CCACHE_DIR:-$cache/ccache}
fi
say "build and unit tests"
step "build release" build release
step "ctest release" ctest --preset release
if [ -z "$quick" ]; then
  # Before the lanes: these call the release build again, whose programs the lanes run.
  step "package" packaging/make-zip.sh build/package
  step "Debian package" packaging/make-deb.sh build/package
  AINODE_ZIP=$(find "$root/build/package" -name '*-ainode-bin.zip' | head -n 1)
  AINODE_DEB=$(find "$root/build/package" -name '*.deb' | head -n 1)
  export AINODE_ZIP AINODE_DEB
fi

c_files() {
  git ls-files 'host/*.[ch]' 'pyruntime/*.[ch]' 'bench/*.[ch]' 'tests/*.[ch]'
}
lint_format() {
  c_files | xargs clang-format --dry-run -Werror
}
lint_tidy() {
  git ls-files 'host/*.c' 'pyruntime/*.c' | xargs -P "$(nproc)" -n 8 clang-tidy -p build/release --quiet
}
lint_shell() {
  git ls-files '*.sh' '.ci/run' ':!conf' | xargs shellcheck -x
}

# The lane that mostly waits: tests of the release build with stand-ins for the cluster, which watch the clock.
lane_waiting() {
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
  step "doctor" pytest tests/doctor
  step "TLS" pytest tests/tls
  step "faults" pytest tests/faults
  if [ ${#all[@]} -gt 0 ]; then
    step "requests sent again, real times" env AIN_TEST_RESEND_SCALE=1 "$cache/venv-test/bin/python" -m pytest \
      -p no:cacheprovider -q tests/faults/test_resent.py
  fi
}

# gently COMMAND...: without taking the processor from the other lane's tests. Only for compilers and checkers.
gently() {
  (renice -n 10 -p "$BASHPID" >/dev/null && "$@")
}

# The lane that computes: checks of the sources, the sanitizers' builds, models, packages, real clusters.
lane_computing() {
  step "clang-format" lint_format
  step "ruff" "$cache/venv-test/bin/python" -m ruff check .
  step "shellcheck" lint_shell
  step "man pages" bash -c '! mandoc -Tlint -Wwarning docs/man/*.[0-9] | grep -v "missing date"'
  step "clang-tidy" gently lint_tidy
  step "models" "$AIN_TEST_PYTHON" -m pytest -p no:cacheprovider -q tests/models
  [ -z "$quick" ] || return 0
  for preset in asan tsan; do
    step "build $preset" gently build "$preset"
    step "ctest $preset" ctest --preset "$preset"
    step "concurrency $preset" pytest tests/faults/test_{concurrency,races,storm}.py --build-dir "build/$preset"
  done
  step "reproducible build" gently packaging/check-reproducible.sh build/package
  wait "$debootstrapping" || { tail -n 20 "$logs/debootstrap.log"; fail "debootstrap could not make a base system"; }
  pyenv=()
  [ -d "${PYENV_ROOT:-$HOME/.pyenv}/versions" ] || pyenv=(-k "not pyenv")
  step "packages" pytest tests/packages "${pyenv[@]}"
  wait "$fetching" || { tail -n 20 "$logs/fetch.log"; fail "IoTDB could not be fetched or built"; }
  step "cluster" pytest tests/cluster "${all[@]}"
}

say "two lanes: tests that wait, and what computes"
# The second lane has a folder of its own for pytest, which closes a shared one to other users whenever a suite starts.
lanes=$(mktemp -d)
chmod 755 "$lanes"
set -m # a process group, to be ended as a whole when this script ends early
lane_waiting </dev/null &
waiting=$!
set +m
trap 'kill -- "-$waiting" 2>/dev/null || true' EXIT
PYTEST_DEBUG_TEMPROOT=$lanes lane_computing
say "the lane that computes is through"
wait "$waiting" || fail "the lane that waits ended early"
trap - EXIT
say "both lanes are through"

# Nothing may be left: no process of a test, no shared memory.
after=$(pgrep -f "$root/build|-ainode-bin/lib" | sort || true)
left=$(comm -13 <(echo "$before") <(echo "$after") | tr '\n' ' ')
if [ -n "${left// /}" ]; then
  echo "FAILED left behind: processes $left" >>"$results"
  ps -o pid,args -p "${left// /,}" 2>/dev/null | cut -c1-160 || true
fi

passed=$(grep -c '^passed ' "$results" || true)
failed=$(grep -c '^FAILED ' "$results" || true)
if [ "$failed" -gt 0 ]; then
  say "failed: $(sed -n 's/^FAILED \(.*\)/\1; /p' "$results" | tr -d '\n')"
else
  rm -rf "$lanes" # of a failure, the tests' folders are there to look at
fi
say "done"
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
