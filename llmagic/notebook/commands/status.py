"""`%llm status`: what is loaded, what is kept."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from llmagic.notebook.commands.command import Command
from llmagic.notebook.conversation import Conversation
from llmagic.notebook.request import Document, Request
from llmagic.notebook.runtime import Runtime
from llmagic.notebook.table import Row, amount, from_home, table


def _status(runtime: Runtime, _: argparse.Namespace) -> None:
    session = runtime.loaded.session
    status = None if session is None else session.status()
    order = _order(*runtime.request())
    runtime.show(table(_rows(status, runtime.conversation, order)))


def _order(request: Request, document: Document | None) -> str:
    """By what the turns of a request's notebook are ordered."""
    if document is not None:
        return "document"
    return "execution" if request.cell is None else "cell ids"


def _rows(status: Mapping[str, Any] | None, conversation: Conversation, order: str) -> list[Row]:
    """`status` is `Session.status()`, None when nothing is loaded."""
    rows: list[Row] = [
        ("what", "value"),
        ("turns", str(len(conversation.entries))),
        ("order", order),
    ]
    if status is None:
        return [*rows, ("model", "none; %llm load MODEL")]
    for name, value in status.items():
        if isinstance(value, Mapping):
            text = ", ".join(f"{key} {amount(key, item)}" for key, item in value.items())
            text = text.removeprefix("path ")
        else:
            text = "none" if value is None else from_home(str(value))
        rows.append((name, text))
    return rows


STATUS = Command("status", "what is loaded, what is kept for later cells", _status)
