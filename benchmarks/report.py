"""Everything docs/performance.md shows, measured and written by one command.

    python -m benchmarks.report                # measures (minutes), writes docs/performance.json
    python -m benchmarks.report --only text    # writes tables and plots anew from that file

Runs `overhead`, `decode`, `workload`, and `peers` where its programs were built
(`scripts/llama_server.py`), one after the other, each in a process of its own. Writes
`docs/performance.json`, the tables between the marks in `docs/performance.md`, and
`docs/performance/*.png`. It says on what was measured, and how busy the machine was.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parent.parent / "docs"
BEGIN, END = "<!-- figures: benchmarks/report.py -->", "<!-- end of figures -->"
RUNS = {
    "overhead": ["--rounds", "9"],
    "decode": ["--rounds", "15"],
    "workload": ["--models", "demo", "llama", "gemma3", "qwen2vl", "qwen35", "mamba2"],
    "peers": ["--rounds", "5"],
}


def measured(cells: list[str]) -> dict[str, Any]:
    """Results of all runs; JSON is the last line each prints."""
    found: dict[str, Any] = {"machine": machine(), "load": {}}
    for name, options in RUNS.items():
        if name == "peers" and not programs().exists():
            print("peers: llama-server was not built; left out", file=sys.stderr)
            continue
        more = ["--cells", *cells] if name == "workload" else []
        command = [sys.executable, "-m", f"benchmarks.{name}", *options, *more]
        before = os.getloadavg()[0]
        output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        found[name] = json.loads(output.splitlines()[-1])
        found["load"][name] = [round(before, 1), round(os.getloadavg()[0], 1)]
    return found


def programs() -> Path:
    """Where llama-server is, or would be."""
    script = Path(__file__).resolve().parent.parent / "scripts" / "llama_server.py"
    command = [sys.executable, str(script), "--where"]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return Path(output.strip()) / "llama-server"


def machine() -> dict[str, Any]:
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = info.read_text().splitlines()
        cpu = next((line.partition(":")[2].strip() for line in lines if "model name" in line), cpu)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {"cpu": cpu, "cores": cores, "python": platform.python_version()}


def table(head: list[str], rows: list[list[object]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(map(str, row))} |" for row in lines)


def tables(found: dict[str, Any]) -> str:
    """The figures as Markdown."""
    about, load = found["machine"], found["load"]
    parts = [
        f"Measured on {about['cores']} cores of {about['cpu']}, Python {about['python']}. "
        "Processes that wanted to run (load average before and after; about 1 on a machine left "
        "alone): " + ", ".join(f"{name} {a} and {b}" for name, (a, b) in load.items()) + "."
    ]
    parts += [
        "### A cell's cost in Python",
        table(
            ["cells", "append: before", "(least)", "in all", "edit: before", "in all", "sent"],
            [
                [
                    f"{each['cells']:,}",
                    f"{each['append']['before']['median']:.1f} ms",
                    f"{each['append']['before']['min']:.1f} ms",
                    f"{each['append']['all']['median']:.1f} ms",
                    f"{each['edit']['before']['median']:.1f} ms",
                    f"{each['edit']['all']['median']:.1f} ms",
                    f"{each['metadata_bytes'] / 1000:,.0f} kB",
                ]
                for each in found["overhead"]["overhead_ms"]
            ],
        ),
        "### Drawing a token",
        table(
            ["loop", "median", "least", "most"],
            [
                [name, *(each[key] for key in ("median", "min", "max"))]
                for name, each in found["decode"]["token_us"].items()
            ],
        ),
        "### The workload, counted",
        table(
            ["model", "cells", "step", "evaluated", "floor", "images", "floor", "moved", "stored"],
            [
                [
                    each["model"],
                    each["cells"],
                    each["step"],
                    each["evaluated"],
                    each["floor"],
                    each["encoded"],
                    each["images_floor"],
                    f"{each['moved'] / 1000:,.0f} kB",
                    f"{each['stored'] / 1000:,.0f} kB",
                ]
                for each in found["workload"]["workload"]
            ],
        ),
    ]
    if "peers" in found:
        parts += ["### Beside llama-server", peers(found["peers"])]
    return "\n\n".join(parts)


def peers(found: dict[str, Any]) -> str:
    head = ["step", "evaluated", "llama-server", "first token", "llama-server", "ratio (spread)"]
    rows: list[list[object]] = []
    for each in found["steps"]:
        mine, other, ratio = each["llmagic"], each["llama-server"], each["ratio"]
        rows.append(
            [
                each["step"],
                mine["evaluated"],
                other["evaluated"],
                f"{mine['first_ms']:.1f} ms",
                f"{other['first_ms']:.1f} ms",
                f"{ratio[0]:.1f} ({ratio[1]:.1f} to {ratio[2]:.1f})",
            ]
        )
    return f"{found['model']}, {found['cells']} cells, one thread.\n\n{table(head, rows)}"


def plots(found: dict[str, Any], folder: Path) -> None:
    """The figures as pictures."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot

    folder.mkdir(exist_ok=True)
    figure, axes = pyplot.subplots(figsize=(6, 3.5), layout="constrained")
    sizes = found["overhead"]["overhead_ms"]
    for step in ("append", "edit"):
        times = [each[step]["before"] for each in sizes]
        middle = [each["median"] for each in times]
        spread = [
            [each["median"] - each["min"] for each in times],
            [each["max"] - each["median"] for each in times],
        ]
        axes.errorbar([each["cells"] for each in sizes], middle, spread, marker="o", label=step)
    axes.set(xlabel="cells", ylabel="CPU ms before the first evaluation", xscale="log", ylim=0)
    axes.legend()
    _save(figure, folder / "overhead.png")

    rows = found["workload"]["workload"]
    least = min(each["cells"] for each in rows)
    demo = [each for each in rows if each["model"] == "demo" and each["cells"] == least]
    figure, axes = pyplot.subplots(figsize=(6, 4), layout="constrained")
    axes.barh([each["step"] for each in demo], [each["last"]["first_ms"] for each in demo])
    axes.invert_yaxis()
    axes.set(xlabel=f"ms to the first token of the last cell, demo model, {least} cells")
    _save(figure, folder / "first_token.png")

    figure, axes = pyplot.subplots(figsize=(6, 3.5), layout="constrained")
    appended = [each for each in rows if each["step"] == "append" and each["cells"] == least]
    axes.bar([e["model"] for e in appended], [e["stored"] / e["cells"] / 1000 for e in appended])
    axes.set(ylabel="kB of checkpoints for a cell")
    _save(figure, folder / "bytes.png")


def _save(figure: Any, path: Path) -> None:
    # Without the version of matplotlib in it: the same figures give the same file.
    figure.savefig(path, dpi=110, metadata={"Software": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=["text"], help="from the figures that are there")
    parser.add_argument("--cells", nargs="*", default=["6", "24"], help="of the workload")
    given = parser.parse_args()
    data, page = DOCS / "performance.json", DOCS / "performance.md"
    if given.only is None:
        data.write_text(json.dumps(measured(given.cells), indent=1) + "\n")
    found = json.loads(data.read_text())
    plots(found, DOCS / "performance")
    before, _, rest = page.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text(f"{before}{BEGIN}\n\n{tables(found)}\n\n{END}{after}")
    print(data)


if __name__ == "__main__":
    main()
