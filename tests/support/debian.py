"""A directory that is a whole Debian system, and processes inside it."""

from __future__ import annotations

import os
import shlex
import subprocess
import tempfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path

CACHE = Path(os.environ.get("IOTDB_AINODE_CACHE", Path.home() / ".cache" / "iotdb-ainode"))
SUITE = "bookworm"
#: What a base system has: no compiler, no PyTorch; enough for models on NumPy arrays. Its name in the cache says which
#: list it was made from.
PACKAGES = {
    "bookworm": ("python3", "python3-numpy", "python3-venv", "python3-yaml", "pypy3", "passwd", "logrotate"),
    # For the newest CPython that Debian has, with its library.
    "testing": ("python3", "python3-numpy", "python3-venv", "python3-yaml", "libpython3-dev"),
}


def base_system(suite: str = SUITE) -> Path:
    """An archive of what debootstrap makes, from the cache folder; RuntimeError when it cannot be made."""
    packages = ",".join(PACKAGES[suite])
    path = CACHE / f"debootstrap-{suite}-{zlib.crc32(packages.encode()):08x}.tar"
    if path.exists():
        return path
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="debootstrap.", dir=CACHE) as work:
        tree = Path(work) / "tree"
        # In a mount namespace of its own: what it mounts goes with it.
        command = ["unshare", "--mount", "debootstrap", "--variant=minbase", f"--include={packages}"]
        done = subprocess.run([*command, suite, str(tree)], capture_output=True, text=True, timeout=1800, check=False)
        if done.returncode != 0:
            log = tree / "debootstrap" / "debootstrap.log"
            told = log.read_text()[-2000:] if log.exists() else done.stderr[-2000:]
            raise RuntimeError(f"debootstrap failed: {done.stdout[-2000:]}{told}")
        part = path.with_suffix(".part")
        left_out = [f"--exclude=./{folder}/*" for folder in ("dev", "proc", "sys", "var/cache/apt/archives")]
        subprocess.run(["tar", "-C", str(tree), *left_out, "-cf", str(part), "."], check=True)
        part.rename(path)
    return path


@dataclass
class Machine:
    """A directory that is a whole Debian system."""

    root: Path
    mounted: dict[str, Path] = field(default_factory=dict)
    """Folders of ours that its processes see at these absolute paths, as a container sees a volume."""

    def inside(self, path: str) -> Path:
        """The place of an absolute path of the machine, links followed as the machine would."""
        at = self.root
        for part in Path(path).parts[1:]:
            at = at / part
            for _ in range(8):
                if not at.is_symlink():
                    break
                target = os.readlink(at)
                at = self.root / target[1:] if target.startswith("/") else at.parent / target
        return at

    def command(self, *words: str, network: bool = True, user: str = "root", **environment: str) -> list[str]:
        """The command line that runs `words` in the machine; all its processes end with the first."""
        mounts = 'mount -t proc proc "$root/proc" && mount --bind /dev "$root/dev"'
        for path, folder in self.mounted.items():
            mounts += f' && mount --bind {shlex.quote(str(folder))} "$root"{shlex.quote(path)}'
        script = f'root=$1; shift; {mounts} && exec chroot "$root" "$@"'
        line = ["unshare", "--mount", "--pid", "--fork", "--kill-child", *([] if network else ["--net"]),
                "sh", "-c", script, "sh", str(self.root)]  # fmt: skip
        path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        variables = {"PATH": path, "LANG": "C.UTF-8", **environment}
        line += ["env", "-i", *(f"{name}={value}" for name, value in variables.items())]
        if user != "root":
            line += ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups"]
        return [*line, *words]

    def run(self, *words: str, network: bool = True, user: str = "root", code: int = 0, **environment: str) -> str:
        """Runs it to its end; returns what it said."""
        line = self.command(*words, network=network, user=user, **environment)
        done = subprocess.run(line, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True, timeout=300, check=False)  # fmt: skip
        assert done.returncode == code, f"{words} ended with {done.returncode}:\n{done.stdout[-4000:]}"
        return done.stdout

    def files(self, *below: str) -> set[str]:
        """All files and links of the machine, without those below these folders."""
        found = set()
        for folder, names, files in os.walk(self.root):
            shown = "/" + os.path.relpath(folder, self.root) if folder != str(self.root) else ""
            if shown in ("/proc", "/sys", "/dev", *below):
                names[:] = []
                continue
            found |= {f"{shown}/{name}" for name in [*files, *(n for n in names if os.path.islink(f"{folder}/{n}"))]}
        return found


if __name__ == "__main__":
    for known in PACKAGES:
        print(base_system(known), flush=True)
