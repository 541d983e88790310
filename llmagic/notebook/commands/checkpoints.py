"""`%llm checkpoints`: where the state of each turn is."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping
from typing import Any

from llmagic.notebook.commands.command import Command
from llmagic.notebook.conversation import Conversation
from llmagic.notebook.question import question
from llmagic.notebook.runtime import Runtime
from llmagic.notebook.table import Row, in_bytes, short, table


def _checkpoints(runtime: Runtime, _: argparse.Namespace) -> None:
    runtime.arrange()
    session = runtime.loaded.require()
    kept = [session.kept(entry.turn) for entry in runtime.conversation.entries]
    runtime.show(table(_rows(runtime.conversation, kept)))


def _rows(conversation: Conversation, kept: Iterable[Mapping[str, Any]]) -> list[Row]:
    """`kept` is `Session.kept()` of each turn."""
    rows: list[Row] = [
        ("turn", "question", "tokens", "live", "memory", "disk", "restored after it", "from")
    ]
    for index, (entry, each) in enumerate(zip(conversation.entries, kept, strict=True)):
        rows.append(
            (
                str(index + 1),
                short(question(entry.turn), 30),
                str(each["tokens"]),
                f"{each['live']} tokens" if each["live"] else "-",
                in_bytes(each["memory"]) if each["memory"] else "-",
                in_bytes(each["disk"]) if each["disk"] else "-",
                f"{each['restored']} of {each['total']} tokens",
                each["tier"],
            )
        )
    return rows


CHECKPOINTS = Command(
    "checkpoints",
    "where the state of each turn is, and what is restored from there",
    _checkpoints,
)
