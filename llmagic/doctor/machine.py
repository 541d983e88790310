"""llmagic's own surroundings: llama.cpp and its build, threads, GPU, memory, store, models.

What a check needs it imports itself: where a package is missing, the other checks go on.
"""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from llmagic.doctor.finding import Finding, Status
from llmagic.doctor.packages import PIP

LITTLE_DISK = 1 << 30
"""Bytes of free disk below which the store is soon full."""

_REBUILD = "--force-reinstall --no-cache-dir --no-binary llama-cpp-python llama-cpp-python"
_BACKENDS = {
    "NVIDIA": (("/dev/nvidia0", "/proc/driver/nvidia/version"), "-DGGML_CUDA=on"),
    "AMD": (("/dev/kfd",), "-DGGML_HIP=on"),
}
_FEATURES = {"avx2": "AVX2", "avx512f": "AVX512", "fma": "FMA", "f16c": "F16C"}
"""Instruction sets as Linux and as llama.cpp call them."""


def llama_cpp() -> Iterator[Finding]:
    """Whether llama.cpp loads, and whether its build uses the CPU it runs on."""
    try:
        from llmagic.model.library import build, version
    except Exception as error:
        text = f"cannot be loaded: {type(error).__name__}: {error}"
        yield Finding("llama.cpp", Status.PROBLEM, text, f"{PIP} {_REBUILD}")
        return
    features = build().removeprefix(version()).lstrip(", ")
    text = f"{version()} ({_shortened(features)})"
    missing = [
        name
        for flag, name in _FEATURES.items()
        if flag in _cpu_flags() and f"{name} = 1" not in features
    ]
    if missing:
        text += f"; this CPU also has {', '.join(missing)}, which the build does not use"
        yield Finding("llama.cpp", Status.NOTE, text, f"{PIP} {_REBUILD}")
    else:
        yield Finding("llama.cpp", Status.OK, text)


def threads() -> Finding:
    """The cores that evaluate."""
    from llmagic.model.context import physical_cores

    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    text = (
        f"{physical_cores()} by default, one for each physical core this process may use; it may "
        f"use {allowed} of {os.cpu_count()} processors"
    )
    return Finding("threads", Status.OK, text)


def gpu() -> Finding:
    """The GPU, and whether the build can use it."""
    from llmagic.model.library import devices, llama

    found = [each for each in devices() if each.kind in ("gpu", "igpu")]
    if found and llama.llama_supports_gpu_offload():
        text = ", ".join(f"{each.description} ({_gib(each.total)})" for each in found)
        return Finding("gpu", Status.OK, text)
    for maker, (paths, flag) in _BACKENDS.items():
        if any(Path(path).exists() for path in paths):
            text = f"{maker} driver found, and this build of llama.cpp does not use it"
            return Finding("gpu", Status.NOTE, text, f'CMAKE_ARGS="{flag}" {PIP} {_REBUILD}')
    if platform.system() == "Darwin" and platform.machine() == "arm64":
        text = "this build of llama.cpp does not use Metal"
        return Finding("gpu", Status.NOTE, text, f'CMAKE_ARGS="-DGGML_METAL=on" {PIP} {_REBUILD}')
    return Finding("gpu", Status.OK, "none; models run on the CPU")


def memory() -> Finding:
    """Main memory."""
    import psutil

    found = psutil.virtual_memory()
    return Finding("memory", Status.OK, f"{_gib(found.total)}, {_gib(found.available)} free")


def store() -> Finding:
    """Whether checkpoints can be written, and whether there is room."""
    from llmagic.store import root

    folder = root()
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"llmagic")
        free = shutil.disk_usage(folder).free
    except OSError as error:
        text = f"{folder} cannot be written: {error.strerror}. Nothing outlives a kernel"
        quoted = shlex.quote(str(folder))
        return Finding("store", Status.PROBLEM, text, f"mkdir -p {quoted} && chmod u+rwx {quoted}")
    if free < LITTLE_DISK:
        text = f"{folder}, with only {_gib(free)} of disk free"
        return Finding("store", Status.NOTE, text, "llmagic cache prune --budget 1G")
    return Finding("store", Status.OK, f"{folder} is writable, {_gib(free)} of disk free")


def models() -> Finding:
    """Models on disk."""
    from llmagic.catalog.inventory import BUNDLED, inventory

    entries = [entry for entry in inventory() if entry.source != BUNDLED]
    usable = [entry.name for entry in entries if not entry.problem]
    if not usable:
        text = "only the demo model; none in the folder of models or in the hub's cache"
        return Finding("models", Status.NOTE, text, "llmagic models get USER/REPO")
    broken = len(entries) - len(usable)
    text = f"{len(usable)} on disk" + (f", and {broken} that cannot be loaded" if broken else "")
    return Finding("models", Status.OK, f"{text} (`llmagic models` lists them)")


def _cpu_flags() -> set[str]:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return set()
    return set(next((line.split() for line in text.splitlines() if line.startswith("flags")), ()))


def _shortened(features: str) -> str:
    names = [part.partition(" = ")[0].strip() for part in features.split("|")]
    return " ".join(name for name in names if name)


def _gib(n_bytes: int) -> str:
    return f"{n_bytes / 2**30:.1f} GiB"
