"""`%llm last`: what the last turn cost."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from llmagic.errors import UsageError
from llmagic.notebook.commands.command import Command
from llmagic.notebook.runtime import Runtime
from llmagic.notebook.table import Row, amount, table

if TYPE_CHECKING:
    from llmagic.session import Turn


def _last(runtime: Runtime, _: argparse.Namespace) -> None:
    runtime.arrange()
    turn = runtime.conversation.latest
    if turn is None:
        raise UsageError("there is no turn yet; ask something in a %%llm cell first")
    runtime.show(table(_rows(turn)))


def _rows(turn: Turn) -> list[Row]:
    rows: list[Row] = [("what", "tokens", "images", "ms", "")]
    for name in ("prompt", "restored", "evaluated", "encoded", "generated", "saved"):
        part = dict(turn.usage[name])
        first = [part.pop(key, "") for key in ("tokens", "images", "ms")]
        rest = ", ".join(f"{key} {amount(key, value)}" for key, value in part.items())
        rows.append((name, *(str(value) for value in first), rest))
    return rows


LAST = Command("last", "what the last turn restored, evaluated and generated", _last)
