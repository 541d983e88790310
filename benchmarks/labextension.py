"""What the JupyterLab extension costs in a browser: typing, and the snapshot of a run.

    python benchmarks/labextension.py [--cells 200] [--images 60]

Needs the built extension (`make labextension`), Debian's chromium and the `dev` requirements. No
model is loaded. Prints JSON: milliseconds, the median and 95 % of `--strokes` keys. `typing` is the
browser's scripting for one key stroke, all of JupyterLab's included, in a `%%llm` cell and in a
Python cell; `snapshot` is what a run takes before it is sent.
"""

from __future__ import annotations

import argparse
import base64
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
            print(json.dumps(measure(Lab(browser, server, "large", ["%%llm\nHi"]), given)))
        finally:
            browser.close()
            server.stop()


def measure(lab: Lab, given: argparse.Namespace) -> dict[str, Any]:
    cells = [cell(index, given) for index in range(given.cells)]
    lab.js("panel.content.model.sharedModel.insertCells(1, argument);", cells)
    lab.page.wait_for_timeout(5000)
    typing = {
        "llm": stroke(lab, 0, given.strokes),
        "python": stroke(lab, 1, given.strokes),
    }
    for _ in range(10):
        lab.run(1)
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


def cell(index: int, given: argparse.Namespace) -> dict[str, Any]:
    """The first is Python; the others ask, and the first of them with an image of 100 KB or so."""
    metadata: dict[str, Any] = {}
    text = "x = 1" if index == 0 else f"%%llm\nQuestion {index}?" + " And more words." * 20
    if 0 < index <= given.images:
        name = f"{index}.png"
        metadata = {"llmagic": {"attachments": {name: {"image/png": noise(index)}}}}
        text += f" ![](attachment:{name})"
    return {"cell_type": "code", "source": text, "metadata": metadata, "outputs": []}


def noise(seed: int) -> str:
    file = io.BytesIO()
    Image.effect_noise((320, 320), 50 + seed).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def stroke(lab: Lab, index: int, strokes: int) -> dict[str, float]:
    """Scripting per key stroke, from the browser's own counter."""
    lab.focus(index)
    session = lab.context.new_cdp_session(lab.page)
    session.send("Performance.enable")

    def scripting() -> float:
        metrics = session.send("Performance.getMetrics")["metrics"]
        return float(next(m["value"] for m in metrics if m["name"] == "ScriptDuration")) * 1000

    spent = []
    for _ in range(strokes):
        before = scripting()
        lab.page.keyboard.press("x")
        lab.page.wait_for_timeout(100)
        spent.append(scripting() - before)
    return figures(spent)


def figures(values: list[float]) -> dict[str, float]:
    ordered = sorted(values)
    return {
        "median": round(statistics.median(ordered), 2),
        "p95": round(ordered[int(0.95 * (len(ordered) - 1))], 2),
    }


if __name__ == "__main__":
    main()
