"""Look after a store from outside: find entries, verify all of them, remove some."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from llmagic.store.container import TURN, DamagedError, Kind, check_data
from llmagic.store.eviction import Id, Parents, evict
from llmagic.store.folder import Folder, Record

# After that it is done all the same: at worst a child is written while its parent goes, which the
# next look finds.
_LOCK_SECONDS = 10.0

Progress = Callable[[int, int], None]
"""Gets the bytes that are dealt with so far, and in all; each stage begins anew."""


def _silent(done: int, total: int) -> None:
    """Nobody looks."""


@dataclass(frozen=True)
class Selection:
    """Which entries are meant; all of them by default.

    Attributes
    ----------
    kinds : tuple of Kind
        None named means every kind.
    model, notebook : str or None
        Part of the label of this name, in any case.
    older : float
        Seconds since the last use, at least.
    larger : int
        Bytes, at least.
    """

    kinds: tuple[Kind, ...] = ()
    model: str | None = None
    notebook: str | None = None
    older: float | None = None
    larger: int | None = None

    @property
    def is_everything(self) -> bool:
        return self == Selection()

    def of(
        self, folder: Folder, progress: Progress = _silent
    ) -> Iterator[tuple[Record, dict[str, str] | None]]:
        """The entries that are meant, with their labels; None for a damaged header."""
        now = time.time_ns()
        records = list(folder.records())
        total, done = sum(record.n_bytes for record in records), 0
        for record in records:
            progress(done, total)
            done += record.n_bytes
            if self.kinds and record.kind not in self.kinds:
                continue
            if self.larger is not None and record.n_bytes < self.larger:
                continue
            if self.older and now - record.used < self.older * 1e9:
                continue
            meta: dict[str, str] | None
            try:
                meta = folder.header(record.kind, record.name, remove=False).meta
            except OSError:
                meta = {}
            except DamagedError:
                meta = None
            labels = meta or {}
            if _fits(self.model, labels.get("model")) and _fits(
                self.notebook, labels.get("notebook")
            ):
                yield record, meta


def _fits(wanted: str | None, label: str | None) -> bool:
    return wanted is None or (label is not None and wanted.lower() in label.lower())


@dataclass
class Report:
    """What `verify` found, and removed where it could.

    Attributes
    ----------
    files, n_bytes : int
        Good entries, recounted.
    damaged : list of (Record, str)
        With what is wrong with each.
    orphans : list of Record
        Checkpoints whose parent is missing: nobody could restore them.
    unreadable : list of (Record, str)
        With why; they are still there.
    stuck : list of Record
        Damaged or orphaned, and could not be removed.
    temporaries, states, asked : int
        Left behind by writers that ended, by checkpoints and by turns that are not there any more;
        they are of no use and do no harm.
    """

    files: int = 0
    n_bytes: int = 0
    damaged: list[tuple[Record, str]] = field(default_factory=list)
    orphans: list[Record] = field(default_factory=list)
    unreadable: list[tuple[Record, str]] = field(default_factory=list)
    stuck: list[Record] = field(default_factory=list)
    temporaries: int = 0
    states: int = 0
    asked: int = 0

    @property
    def is_well(self) -> bool:
        return not (self.damaged or self.orphans or self.unreadable or self.stuck)


def verify(folder: Folder, progress: Progress = _silent) -> Report:
    """Read every byte of every entry; remove what is damaged, orphaned, or left half-written."""
    report = Report()
    report.temporaries, _ = folder.remove_temporaries(older=0.0)
    records = list(folder.records())
    total = sum(record.n_bytes for record in records)
    done = 0
    good: list[Record] = []
    for record in records:
        before = done
        try:
            with folder.opened(record.kind, record.name) as (descriptor, header):
                for n_read in check_data(descriptor, header):
                    done += n_read
                    progress(done, total)
        except FileNotFoundError:  # evicted meanwhile
            pass
        except DamagedError as error:
            report.damaged.append((record, str(error)))
            if folder.has(record.kind, record.name):
                report.stuck.append(record)
        except OSError as error:
            report.unreadable.append((record, error.strerror or str(error)))
        else:
            good.append(record)
        done = before + record.n_bytes
        progress(done, total)
    with folder.lock(exclusive=True, seconds=_LOCK_SECONDS):
        report.orphans = _orphans(folder)
        for record in reversed(report.orphans):
            if not folder.remove(record.kind, record.name):
                report.stuck.append(record)
        left_over = _left_over(folder)
        for record in left_over:
            removed = folder.remove(record.kind, record.name)
            report.states += removed and record.kind is Kind.STATE
            report.asked += removed and record.kind is Kind.ASKED
    lost = {(record.kind, record.name) for record in (*report.orphans, *left_over)}
    good = [record for record in good if (record.kind, record.name) not in lost]
    report.files, report.n_bytes = len(good), sum(record.n_bytes for record in good)
    return report


def _orphans(folder: Folder) -> list[Record]:
    """Checkpoints without all of their ancestors, parents before children."""
    records = {(each.kind, each.name): each for each in folder.records(Kind.CHECKPOINT)}
    above = Parents(folder).of(records.values())
    children = _children(above)
    lost = [key for key in records if key in above and above[key] not in records]
    for key in lost:
        lost.extend(children[key])
    return [records[key] for key in lost]


def _left_over(folder: Folder) -> list[Record]:
    """States whose checkpoint, and files that say which turn, where that is missing.

    It was refused, dropped, evicted, forgotten or damaged.
    """
    states = list(folder.records(Kind.STATE))  # first: a checkpoint is written before its state
    there = {record.name for record in folder.records(Kind.CHECKPOINT)}
    left = [record for record in states if record.name not in there]
    asked = [(record, _turn(folder, record)) for record in folder.records(Kind.ASKED)]
    turns = {record.name.hex() for record in folder.records(Kind.TURN)}
    return left + [record for record, turn in asked if turn is not None and turn not in turns]


def _turn(folder: Folder, record: Record) -> str | None:
    """The turn without which an entry is of no use; None where it names none."""
    try:
        return folder.header(record.kind, record.name, remove=False).meta.get(TURN)
    except (OSError, DamagedError):
        return None


def _children(above: dict[Id, Id]) -> dict[Id, list[Id]]:
    children: dict[Id, list[Id]] = defaultdict(list)
    for key, parent in above.items():
        children[parent].append(key)
    return children


@dataclass
class Removed:
    """What was removed; `kept` were meant but something that stays stands on them.

    `over` are the bytes beyond the budget that are still there.
    """

    files: int = 0
    n_bytes: int = 0
    kept: int = 0
    stuck: int = 0
    over: int = 0
    temporaries: int = 0


def prune(
    folder: Folder, selection: Selection, budget: int, progress: Progress = _silent
) -> Removed:
    """Remove what nobody needs: leftovers, orphans, what is meant, what is over the budget.

    A selection that means everything removes nothing. A checkpoint that is meant takes its state
    with it, and stays while one that is not meant stands on it.
    """
    removed = Removed()
    removed.temporaries, _ = folder.remove_temporaries(older=0.0)
    meant = []
    if not selection.is_everything:
        meant = [record for record, _ in selection.of(folder, progress)]
        named = {record.name for record in meant if record.kind is Kind.CHECKPOINT}
        meant += [each for each in folder.records(Kind.STATE) if each.name in named]
    with folder.lock(exclusive=True, seconds=_LOCK_SECONDS):
        _remove(folder, _orphans(folder), removed, progress)
        _remove(folder, meant, removed, progress)
        _remove(folder, _left_over(folder), removed, progress)
    evicted = evict(folder, Parents(folder), budget, progress=progress)
    if evicted is None:  # another process is at it
        left = sum(record.n_bytes for record in folder.records())
    else:
        left = evicted.left
        removed.files += evicted.files
        removed.n_bytes += evicted.n_bytes
    removed.over = max(0, left - budget)
    return removed


def clear(folder: Folder, selection: Selection, progress: Progress = _silent) -> Removed:
    """Remove what is meant, and whatever stands on it."""
    removed = Removed()
    meant = {(record.kind, record.name): record for record, _ in selection.of(folder, progress)}
    with folder.lock(exclusive=True, seconds=_LOCK_SECONDS):
        records = {(each.kind, each.name): each for each in folder.records()}
        children = _children(Parents(folder).of(records.values()))
        doomed = list(meant)
        for key in doomed:
            for child in children[key]:
                if child not in meant:
                    meant[child] = records[child]
                    doomed.append(child)
        _remove(folder, meant.values(), removed, progress)
    if selection.is_everything:
        removed.temporaries, _ = folder.remove_temporaries(older=0.0)
    return removed


def _remove(folder: Folder, meant: Iterable[Record], removed: Removed, progress: Progress) -> None:
    """Remove entries, children before parents, except those on which something else stands."""
    left = {(each.kind, each.name): each for each in meant}
    above = Parents(folder).of(folder.records())
    standing = {key: set(each) for key, each in _children(above).items()}
    free = [key for key in left if not standing.get(key)]
    total, done = sum(record.n_bytes for record in left.values()), 0
    for key in free:
        record = left.pop(key)
        done += record.n_bytes
        progress(done, total)
        if not folder.remove(*key):
            removed.stuck += 1
            continue
        removed.files += 1
        removed.n_bytes += record.n_bytes
        parent = above.get(key)
        if parent is not None:
            standing[parent].discard(key)
            if parent in left and not standing[parent]:
                free.append(parent)
    removed.kept += len(left)
