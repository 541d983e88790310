"""Which cell is running, as far as the front end tells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


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
    """

    cell: str | None
    execution: str


def current_request(shell: Any) -> Request:
    """The request that `shell` is working on. To be called in the main thread.

    Parameters
    ----------
    shell : IPython.core.interactiveshell.InteractiveShell
        A kernel's shell knows its parent message (ipykernel's `get_parent`); others do not.
    """
    get_parent = getattr(shell, "get_parent", None)
    parent = _mapping(get_parent() if get_parent is not None else None)
    execution = _mapping(parent.get("header")).get("msg_id")
    return Request(
        _cell_id(_mapping(parent.get("metadata"))),
        execution if isinstance(execution, str) else f"execution {shell.execution_count}",
    )


def _cell_id(metadata: Mapping[str, object]) -> str | None:
    # JupyterLab and Notebook 7 send the nbformat id, VS Code a document URI, Colab its own key.
    for name in (metadata.get("cellId"), _mapping(metadata.get("colab")).get("cell_id")):
        if isinstance(name, str) and name:
            return name
    return None


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}
