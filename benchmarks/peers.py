"""The same workload through llama-server, as a client would use it, beside llmagic in one run.

llama-server is built by `scripts/llama_server.py` from the llama.cpp in use. It keeps its prompt
cache and its checkpoints (its defaults); before a restart the slot is saved, after it restored. For
each step: tokens of the prompt that were evaluated (`timings.prompt_n` of the server, usage of
llmagic), and the time until the reply begins, of the step's last cell (ms, medians of some lives).
Both are given one thread. After a restart llmagic replays what was asked before ("restart, run
all"); a server has nothing like it.

    python scripts/llama_server.py
    python -m benchmarks.peers [--model MODEL.gguf --projector MMPROJ.gguf] [--cells 6] [--rounds 3]

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

from benchmarks.workload import STEPS, SYSTEM, Cell, measure, notebook
from llmagic.catalog import resolve

PROJECT = Path(__file__).resolve().parent.parent
PIRATE = "Answer like a pirate."


class Server:
    """A llama-server of this machine."""

    def __init__(self, model: Path, projector: Path | None, folder: str) -> None:
        where = [sys.executable, str(PROJECT / "scripts" / "llama_server.py"), "--where"]
        programs = subprocess.run(where, check=True, stdout=subprocess.PIPE, text=True).stdout
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self._command = [
            str(Path(programs.strip()) / "llama-server"),
            *("--model", str(model), "--host", "127.0.0.1", "--port", str(self._port)),
            *("--threads", "1", "--threads-batch", "1", "--ctx-size", "32768", "--parallel", "1"),
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

    def __init__(self, server: Server, n: int, *, sees: bool) -> None:
        self.server = server
        self.sees = sees
        self.cells = notebook(n, sees=sees)
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
        self.run(self.middle(), notebook(len(self.cells), sees=self.sees)[self.middle()])
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
        except urllib.error.HTTPError:
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


def compare(model: Path, projector: Path | None, n: int, rounds: int) -> list[dict[str, Any]]:
    ours, theirs = [], []
    for _ in range(rounds):
        ours.append(measure(model, projector or False, n))
        with tempfile.TemporaryDirectory() as folder:
            server = Server(model, projector, folder)
            try:
                theirs.append(Client(server, n, sees=projector is not None).steps())
            finally:
                server.stop()
    results = []
    for index, step in enumerate(STEPS):
        mine = [life[index]["last"]["first_ms"] for life in ours]
        others = [life[index]["first_ms"] for life in theirs]
        ratios = [b / a for a, b in zip(mine, others, strict=True)]
        results.append(
            {
                "step": step,
                "llmagic": {
                    "evaluated": ours[0][index]["evaluated"],
                    "first_ms": round(statistics.median(mine), 2),
                },
                "llama-server": {
                    "evaluated": theirs[0][index]["evaluated"],
                    "first_ms": round(statistics.median(others), 2),
                },
                "ratio": [round(f(ratios), 2) for f in (statistics.median, min, max)],
            }
        )
        print(results[-1], file=sys.stderr, flush=True)
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="demo")
    parser.add_argument("--projector", type=Path)
    parser.add_argument("--cells", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    files = resolve(given.model, projector=given.projector)
    results = compare(files.model, files.projector, given.cells, given.rounds)
    machine = (
        f"{platform.python_implementation()} {platform.python_version()}, {platform.machine()}"
    )
    about = {"machine": machine, "model": given.model, "cells": given.cells}
    print(json.dumps({**about, "rounds": given.rounds, "steps": results}))


if __name__ == "__main__":
    main()
