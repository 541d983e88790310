"""Which cell is running: what the front ends are known to send."""

from __future__ import annotations

import hashlib
from types import SimpleNamespace
from typing import Any

import pytest

from llmagic.notebook.request import (
    MOST_CELLS,
    Cell,
    Document,
    MalformedError,
    Reader,
    current_document,
    current_request,
)


def shell(parent: object) -> Any:
    return SimpleNamespace(get_parent=lambda: parent, execution_count=7)


@pytest.mark.parametrize(
    ("metadata", "cell"),
    [
        ({"cellId": "3d6c", "deletedCells": [], "recordTiming": False}, "3d6c"),
        (
            {"cellId": "vscode-notebook-cell:/a.ipynb#W1sZmlsZQ%3D%3D"},
            "vscode-notebook-cell:/a.ipynb#W1sZmlsZQ%3D%3D",
        ),
        ({"colab": {"cell_id": "aBc", "base_uri": "x"}}, "aBc"),
        ({}, None),
        ({"cellId": ""}, None),
        ({"cellId": 3, "colab": "x"}, None),
        (None, None),
        (["cellId"], None),
    ],
)
def test_cell_id(metadata: object, cell: str | None) -> None:
    request = current_request(shell({"header": {"msg_id": "m1"}, "metadata": metadata}))
    assert request.cell == cell
    assert request.execution == "m1"


@pytest.mark.parametrize("parent", [None, {}, {"header": None}, "nonsense"])
def test_without_a_message_the_execution_count_tells_executions_apart(parent: object) -> None:
    assert current_request(shell(parent)).execution == "execution 7"


def test_a_shell_without_messages() -> None:
    request = current_request(SimpleNamespace(execution_count=2))
    assert (request.cell, request.execution) == (None, "execution 2")


def test_the_source_is_what_the_front_end_sent() -> None:
    code = "%%llm -t 0\nWhat?  \n\n"
    request = current_request(shell({"content": {"code": code}}))
    assert request.source == code
    assert request.digest == hashlib.sha256(code.encode()).hexdigest()
    assert current_request(SimpleNamespace(execution_count=2)).digest is None
    assert current_request(shell({"content": {"code": 3}})).source is None
    assert current_request(SimpleNamespace(execution_count=2)).source is None


def document(sent: object) -> Document | None:
    return current_document(shell({"metadata": {"cellId": "a", "llmagic": sent}}))


def cell(name: str = "a", **more: object) -> dict[str, object]:
    return {"id": name, "source": "%%llm\nHi", "turn": None, **more}


def message(*cells: object, **more: object) -> dict[str, object]:
    return {"version": 1, "notebook": "book.ipynb", "cells": list(cells), **more}


def test_a_document() -> None:
    attachments = {"x.png": {"mime": "image/png", "sha256": "00", "data": "AA=="}, "y.png": {}}
    attachments["y.png"] = {"mime": "image/png", "sha256": "00"}
    found = document(
        message(cell("a", turn="00ff"), cell("b", attachments=attachments), new_key=[1])
    )
    assert found == Document(
        "book.ipynb", (Cell("a", "%%llm\nHi", "00ff"), Cell("b", "%%llm\nHi", None))
    )
    assert [each.id for each in found.above("b") or ()] == ["a"]
    assert found.above("a") == ()
    assert found.above("c") is None
    assert found.above(None) is None


@pytest.mark.parametrize(
    "metadata",
    [None, {}, {"cellId": "a"}, {"llmagic": {"attachments": {"x.png": {"image/png": "AA=="}}}}],
)
def test_nothing_is_said_about_the_notebook(metadata: object) -> None:
    assert current_document(shell({"metadata": metadata})) is None
    assert current_document(SimpleNamespace()) is None


MALFORMED = {
    "no object": "nonsense",
    "a list": [message(cell())],
    "a number": 1,
    "no version": {"notebook": "book.ipynb", "cells": []},
    "version 0": message(version=0),
    "version true": message(version=True),
    "version 1.0": message(version=1.0),
    "version as text": message(version="1"),
    "newer": message(cell(), version=2),
    "no notebook": {"version": 1, "cells": []},
    "notebook null": message(notebook=None),
    "no cells": {"version": 1, "notebook": "book.ipynb"},
    "cells as object": {"version": 1, "notebook": "book.ipynb", "cells": {"a": cell()}},
    "cell is text": message("a"),
    "cell without id": message({"source": "%%llm", "turn": None}),
    "id is a number": message(cell(id=3)),
    "id is empty": message(cell("")),
    "same id twice": message(cell("a"), cell("b"), cell("a")),
    "cell without source": message({"id": "a", "turn": None}),
    "source as lines": message(cell(source=["%%llm", "Hi"])),
    "cell without turn": message({"id": "a", "source": "%%llm"}),
    "turn is a number": message(cell(turn=255)),
    "turn is no hex": message(cell(turn="../../turn")),
    "turn is empty": message(cell(turn="")),
    "turn is long": message(cell(turn="0" * 1000)),
    "attachments as list": message(cell(attachments=["x.png"])),
    "attachments null": message(cell(attachments=None)),
    "attachment is text": message(cell(attachments={"x.png": "AA=="})),
    "attachment without digest": message(cell(attachments={"x.png": {"mime": "image/png"}})),
    "attachment with bytes": message(
        cell(attachments={"x.png": {"mime": "image/png", "sha256": "00", "data": None}})
    ),
    "10,000 cells": message(*(cell(str(number)) for number in range(10_000))),
}


@pytest.mark.parametrize("sent", MALFORMED.values(), ids=MALFORMED)
def test_malformed(sent: object) -> None:
    with pytest.raises(MalformedError) as caught:
        document(sent)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 150


def test_a_long_notebook_is_fine() -> None:
    found = document(message(*(cell(str(number)) for number in range(MOST_CELLS))))
    assert found is not None
    assert len(found.cells) == MOST_CELLS


def test_what_was_sent_before_is_not_read_again() -> None:
    """But whatever was sent, it is read as by a reader that has seen nothing."""
    reader = Reader()

    def sent(names: str, turn: str = "ab") -> dict[str, object]:
        cells = [{"id": name, "source": f"%%llm {name}", "turn": turn} for name in names]
        data = {"mime": "image/png", "sha256": "0", "data": "AAAA"}
        cells += [{"id": "z", "source": "", "turn": None, "attachments": {"x": data}}]
        return {"metadata": {"llmagic": {"version": 1, "notebook": "n", "cells": cells}}}

    found = [
        (current_document(shell(sent(*each)), reader), current_document(shell(sent(*each))))
        for each in [("abc",), ("abcd",), ("abcd", "cd"), ("bcd",), ("dxb",), ("",), ("abc",)]
    ]
    for mine, new in found:
        assert mine is not None
        assert mine == new
        assert mine.index == {cell.id: at for at, cell in enumerate(mine.cells)}
        assert mine.pictured == mine.cells[-1:]
    first, second = found[0][0], found[1][0]
    assert first is not None
    assert second is not None
    assert all(a is b for a, b in zip(first.cells[:3], second.cells[:3], strict=True))


def test_a_reading_that_was_stopped_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C at any line of it: the next reading gives what came, not what stood there before."""
    reader = Reader()
    cells: list[object] = [cell(str(number)) for number in range(3)]
    reader.read("n", cells)

    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    for name in ("Document", "_places"):
        cells = [*cells, cell(name)]
        with monkeypatch.context() as patch:
            patch.setattr(f"llmagic.notebook.request.{name}", stopped)
            with pytest.raises(KeyboardInterrupt):
                reader.read("n", cells)
        assert reader.read("n", cells) == Reader().read("n", cells)


def test_null_is_no_cell_that_came_with_its_images() -> None:
    reader = Reader()
    data = {"mime": "image/png", "sha256": "0", "data": "AAAA"}
    reader.read("n", [cell(attachments={"x": data})])
    with pytest.raises(MalformedError):
        reader.read("n", [None])
