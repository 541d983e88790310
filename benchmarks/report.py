"""Everything docs/performance.md shows, measured and written by one command.

    python -m benchmarks.report                # measures (an hour), writes docs/performance.json
    python -m benchmarks.report --only peers   # measures this again, and keeps the rest
    python -m benchmarks.report --only         # writes tables and plots anew from that file

Runs what `RUNS` lists, one after the other, each in a process of its own; what needs llama-server
or llama-bench only where they were built (`scripts/llama_server.py`). Writes
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

from benchmarks.shapes import SHAPES

DOCS = Path(__file__).resolve().parent.parent / "docs"
BEGIN, END = "<!-- figures: benchmarks/report.py -->", "<!-- end of figures -->"
SHAPE = "qwen3.5-0.8b-q8_0"
SMALL = ["demo", "llama", "gemma3", "qwen2vl", "qwen35", "mamba2"]
RUNS = {
    "overhead": ["overhead", "--rounds", "9"],
    "decode": ["decode", "--rounds", "15"],
    "speed": ["speed", "--rounds", "7"],
    "speed of the shape": ["speed", "--rounds", "5", "--model", SHAPE],
    "speed of the shape, own spins": [
        *("speed", "--rounds", "5", "--model", SHAPE, "--spins", "own"),
    ],
    "switch": ["live_switch", "--toys", "llama", "qwen35", "--rounds", "9"],
    "workload": ["workload", "--models", *SMALL, "--cells", "6", "96"],
    "workload of shapes": ["workload", "--models", *SHAPES, "--cells", "6", "--threads", "2"],
    "peers": ["peers", "--rounds", "5", "--handler"],
    "peers of the shape": [
        *("peers", "--rounds", "2", "--model", SHAPE, "--threads", "2", "--handler"),
    ],
    # What a screenshot or a photograph is scaled down to.
    "peers with large images": [
        *("peers", "--rounds", "2", "--model", SHAPE, "--threads", "2", "--side", "1024"),
    ],
}
BUILT = ("speed", "peers")
"""Modules that need programs of llama.cpp."""


def measured(names: list[str], found: dict[str, Any]) -> dict[str, Any]:
    """Results of runs, into those there are; JSON is the last line each prints."""
    # Parts may be measured again on another machine than the rest.
    found = {
        **found,
        "machines": dict(found.get("machines", {})),
        "load": dict(found.get("load", {})),
    }
    for name in names:
        module, *options = RUNS[name]
        if module in BUILT and not programs().exists():
            print(f"{name}: llama-server was not built; left out", file=sys.stderr)
            continue
        command = [sys.executable, "-m", f"benchmarks.{module}", *options]
        before = os.getloadavg()[0]
        output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        found[name] = json.loads(output.splitlines()[-1])
        found["load"][name] = [round(before, 1), round(os.getloadavg()[0], 1)]
        found["machines"][name] = machine()
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


def _machines(found: dict[str, Any]) -> list[dict[str, Any]]:
    """The machines that anything was measured on, each once."""
    machines: list[dict[str, Any]] = []
    for about in found["machines"].values():
        if about not in machines:
            machines.append(about)
    return machines


def _measured_on(found: dict[str, Any], about: dict[str, Any]) -> str:
    """A machine and what was measured on it."""
    names = [name for name in RUNS if found["machines"].get(name) == about]
    load = ", ".join(f"{name} ({' and '.join(map(str, found['load'][name]))})" for name in names)
    return f"{about['cores']} cores of {about['cpu']}, Python {about['python']}: {load}"


def tables(found: dict[str, Any]) -> str:
    """The figures as Markdown."""
    parts = [
        "Measured, with the number of processes that wanted to run before and after (load average; "
        "about as many as threads on a machine left alone), on "
        + "; on ".join(_measured_on(found, about) for about in _machines(found))
        + "."
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
                for each in rows(found)
                if each["cells"] == 6
            ],
        ),
        floors(found),
    ]
    parts += [text for name in RUNS if name in found for text in _beside(name, found[name])]
    return "\n\n".join(parts)


def rows(found: dict[str, Any]) -> list[dict[str, Any]]:
    """What every step of every workload cost."""
    runs = (found.get(name, {}) for name in ("workload", "workload of shapes"))
    return [each for run in runs for each in run.get("workload", [])]


def floors(found: dict[str, Any]) -> str:
    """One line that says whether everything was at its floor, longer notebooks included."""
    everything = rows(found)
    above = [
        f"{each['model']}, {each['cells']} cells, {each['step']}"
        for each in everything
        if (each["evaluated"], each["encoded"]) != (each["floor"], each["images_floor"])
    ]
    sizes = {(each["model"], each["cells"]) for each in everything}
    longer = sorted(f"{model} ({n} cells)" for model, n in sizes if n != 6)
    more = f" Counted, too, and not listed: {', '.join(longer)}." if longer else ""
    over = "; ".join(above) or "none"
    return f"Steps of {len(sizes)} workloads that were not at the floor: {over}.{more}"


def _beside(name: str, found: dict[str, Any]) -> list[str]:
    """A run beside others, as Markdown."""
    module = RUNS[name][0]
    if module == "peers":
        images = f", images of {found['side']} px" if "side" in found else ""
        return [f"### Beside what people use: {found['model']}{images}", peers(found)]
    if module == "speed":
        return [f"### Beside llama-bench and memcpy: {name}", speed(found)]
    if module == "live_switch":
        return ["### Switching between two branches", switches(found)]
    return []


def speed(found: dict[str, Any]) -> str:
    mine, theirs, ratio = found["llmagic"], found["llama-bench"], found["ratio"]
    lines: list[list[object]] = [
        [
            what,
            f"{mine[name][0]:,.1f}",
            f"{theirs['prompt' if name == 'prompt' else 'reply'][0]:,.1f}",
            f"{ratio[name][0]:.2f} ({ratio[name][1]:.2f} to {ratio[name][2]:.2f})",
        ]
        for name, what in (("prompt", "prompt"), ("greedy", "reply, greedy"), ("reply", "reply"))
    ]
    restore = found["restore"]
    middle, low, high = restore["over_memcpy"]
    return (
        f"{found['model']}, {found['threads']} threads, spins: {found['spins']}.\n\n"
        + table(["tokens a second", "llmagic", "llama-bench", "ratio (spread)"], lines)
        + f"\n\nRestoring {restore['bytes'] / 1e6:,.1f} MB from memory: {restore['ms'][0]:.2f} ms, "
        f"{middle:.2f} times `memcpy` ({low:.2f} to {high:.2f})"
        + (
            f", {calls[0]:.2f} times the calls into llama.cpp ({calls[1]:.2f} to {calls[2]:.2f})."
            if (calls := restore.get("over_calls"))
            else "."
        )
    )


def switches(found: dict[str, Any]) -> str:
    return table(
        ["model", "branches", "tokens", "from memory", "moved", "live", "moved"],
        [
            [
                each["model"],
                each["branches"],
                f"{each['memory']['tokens']:,}",
                f"{each['memory']['median_ms']:.2f} ms",
                f"{each['memory']['bytes'] / 1000:,.0f} kB",
                f"{each['live']['median_ms']:.2f} ms",
                f"{each['live']['bytes'] / 1000:,.0f} kB",
            ]
            for each in found["switches"]
        ],
    )


def peers(found: dict[str, Any]) -> str:
    others = [name for name in ("llama-server", "chat handler") if name in found["steps"][0]]
    head = ["step", "evaluated", *others, "first token"]
    head += [text for name in others for text in (name, "ratio (spread)")]
    rows: list[list[object]] = []
    for each in found["steps"]:
        mine = each["llmagic"]
        row = [each["step"], mine["evaluated"], *(each[name]["evaluated"] for name in others)]
        row.append(f"{mine['first_ms']:,.1f} ms")
        for name in others:
            ratio = each[name]["ratio"]
            row.append(f"{each[name]['first_ms']:,.1f} ms")
            row.append(f"{ratio[0]:,.1f} ({ratio[1]:,.1f} to {ratio[2]:,.1f})")
        rows.append(row)
    about = f"{found['model']}, {found['cells']} cells, {found.get('threads', 1)} thread(s)"
    return f"{about}.\n\n{table(head, rows)}"


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

    steps = rows(found)
    least = min(each["cells"] for each in steps)
    demo = [each for each in steps if each["model"] == "demo" and each["cells"] == least]
    figure, axes = pyplot.subplots(figsize=(6, 4), layout="constrained")
    axes.barh([each["step"] for each in demo], [each["last"]["first_ms"] for each in demo])
    axes.invert_yaxis()
    axes.set(xlabel=f"ms to the first token of the last cell, demo model, {least} cells")
    _save(figure, folder / "first_token.png")

    figure, axes = pyplot.subplots(figsize=(6, 3.5), layout="constrained")
    appended = [each for each in steps if each["step"] == "append" and each["cells"] == least]
    axes.bar([e["model"] for e in appended], [e["stored"] / e["cells"] / 1000 for e in appended])
    axes.set(ylabel="kB of checkpoints for a cell", yscale="log")
    axes.tick_params(axis="x", rotation=30)
    _save(figure, folder / "bytes.png")


def _save(figure: Any, path: Path) -> None:
    # Without the version of matplotlib in it: the same figures give the same file.
    figure.savefig(path, dpi=110, metadata={"Software": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", choices=RUNS, help="and keep the other figures")
    given = parser.parse_args()
    data, page = DOCS / "performance.json", DOCS / "performance.md"
    known = {} if given.only is None else json.loads(data.read_text())
    for name in RUNS if given.only is None else given.only:
        known = measured([name], known)  # what was measured is kept where the next one fails
        data.write_text(json.dumps(known, indent=1) + "\n")
    found = json.loads(data.read_text())
    plots(found, DOCS / "performance")
    before, _, rest = page.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text(f"{before}{BEGIN}\n\n{tables(found)}\n\n{END}{after}")
    print(data)


if __name__ == "__main__":
    main()
