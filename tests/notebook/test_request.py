"""Which cell is running: what the front ends are known to send."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from llmagic.notebook.request import current_request


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
