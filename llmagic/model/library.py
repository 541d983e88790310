"""llama.cpp as a library: loaded once, its log kept instead of printed."""

from __future__ import annotations

import ctypes
import os
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

SPINS = 1000
"""How often a thread looks whether the others are done before it sleeps (GNU OpenMP)."""


@contextmanager
def _short_waits() -> Iterator[None]:
    """Have llama.cpp's threads wait for each other by sleeping, soon; for its loading.

    They wait after every node of the graph, hundreds of times a token. GNU OpenMP lets them look
    300,000 times before they sleep: when something else needs a core, each wait costs a whole time
    slice, and a token seconds (benchmarks/busy.py). A thousand looks cost a small model up to a
    fifth of its speed where nothing else runs (docs/performance.md). GNU OpenMP reads the variable
    once, when it is loaded, so what a notebook starts afterwards does not inherit it. Whoever has
    set either variable has decided.
    """
    if {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & os.environ.keys():
        yield
        return
    os.environ["GOMP_SPINCOUNT"] = str(SPINS)
    try:
        yield
    finally:
        del os.environ["GOMP_SPINCOUNT"]


with _short_waits():
    import llama_cpp.llama_cpp as llama
    import llama_cpp.mtmd_cpp as mtmd
    from llama_cpp import __version__ as bindings_version
    from llama_cpp._ggml import libggml

ERROR_LEVEL = 4
CONTINUE_LEVEL = 5


class Log:
    """The last lines llama.cpp wrote, by level (2 info, 3 warning, 4 error).

    llama.cpp has one log for the whole process, so this package has one object for it.
    """

    def __init__(self, length: int = 400) -> None:
        self._lines: deque[tuple[int, str]] = deque(maxlen=length)
        self._written = 0
        # The callback must outlive every call into the library.
        self._callback = llama.llama_log_callback(self._write)

    def install(self) -> None:
        """Take over the log of llama.cpp, ggml and mtmd."""
        llama.llama_log_set(self._callback, ctypes.c_void_p(0))
        mtmd.mtmd_helper_log_set(self._callback, ctypes.c_void_p(0))

    def _write(self, level: int, text: bytes, _: ctypes.c_void_p) -> None:
        line = text.decode("utf-8", "replace")
        if level == CONTINUE_LEVEL and self._lines:
            level, start = self._lines.pop()
            line = start + line
        else:
            self._written += 1
        self._lines.append((level, line))

    def section(self) -> Section:
        """The lines written from now on; a `with` block shows where they come from."""
        return Section(self, self._written)

    def since(self, mark: int) -> list[tuple[int, str]]:
        """Lines (level, text) written after the `mark`-th, as far as they are still kept."""
        count = self._written - mark
        return list(self._lines)[-count:] if count > 0 else []


class Section:
    """What llama.cpp said while one thing was tried."""

    def __init__(self, log: Log, mark: int) -> None:
        self._log, self._mark = log, mark

    def __enter__(self) -> Section:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def errors(self, limit: int = 4) -> str:
        """Its error lines, or its last lines where it gave none; joined by "; "."""
        lines = [(level, text.strip()) for level, text in self._log.since(self._mark)]
        said = [text for level, text in lines if level == ERROR_LEVEL and text]
        said = said or [text for _, text in lines if text]
        return "; ".join(said[-limit:]) or "no reason given"


LOG = Log()
LOG.install()
llama.llama_backend_init()


def version() -> str:
    """The llama.cpp in use, for people."""
    number: bytes = llama.llama_version()
    return f"llama-cpp-python {bindings_version}, llama.cpp {number.decode()}"


def build() -> str:
    """The llama.cpp in use, what it was built for and what the environment switches in it.

    Other instructions, and other ways to compute the same, give other last bits.
    """
    features: bytes = llama.llama_print_system_info()
    switches = sorted({*_first_of_ggml(), *_of_ggml(), *_switches()})
    return ", ".join([version(), features.decode(), *switches])


@cache
def _first_of_ggml() -> tuple[str, ...]:
    """Those variables of ggml's as they were first: most of its backends read them once."""
    return tuple(_of_ggml())


def _of_ggml() -> Iterator[str]:
    """Variables that ggml's backends read: fused or tiled operations, kernels of a GPU.

    There are about 200, few of which leave all numbers as they are; so any counts.
    """
    for name, value in os.environ.items():
        if name.startswith("GGML_"):
            yield f"{name}={value}"


def _switches() -> Iterator[str]:
    """Variables that llama.cpp reads for each context (all its others are for debugging)."""
    for name in ("LLAMA_ATTN_ROT_DISABLE",):  # of a quantised cache (llama-kv-cache.cpp:315)
        if name in os.environ:
            yield f"{name}={os.environ[name]}"


@dataclass(frozen=True)
class Device:
    """Something llama.cpp can compute on; memory in bytes, free and in all.

    `kind` is "cpu", "gpu", "igpu" (shares the main memory), "accel" or "meta".
    """

    name: str
    description: str
    kind: str
    free: int
    total: int


_KINDS = ("cpu", "gpu", "igpu", "accel", "meta")


def devices() -> list[Device]:
    """The devices this build of llama.cpp knows (ggml-backend.h)."""
    pointer, text, size = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t

    def call(name: str, result: Any, *arguments: Any) -> Any:
        function = getattr(libggml, f"ggml_backend_dev_{name}")
        function.restype = result
        return function(*arguments)

    found = []
    for index in range(call("count", size)):
        device = pointer(call("get", pointer, size(index)))
        free, total = size(0), size(0)
        call("memory", None, device, ctypes.byref(free), ctypes.byref(total))
        kind = call("type", ctypes.c_int, device)
        found.append(
            Device(
                call("name", text, device).decode(),
                call("description", text, device).decode("utf-8", "replace").strip(),
                _KINDS[kind] if 0 <= kind < len(_KINDS) else "other",
                free.value,
                total.value,
            )
        )
    return found


__all__ = ["LOG", "Device", "build", "devices", "libggml", "llama", "mtmd", "version"]
