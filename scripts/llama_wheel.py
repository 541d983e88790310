"""Print the path of a llama-cpp-python wheel for this machine; compile it if there is none yet.

Compiling takes minutes, so wheels are kept outside the checkout. ggml compiles for the CPU it is
built on (GGML_NATIVE): the same wheel on another CPU can die with SIGILL, on an older C library it
does not load. The folder's name is therefore a hash of everything that goes into the binary:
version, CPU flags, C library, CMAKE_ARGS. Too fine a key costs a compilation, too coarse a crash.

    python scripts/llama_wheel.py [--where]      # --where: only say where it is or would be
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent


def version() -> str:
    """The oldest version that pyproject.toml allows: the one everything is tested with."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    for dependency in project["dependencies"]:
        if match := re.fullmatch(r"llama-cpp-python\s*~=\s*([\d.]+)", dependency):
            return match[1]
    raise SystemExit("pyproject.toml: expected a dependency 'llama-cpp-python~=X.Y.Z', found none")


def cpu() -> str:
    """Instruction sets of this CPU."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    flags = {line.partition(":")[2] for line in lines if line.startswith(("flags", "Features"))}
    return " ".join(sorted(set(" ".join(flags).split())))


def folder(version: str) -> Path:
    """Where the wheel for this machine is kept."""
    root = os.environ.get("LLMAGIC_WHEELS")
    if not root:
        cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
        root = str(Path(cache) / "llmagic" / "wheels")
    build = os.environ.get("CMAKE_ARGS", "")
    parts = [version, sys.platform, platform.machine(), *platform.libc_ver(), cpu(), build]
    key = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]
    return Path(root) / f"{version}-{key}"


def build(version: str, folder: Path) -> None:
    """Compile into `folder`; a wheel appears there whole or not at all."""
    print(
        f"compiling llama-cpp-python {version} into {folder} (4 to 6 minutes, once per machine)",
        file=sys.stderr,
        flush=True,
    )
    environment = {"CMAKE_BUILD_PARALLEL_LEVEL": str(os.cpu_count() or 1)} | os.environ
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", scratch]
        # --no-cache-dir: pip's own cache of built wheels is not keyed by CPU.
        command += ["--no-cache-dir", f"llama-cpp-python=={version}"]
        subprocess.run(command, check=True, env=environment, stdout=sys.stderr)
        (wheel,) = Path(scratch).glob("*.whl")
        wheel.rename(folder / wheel.name)


def main() -> None:
    wanted = version()
    place = folder(wanted)
    if "--where" in sys.argv[1:]:
        print(place)
        return
    place.mkdir(parents=True, exist_ok=True)
    with open(place / "lock", "w") as lock:
        # Two checkouts may be set up at once: the second waits and finds the first one's wheel.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not any(place.glob("*.whl")):
            build(wanted, place)
    print(next(place.glob("*.whl")))


if __name__ == "__main__":
    main()
