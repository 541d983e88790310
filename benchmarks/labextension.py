"""What the JupyterLab extension costs in a browser: typing, and the snapshot of a run.

    python benchmarks/labextension.py [--cells 200] [--images 60]

Needs the built extension (`make labextension`), Debian's chromium and the `dev` requirements. No
model is loaded. Prints JSON: milliseconds, the median, 95 % and the most of `--strokes` keys.
`typing_ms` is the browser's scripting for one key, all of JupyterLab's included: in a `%%llm` cell,
in a Python cell of the same notebook, and alone, in a Python cell of a notebook of the same size in
which no cell asks. It is CPU time, so that a busy machine does not count. `ours` is the part of it
that is spent below a function of this extension, from the sampling profiler. `typing_without_ms` is
the same in a JupyterLab that has this extension disabled. `snapshot_ms` is what a run takes before
it is sent, in wall time.
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

AT_REST = 10.0
"""Milliseconds of scripting in two seconds, at most, of a page that nothing is going on in."""


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
            disable(Path(folder), True)
            without, _ = typing(Desk(browser, server), Bare, given)
            disable(Path(folder), False)
            found = measure(Desk(browser, server), given)
            print(json.dumps(found | {"typing_without_ms": without}))
        finally:
            browser.close()
            server.stop()


class Bare(Lab):
    """A notebook that no extension of ours follows."""

    followed = "true"


def disable(folder: Path, disabled: bool) -> None:
    """Take the extension out of pages that are loaded from now on, or put it back."""
    config = folder / "config" / "labconfig"
    config.mkdir(parents=True, exist_ok=True)
    extensions = {"disabledExtensions": {"llmagic": disabled}}
    (config / "page_config.json").write_text(json.dumps(extensions))


def measure(desk: Desk, given: argparse.Namespace) -> dict[str, Any]:
    keys, lab = typing(desk, Lab, given)
    for _ in range(10):
        lab.run(0)
    taken = lab.page.evaluate(
        "() => performance.getEntriesByName('llmagic:snapshot').map(entry => entry.duration)"
    )
    return {
        "cells": given.cells,
        "images": given.images,
        "typing_ms": keys,
        "snapshot_ms": figures(taken),
        "request_bytes": lab.sent()[-1]["bytes"],
    }


def typing(desk: Desk, kind: type[Lab], given: argparse.Namespace) -> tuple[dict[str, Any], Lab]:
    """The costs of keys in each kind of cell, and the large notebook."""
    plain = kind(desk, "plain", ["x = 1"])
    fill(plain, [cell(0, given) for _ in range(given.cells)])
    found = {"alone": stroke(plain, 0, given.strokes)}
    plain.close()
    lab = kind(desk, "large", ["x = 1"])
    fill(lab, [cell(index, given) for index in range(1, given.cells)])
    found["python"] = stroke(lab, 0, given.strokes)
    found["llm"] = stroke(lab, 1, given.strokes)
    return found, lab


def fill(lab: Lab, cells: list[dict[str, Any]]) -> None:
    """Put cells below the first."""
    lab.js("panel.content.model.sharedModel.insertCells(1, argument);", cells)


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
    press(lab)
    session = lab.context.new_cdp_session(lab.page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})

    def scripting() -> float:
        metrics = session.send("Performance.getMetrics")["metrics"]
        return float(next(m["value"] for m in metrics if m["name"] == "ScriptDuration")) * 1000

    # What opening the notebook and the first key start is done when the page has come to rest.
    for _ in range(60):
        before = scripting()
        lab.page.wait_for_timeout(2000)
        if scripting() - before < AT_REST:
            break
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
    # Samples are counted: the time between two is also what other processes take.
    samples = [node for node in profile["samples"] if node in scripts | below]
    return sum(node in below for node in samples) / len(samples)


def figures(values: list[float]) -> dict[str, float]:
    ordered = sorted(values)
    return {
        "median": round(statistics.median(ordered), 2),
        "p95": round(ordered[int(0.95 * (len(ordered) - 1))], 2),
        "most": round(ordered[-1], 2),
    }


if __name__ == "__main__":
    main()
