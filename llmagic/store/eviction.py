"""Keep the store within its budget of bytes: least recently used leaves go first."""

from __future__ import annotations

import heapq
import os
from collections import Counter
from collections.abc import Callable, Iterable
from typing import NamedTuple

from llmagic.store.container import DamagedError, Kind
from llmagic.store.folder import Folder, Record, stamp_of

Id = tuple[Kind, bytes]

EVICTING = 1.0
"""Seconds that an eviction waits for files that are just being published, or for another one."""


class Evicted(NamedTuple):
    """Bytes that are left of all entries, and what was removed."""

    left: int
    files: int = 0
    n_bytes: int = 0


class Parents:
    """Which entry stands on which, read from the headers of checkpoints once for each file.

    A state stands on the checkpoint of its name: without its rows it is of no use.
    """

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._known: dict[Id, tuple[tuple[int, int], bytes | None]] = {}

    def forget(self, key: Id) -> None:
        """Look again at an entry that was just written: its stamp may be that of an older one."""
        self._known.pop(key, None)

    def of(self, records: Iterable[Record]) -> dict[Id, Id]:
        """From entries to their parents; entries without one are left out.

        A damaged file has no parent any more: reading it removed it.
        """
        known: dict[Id, tuple[tuple[int, int], bytes | None]] = {}
        above: dict[Id, Id] = {}
        for record in records:
            if record.kind is Kind.STATE:
                above[record.kind, record.name] = (Kind.CHECKPOINT, record.name)
            if record.kind is not Kind.CHECKPOINT:
                continue
            key = (record.kind, record.name)
            before = self._known.get(key)
            if before is not None and before[0] == record.stamp:
                known[key] = before
                continue
            try:
                parent = self._folder.header(*key).parent
            except (OSError, DamagedError):
                continue
            known[key] = (record.stamp, parent)
        self._known = known
        above |= {key: (key[0], each[1]) for key, each in known.items() if each[1] is not None}
        return above


def evict(
    folder: Folder,
    parents: Parents,
    budget: int,
    *,
    keep: Id | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Evicted | None:
    """Remove entries until the store is within its budget.

    A checkpoint goes only when nothing stands on it. A few more go than must, so that this is not
    done again for every new entry; but `keep`, the newest, only if it must. `progress` gets the
    bytes removed so far, and about how many are to go.

    Returns None where another process is at it already.
    """
    with folder.lock(exclusive=True, seconds=EVICTING) as mine:
        if not mine:
            return None
        records = {(each.kind, each.name): each for each in folder.records()}
        total = sum(each.n_bytes for each in records.values())
        if total <= budget:
            return Evicted(total)
        above = parents.of(records.values())
        children = Counter(parent for key, parent in above.items() if key in records)
        heap = [(each.used, key[0], key[1]) for key, each in records.items() if not children[key]]
        heapq.heapify(heap)
        files, before = 0, total
        while heap and total > budget - budget // 32:
            _, kind, name = heapq.heappop(heap)
            key = (kind, name)
            if key == keep and total <= budget:
                continue
            record = records[key]
            if _was_used(folder, record) or not folder.remove(kind, name):
                continue
            total -= record.n_bytes
            files += 1
            progress(before - total, before - budget + budget // 32)
            parent = above.get(key)
            if parent is None:
                continue
            children[parent] -= 1
            if parent in records and not children[parent]:
                heapq.heappush(heap, (records[parent].used, parent[0], parent[1]))
        return Evicted(total, files, before - total)


def _was_used(folder: Folder, record: Record) -> bool:
    """Whether somebody used, replaced or removed an entry since it was listed."""
    try:
        stat = os.stat(folder.file(record.kind, record.name))
    except OSError:
        return False
    return stamp_of(stat) != record.stamp
