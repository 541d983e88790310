"""What reading from and writing to the disk tier costs, beside numpy alone.

Reading is compared with `numpy.fromfile` of the same bytes, in pairs, in turn first and second,
from the page cache (the hardest case: a disk would hide the checksum). "fresh" keeps what was read,
as a restored chain does, so every read gets memory that must be mapped first; "recycled" frees it,
and the next read gets the same memory again: then a small file is copied within the processor's
caches, and the checksum costs as much as the copy. Reports, asserts nothing: a time belongs to a
machine. JSON comes last.

    python benchmarks/store.py [--rounds 31] [--folder FOLDER]
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from llmagic.store import Kind, Store

MIB = 1 << 20
SIZES = (MIB // 4, 4 * MIB, 32 * MIB, 256 * MIB)
BUDGET = 4096 * MIB
KEPT = 2048 * MIB


def seconds(work: Callable[[], object], keep: list[object]) -> float:
    start = time.perf_counter()
    keep.append(work())
    return time.perf_counter() - start


def spread(values: list[float], digits: int) -> dict[str, object]:
    low, median, high = statistics.quantiles(values, n=4)
    return {
        "median": round(median, digits),
        "quartiles": [round(low, digits), round(high, digits)],
    }


def reading(store: Store, folder: Path, size: int, rounds: int) -> dict[str, object]:
    data = np.random.default_rng(size).integers(0, 256, size, np.uint8)
    name = size.to_bytes(8, "big")
    arrays = {"rows": data[: size * 3 // 4], "state": data[size * 3 // 4 :]}
    store.put(Kind.CHECKPOINT, name, arrays=arrays, meta={"model": "benchmark"})
    assert store.flush(120)
    plain = folder / "plain"
    data.tofile(plain)

    def ours() -> object:
        entry = store.get(Kind.CHECKPOINT, name)
        assert entry is not None
        return entry

    def numpy() -> object:
        return np.fromfile(plain, np.uint8)

    for work in (ours, numpy):  # both into the page cache
        work()
    found: dict[str, object] = {}
    for regime in ("fresh", "recycled"):
        found[regime] = compared(ours, numpy, size, rounds, keeps=regime == "fresh")
    plain.unlink()
    store.remove(Kind.CHECKPOINT, name)
    return found


def compared(
    ours: Callable[[], object], numpy: Callable[[], object], size: int, rounds: int, *, keeps: bool
) -> dict[str, object]:
    ratios, times, bases = [], [], []
    kept: list[object] = []
    for index in range(rounds):
        if index % 2:
            mine, base = seconds(ours, kept), seconds(numpy, kept)
        else:
            base, mine = seconds(numpy, kept), seconds(ours, kept)
        if not keeps or len(kept) * size > KEPT:
            kept.clear()
        ratios.append(mine / base)
        times.append(mine * 1000)
        bases.append(base * 1000)
    return {
        "ratio": spread(ratios, 2),
        "get_ms": spread(times, 2),
        "fromfile_ms": spread(bases, 2),
        "GB/s": round(size / statistics.median(times) / 1e6, 2),
    }


def writing(store: Store, size: int, rounds: int) -> dict[str, object]:
    """Behind the caller's back (until it is on the disk), and what the caller waits."""
    data = np.random.default_rng(size).integers(0, 256, size, np.uint8)
    calls, whole = [], []
    for index in range(rounds):
        start = time.perf_counter()
        name = (size + index).to_bytes(8, "big")
        store.put(Kind.CHECKPOINT, name, arrays={"rows": data}, meta={"model": "benchmark"})
        calls.append((time.perf_counter() - start) * 1e6)
        assert store.flush(120)
        whole.append((time.perf_counter() - start) * 1000)
        store.remove(Kind.CHECKPOINT, name)
    return {"put_us": spread(calls, 0), "on_disk_ms": spread(whole, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument("--folder", type=Path, help="where to write; default: the temporary folder")
    options = parser.parse_args()
    results = {}
    with tempfile.TemporaryDirectory(dir=options.folder) as path:
        folder = Path(path)
        store = Store(folder / "store", budget=BUDGET, warn=sys.exit)
        for size in SIZES:
            label = f"{size / MIB:g} MiB"
            results[label] = reading(store, folder, size, options.rounds) | writing(
                store, size, max(3, options.rounds // 6)
            )
            print(f"{label:<10} {results[label]}", file=sys.stderr)
        store.close()
    machine = (
        f"{platform.python_implementation()} {platform.python_version()}, {platform.machine()}"
    )
    print(json.dumps({"machine": machine, "rounds": options.rounds, "store": results}, indent=2))


if __name__ == "__main__":
    main()
