#!/bin/bash
# quickstart.sh [--iotdb RELEASE] [-i PYTHON]: from a clean clone to a forecast by SQL.
# Installs what is missing, builds and packages the AINode, starts a real IoTDB and the AINode beside it, trains a small
# model, registers it and calls it. Both keep running afterwards; quickstart.sh --down ends them and cleans up.
#   --iotdb RELEASE   2.0.1-beta (default: published jars), or 2.0.2, 2.0.3, 2.0.5, 2.0.10 (built from source, about 5 minutes once)
#   -i PYTHON         run the models with this interpreter (numpy and torch); default: the distribution's python3
#   --down            stop the AINode and IoTDB, remove their data
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=packaging/common.sh
. "$root/packaging/common.sh"
trap 'fail "line $LINENO: $BASH_COMMAND"' ERR
work=$root/build/quickstart
release=2.0.1-beta
python=
down=

usage() {
  sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$root/quickstart.sh"
}

while [ $# -gt 0 ]; do
  case $1 in
  --down) down=yes ;;
  --iotdb | -i)
    [ $# -ge 2 ] || { usage >&2; exit 2; }
    if [ "$1" = -i ]; then python=$2; else release=$2; fi
    shift
    ;;
  -h | --help) usage; exit 0 ;;
  *)
    echo "quickstart.sh: unknown option '$1'" >&2
    usage >&2
    exit 2
    ;;
  esac
  shift
done

case $release in
2.0.6 | 2.0.7) fail "CALL INFERENCE, which this shows, never works on IoTDB $release (docs/COMPATIBILITY.md): take another release" ;;
esac

iotdb() {
  "$(system_python)" "$root/tests/cluster/iotdb_cluster.py" "$@"
}

# node_home: the unpacked package, or nothing.
node_home() {
  local place
  for place in "$work"/ainode/*-ainode-bin; do
    [ ! -d "$place" ] || echo "$place"
  done
}

stop_node() {
  local home
  home=$(node_home)
  if [ -n "$home" ] && [ -x "$home/sbin/stop-ainode.sh" ]; then
    bash "$home/sbin/stop-ainode.sh" >"$work/stop.log" 2>&1 || true # it may not be running
  fi
}

if [ -n "$down" ]; then
  if [ ! -d "$work" ]; then
    say "nothing is running"
    exit 0
  fi
  say "stopping the AINode"
  stop_node
  if [ -f "$work/iotdb/cluster.json" ]; then
    say "stopping IoTDB"
    iotdb stop "$work/iotdb"
  fi
  rm -rf "$work"
  say "done; the package stays in $root/build/package, downloads in $cache"
  exit 0
fi

[ "$(uname -s)" = Linux ] || fail "the AINode runs on Linux; this is $(uname -s)"
if [ -n "$python" ]; then
  case $python in
  */*) python=$(cd "$(dirname "$python")" 2>/dev/null && pwd)/$(basename "$python") ;;
  *) python=$(command -v "$python") || fail "there is no such interpreter on PATH" ;;
  esac
fi
mkdir -p "$work" "$cache"
exec 9>"$cache/quickstart.lock"
flock -n 9 || fail "another quickstart.sh is running"

say "1/7 packages"
need_packages "${build_packages[@]}"
if [ -z "$python" ]; then
  model_python
elif ! has_torch "$python"; then
  fail "$python cannot import numpy and torch: $python -m pip install numpy torch"
fi
say "    models run with $python"

say "2/7 IoTDB $release, the client and the series, in the background"
iotdb fetch "$release" >"$work/fetch.log" 2>&1 9>&- &
fetching=$!
(
  set -e
  make_venv "$cache/venv-tools" "$root/examples/dlinear/requirements.txt"
  if [ ! -s "$cache/airline.csv" ]; then
    # The airline passengers ship inside sktime; nothing else of it is needed.
    mkdir -p "$cache/sktime"
    "$cache/venv-tools/bin/python" -m pip download -q --no-deps --only-binary=:all: sktime -d "$cache/sktime"
    "$cache/venv-tools/bin/python" - "$cache" <<'PYTHON'
import pathlib, sys, zipfile

cache = pathlib.Path(sys.argv[1])
(wheel,) = sorted((cache / "sktime").glob("*.whl"))[-1:]
with zipfile.ZipFile(wheel) as bundle:
    (name,) = [name for name in bundle.namelist() if name.lower().endswith("/airline.csv")]
    (cache / "airline.csv").write_bytes(bundle.read(name))
PYTHON
    rm -rf "$cache/sktime"
  fi
) >"$work/tools.log" 2>&1 9>&- &
tooling=$!

say "3/7 building and packaging the AINode"
"$root/packaging/make-zip.sh" "$root/build/package" >"$work/build.log" 2>&1 9>&- || {
  tail -n 30 "$work/build.log" >&2
  fail "the build failed (whole log: $work/build.log)"
}
package=$(sed -n 's/ (.*//p' "$work/build.log" | tail -n 1)
(cd "$(dirname "$package")" && sha512sum --quiet -c "$(basename "$package").sha512") || fail "the checksum of $package is wrong"
say "    $(tail -n 1 "$work/build.log")"

say "4/7 starting IoTDB $release"
wait "$fetching" || { cat "$work/fetch.log" >&2; fail "IoTDB $release could not be fetched"; }
# What runs from the last time is used again when it is whole and the same; otherwise all starts fresh (IoTDB 2.0.5 keeps
# its connections to a node that was restarted).
same="$release $python $(cat "$package.sha512")"
node_port() {
  sed -n 's/^ain_inference_rpc_port=//p' "$(node_home)/conf/iotdb-ainode.properties"
}
if [ -f "$work/iotdb/cluster.json" ]; then
  if [ "$(cat "$work/ainode/.started" 2>/dev/null)" = "$same" ] && iotdb ready "$work/iotdb" \
    && iotdb node "$work/iotdb" "$(node_port)"; then
    say "    it still runs from the last time"
  else
    say "    what ran before is another one or incomplete: removing it"
    stop_node
    iotdb stop "$work/iotdb"
  fi
fi
if [ ! -f "$work/iotdb/cluster.json" ]; then
  rm -rf "$work/ainode"
  iotdb start "$release" "$work/iotdb" --standard-ports >"$work/iotdb.log" 2>&1 9>&- || {
    tail -n 40 "$work/iotdb.log" >&2
    fail "IoTDB did not start"
  }
fi
port() {
  iotdb port "$work/iotdb" | "$(system_python)" -c "import json, sys; print(json.load(sys.stdin)['$1'])"
}
rpc=$(port rpc)
say "    SQL on 127.0.0.1:$rpc, ConfigNode on 127.0.0.1:$(port config)"

say "5/7 installing and starting the AINode"
if [ ! -d "$work/ainode" ]; then
  mkdir -p "$work/ainode"
  unzip -q "$package" -d "$work/ainode"
  node_port=10810
  if (exec 3<>"/dev/tcp/127.0.0.1/$node_port") 2>/dev/null; then
    node_port=$(iotdb free-port) # somebody else's AINode
  fi
  sed -i -e "s/^ain_seed_config_node=.*/ain_seed_config_node=127.0.0.1:$(port config)/" \
    -e "s/^ain_inference_rpc_port=.*/ain_inference_rpc_port=$node_port/" \
    -e "s/^ain_cluster_ingress_port=.*/ain_cluster_ingress_port=$rpc/" "$(node_home)/conf/iotdb-ainode.properties"
  bash "$(node_home)/sbin/start-ainode.sh" -i "$python" -d >"$work/start.log" 2>&1 9>&- || {
    cat "$work/start.log" >&2
    fail "the AINode did not start"
  }
  for _ in $(seq 100); do
    iotdb node "$work/iotdb" "$(node_port)" && break
    sleep 0.2
  done
  iotdb node "$work/iotdb" "$(node_port)" || fail "the AINode started, but SHOW CLUSTER does not call it Running; its log: $work/start.log"
  echo "$same" >"$work/ainode/.started"
fi
home=$(node_home)
say "    in $home"

say "6/7 training a DLinear on the airline passengers"
wait "$tooling" || { cat "$work/tools.log" >&2; fail "the client packages or the series could not be fetched"; }
"$python" "$root/examples/dlinear/train.py" "$cache/airline.csv" "$work/model" || fail "training failed"

say "7/7 SQL: the series, the model, the forecast"
options=()
[ "$release" = 2.0.1-beta ] || options+=(--generate-time)
"$cache/venv-tools/bin/python" "$root/examples/dlinear/forecast.py" --port "$rpc" --series "$cache/airline.csv" \
  --model "$work/model" --png "$work/airline.png" "${options[@]}" || {
  tail -n 20 "$home"/logs/*all* "$work/start.log" >&2 2>/dev/null || true
  fail "the SQL part failed; the end of the AINode's log is above"
}

cat <<END

IoTDB $release and the AINode keep running.
  more SQL   $cache/venv-tools/bin/python $root/tests/cluster/iotdb_cluster.py sql $work/iotdb "SHOW MODELS"
  its log    $home/logs
  the end    $root/quickstart.sh --down
END
say "done"
