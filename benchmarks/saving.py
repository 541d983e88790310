"""What checkpoints cost a cell, and what restoring from disk costs, on a 0.8B-shaped model.

    python -m benchmarks.saving [--folder FOLDER] [--cells 6] [--rounds 3]

Cells of some 335 tokens with replies of 24, one right after the other, so that the writer of one is
at work in the next. Notebooks with and without saving take turns in going first, since a machine's
speed drifts; `ratio` is of whole cells, pair by pair, and `share_in_the_cell` the part of a cell's
time in which its checkpoints were taken. Then the kernel is "restarted" and the last cell restored
from disk, beside reading the same bytes with `numpy.fromfile` and restoring the same chain from
memory; all from the page cache, so no disk hides the checksum: "fresh" into memory that was never
touched, as after a restart, "recycled" into memory that was just freed, where a copy costs least.
Prints JSON last; asserts nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.shapes import qwen35_08b
from llmagic.sequence import Sequence
from llmagic.session import Session, Turn

WORDS = "something about the picture and the question of the day "


def notebook(session: Session, cells: int, round_: int) -> tuple[list[float], list[Turn]]:
    """Seconds for each cell, and the turns."""
    times: list[float] = []
    turns: list[Turn] = []
    for index in range(cells):
        begin = time.perf_counter()
        turns.append(
            session.ask(
                f"{round_} {index} " + WORDS * 22,
                after=turns[-1] if turns else None,
                max_tokens=24,
                temperature=0,
            )
        )
        times.append(time.perf_counter() - begin)
    return times, turns


def not_saving(*_: object, **__: object) -> int:
    return 0


def saving(path: Path, store: Path, cells: int, rounds: int) -> dict[str, Any]:
    """Times of the same cells with and without saving, alternating."""
    ratios: list[float] = []
    shares: list[float] = []
    with Session(path, store=store) as session:
        real = session.engine.checkpoints.save
        notebook(session, 1, -1)
        for round_ in range(rounds):
            found: dict[bool, tuple[list[float], list[Turn]]] = {}
            for saves in (True, False) if round_ % 2 else (False, True):
                session.engine.checkpoints.save = real if saves else not_saving  # type: ignore[method-assign]
                found[saves] = notebook(session, cells, 2 * round_ + saves)
                assert session.store is not None
                session.store.flush(60)
            (with_, turns), (without, _) = found[True], found[False]
            ratios += [a / b for a, b in zip(with_, without, strict=True)]
            shares += [
                turn.usage["saved"]["ms"] / 1000 / seconds
                for turn, seconds in zip(turns, with_, strict=True)
            ]
            print(f"round {round_ + 1} of {rounds}: {statistics.median(ratios):.4f}")
        per_cell = statistics.median(turn.usage["saved"]["bytes"] for turn in turns)
        tokens = turns[-1].usage["evaluated"]["tokens"]
    return {
        "tokens_per_cell": tokens,
        "bytes_per_cell": per_cell,
        "ratio": spread(ratios),
        "share_in_the_cell": spread(shares),
    }


def restoring(path: Path, store: Path, cells: int, rounds: int, *, fresh: bool) -> dict[str, Any]:
    """A restart's restore from disk, against reading the same files and restoring from memory.

    Each round takes the three in turn, in one process; `fresh` keeps what was read before.
    """
    with Session(path, store=store) as session:
        _, turns = notebook(session, cells, 1000)
    figures: dict[str, list[float]] = {"disk": [], "memory": [], "fromfile": []}
    with Session(path, store=store) as session:
        checkpoints = session.engine.checkpoints
        wanted = session.chat.sequence(None, turns[-2], turns[-1].parts)
        checkpoints.resume(wanted)
        files = _files(session, store)
        kept: list[object] = []
        for round_ in range(5 * rounds):
            for what in ("disk", "fromfile") if round_ % 2 else ("fromfile", "disk"):
                checkpoints.branches.drop_all()
                if fresh:
                    kept += [(node.payload.rows, node.payload.state) for node in checkpoints.tree]
                checkpoints.tree.clear()
                if what == "disk":
                    figures["disk"].append(_restore(session, wanted, "disk"))
                    checkpoints.branches.drop_all()
                    figures["memory"].append(_restore(session, wanted, "memory"))
                else:
                    begin = time.perf_counter()
                    read = [np.fromfile(file, np.uint8) for file in files]
                    figures["fromfile"].append((time.perf_counter() - begin) * 1000)
                    n_bytes = sum(each.nbytes for each in read)
                    kept += [read] if fresh else []
                    del read
    ratios = [
        (disk - memory) / fromfile for disk, memory, fromfile in zip(*figures.values(), strict=True)
    ]
    return {
        "bytes": n_bytes,
        "disk_minus_memory_over_fromfile": spread(ratios),
        "ms": {name: spread(values) for name, values in figures.items()},
    }


def _restore(session: Session, wanted: Sequence, tier: str) -> float:
    """Time (ms) of one restore."""
    resumed = session.engine.checkpoints.resume(wanted)
    assert resumed.tier == tier, (resumed.tier, tier)
    return resumed.seconds * 1000


def _files(session: Session, store: Path) -> list[Path]:
    """The files the last restore needs: the rows of its chain, and one state."""
    nodes = list(session.engine.checkpoints.tree)
    end = max((node for node in nodes if node.payload.state is not None), key=lambda n: n.stop)
    rows = [store / "v1" / "checkpoints" / f"{n.key.hex()}.safetensors" for n in end.path()]
    return [*rows, store / "v1" / "states" / f"{end.key.hex()}.safetensors"]


def spread(values: list[float]) -> dict[str, float]:
    """Least, quartiles and greatest."""
    low, median, high = statistics.quantiles(values, n=4)
    named = {"min": min(values), "25 %": low, "median": median, "75 %": high, "max": max(values)}
    return {name: round(value, 4) for name, value in named.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "shapes")
    parser.add_argument("--cells", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    path = qwen35_08b(given.folder)
    with tempfile.TemporaryDirectory() as store:
        result = {
            "cores": os.cpu_count(),
            "load": os.getloadavg()[0],
            "saving": saving(path, Path(store), given.cells, given.rounds),
            "restoring": {
                name: restoring(path, Path(store), given.cells, given.rounds, fresh=fresh)
                for name, fresh in (("fresh", True), ("recycled", False))
            },
        }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
