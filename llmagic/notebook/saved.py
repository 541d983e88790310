"""The notebook as it was saved: the order of its cells where the front end does not send it.

JupyterLab names the file in the kernel's environment (`JPY_SESSION_NAME`), VS Code in the user's
namespace (`__vsc_ipynb_file__`) and in the name of each cell. What was not saved yet is not in it:
such cells keep their place.
"""

from __future__ import annotations

import json
import os
import re
import urllib.parse
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple, TypeGuard

from llmagic.notebook.attachments import attachments_of
from llmagic.notebook.conversation import Conversation
from llmagic.notebook.request import Cell, Document, Request

MOST_BYTES = 64 << 20
"""Of a notebook that is read; a larger one is mostly pictures, and slow to read for every cell."""

MOST_BYTES_BESIDE = 32 << 20
"""Of the notebooks beside the kernel's own that are looked into for a cell it does not have."""

_ASKS = re.compile(r"^[ \t]*%%?llm(?![\w-])", re.MULTILINE)
"""A cell that may ask: with `%%llm`, or with a line of `%llm`."""

_NBFORMAT_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


def saved_path(shell: Any, request: Request) -> Path | None:
    """Where the running notebook is saved, as far as it is said; None where nobody says.

    It may be there no more: a kernel is not told that its notebook got another name.
    """
    names: list[object] = [
        shell.user_ns.get("__vsc_ipynb_file__"),
        os.environ.get("JPY_SESSION_NAME"),
    ]
    if request.notebook is not None:
        path = urllib.parse.unquote(urllib.parse.urlsplit(request.notebook).path)
        # Of a file elsewhere the kernel has at most the one it was started for.
        names = [path, *(n for n in names if _is_notebook(n) and Path(n).name == Path(path).name)]
    paths = [Path(name).absolute() for name in names if _is_notebook(name)]
    return next(filter(_is_file, paths), paths[0] if paths else None)


def _is_notebook(name: object) -> TypeGuard[str]:
    return isinstance(name, str) and name.endswith(".ipynb") and name.isprintable()


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        return False


@dataclass
class _File:
    """A notebook on disk as it was read last.

    `seen` are ids that were in it at some time: a cell that is not there any more was deleted, one
    that never was in any notebook is not saved yet.
    """

    stamp: object = None
    cells: tuple[Cell, ...] = ()
    seen: set[str] = field(default_factory=set)


class Found(NamedTuple):
    """The saved notebook that has a cell, or would have it if it were saved now.

    `is_own` is false of another one than the kernel was started for, and None where no notebook
    has the cell: it may be of any.
    """

    path: Path
    is_own: bool | None


class Saved:
    """Reads saved notebooks, each once for each time it was saved."""

    def __init__(self) -> None:
        self._files: dict[Path, _File] = {}
        self._renamed: Path | None = None
        self._others: set[Path] = set()
        # Files that lack a cell, as they were when they were looked into.
        self._lacking: dict[str, dict[Path, object]] = {}

    def document(self, path: Path, conversation: Conversation, request: Request) -> Document | None:
        """The saved notebook with the cells of `conversation` that are not in it yet.

        Cells are matched by id, those of front ends that name cells in another way by source.
        None when the file cannot be read or has nothing to say.
        """
        cells = self._read(path).cells
        if not cells:
            return None
        known = {entry.request.cell: entry.request.source for entry in conversation.known()}
        ordered = list(_named(cells, {**known, request.cell: request.source}))
        ids = {cell.id for cell in ordered}
        at = 0
        for entry in conversation.entries:
            name = entry.request.cell
            if name in ids:
                at = next(i for i, cell in enumerate(ordered) if cell.id == name) + 1
            elif name is not None and not any(name in each.seen for each in self._files.values()):
                ordered.insert(at, Cell(name, entry.request.source or "", None))
                ids.add(name)
                at += 1
        return Document(str(path), tuple(ordered), is_saved=True)

    def find(self, path: Path, request: Request) -> Found | None:
        """The notebook of a cell; `path` is the one the kernel was started for.

        Front ends that do not say more than that may run cells of another notebook in the kernel.
        One in the same folder is found by the cell's id, once it is saved; not a copy, whose cells
        have the same ids. A notebook that got another name is found in the same way.
        """
        cell, is_there = request.cell or "", _is_file(path)
        if request.notebook is not None:
            return Found(path, True) if is_there else None
        if is_there and cell in self._read(path).seen:
            return Found(path, True)
        if _NBFORMAT_ID.fullmatch(cell):
            known = [each for each, file in self._files.items() if cell in file.seen]
            other = next(filter(_is_file, known), None) or self._search(path, cell)
            if other is not None:
                if not is_there and self._renamed is None and other not in self._others:
                    self._renamed = other
                self._others |= {other} - {self._renamed}
                return Found(other, other not in self._others)
        return Found(path, None) if is_there else None

    def _search(self, path: Path, cell: str) -> Path | None:
        lacking = self._lacking.setdefault(cell, {})
        left, found = MOST_BYTES_BESIDE, []
        for other, stat in _beside(path):
            stamp = stat.st_mtime_ns, stat.st_size
            left -= stat.st_size
            if left < 0:
                break
            if lacking.get(other) == stamp:
                continue
            with suppress(OSError):  # one that may not be read
                # Parsed only where it may be the one.
                if f'"{cell}"'.encode() in other.read_bytes() and cell in self._read(other).seen:
                    found.append(other)
                else:
                    lacking[other] = stamp
        return found[0] if len(found) == 1 else None

    def _read(self, path: Path) -> _File:
        file = self._files.setdefault(path, _File())
        try:
            stat = path.stat()
            stamp = (stat.st_mtime_ns, stat.st_size)
            if file.stamp != stamp:
                large = stat.st_size > MOST_BYTES
                file.cells = () if large else tuple(_cells(json.loads(path.read_bytes())))
                file.stamp = stamp
                file.seen |= {cell.id for cell in file.cells}
        except (OSError, ValueError, RecursionError):
            file.stamp, file.cells = None, ()  # being written just now, or no notebook
        return file


def _beside(path: Path) -> list[tuple[Path, os.stat_result]]:
    """The other notebooks of a folder, the one that was saved last first."""
    found: list[tuple[Path, os.stat_result]] = []
    with suppress(OSError):
        for each in path.parent.glob("*.ipynb"):
            with suppress(OSError):  # gone in this moment
                # A link may lead nowhere, and a folder may be called anything.
                if each != path and each.is_file():
                    found.append((each, each.stat()))
    return sorted(found, key=lambda each: -each[1].st_mtime_ns)


def _named(cells: tuple[Cell, ...], known: Mapping[str | None, str | None]) -> Iterator[Cell]:
    """The cells under the names by which requests call them."""
    foreign = [
        (name, source.strip())
        for name, source in known.items()
        if name is not None and source is not None and not _NBFORMAT_ID.fullmatch(name)
    ]
    for cell in cells:
        found = next((each for each in foreign if each[1] == cell.source.strip()), None)
        if found is None or cell.id in known:
            yield cell
        else:
            foreign.remove(found)
            yield replace(cell, id=found[0])


def _cells(notebook: Any) -> Iterator[Cell]:
    """The cells that ask, and those that have attachments; what is malformed is left out."""
    listed = notebook.get("cells") if isinstance(notebook, dict) else None
    ids: set[str] = set()
    for index, cell in enumerate(listed if isinstance(listed, list) else ()):
        if not isinstance(cell, dict):
            continue
        source = cell.get("source")
        source = "".join(map(str, source)) if isinstance(source, list) else str(source or "")
        metadata = cell.get("metadata")
        own = metadata.get("llmagic") if isinstance(metadata, dict) else None
        attachments = {
            **attachments_of(cell.get("attachments")),
            **attachments_of(own.get("attachments") if isinstance(own, dict) else None),
        }
        asks = cell.get("cell_type") == "code" and _ASKS.search(source) is not None
        name = str(cell.get("id") or f"cell {index}")
        if (asks or attachments) and name not in ids:
            ids.add(name)
            yield Cell(name, source, _turn(cell.get("outputs")) if asks else None, attachments)


def _turn(outputs: Any) -> str | None:
    """The turn that a cell's output shows."""
    for output in outputs if isinstance(outputs, list) else ():
        metadata = output.get("metadata") if isinstance(output, dict) else None
        usage = metadata.get("llmagic") if isinstance(metadata, dict) else None
        turn = usage.get("turn") if isinstance(usage, dict) else None
        if isinstance(turn, str) and re.fullmatch("[0-9a-f]{1,64}", turn):
            return turn
    return None
