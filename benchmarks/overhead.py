"""What llmagic itself costs a cell, and how that grows with the notebook.

One notebook grows cell by cell on the demo model, an image in every fifth, one token a reply, as a
front end would run it: every request carries the whole notebook (docs/frontend.md). At each size
some cells are appended and, with the notebook as long, the cell in the middle is edited. Counted is
what a cell does in Python from the request on: `before` the first evaluation, and in `all`; calls
into llama.cpp and the encoder are taken out. It is CPU time of the cell's thread, so that a busy
machine counts little; `wall` is the clock's. Stages are exclusive of the stages inside them.

Reports, asserts nothing: a time belongs to a machine. JSON comes last.

    python -m benchmarks.overhead [--sizes 6 24 96 300 1000] [--rounds 15] [--profile FILE]
"""

from __future__ import annotations

import argparse
import cProfile
import functools
import json
import platform
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

from IPython.core.displaypub import CapturingDisplayPublisher
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from llmagic import chat
from llmagic.archive import Archive
from llmagic.checkpoint.checkpoints import Checkpoints
from llmagic.demo import picture
from llmagic.engine import decode, prefill
from llmagic.engine.work import Work
from llmagic.model.context import Context
from llmagic.model.sampling import Sampler
from llmagic.model.vision import Projector
from llmagic.notebook import asking, runtime
from llmagic.notebook.conversation import Conversation
from llmagic.prompt.template import ChatTemplate
from llmagic.sequence import Sequence

STAGES: dict[str, tuple[object, tuple[str, ...]]] = {
    # What belongs to llama.cpp, and is taken out.
    "llama.cpp": (
        Context,
        ("evaluate", "read", "write", "state_size", "copy", "cut", "clear"),
    ),
    "encoder": (Projector, ("encode", "evaluate")),
    "sampling": (Sampler, ("__init__", "sample")),
    # Ours, in their order.
    "request": (runtime.Runtime, ("request", "attached")),
    "parts": (asking, ("parts_of",)),
    "order": (asking, ("follow",)),
    "place": (Conversation, ("count", "place", "stale_above")),
    "template": (ChatTemplate, ("render",)),
    "tokens": (chat, ("sequence",)),
    "steps": (Sequence, ("like", "steps_after")),
    "lookup": (Checkpoints, ("resume",)),
    "prefill": (prefill, ("_evaluate",)),
    "decode": (decode.Decoder, ("__init__", "run")),
    "save": (Work, ("save",)),
    "archive": (Archive, ("put", "touch", "name_source", "answer")),
    "join": (Conversation, ("put",)),
}
TAKEN_OUT = ("llama.cpp", "encoder", "sampling")


class Clock:
    """Exclusive CPU time (s) of each stage of the running cell."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        self.stages: defaultdict[str, float] = defaultdict(float)
        self.first: tuple[float, float] | None = None
        self._stack: list[float] = []
        self.start = time.thread_time()
        self.wall = time.perf_counter()

    def end(self) -> dict[str, float]:
        """Milliseconds: `before` the first evaluation, `all`, the `wall` before, each stage.

        Empty where nothing was evaluated.
        """
        total = time.thread_time() - self.start
        if self.first is None:
            return {}
        taken = sum(self.stages[name] for name in TAKEN_OUT)
        found = {"before": self.first[0], "all": total - taken, "wall": self.first[1]}
        found |= {name: self.stages[name] for name in STAGES if name not in TAKEN_OUT}
        return {name: 1000 * seconds for name, seconds in found.items()}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        if name in ("llama.cpp", "encoder") and self.first is None:
            so_far = time.thread_time() - self.start - self.stages["llama.cpp"]
            self.first = so_far, time.perf_counter() - self.wall
        start = time.thread_time()
        self._stack.append(0.0)
        try:
            yield
        finally:
            spent = time.thread_time() - start
            self.stages[name] += spent - self._stack.pop()
            if self._stack:
                self._stack[-1] += spent

    def watch(self) -> None:
        """Put the clock around the functions of every stage."""
        for stage, (owner, names) in STAGES.items():
            for name in names:
                if hasattr(owner, name):
                    setattr(owner, name, self._around(stage, getattr(owner, name)))

    def _around(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            with self.stage(stage):
                return function(*args, **kwargs)

        return timed


class Shell(InteractiveShell):
    """A shell that gets requests as a kernel does."""

    parent: ClassVar[dict[str, Any]] = {}

    def get_parent(self) -> dict[str, Any]:
        return self.parent


class Notebook:
    """A notebook as a front end has it, in a shell of this process."""

    def __init__(self, folder: str, n_ctx: int) -> None:
        config = Config()
        config.HistoryManager.enabled = False
        config.LLMagic.store = folder
        config.LLMagic.n_ctx = n_ctx
        config.LLMagic.n_threads = 1
        config.LLMagic.max_tokens = 1
        config.LLMagic.temperature = 0.0
        self.shell = Shell.instance(config=config)
        self.shell.display_pub = CapturingDisplayPublisher()
        self.shell.run_line_magic("load_ext", "llmagic")
        self.shell.run_line_magic("llm", "load demo")
        self.shell.user_ns["pictures"] = [
            picture(f"{colour} {shape}", seed=seed)
            for seed in range(5)
            for colour in ("red", "green", "blue", "purple", "black")
            for shape in ("star", "circle", "square", "heart")
        ]
        self.cells: list[dict[str, Any]] = []
        self._executions = 0

    def append(self) -> None:
        index = len(self.cells)
        self.cells.append({"id": f"{index:08x}", "source": self._source(index), "turn": None})
        self.run(index)

    def edit(self, index: int, *, undo: bool = False) -> None:
        what = "What" if undo else f"Say, {self._executions}: what"
        self.cells[index]["source"] = self._source(index, what)
        self.run(index)

    def _source(self, index: int, what: str = "What") -> str:
        image = "" if index % 5 else f" {{pictures[{index // 5 % 100}]}}"
        return f"%%llm\n{what} is the word of number {index}?{image}\n"

    def run(self, index: int) -> None:
        self._executions += 1
        cell = self.cells[index]
        message = {"version": 1, "notebook": "overhead.ipynb", "cells": self.cells}
        Shell.parent = {
            "header": {"msg_id": str(self._executions)},
            "content": {"code": cell["source"]},
            # As it comes from the wire: nothing of it is an object of the last request.
            "metadata": json.loads(json.dumps({"cellId": cell["id"], "llmagic": message})),
        }
        CLOCK.begin()
        result = self.shell.run_cell(cell["source"])
        TIMES.append(CLOCK.end())
        result.raise_error()
        output = self.shell.display_pub.outputs[-1]
        cell["turn"] = output["metadata"]["llmagic"]["turn"]
        self.shell.display_pub.outputs.clear()


CLOCK = Clock()
TIMES: list[dict[str, float]] = []


def summary(times: list[dict[str, float]]) -> dict[str, dict[str, float]]:
    """Median, and least and most, of each stage (ms)."""
    found = {}
    for name in times[0]:
        values = [each[name] for each in times]
        middle, low, high = statistics.median(values), min(values), max(values)
        found[name] = {"median": round(middle, 3), "min": round(low, 3), "max": round(high, 3)}
    return found


def measure(sizes: list[int], rounds: int, profile: str | None) -> list[dict[str, Any]]:
    results = []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        notebook = Notebook(folder, n_ctx=1 << 16)
        CLOCK.watch()
        for size in sizes:
            while len(notebook.cells) < size:
                notebook.append()
            profiler = cProfile.Profile() if profile and size == sizes[-1] else None
            TIMES.clear()
            if profiler:
                profiler.enable()
            for _ in range(rounds):
                notebook.append()
            if profiler:
                profiler.disable()
                profiler.dump_stats(str(profile))
            appended = summary(TIMES)
            del notebook.cells[size:]
            TIMES.clear()
            for _ in range(rounds):
                notebook.edit(size // 2)
            edited = summary(TIMES)
            notebook.edit(size // 2, undo=True)
            sent = len(json.dumps(notebook.cells))
            results.append(
                {"cells": size, "append": appended, "edit": edited, "metadata_bytes": sent}
            )
            _show(results[-1])
        notebook.shell.run_line_magic("unload_ext", "llmagic")
    return results


def _show(result: dict[str, Any]) -> None:
    for step in ("append", "edit"):
        found = result[step]
        stages = "  ".join(f"{n} {v['median']:.2f}" for n, v in found.items() if n != "wall")
        print(f"{result['cells']:>5} cells, {step:<6} {stages}", file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", nargs="*", type=int, default=[6, 24, 96, 300, 1000])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--profile", metavar="FILE", help="cProfile of appending to the longest")
    given = parser.parse_args()
    results = measure(sorted(given.sizes), given.rounds, given.profile)
    machine = (
        f"{platform.python_implementation()} {platform.python_version()}, {platform.machine()}"
    )
    print(json.dumps({"machine": machine, "rounds": given.rounds, "overhead_ms": results}))


if __name__ == "__main__":
    main()
