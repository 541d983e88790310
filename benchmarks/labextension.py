"""What the JupyterLab extension costs in a browser: typing, and the snapshot of a run.

    python benchmarks/labextension.py [--cells 200] [--images 60]

Needs the built extension (`make labextension`), Debian's chromium and the `dev` requirements. No
model is loaded. Prints JSON: milliseconds, the median, 95 % and the most of `--strokes` keys.
`typing` is the browser's scripting for one key, all of JupyterLab's included: in a `%%llm` cell, in
a Python cell of the same notebook, and alone, in a Python cell of a notebook of the same size in
which no cell asks. It is CPU time, so that a busy machine does not count. `ours` is the part of it
that is spent below a function of this extension, from the sampling profiler. `snapshot` is what a
run takes before it is sent, in wall time.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import io
import json
import shutil
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from PIL import Image
from playwright.sync_api import sync_playwright

from tests.browser.desk import Desk
from tests.browser.lab import Lab
from tests.browser.server import Server


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, default=200)
    parser.add_argument("--images", type=int, default=60)
    parser.add_argument("--strokes", type=int, default=40)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        server = Server(Path(folder))
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        try:
            desk = Desk(browser, server)
            print(json.dumps(measure(desk, given)))
        finally:
            browser.close()
            server.stop()


def measure(desk: Desk, given: argparse.Namespace) -> dict[str, Any]:
    plain = Lab(desk, "plain", ["x = 1"])
    fill(plain, [cell(0, given) for _ in range(given.cells)])
    typing = {"alone": stroke(plain, 0, given.strokes)}
    plain.close()
    lab = Lab(desk, "large", ["x = 1"])
    fill(lab, [cell(index, given) for index in range(1, given.cells)])
    typing["python"] = stroke(lab, 0, given.strokes)
    # The first key makes the states of all cells below pass from fresh to outdated.
    typing["llm"] = stroke(lab, 1, given.strokes)
    for _ in range(10):
        lab.run(0)
    taken = lab.page.evaluate(
        "() => performance.getEntriesByName('llmagic:snapshot').map(entry => entry.duration)"
    )
    return {
        "cells": given.cells,
        "images": given.images,
        "typing_ms": typing,
        "snapshot_ms": figures(taken),
        "request_bytes": lab.sent()[-1]["bytes"],
    }


def fill(lab: Lab, cells: list[dict[str, Any]]) -> None:
    """Put cells below the first; what that starts is over after some seconds."""
    lab.js("panel.content.model.sharedModel.insertCells(1, argument);", cells)
    lab.page.wait_for_timeout(10_000)


def cell(index: int, given: argparse.Namespace) -> dict[str, Any]:
    """The first is Python; the others asked, some of them with an image of 100 KB or so."""
    if index == 0:
        return {"cell_type": "code", "source": "x = 1", "metadata": {}, "outputs": []}
    metadata: dict[str, Any] = {}
    text = f"%%llm\nQuestion {index}?" + " And more words." * 20
    if index <= given.images:
        name = f"{index}.png"
        metadata = {"llmagic": {"attachments": {name: {"image/png": noise(index)}}}}
        text += f" ![](attachment:{name})"
    return {
        "cell_type": "code",
        "source": text,
        "metadata": metadata,
        "outputs": [replied(index, text)],
    }


def replied(index: int, source: str) -> dict[str, Any]:
    """The output of a cell that is fresh as long as those above it are."""
    usage = {
        "version": 1,
        "turn": f"{index:032x}",
        "after": f"{index - 1:032x}" if index > 1 else None,
        "source": hashlib.sha256(source.encode()).hexdigest(),
        "model": "none",
        "thread": "main",
        "prompt": {"tokens": 1250, "images": 3},
        "restored": {"tokens": 1203, "images": 3, "tier": "memory", "ms": 3.1, "bytes": 0},
        "evaluated": {"tokens": 47, "images": 0, "ms": 410.0},
        "encoded": {"images": 0, "ms": 0.0},
        "generated": {"tokens": 24, "ms": 800.0, "stop": "end"},
        "exact": True,
    }
    text = "A reply of some words. " * 5
    return {
        "output_type": "display_data",
        "data": {"text/markdown": text, "text/plain": text},
        "metadata": {"llmagic": usage},
    }


def noise(seed: int) -> str:
    file = io.BytesIO()
    Image.effect_noise((320, 320), 50 + seed).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def stroke(lab: Lab, index: int, strokes: int) -> dict[str, float]:
    """Scripting per key stroke, from the browser's own counter, and our part of it."""
    lab.focus(index)
    session = lab.context.new_cdp_session(lab.page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})

    def scripting() -> float:
        metrics = session.send("Performance.getMetrics")["metrics"]
        return float(next(m["value"] for m in metrics if m["name"] == "ScriptDuration")) * 1000

    spent = []
    for _ in range(strokes):
        before = scripting()
        press(lab)
        spent.append(scripting() - before)
    session.send("Profiler.enable")
    session.send("Profiler.setSamplingInterval", {"interval": 100})
    session.send("Profiler.start")
    for _ in range(strokes):
        press(lab)
    share = ours(session.send("Profiler.stop")["profile"])
    session.detach()
    found = figures(spent)
    return {**found, "ours": round(share * statistics.mean(spent), 2)}


def press(lab: Lab) -> None:
    lab.page.keyboard.press("x")
    lab.page.wait_for_timeout(100)


def ours(profile: dict[str, Any]) -> float:
    """The part of all scripting that is below a function of the extension."""
    nodes = {node["id"]: node for node in profile["nodes"]}
    below: set[int] = set()
    waiting = [node["id"] for node in nodes.values() if "/llmagic/" in node["callFrame"]["url"]]
    while waiting:
        node = waiting.pop()
        if node not in below:
            below.add(node)
            waiting.extend(nodes[node].get("children", ()))
    # What the browser itself does, and waiting, has no script.
    scripts = {node["id"] for node in nodes.values() if node["callFrame"]["url"]}
    pairs = [*zip(profile["samples"], profile["timeDeltas"], strict=True)]
    total = sum(delta for node, delta in pairs if node in scripts | below)
    return sum(delta for node, delta in pairs if node in below) / total


def figures(values: list[float]) -> dict[str, float]:
    ordered = sorted(values)
    return {
        "median": round(statistics.median(ordered), 2),
        "p95": round(ordered[int(0.95 * (len(ordered) - 1))], 2),
        "most": round(ordered[-1], 2),
    }


if __name__ == "__main__":
    main()
