"""Build llama-server and llama-bench from the source of the llama-cpp-python in use.

The same version of llama.cpp as here, so that `benchmarks/peers.py` compares programs and not
versions. The source is the package's own source distribution, from the package index; nothing else
is downloaded. One compiler at a time, at a low priority: about half an hour, once. It goes on where
it was stopped.

    python scripts/llama_server.py [--jobs 1] [--where]     # prints the folder of the programs
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from llama_wheel import version

PROGRAMS = ("llama-server", "llama-bench")
OPTIONS = (
    "-DCMAKE_BUILD_TYPE=Release",
    "-DLLAMA_BUILD_TESTS=OFF",
    "-DLLAMA_BUILD_EXAMPLES=OFF",
    "-DLLAMA_BUILD_TOOLS=ON",
    "-DLLAMA_BUILD_SERVER=ON",
    "-DLLAMA_CURL=OFF",
    "-DLLAMA_OPENSSL=OFF",
    "-DGGML_NATIVE=ON",
)


def folder(version: str) -> Path:
    """Where source and programs of a version are kept."""
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    root = os.environ.get("LLMAGIC_CACHE") or str(Path(cache) / "llmagic")
    return Path(root) / "llama.cpp" / version


def source(version: str, folder: Path) -> Path:
    """The unpacked llama.cpp; downloaded unless it is there."""
    found = folder / "source"
    if found.exists():
        return found / "vendor" / "llama.cpp"
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", ":all:"]
        command += ["--dest", scratch, f"llama-cpp-python=={version}"]
        subprocess.run(command, check=True, stdout=sys.stderr)
        (archive,) = Path(scratch).glob("*.tar.gz")
        with tarfile.open(archive) as tar:
            tar.extractall(scratch, filter="data")
        (unpacked,) = (path for path in Path(scratch).iterdir() if path.is_dir())
        unpacked.rename(found)
    return found / "vendor" / "llama.cpp"


def build(source: Path, folder: Path, jobs: int) -> None:
    """Configure and compile; what is compiled already stays."""
    quietly = ["nice", "-n", "10"] if os.name == "posix" else []
    make = [*quietly, "cmake", "-S", str(source), "-B", str(folder / "build"), *OPTIONS]
    subprocess.run(make, check=True, stdout=sys.stderr)
    make = [*quietly, "cmake", "--build", str(folder / "build"), "-j", str(jobs)]
    subprocess.run([*make, "--target", *PROGRAMS], check=True, stdout=sys.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--where", action="store_true", help="only say where they are")
    given = parser.parse_args()
    wanted = version()
    place = folder(wanted)
    programs = place / "build" / "bin"
    if not given.where and not all((programs / name).exists() for name in PROGRAMS):
        place.mkdir(parents=True, exist_ok=True)
        build(source(wanted, place), place, given.jobs)
    print(programs)


if __name__ == "__main__":
    main()
