"""The notebook as it was saved: the order of its cells where the front end does not send it.

JupyterLab names the file in the kernel's environment (`JPY_SESSION_NAME`), VS Code in the user's
namespace (`__vsc_ipynb_file__`). What was not saved yet is not in it: such cells keep their place.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from llmagic.notebook.attachments import attachments_of
from llmagic.notebook.conversation import Conversation
from llmagic.notebook.request import Cell, Document, Request

MOST_BYTES = 64 << 20
"""Of a notebook that is read; a larger one is mostly pictures, and slow to read for every cell."""

_NBFORMAT_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


def saved_path(shell: Any) -> Path | None:
    """Where the notebook of this kernel is saved; None where nobody says, or it is not there."""
    for name in (
        shell.user_ns.get("__vsc_ipynb_file__"),
        os.environ.get("JPY_SESSION_NAME"),
    ):
        if isinstance(name, str) and name.endswith(".ipynb"):
            try:
                path = Path(name).absolute()
                if path.is_file():
                    return path
            except (OSError, ValueError):
                continue
    return None


class Saved:
    """Reads a saved notebook, once for each time it was saved."""

    def __init__(self) -> None:
        self._read: tuple[object, tuple[Cell, ...]] | None = None
        # Ids that were in the file at some time: a cell that is not there any more was deleted,
        # one that never was is not saved yet.
        self._seen: set[str] = set()

    def document(self, path: Path, conversation: Conversation, request: Request) -> Document | None:
        """The saved notebook with the cells of `conversation` that are not in it yet.

        Cells are matched by id, those of front ends that name cells in another way by source.
        None when the file cannot be read or has nothing to say.
        """
        cells = self._cells(path)
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
            elif name is not None and name not in self._seen:
                ordered.insert(at, Cell(name, entry.request.source or "", None))
                ids.add(name)
                at += 1
        self._seen |= {cell.id for cell in cells}
        return Document(str(path), tuple(ordered), is_saved=True)

    def _cells(self, path: Path) -> tuple[Cell, ...]:
        try:
            stat = path.stat()
            stamp = (path, stat.st_mtime_ns, stat.st_size)
            if self._read is None or self._read[0] != stamp:
                large = stat.st_size > MOST_BYTES
                cells = () if large else tuple(_cells(json.loads(path.read_bytes())))
                self._read = (stamp, cells)
        except (OSError, ValueError, RecursionError):
            return ()  # being written just now, or no notebook
        return self._read[1]


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
        asks = cell.get("cell_type") == "code" and source.lstrip().startswith("%%llm")
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
