"""Which cell is running, and what stands around it, as far as the front end tells."""

from __future__ import annotations

import hashlib
import re
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from operator import eq
from typing import Any

from llmagic.notebook.attachments import Attachment, attachments_of
from llmagic.vector import Vector

VERSION = 1
"""Of the list of cells a front end may send (DESIGN C3)."""

MOST_CELLS = 4096
"""Cells of a notebook, at most; more are hardly a conversation."""

_URI = re.compile(r"[a-z][a-z0-9+.-]+:")

_UNLIKE = object()
"""Equal to nothing that can be sent."""


@dataclass(frozen=True)
class Request:
    """One execution of one cell.

    Attributes
    ----------
    cell : str or None
        The front end's name for the cell, the same at every run; None when nothing was sent
        (nbclient, nbval, a terminal).
    execution : str
        Differs between two executions, is the same for everything one execution does.
    source : str or None
        The whole cell, as the front end sent it; None without a kernel.
    """

    cell: str | None
    execution: str
    source: str | None = None

    @property
    def notebook(self) -> str | None:
        """What the cell's name says about its notebook: VS Code names both in one URI."""
        notebook, mark, _ = (self.cell or "").rpartition("#")
        return notebook if mark and _URI.match(notebook) else None

    @property
    def digest(self) -> str | None:
        """SHA-256 of the source (hex): a front end compares it with what the cell says now."""
        if self.source is None:
            return None
        return hashlib.sha256(self.source.encode("utf-8", "replace")).hexdigest()


@dataclass(frozen=True)
class Cell:
    """One `%%llm` cell of a notebook, or one with attachments.

    Attributes
    ----------
    id : str
        The name by which requests call it, too.
    source : str
        The whole cell as it reads now.
    turn : str or None
        Id (hex) of the turn its output shows.
    attachments : dict of str to Attachment
        The images that came with it, by name.
    """

    id: str
    source: str
    turn: str | None
    attachments: Mapping[str, Attachment] = field(default_factory=dict, compare=False)


@dataclass(frozen=True)
class Document:
    """A notebook as it was when the running cell was sent, or when it was saved last.

    Attributes
    ----------
    notebook : str
        Its path, or what else tells it from another one.
    cells : sequence of Cell
        In document order; their ids differ.
    is_saved : bool
        Whether it is the saved one, so that cells may read otherwise by now.
    """

    notebook: str
    cells: Sequence[Cell]
    is_saved: bool = False

    @cached_property
    def sources(self) -> Mapping[str, str]:
        """How the cells read now, by id; empty where only what was saved is known."""
        return {} if self.is_saved else {cell.id: cell.source for cell in self.cells}

    @cached_property
    def index(self) -> Mapping[str | None, int]:
        """Where each cell stands, by id."""
        return _places(self.cells, 0)

    @cached_property
    def pictured(self) -> tuple[Cell, ...]:
        """The cells that have attachments."""
        return tuple(cell for cell in self.cells if cell.attachments)

    def above(self, cell: str | None) -> Sequence[Cell] | None:
        """The cells above this one; None when it is not among them."""
        at = self.index.get(cell)
        return None if at is None else self.cells[:at]


class MalformedError(ValueError):
    """What the front end sent about the notebook cannot be used; the text says why."""


def current_request(shell: Any) -> Request:
    """The request that `shell` is working on. To be called in the main thread.

    Parameters
    ----------
    shell : IPython.core.interactiveshell.InteractiveShell
        A kernel's shell knows its parent message (ipykernel's `get_parent`); others do not.
    """
    parent = _parent(shell)
    execution = _mapping(parent.get("header")).get("msg_id")
    source = _mapping(parent.get("content")).get("code")
    return Request(
        _cell_id(_mapping(parent.get("metadata"))),
        execution if isinstance(execution, str) else f"execution {shell.execution_count}",
        source if isinstance(source, str) else None,
    )


class Reader:
    """Reads the cells that were sent; those that are as they were sent last are not read again."""

    def __init__(self) -> None:
        # What was sent last, and what it was read as: as one, so that Ctrl-C leaves no half of it.
        self._last = (Vector[object](), Vector[Cell](), Document("", ()))

    def read(self, notebook: str, sent: list[object]) -> Document:
        """A notebook by its path and the list of its cells.

        Raises
        ------
        MalformedError
            One of them is none.
        """
        told, cells, known = self._last
        n = _alike(sent, told)
        rest, others = sent[n:], told[n:]
        last = _alike(rest[::-1], others[::-1])
        stop = len(cells) - last
        rest, gone = rest[: len(rest) - last], cells[n:stop]
        if rest or gone:
            new = tuple(map(_cell, rest))
            # The bytes of images come once, and are not kept here.
            kept = [_UNLIKE if _has_bytes(c) else each for c, each in zip(new, rest, strict=True)]
            told = told.first(n).plus((*kept, *told[stop:]))
            cells = cells.first(n).plus((*new, *cells[stop:]))
            found = Document(notebook, cells)
            before, after = [cell.id for cell in gone], [cell.id for cell in new]
            if before == after or (not last and before == after[: len(before)]):
                # As the properties would have found them.
                same = before == after
                found.__dict__["index"] = (
                    known.index if same else {**known.index, **_places(new, n)}
                )
                if not any(cell.attachments for cell in (*new, *gone)):
                    found.__dict__["pictured"] = known.pictured
        elif notebook != known.notebook:
            found = replace(known, notebook=notebook)
        else:
            return known
        self._last = told, cells, found
        return found


def _alike(some: Sequence[object], others: Sequence[object]) -> int:
    """How many items two sequences have in common from the start on."""
    same = enumerate(map(eq, some, others))
    return next((i for i, alike in same if not alike), min(len(some), len(others)))


def _has_bytes(cell: Cell) -> bool:
    return any(each.data is not None for each in cell.attachments.values())


def _places(cells: Sequence[Cell], start: int) -> dict[str | None, int]:
    return {cell.id: index for index, cell in enumerate(cells, start)}


def current_document(shell: Any, reader: Reader | None = None) -> Document | None:
    """The notebook around the running cell; None when the front end sent nothing about it.

    Parameters
    ----------
    shell : IPython.core.interactiveshell.InteractiveShell
    reader : Reader, optional
        Has read what was sent before.

    Raises
    ------
    MalformedError
        It sent something else than DESIGN C3 says, or a newer version of it.
    """
    sent = _mapping(_parent(shell).get("metadata")).get("llmagic")
    # A cell's own metadata may have this key, too, for its attachments.
    if sent is None or (isinstance(sent, Mapping) and not {"version", "cells"} & set(sent)):
        return None
    return _document(_checked(sent, Mapping, "an object"), reader or Reader())


def own_attachments(shell: Any) -> Mapping[str, Attachment]:
    """The attachments in the running cell's own metadata, which front ends send by themselves."""
    sent = _mapping(_mapping(_parent(shell).get("metadata")).get("llmagic"))
    return attachments_of(sent.get("attachments"))


def _document(sent: Mapping[str, object], reader: Reader) -> Document:
    version = sent.get("version")
    if type(version) is not int or version < VERSION:
        raise MalformedError(f"version {VERSION} was expected, and {reprlib.repr(version)} came")
    if version > VERSION:
        raise MalformedError(f"it is of version {version}, and this llmagic knows {VERSION}")
    notebook = _checked(sent.get("notebook"), str, "the notebook's path")
    listed = _checked(sent.get("cells"), list, "a list of cells")
    if len(listed) > MOST_CELLS:
        raise MalformedError(f"it lists {len(listed)} cells, and at most {MOST_CELLS} are read")
    document = reader.read(notebook, listed)
    if len(document.index) != len(document.cells):
        raise MalformedError("two of its cells have the same id")
    return document


def _cell(sent: object) -> Cell:
    cell = _checked(sent, Mapping, "an object for each cell")
    identity = _checked(cell.get("id"), str, "an id for each cell")
    source = _checked(cell.get("source"), str, "a source for each cell")
    if not identity:
        raise MalformedError("the id of a cell is empty")
    if "turn" not in cell:
        raise MalformedError("a cell has no turn, and not null either")
    turn = cell["turn"]
    if turn is not None and not re.fullmatch("[0-9a-f]{1,64}", _checked(turn, str, "a turn's id")):
        raise MalformedError(f"a turn's id was expected, and {reprlib.repr(turn)} came")
    attachments = {}
    for name, attached in _checked(cell.get("attachments", {}), Mapping, "attachments").items():
        attached = _checked(attached, Mapping, f"an object for attachment {reprlib.repr(name)}")
        for key in ("mime", "sha256", *({"data"} & set(attached))):
            _checked(attached.get(key), str, f"a text as {key} of attachment {reprlib.repr(name)}")
        attachments[name] = Attachment(attached["sha256"].lower(), attached.get("data"))
    return Cell(identity, source, turn, attachments)


def _checked(value: object, kind: type, what: str) -> Any:
    if not isinstance(value, kind):
        raise MalformedError(f"{what} was expected, and {reprlib.repr(value)} came")
    return value


def _cell_id(metadata: Mapping[str, object]) -> str | None:
    # JupyterLab and Notebook 7 send the nbformat id, VS Code a document URI, Colab its own key.
    for name in (metadata.get("cellId"), _mapping(metadata.get("colab")).get("cell_id")):
        if isinstance(name, str) and name:
            return name
    return None


def _parent(shell: Any) -> Mapping[str, object]:
    get_parent = getattr(shell, "get_parent", None)
    return _mapping(get_parent() if get_parent is not None else None)


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}
