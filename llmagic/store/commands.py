"""`llmagic cache ls|verify|prune|clear`: what is in the store, whether it is good, less of it.

The exit status is 0 only when all is well; `ls` only lists, and gives 0 always.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import time
from collections.abc import Iterable

from llmagic.errors import UsageError
from llmagic.store.container import Kind
from llmagic.store.folder import Folder, Record, located, root
from llmagic.store.store import DEFAULT_BUDGET
from llmagic.store.upkeep import Removed, Selection, clear, prune, verify

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_BYTES = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_KINDS = ", ".join(Kind)
_BAR = 30


def add(parser: argparse.ArgumentParser) -> None:
    """Give a parser the actions; each sets `run`, a function from arguments to exit status."""
    actions = parser.add_subparsers(title="actions", required=True, metavar="ACTION")
    for run, summary in (
        (_ls, "list the entries, the most recently used first"),
        (_verify, "read every byte; report and remove what is damaged or of no use"),
        (_prune, "remove leftovers, what is over the budget, and what is selected"),
        (_clear, "remove what is selected, or everything"),
    ):
        action = actions.add_parser(run.__name__[1:], help=summary, description=summary)
        action.set_defaults(run=run)
        action.add_argument("--store", metavar="FOLDER", help="default: LLMAGIC_STORE or the cache")
        action.add_argument("--json", action="store_true", help="print one JSON object")
        if run is not _verify:
            _add_selection(action)
        if run is _prune:
            action.add_argument(
                "--budget",
                type=_size,
                default=DEFAULT_BUDGET,
                metavar="SIZE",
                help="bytes that may stay, e.g. 5G (default: 10G)",
            )


def _add_selection(action: argparse.ArgumentParser) -> None:
    group = action.add_argument_group("selection")
    group.add_argument(
        "--kind", type=_kind, action="append", help=f"{_KINDS}; repeatable", metavar="KIND"
    )
    group.add_argument("--model", metavar="TEXT", help="part of the model's name")
    group.add_argument("--notebook", metavar="TEXT", help="part of the notebook's name")
    group.add_argument("--older-than", type=_age, metavar="AGE", help="not used for, e.g. 7d, 12h")
    group.add_argument("--larger-than", type=_size, metavar="SIZE", help="e.g. 10M, 1.5G")


def _kind(text: str) -> Kind:
    try:
        return Kind(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected one of {_KINDS}, got {text!r}") from None


def _age(text: str) -> float:
    return _quantity(text, _SECONDS, "an age such as 7d, 12h or 30m")


def _size(text: str) -> int:
    return int(_quantity(text.upper().removesuffix("B").removesuffix("I"), _BYTES, "10M or 1.5G"))


def _quantity(text: str, units: dict[str, int], expected: str) -> float:
    found = re.fullmatch(r"(\d{1,15}(?:\.\d+)?)\s*([a-zA-Z]?)", text.strip())
    if found is None or found[2] not in units:
        raise argparse.ArgumentTypeError(f"expected {expected}, got {text!r}")
    return float(found[1]) * units[found[2]]


def _folder(arguments: argparse.Namespace) -> Folder:
    if arguments.store == "":
        raise UsageError("expected the store's folder after --store, got nothing; leave it out.")
    path = root() if arguments.store is None else located(arguments.store)
    if os.path.exists(path) and not os.path.isdir(path):
        raise UsageError(f"expected the store's folder, and {path} is a file.")
    if arguments.store is not None and not os.path.isdir(path):
        raise UsageError(f"expected the store's folder, and there is none at {path}.")
    return Folder(path)


def _selection(arguments: argparse.Namespace) -> Selection:
    return Selection(
        kinds=tuple(arguments.kind or ()),
        model=arguments.model,
        notebook=arguments.notebook,
        older=arguments.older_than,
        larger=arguments.larger_than,
    )


# --- the actions ----------------------------------------------------------------------------------


def _ls(arguments: argparse.Namespace) -> int:
    folder = _folder(arguments)
    found = sorted(_selection(arguments).of(folder), key=lambda each: -each[0].used)
    if arguments.json:
        entries = [
            _described(record) | {"labels": meta or {}, "damaged": meta is None}
            for record, meta in found
        ]
        _print_json(folder, files=len(found), bytes=_total(found), entries=entries)
        return 0
    now = time.time()
    for record, meta in found:
        labels = "damaged: `llmagic cache verify` removes it"
        if meta is not None:
            labels = "  ".join(filter(None, (meta.get("model"), meta.get("notebook"))))
        age = _ago(now - record.used / 1e9)
        size = _human(record.n_bytes)
        print(f"{record.kind:<12}{record.name.hex()[:16]:<18}{size:>10}{age:>6}  {labels}")
    for kind in Kind:
        of_kind = [each for each in found if each[0].kind is kind]
        if of_kind:
            print(f"{kind}: {_count(len(of_kind), 'entry')}, {_human(_total(of_kind))}")
    print(f"{_count(len(found), 'entry')}, {_human(_total(found))} in {folder.path}")
    return 0


def _total(found: Iterable[tuple[Record, object]]) -> int:
    return sum(record.n_bytes for record, _ in found)


def _verify(arguments: argparse.Namespace) -> int:
    folder = _folder(arguments)
    with _Progress() as progress:
        report = verify(folder, progress.show)
    if arguments.json:
        _print_json(
            folder,
            ok=report.is_well,
            files=report.files,
            bytes=report.n_bytes,
            damaged=[_described(record) | {"reason": why} for record, why in report.damaged],
            orphans=[_described(record) for record in report.orphans],
            unreadable=[_described(record) | {"reason": why} for record, why in report.unreadable],
            stuck=[_described(record) for record in report.stuck],
            temporaries=report.temporaries,
            states=report.states,
            asked=report.asked,
        )
        return 0 if report.is_well else 1
    stuck = set(report.stuck)
    lines = [("damaged", record, why) for record, why in report.damaged]
    lines += [("orphan", record, "what it stands on is missing") for record in report.orphans]
    lines += [("unreadable", record, why) for record, why in report.unreadable]
    for what, record, why in lines:
        stays = "unreadable" in what or record in stuck
        done = "still there" if stays else "removed"
        print(f"{what}, {done}: {folder.file(record.kind, record.name)} ({why})")
    if report.temporaries:
        print(f"{_count(report.temporaries, 'unfinished file')} removed")
    if report.states:
        print(f"{_count(report.states, 'state')} without a checkpoint removed")
    if report.asked:
        print(f"{_count(report.asked, 'question')} without a turn removed")
    print(f"{_count(report.files, 'good entry')}, {_human(report.n_bytes)} in {folder.path}")
    return 0 if report.is_well else 1


def _prune(arguments: argparse.Namespace) -> int:
    folder = _folder(arguments)
    with _Progress() as progress:
        removed = prune(folder, _selection(arguments), arguments.budget, progress.show)
    return _removed(arguments, folder, removed)


def _clear(arguments: argparse.Namespace) -> int:
    folder = _folder(arguments)
    with _Progress() as progress:
        removed = clear(folder, _selection(arguments), progress.show)
    return _removed(arguments, folder, removed)


def _removed(arguments: argparse.Namespace, folder: Folder, removed: Removed) -> int:
    status = 1 if removed.stuck or removed.over else 0
    if arguments.json:
        _print_json(
            folder,
            ok=not status,
            files=removed.files,
            bytes=removed.n_bytes,
            kept=removed.kept,
            stuck=removed.stuck,
            over=removed.over,
            temporaries=removed.temporaries,
        )
        return status
    if removed.temporaries:
        print(f"{_count(removed.temporaries, 'unfinished file')} removed")
    if removed.kept:
        print(f"kept because others stand on them: {_count(removed.kept, 'checkpoint')}")
    if removed.stuck:
        print(f"could not be removed from {folder.path}: {_count(removed.stuck, 'entry')}")
    if removed.over:
        print(
            f"still {_human(removed.over)} over the budget: in use, or {folder.path} is read-only"
        )
    print(f"{_count(removed.files, 'entry')} removed, {_human(removed.n_bytes)}")
    return status


# --- showing --------------------------------------------------------------------------------------


def _described(record: Record) -> dict[str, object]:
    return {
        "kind": str(record.kind),
        "name": record.name.hex(),
        "bytes": record.n_bytes,
        "used": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.used / 1e9)),
    }


def _print_json(folder: Folder, **values: object) -> None:
    print(json.dumps({"store": str(folder.path), **values}, indent=2))


def _count(number: int, noun: str) -> str:
    if number != 1:
        noun = noun[:-1] + "ies" if noun.endswith("y") else noun + "s"
    return f"{number:,} {noun}"


def _human(n_bytes: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if n_bytes < 1024:
            return f"{n_bytes:.0f} {unit}" if unit == "B" else f"{n_bytes:.1f} {unit}"
        n_bytes /= 1024
    return f"{n_bytes:.1f} TiB"


def _ago(seconds: float) -> str:
    for unit in ("d", "h", "m"):
        if seconds >= _SECONDS[unit]:
            return f"{seconds / _SECONDS[unit]:.0f}{unit}"
    return f"{max(0.0, seconds):.0f}s"


class _Progress:
    """A bar on a terminal, nothing anywhere else."""

    def __init__(self) -> None:
        self._on = sys.stderr.isatty()
        self._shown = ""

    def __enter__(self) -> _Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._shown:
            print("\r" + " " * len(self._shown) + "\r", end="", file=sys.stderr, flush=True)

    def show(self, done: int, total: int) -> None:
        if not self._on:
            return
        full = min(_BAR, _BAR * done // max(1, total))
        line = f"[{'#' * full}{'.' * (_BAR - full)}] {_human(done)} of {_human(total)}"
        if line != self._shown:
            print("\r" + line.ljust(len(self._shown)), end="", file=sys.stderr, flush=True)
            self._shown = line
