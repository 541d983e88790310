"""The same workload through llama-server, as a client would use it, beside llmagic in one run.

llama-server is built by `scripts/llama_server.py` from the llama.cpp in use. It keeps its prompt
cache and its checkpoints (its defaults); before a restart the slot is saved, after it restored. For
each step: tokens of the prompt that were evaluated (`timings.prompt_n` of the server, usage of
llmagic), and the time until the reply begins, of the step's last cell (ms, medians of some lives).
Both are given as many threads. After a restart llmagic replays what was asked before ("restart, run
all"); a server has nothing like it. A model may be a shape of benchmarks/shapes.py. With
`--handler` llama-cpp-python's own chat handler is asked the same, too (benchmarks/handler.py).

    python scripts/llama_server.py
    python -m benchmarks.peers [--model MODEL.gguf --projector MMPROJ.gguf] [--cells 6] [--rounds 3]
        [--side 1024]

JSON comes last.
"""

from __future__ import annotations

import argparse
import base64
import json
import platform
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.handler import Handler
from benchmarks.shapes import SHAPES, write
from benchmarks.workload import STEPS, SYSTEM, Cell, measure, notebook
from llmagic.catalog import resolve

PROJECT = Path(__file__).resolve().parent.parent
PIRATE = "Answer like a pirate."


class Server:
    """A llama-server of this machine."""

    def __init__(self, model: Path, projector: Path | None, folder: str, threads: int) -> None:
        where = [sys.executable, str(PROJECT / "scripts" / "llama_server.py"), "--where"]
        programs = subprocess.run(where, check=True, stdout=subprocess.PIPE, text=True).stdout
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self._command = [
            str(Path(programs.strip()) / "llama-server"),
            *("--model", str(model), "--host", "127.0.0.1", "--port", str(self._port)),
            *("--threads", str(threads), "--threads-batch", str(threads)),
            *("--ctx-size", "32768", "--parallel", "1"),
            *("--slot-save-path", folder, "--jinja", "--no-webui"),
            *(("--mmproj", str(projector)) if projector is not None else ()),
        ]
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen(
            self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        for _ in range(600):
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/health", timeout=5):
                    return
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.1)
        raise SystemExit("llama-server did not start")

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait()

    def post(self, path: str, content: dict[str, Any]) -> dict[str, Any]:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self._port}{path}",
            json.dumps(content).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=600) as answer:
            return dict(json.loads(answer.read()))


class Client:
    """A notebook whose cells are asked through a server, and what each question cost."""

    def __init__(self, server: Server | Handler, n: int, *, sees: bool, side: int) -> None:
        self.server = server
        self._kind = {"sees": sees, "side": side}
        self.cells = notebook(n, **self._kind)
        self.replies: list[str] = []
        self.results: list[dict[str, float]] = []

    def ask(self, above: int, cell: Cell, system: str = SYSTEM, **settings: Any) -> str:
        """Ask below the first `above` cells."""
        messages = [{"role": "system", "content": system}]
        for index in range(above):
            messages.append({"role": "user", "content": _content(self.cells[index])})
            messages.append({"role": "assistant", "content": self.replies[index]})
        messages.append({"role": "user", "content": _content(cell)})
        asked = {"messages": messages, "temperature": 0, "max_tokens": 8, "cache_prompt": True}
        begin = time.perf_counter()
        answer = self.server.post("/v1/chat/completions", asked | settings)
        whole = 1000 * (time.perf_counter() - begin)
        timings = answer["timings"]
        first = whole - timings["predicted_ms"]
        self.results.append({"evaluated": timings["prompt_n"], "first_ms": first})
        return str(answer["choices"][0]["message"]["content"])

    def run(self, index: int, cell: Cell | None = None, **settings: Any) -> None:
        self.cells[index] = cell or self.cells[index]
        self.replies[index : index + 1] = [self.ask(index, self.cells[index], **settings)]

    def again(self) -> None:
        self.run(len(self.cells) - 1, seed=len(self.results))

    def middle(self) -> int:
        return len(self.cells) // 4 * 2

    def append(self) -> None:
        for index in range(len(self.cells)):
            self.run(index)

    def edit_after(self) -> None:
        cell = self.cells[self.middle()]
        self.run(self.middle(), replace(cell, after=cell.after + " Say it."))

    def edit_before(self) -> None:
        self.run(self.middle(), replace(self.cells[self.middle()], before="Look: "))

    def undo(self) -> None:
        self.run(self.middle(), notebook(len(self.cells), **self._kind)[self.middle()])
        self.again()

    def insert(self) -> None:
        self.ask(self.middle() + 1, Cell("", None, "And another question?"))

    def aside(self) -> None:
        self.ask(self.middle() + 1, Cell("", None, "What was that?"))
        self.again()

    def system(self) -> None:
        self.ask(len(self.cells) - 1, self.cells[-1], system=PIRATE)
        self.again()

    def restart(self) -> None:
        try:
            self.server.post("/slots/0?action=save", {"filename": "slot"})
            saved = True
        except (urllib.error.HTTPError, NotImplementedError):
            saved = False  # it refuses where there are images
        self.server.stop()
        self.server.start()
        if saved:
            self.server.post("/slots/0?action=restore", {"filename": "slot"})

    def restart_last(self) -> None:
        self.restart()
        self.again()

    def restart_all(self) -> None:
        self.restart()
        self.append()

    def steps(self) -> list[dict[str, float]]:
        steps: list[Callable[[], None]] = [
            self.append,
            self.again,
            self.edit_after,
            self.undo,
            self.edit_before,
            self.undo,
            self.insert,
            self.aside,
            self.system,
            self.restart_last,
            self.restart_all,
        ]
        found = []
        for step in steps:
            self.results.clear()
            step()
            total = sum(each["evaluated"] for each in self.results)
            found.append({"evaluated": total, "first_ms": self.results[-1]["first_ms"]})
        return found


def _content(cell: Cell) -> list[dict[str, Any]] | str:
    if cell.image is None:
        return cell.before + cell.after
    url = "data:image/png;base64," + base64.b64encode(cell.image.png()).decode()
    return [
        {"type": "text", "text": cell.before},
        {"type": "image_url", "image_url": {"url": url}},
        {"type": "text", "text": cell.after},
    ]


def compare(
    model: Path,
    projector: Path | None,
    n: int,
    rounds: int,
    threads: int,
    side: int,
    handler: bool,
) -> list[dict[str, Any]]:
    ours: list[list[dict[str, Any]]] = []
    theirs: dict[str, list[list[dict[str, float]]]] = {}
    sees = projector is not None

    def live(name: str, peer: Server | Handler) -> None:
        try:
            found = Client(peer, n, sees=sees, side=side).steps()
        finally:
            peer.stop()
        theirs.setdefault(name, []).append(found)

    for _ in range(rounds):
        ours.append(measure(model, projector or False, n, threads, side))
        with tempfile.TemporaryDirectory() as folder:
            live("llama-server", Server(model, projector, folder, threads))
        if handler:
            live("chat handler", Handler(model, projector, threads))
    results = []
    for index, step in enumerate(STEPS):
        mine = [life[index]["last"]["first_ms"] for life in ours]
        found: dict[str, Any] = {
            "step": step,
            "llmagic": {
                "evaluated": ours[0][index]["evaluated"],
                "first_ms": round(statistics.median(mine), 2),
            },
        }
        for name, lives in theirs.items():
            others = [life[index]["first_ms"] for life in lives]
            ratios = [b / a for a, b in zip(mine, others, strict=True)]
            found[name] = {
                "evaluated": lives[0][index]["evaluated"],
                "first_ms": round(statistics.median(others), 2),
                "ratio": [round(f(ratios), 2) for f in (statistics.median, min, max)],
            }
        results.append(found)
        print(results[-1], file=sys.stderr, flush=True)
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="demo")
    parser.add_argument("--projector", type=Path)
    parser.add_argument("--cells", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--handler", action="store_true", help="llama-cpp-python's, too")
    parser.add_argument("--side", type=int, help="of the images (px): 512, 192 for the demo model")
    given = parser.parse_args()
    if given.model in SHAPES:
        model, projector = write(given.model, Path.home() / ".cache/llmagic/shapes")
    else:
        files = resolve(given.model, projector=given.projector)
        model, projector = files.model, files.projector
    side = given.side or (192 if given.model == "demo" else 512)
    results = compare(
        model, projector, given.cells, given.rounds, given.threads, side, given.handler
    )
    machine = (
        f"{platform.python_implementation()} {platform.python_version()}, {platform.machine()}"
    )
    about = {"machine": machine, "model": given.model, "cells": given.cells}
    about |= {"threads": given.threads, "side": side}
    print(json.dumps({**about, "rounds": given.rounds, "steps": results}))


if __name__ == "__main__":
    main()
