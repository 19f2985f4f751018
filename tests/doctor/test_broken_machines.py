"""The doctor on machines that are really broken: each fault is found, named, and gets the step that mends it.

Every examine() runs the doctor twice, for text and JSON, and checks that both and the exit code agree.
"""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest
from machine import NOBODY, PYTHON, Machine, Report
from standins.confignode import AINode, Answer, Bindings, ConfigNode, RawService, Silent

OK, WARNINGS, FAILURE, CONFIGURATION, ENVIRONMENT, RUNNING, REJECTED = 0, 7, 1, 3, 4, 5, 6
VERSION = subprocess.run([PYTHON, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"], capture_output=True,
                         text=True, check=True).stdout.strip()  # fmt: skip
STDLIB = f"/usr/lib/python{VERSION}"
PACKAGES = "/usr/lib/python3/dist-packages"


def namespace(pid: str) -> str:
    """The mount namespace of a process; empty when it has gone."""
    try:
        return os.readlink(f"/proc/{pid}/ns/mnt")
    except OSError:
        return ""


def folder_of(package: str) -> str:
    """Where the distribution's package lies; the overlay can damage it there."""
    folder = f"{PACKAGES}/{package}"
    assert os.path.isdir(folder), f"{folder} is missing: apt-get install python3-numpy python3-torch"
    return folder


# --- nothing is broken


def test_fit(machine: Machine) -> None:
    """What is left are things that this machine lacks and that do not keep the node from running."""
    folder_of("torch")
    before = {path: path.stat().st_mtime_ns for path in machine.home.rglob("*")}
    report = machine.examine()
    assert report.code in (OK, WARNINGS), report.text
    assert not [one for one in report.findings if one["verdict"] in ("error", "not checked")], report.text
    report.calm("programs", "configuration", "directories", "disk", "instance", "port", "interpreter", "numpy", "torch")
    report.calm("memfd", "landlock", "seccomp", "seeds", "name", "members", "advertised", "weights", "folders")
    assert {path: path.stat().st_mtime_ns for path in machine.home.rglob("*")} == before, "something was changed"


def test_json_form(machine: Machine) -> None:
    report = machine.examine("--quick")
    data = report.json
    assert data["schema"] == 1 and data["quick"] is True and data["home"] == str(machine.home)
    assert set(data) == {
        "schema", "ainode", "time", "home", "quick", "verdict", "exit_code", "counts", "findings",
    }  # fmt: skip
    assert sum(data["counts"].values()) == len(data["findings"])
    for finding in data["findings"]:
        assert set(finding) == {"group", "check", "verdict", "evidence", "mend"}
        assert finding["verdict"] in ("ok", "warning", "error", "not checked")


# --- Python


def test_venv_module_removed(machine: Machine) -> None:
    without_torch = f"rm -r {folder_of('torch')} {PACKAGES}/torch-*"
    breaking = f"{without_torch}; rm -r {STDLIB}/venv {STDLIB}/ensurepip"
    report = machine.examine(python=None, overlay=True, breaking=breaking)
    report.named("interpreter", "error", "venv module", f"python{VERSION}-venv")
    assert report.code == ENVIRONMENT
    named = machine.examine("--limit", "20", overlay=True, breaking=f"rm -r {STDLIB}/venv")
    assert "lacks the venv module, which only making environments needs" in " ".join(named.text.split())


def test_ssl_missing(machine: Machine) -> None:
    breaking = f"rm {STDLIB}/lib-dynload/_ssl.*"
    report = machine.examine(overlay=True, breaking=breaking)
    report.named("ssl", "warning", "no usable ssl module", mend="stdlib")
    breaking += f"; rm -r {folder_of('torch')} {PACKAGES}/torch-*"
    without = machine.examine(python=None, overlay=True, breaking=breaking)
    without.named("interpreter", "error", "ssl module")
    assert without.code == ENVIRONMENT


def test_openssl_library_missing(machine: Machine) -> None:
    """The module is there, what it needs is not."""
    report = machine.examine(overlay=True, breaking="rm /usr/lib/*/libssl.so.3")
    report.named("ssl", "warning", "libssl.so.3")


def test_libpython_absent(machine: Machine) -> None:
    report = machine.examine(overlay=True, breaking="rm -f /usr/lib/*/libpython3.*.so*")
    report.calm("libpython", "numpy")
    assert "no shared libpython: the interpreter itself is executed" in " ".join(report.text.split())


def test_libpython_damaged(machine: Machine) -> None:
    """An update that was cut short."""
    library = subprocess.run(
        ["sh", "-c", f"ls /usr/lib/*/libpython{VERSION}.so.1.0"], capture_output=True, text=True, check=False
    ).stdout.strip()
    assert library, f"apt-get install libpython{VERSION}"
    report = machine.examine(overlay=True, breaking=f"truncate -s 100000 {library}")
    report.named("libpython", "error", "cannot be loaded")
    assert report.code == ENVIRONMENT


def test_interpreter_gone(machine: Machine) -> None:
    """A virtual environment whose base was removed."""
    venv = machine.home / "venv"
    subprocess.run([PYTHON, "-m", "venv", "--without-pip", str(venv)], check=True)
    (venv / "bin" / "python3").unlink()
    (venv / "bin" / "python3").symlink_to("/opt/gone/python3")
    report = machine.examine(python=str(venv))
    report.named("interpreter", "error", "is a link to", "does not exist")
    assert report.code == ENVIRONMENT


def test_none_named(machine: Machine) -> None:
    """The one of the distribution has everything, so a start uses it."""
    report = machine.examine(python=None)
    assert "the start uses this one, which has all that models need" in " ".join(report.text.split())
    report.calm("numpy", "torch")


def test_no_python_at_all(machine: Machine) -> None:
    report = machine.examine(python=None, overlay=True, breaking="rm /usr/bin/python3*; rm -f /usr/local/bin/python3*")
    report.named("interpreter", "error", "no Python 3.9 or newer was found", "python3-venv")
    assert report.of("numpy", "not checked")
    assert report.code == ENVIRONMENT


def test_torch_absent(machine: Machine) -> None:
    report = machine.examine(overlay=True, breaking=f"rm -r {folder_of('torch')} {PACKAGES}/torch-*")
    report.named("torch", "warning", "lacks torch", mend="python3-torch")
    report.calm("numpy")
    assert report.code == WARNINGS


def test_numpy_absent(machine: Machine) -> None:
    report = machine.examine(overlay=True, breaking=f"rm -r {folder_of('numpy')} {PACKAGES}/numpy-*")
    report.named("numpy", "error", "without which no model can run", mend="python3-numpy")
    assert report.code == ENVIRONMENT


def test_wheel_of_another_architecture(machine: Machine, tmp_path: Path) -> None:
    """The extension says in its header that it is for another processor, as one copied from there."""
    (core,) = Path(folder_of("numpy")).glob("**/_multiarray_umath.*.so")
    other = {"x86_64": 183, "aarch64": 62}[os.uname().machine]
    foreign = tmp_path / "foreign.so"
    data = bytearray(core.read_bytes())
    data[18:20] = struct.pack("<H", other)
    foreign.write_bytes(data)
    report = machine.examine(overlay=True, breaking=f'cp "{foreign}" "{core}"')
    report.named("numpy", "error", core.name, "is for another machine than this")
    assert report.code == ENVIRONMENT


def test_wheel_of_another_python(machine: Machine) -> None:
    (core,) = Path(folder_of("numpy")).glob("**/_multiarray_umath.*.so")
    wrong = core.name.replace(f".cpython-{VERSION.replace('.', '')}", ".cpython-38")
    assert wrong != core.name
    report = machine.examine(overlay=True, breaking=f"mv {core} {core.parent}/{wrong}")
    report.named("numpy", "error", wrong, "is for another version of Python")


def test_system_library_missing(machine: Machine) -> None:
    folder_of("torch")
    report = machine.examine(overlay=True, breaking="rm /usr/lib/*/libgomp.so.1")
    report.named("torch", "error", "cannot be imported", "libgomp")
    assert report.code == ENVIRONMENT


def test_import_that_never_ends(machine: Machine) -> None:
    """It is bounded, and its process does not stay."""
    begin = time.monotonic()
    seen = machine.home / "namespaces"  # those of other tests' probes are none of ours
    breaking = f"echo 'import time; time.sleep(987654)' >{folder_of('numpy')}/__init__.py\n"
    breaking += f"readlink /proc/self/ns/mnt >>'{seen}'"
    report = machine.examine("--limit", "4", overlay=True, breaking=breaking)
    report.named("numpy", "error", "did not end within 3.5 s")
    assert time.monotonic() - begin < 60
    ours = seen.read_text().split()
    assert len(ours) == 2
    left = subprocess.run(["pgrep", "-f", "AIN-PROBE-BEGIN.* numpy$"], capture_output=True, text=True, check=False)
    assert [pid for pid in left.stdout.split() if namespace(pid) in ours] == []


def test_old_pip(machine: Machine) -> None:
    breaking = f"cd {PACKAGES}; mkdir -p pip; touch pip/__init__.py; rm -rf pip-*; mkdir pip-9.0.1.dist-info; cd /"
    report = machine.examine(overlay=True, breaking=breaking)
    report.named("pip", "warning", "pip 9.0.1 is too old", mend="install --upgrade pip")


def test_half_made_venv(machine: Machine) -> None:
    venv = machine.home / "venv"
    venv.mkdir()
    (venv / "something").write_text("of another program")
    report = machine.examine(python=None)
    report.named("venv", "error", "not empty and not a virtual environment", mend="mv ")
    assert report.code == ENVIRONMENT


def test_misleading_variables(machine: Machine) -> None:
    report = machine.examine("--quick", PYTHONHOME="/opt/other", LD_LIBRARY_PATH="/opt/other/lib")
    report.named("environment", "warning", "PYTHONHOME=/opt/other", mend="unset PYTHONHOME")
    report.named("environment", "warning", "LD_LIBRARY_PATH=/opt/other/lib")
    assert report.code == WARNINGS


# --- files and mounts


def quick(machine: Machine, breaking: str = "", **how: object) -> Report:
    """The quick look is enough."""
    return machine.examine("--quick", breaking=breaking, **how)


FULL = """
mount -t tmpfs -o size={size} tmpfs "$HOME_DIR/data"
head -c 2m /dev/zero >"$HOME_DIR/data/big" 2>/dev/null || true
"""


def test_full_disk(machine: Machine) -> None:
    breaking = FULL.format(size="1m")
    report = quick(machine, breaking)
    report.named("disk", "error", "the disk is full", str(machine.home / "data"), mend="du -xh")
    assert report.code == CONFIGURATION


def test_no_inodes_left(machine: Machine) -> None:
    report = quick(machine, 'mount -t tmpfs -o nr_inodes=10,size=1g tmpfs "$HOME_DIR/data"')
    report.named("disk", "error", "more files can be made", "df -i")


def test_read_only_file_system(machine: Machine) -> None:
    breaking = 'mount --bind "$HOME_DIR/data" "$HOME_DIR/data"; mount -o remount,bind,ro "$HOME_DIR/data"'
    report = quick(machine, breaking)
    report.named("directories", "error", "ain_system_dir", "read-only file system", mend="remount,rw")
    assert report.code == CONFIGURATION


def test_noexec_installation(machine: Machine) -> None:
    """The doctor itself is run from where programs may be run."""
    breaking = """
    mount --bind "$HOME_DIR/lib" "$SCRATCH"
    mount --bind "$HOME_DIR/lib" "$HOME_DIR/lib"
    mount -o remount,bind,noexec "$HOME_DIR/lib"
    exec "$SCRATCH/ainode" "$@"
    """
    done = machine.run("doctor", "--home", str(machine.home), "--quick", breaking=breaking)
    flat = " ".join(done.stdout.split())
    assert "lib/ainode cannot be run: the file system" in flat and "is mounted noexec" in flat
    assert "remount,exec" in flat
    assert done.returncode == FAILURE


def test_noexec_python(machine: Machine) -> None:
    venv = machine.home / "venv"
    subprocess.run([PYTHON, "-m", "venv", "--without-pip", "--system-site-packages", str(venv)], check=True)
    breaking = 'mount --bind "$HOME_DIR/venv" "$HOME_DIR/venv"; mount -o remount,bind,noexec "$HOME_DIR/venv"'
    report = machine.examine("--limit", "20", python=str(venv), breaking=breaking)
    assert report.of("interpreter", "error") or report.of("mounts", "error"), report.text
    assert report.code == ENVIRONMENT


def test_unreadable_configuration(machine: Machine) -> None:
    (machine.home / "conf" / "iotdb-ainode.properties").chmod(0)
    report = quick(machine, wrapper=f"setpriv --reuid {NOBODY} --regid {NOBODY} --clear-groups")
    report.named("configuration", "error", "iotdb-ainode.properties", "Permission denied", mend="")
    assert report.of("directories", "not checked")
    assert report.code == CONFIGURATION


def test_wrong_value(machine: Machine) -> None:
    machine.configure(ain_rpc_port="many")
    report = quick(machine)
    report.named("configuration", "error", "iotdb-ainode.properties:2", "ain_rpc_port", '"many"')
    assert report.code == CONFIGURATION


def test_misspelt_key(machine: Machine) -> None:
    machine.configure(ain_sead_config_node="127.0.0.1:1")
    report = quick(machine)
    report.named("configuration", "warning", "ain_sead_config_node", "ain_seed_config_node")
    assert report.code == WARNINGS


def test_owned_by_another(machine: Machine) -> None:
    """Once started as root, now as the service's user."""
    for name in ("ainode.pid", "system.properties"):
        (machine.system / name).write_text("")
    (machine.system / "system.properties").unlink()
    for folder in ("data", "data/ainode", "data/ainode/system", "data/ainode/models", "logs"):
        os.chown(machine.home / folder, NOBODY, NOBODY)
    (machine.home / "logs" / "log_ainode_all.log").write_text("by root\n")
    report = quick(machine, wrapper=f"setpriv --reuid {NOBODY} --regid {NOBODY} --clear-groups")
    report.named("ownership", "error", "log_ainode_all.log (uid 0", mend=f"chown -R {NOBODY}")
    report.named("ownership", "error", "ainode.pid (uid 0")
    report.calm("directories")
    assert report.code == CONFIGURATION


def test_foreign_directory(machine: Machine) -> None:
    report = quick(machine, wrapper=f"setpriv --reuid {NOBODY} --regid {NOBODY} --clear-groups")
    report.named("directories", "error", "ain_system_dir", "not writable for this user (uid 0", mend="chown")
    assert report.code == CONFIGURATION


def test_part_of_the_package_missing(machine: Machine) -> None:
    (machine.home / "lib" / "_ainode.abi3.so").unlink()
    (machine.home / "lib" / "ainode-runtime").write_bytes(b"\x7fELF cut")
    report = quick(machine)
    report.named("programs", "error", "_ainode.abi3.so is missing", mend="unpack")
    report.named("programs", "error", "ainode-runtime", "damaged", mend="unpack")
    assert report.code == FAILURE


def test_no_temporary_folder(machine: Machine) -> None:
    report = quick(machine, TMPDIR="/nonexistent")
    report.named("temporary", "warning", "/nonexistent does not exist", mend="TMPDIR")


# --- instance


def test_stale_pid_file(machine: Machine) -> None:
    with subprocess.Popen(["true"]) as gone:
        gone.wait()
    (machine.system / "ainode.pid").write_text(f"{gone.pid}\n")
    report = quick(machine)
    report.named("instance", "warning", "is stale", f"process {gone.pid}, which is gone", mend="next start")
    (machine.system / "ainode.pid").write_text("1\n")
    quick(machine).named("instance", "warning", "which is now another program")
    assert report.code == WARNINGS


def test_leftovers_of_a_crash(machine: Machine) -> None:
    (machine.models / ".staging" / "half").mkdir(parents=True)
    (machine.system / "workers" / "worker-4711-x").mkdir(parents=True)
    report = quick(machine)
    report.named("leftovers", "warning", "left 2 entries", "worker-4711-x", mend="next start")


def test_damaged_identity(machine: Machine) -> None:
    (machine.system / "system.properties").write_text("ainode_id=seven\n")
    report = quick(machine)
    report.named("identity", "error", "system.properties", '"seven"', mend=None)
    assert report.code == FAILURE


def test_port_taken(machine: Machine) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", int(machine.settings["ain_rpc_port"])))
        taken.listen()
        report = quick(machine)
    report.named("port", "error", f"taken by process {os.getpid()} (", mend=f"kill {os.getpid()}")
    assert report.code == RUNNING


def test_address_of_another_machine(machine: Machine) -> None:
    machine.configure(ain_rpc_address="192.0.2.7")
    report = quick(machine)
    report.named("port", "error", "this machine does not have that address", mend="ip -brief address")


def test_clock_went_back(machine: Machine) -> None:
    """The log was written in what is now the future."""
    log = machine.home / "logs" / "log_ainode_all.log"
    log.write_text("later\n")
    os.utime(log, (time.time() + 86400 * 400,) * 2)
    report = quick(machine)
    report.named("clock", "warning", "log_ainode_all.log was written later", mend="timedatectl")
    assert report.code == WARNINGS


# --- limits


def test_low_limits(machine: Machine) -> None:
    report = quick(machine, wrapper="prlimit --nofile=100 --nproc=200 --as=4000000000 --fsize=2000000")
    report.named("open-files", "error", "at most 100 files", mend="LimitNOFILE")
    report.named("processes", "warning", "200 processes", mend="LimitNPROC")
    report.named("sizes", "warning", "ulimit -v", mend="LimitAS")
    report.named("sizes", "warning", "ulimit -f", mend="LimitFSIZE")
    assert report.code == FAILURE


# --- cluster


def network(machine: Machine, **how: object) -> Report:
    """Without the imports, which cost seconds: no interpreter."""
    return machine.examine("--limit", "20", python="/nonexistent/python3", **how)


def test_wrong_cluster_name(machine: Machine) -> None:
    machine.configure(cluster_name="otherCluster")
    report = network(machine)
    found = report.named("name", "error", '"defaultCluster"', '"otherCluster"', mend="cluster_name = defaultCluster")
    assert found["group"] == "cluster"


def test_exit_code_of_a_refusal(machine: Machine) -> None:
    machine.configure(cluster_name="otherCluster")
    report = machine.examine()
    assert report.code == REJECTED, report.text


def test_unreachable_seed(machine: Machine) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        machine.configure(ain_seed_config_node=f"127.0.0.1:{unused.getsockname()[1]}")
        report = network(machine)
    report.named("seeds", "error", "cannot be reached", "Connection refused", mend="start the ConfigNode")
    assert report.of("name", "not checked") and report.of("members", "not checked")


def test_one_of_two_seeds(machine: Machine, config_node: ConfigNode) -> None:
    machine.configure(ain_seed_config_node=f"127.0.0.1:1,{config_node.endpoint}")
    report = network(machine)
    report.named("seeds", "warning", "127.0.0.1:1")
    report.calm("name")


@pytest.mark.parametrize(
    "service", [RawService(answer=b"HTTP/1.1 400 Bad Request\r\n\r\n"), RawService(b"SSH-2.0-OpenSSH_9.2\r\n")]
)
def test_seed_is_no_config_node(machine: Machine, service: RawService) -> None:
    with service:
        machine.configure(ain_seed_config_node=service.endpoint)
        report = network(machine)
    report.named("seeds", "error", "is not a ConfigNode", mend="cn_internal_port")


def test_seed_never_answers(machine: Machine, config_node: ConfigNode) -> None:
    config_node.script("getClusterId", Silent(), Silent())
    begin = time.monotonic()
    report = network(machine)
    assert time.monotonic() - begin < 40
    report.named("seeds", "error", "cannot be reached")


def test_name_that_does_not_resolve(machine: Machine) -> None:
    machine.configure(ain_seed_config_node="no-such-host.invalid:10710")
    report = network(machine)
    report.named("seeds", "error", "no-such-host.invalid", "cannot be resolved")


def test_compact_protocol(machine: Machine, bindings: Bindings) -> None:
    with ConfigNode(bindings, compact=True) as node:
        machine.configure(ain_seed_config_node=node.endpoint)
        report = network(machine)
    report.named("seeds", "error", mend="ain_thrift_compression_enabled")


def test_another_ainode_is_registered(machine: Machine, config_node: ConfigNode, bindings: Bindings) -> None:
    config_node.nodes[5] = ai_node(bindings, 5, "10.9.8.7", 10810)
    report = network(machine)
    report.named("members", "error", "has an AINode already, id 5 at 10.9.8.7:10810", mend="REMOVE AINODE 5")


def test_removed_by_sql(machine: Machine) -> None:
    (machine.system / "system.properties").write_text("ainode_id=3\ncluster_name=defaultCluster\n")
    report = network(machine)
    report.named("members", "error", "registered as 3", "it was removed there", mend="rm ")


def test_config_node_still_starts(machine: Machine, config_node: ConfigNode) -> None:
    config_node.script("showVariables", *[Answer(1014, "warming up")] * 2)
    report = network(machine)
    assert "warming up" in report.of("name", "not checked")[0]["evidence"]


#: A network of its own, in which the ConfigNode 10.77.0.2 is another machine, reached from 10.77.0.1.
NETWORK = """
ip link set lo up
ip addr add 10.77.0.1/32 dev lo
ip addr add 10.78.0.1/32 dev lo
ip route add 10.77.0.2/32 dev lo src 10.77.0.1
"""


def test_loopback_advertised_to_other_machines(machine: Machine) -> None:
    machine.configure(ain_seed_config_node="10.77.0.2:10710", ain_rpc_address="127.0.0.1")
    report = network(machine, net=True, breaking=NETWORK)
    mend = "ain_rpc_address = 10.77.0.1"
    report.named("advertised", "error", "127.0.0.1", "only this machine can reach it", mend=mend)
    machine.configure(ain_rpc_address="10.77.0.1")
    network(machine, net=True, breaking=NETWORK).calm("advertised")


def test_another_interface_advertised(machine: Machine) -> None:
    machine.configure(ain_seed_config_node="10.77.0.2:10710", ain_rpc_address="10.78.0.1")
    report = network(machine, net=True, breaking=NETWORK)
    report.named("advertised", "warning", "10.78.0.1", "begins at 10.77.0.1")


def test_wildcard_advertised(machine: Machine) -> None:
    machine.configure(ain_rpc_address="0.0.0.0")
    report = network(machine)
    report.named("advertised", "error", "0.0.0.0", "nobody can dial it")


def ai_node(bindings: Bindings, node_id: int, host: str, port: int) -> object:
    """What the stand-in keeps of a registered AINode."""
    common = bindings.common
    location = common.TAINodeLocation(node_id, common.TEndPoint(host, port))
    configuration = common.TAINodeConfiguration(location, common.TNodeResource(4, 1 << 30))
    return AINode(node_id, configuration, bindings.messages.TNodeVersionInfo("2.0.5", "abc"))


# --- models


def make_weights(folder: Path, cut: int = 0) -> None:
    """Weights of timer_xl as far as the doctor looks."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"model_type": "timer"}')
    header = b'{"w": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}'
    data = struct.pack("<Q", len(header)) + header + bytes(16)
    (folder / "model.safetensors").write_bytes(data[: len(data) - cut])


def test_truncated_weights(machine: Machine) -> None:
    weights = machine.models / "weights"
    make_weights(weights / "timer_xl")
    network(machine).calm("weights")
    make_weights(weights / "sundial", cut=5)
    report = network(machine)
    report.named("weights", "error", "sundial/model.safetensors", "copy it again", mend="sundial")


def test_weights_missing_or_too_deep(machine: Machine) -> None:
    weights = machine.models / "weights"
    make_weights(weights / "timer_xl")
    (weights / "timer_xl" / "model.safetensors").unlink()
    make_weights(weights / "sundial" / "sundial")
    report = network(machine)
    report.named("weights", "error", "timer_xl/model.safetensors is missing", mend="copy")
    report.named("weights", "error", "one folder too deep")


def test_truncated_model(machine: Machine, models: Path) -> None:
    for name in ("whole", "cut"):
        subprocess.run(["cp", "-r", str(models / "identity"), str(machine.models / name)], check=True)
    file = machine.models / "cut" / "model.pt"
    os.truncate(file, file.stat().st_size // 2)
    (machine.models / "odd").mkdir()
    (machine.models / "odd" / "model.pt").write_bytes(b"x")
    report = network(machine)
    report.named("folders", "error", "cut/model.pt", "it is not whole", mend="DROP MODEL cut")
    report.named("folders", "error", "odd holds no usable model")
    assert "1 models of users" in report.text


# --- the command itself


@pytest.mark.parametrize(
    ("words", "part"),
    [(["--nonsense"], "nonsense"), (["more"], "'more' is not understood"), (["--limit", "-1"], "--limit")],
)
def test_usage(machine: Machine, words: list[str], part: str) -> None:
    done = machine.run("doctor", *words)
    assert done.returncode == 2 and part in done.stderr and done.stdout == ""


def on_a_terminal(machine: Machine, **env: str) -> bytes:
    """What the doctor writes to a terminal."""
    words = [f"{machine.home}/lib/ainode", "doctor", "--quick"]
    script = f"import pty; pty.spawn({words})"
    full = {**os.environ, "TERM": "xterm", **env}
    return subprocess.run([sys.executable, "-c", script], capture_output=True, check=False, timeout=60, env=full).stdout


def test_colour_on_a_terminal_only(machine: Machine) -> None:
    assert b"\033[32mok" in on_a_terminal(machine)
    without = on_a_terminal(machine, NO_COLOR="1")
    assert b"\033[" not in without and b"ok" in without


def test_failed_start_says_why_once(machine: Machine) -> None:
    """The sentence stands there once, and the quick look adds what it does not say."""
    breaking = FULL.format(size="4k")
    for background in ([], ["-d"]):
        done = machine.run("start", "-n", "-i", PYTHON, *background, breaking=breaking)
        assert done.returncode == CONFIGURATION, done.stderr
        assert done.stderr.count("No space left") == 1, done.stderr
        assert "the disk is full" in " ".join(done.stderr.split())
        assert "doctor-ainode.sh looks closer" in done.stderr


def test_failed_start_without_more_to_say(machine: Machine) -> None:
    machine.configure(ain_rpc_port="many")
    done = machine.run("start", "-n", "-i", PYTHON)
    assert done.returncode == CONFIGURATION
    assert done.stderr.count('"many"') == 1 and "doctor" not in done.stderr
