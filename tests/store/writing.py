"""Processes that write into one store while others do, or until they are killed.

    python -m tests.store.writing kill FOLDER KILLS SEED
    python -m tests.store.writing crowd FOLDER PROCESSES ENTRIES

Prints one JSON line about what was found. The processes are forked from one that has imported
everything, so that a kill hits the writing and not the imports.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import sys
import time
import traceback
from pathlib import Path

import numpy as np

from llmagic.store import Kind, Store
from llmagic.store.folder import Folder
from llmagic.store.upkeep import verify

BUDGET = 2 << 20


def name_of(chain: int, depth: int) -> bytes:
    return f"{chain:06}-{depth}".encode()


def arrays_of(kind: Kind, name: bytes) -> dict[str, np.ndarray]:
    """What stands under a name, the same in every process; from 100 bytes to 300 KB."""
    stream = hashlib.shake_128(kind.encode() + name)
    size = 10 ** (2 + stream.digest(1)[0] % 4) + stream.digest(2)[1] * 800
    data = np.frombuffer(stream.digest(size), np.uint8)
    return {"rows": data[: size // 2], "state": data[size // 2 :]}


def put(store: Store, chain: int) -> None:
    """A cell: a chain of checkpoints, an image with its embedding, a turn."""
    for kind in Kind:
        if kind is Kind.CHECKPOINT:
            continue
        name = name_of(chain, 0)
        store.put(kind, name, arrays=arrays_of(kind, name), meta={"model": "toy"})
    for depth in range(4):
        name = name_of(chain, depth)
        store.put(
            Kind.CHECKPOINT,
            name,
            arrays=arrays_of(Kind.CHECKPOINT, name),
            meta={"model": "toy"},
            parent=name_of(chain, depth - 1) if depth else None,
        )


def wrong_in(store: Store) -> list[str]:
    """Entries that are not what was put; each is read in full."""
    wrong = []
    for record in list(store.records()):
        entry = store.get(record.kind, record.name)
        if entry is None:
            if store.has(record.kind, record.name):
                wrong.append(f"{record} is there and cannot be read")
            continue
        for label, array in arrays_of(record.kind, record.name).items():
            if entry.arrays[label].tobytes() != array.tobytes():
                wrong.append(f"{record} has other bytes than were put")
    return wrong


def kill(folder: Path, kills: int, seed: int) -> dict[str, object]:
    """Kill writers at random moments; look at the store after each."""
    random.seed(seed)
    found = {"kills": kills, "unfinished": 0, "written": 0, "evicted": 0}
    wrong: list[str] = []
    before: set[bytes] = set()
    for i in range(kills):
        child = os.fork()
        if child == 0:
            write_for_ever(folder, seed * 1000 + i * 20)
        time.sleep(random.uniform(0.001, 0.2))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if os.waitstatus_to_exitcode(status) != -signal.SIGKILL:
            wrong.append("a writer ended before it was killed")
        report = verify(Folder(folder))
        found["unfinished"] += report.temporaries
        if not report.is_well:
            wrong.append(f"kill {i}: {report}")
        warnings: list[str] = []
        store = Store(folder, budget=BUDGET, warn=warnings.append)
        wrong += wrong_in(store) + warnings
        now = {record.name for record in store.records()}
        found["written"] += len(now - before)
        found["evicted"] += len(before - now)
        before = now
    return found | {"wrong": wrong}


def write_for_ever(folder: Path, chain: int) -> None:
    """A writer that is to be killed; anything else but a kill ends it, with an exit status."""
    try:
        store = Store(folder, budget=BUDGET, warn=lambda _: os._exit(3))
        while True:
            put(store, chain)
            chain += 1
            while store.pending_bytes > BUDGET // 4:
                time.sleep(0.0005)
    finally:
        os._exit(4)


def crowd(folder: Path, processes: int, entries: int) -> dict[str, object]:
    """Write from several processes at once, half of it the same, far over the budget."""
    children: list[int] = []
    outputs: list[int] = []
    for number in range(processes):
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(read)
            result = json.dumps(member(folder, number, entries)).encode()
            os.write(write, result[:60_000])
            os._exit(0)
        os.close(write)
        children.append(child)
        outputs.append(read)
    results = []
    for child, output in zip(children, outputs, strict=True):
        with os.fdopen(output, "rb") as file:
            results.append(json.loads(file.read()))
        os.waitpid(child, 0)
    total = sum(record.n_bytes for record in Folder(folder).records())
    report = verify(Folder(folder))
    return {
        "wrong": [line for result in results for line in result["wrong"]]
        + ([] if report.is_well else [repr(report)]),
        "written": [result["written"] for result in results],
        "hits": [result["hits"] for result in results],
        "total": total,
        "temporaries": report.temporaries,
    }


def member(folder: Path, number: int, entries: int) -> dict[str, object]:
    wrong: list[str] = []
    written: list[bool] = []
    hits = 0
    try:
        store = Store(folder, budget=BUDGET, warn=wrong.append)
        order = random.Random(number)
        for i in range(entries):
            # Notebooks that all have, and one's own.
            chain = order.randrange(entries // 4) if i % 2 else 1000 * (number + 1) + i
            put(store, chain)
            store.put(Kind.TURN, b"%d" % i, arrays={}, meta={}, done=written.append)
            looked = name_of(order.randrange(entries // 4), order.randrange(4))
            entry = store.get(Kind.CHECKPOINT, looked)
            if entry is not None:
                hits += 1
                expected = arrays_of(Kind.CHECKPOINT, looked)
                if any(entry.arrays[k].tobytes() != v.tobytes() for k, v in expected.items()):
                    wrong.append(f"{looked!r} has other bytes than were put")
            store.usage()
        if not store.flush(120):
            wrong.append("not written in time")
    except BaseException:
        wrong.append(traceback.format_exc())
    return {"wrong": wrong, "written": sum(written), "hits": hits}


if __name__ == "__main__":
    action, path, *numbers = sys.argv[1:]
    print(json.dumps({"kill": kill, "crowd": crowd}[action](Path(path), *map(int, numbers))))
