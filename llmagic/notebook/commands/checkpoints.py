"""`%llm checkpoints`: where the state of each turn is."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping
from typing import Any

from llmagic.notebook import display
from llmagic.notebook.commands.command import Command
from llmagic.notebook.conversation import Conversation
from llmagic.notebook.question import question
from llmagic.notebook.runtime import Runtime
from llmagic.notebook.table import Row, in_bytes, short, table


def _checkpoints(runtime: Runtime, _: argparse.Namespace) -> None:
    document = runtime.arrange()
    entries = runtime.conversation.entries
    if not entries:
        runtime.show(display.bundle(runtime.nothing(document)))
        return
    session = runtime.loaded.require()
    kept = [session.kept(entry.turn) for entry in entries]
    runtime.show(table(_rows(runtime.conversation, kept)))


def _rows(conversation: Conversation, kept: Iterable[Mapping[str, Any]]) -> list[Row]:
    """`kept` is `Session.kept()` of each turn."""
    rows: list[Row] = [
        ("turn", "question", "tokens", "live", "memory", "disk", "restored after it", "from")
    ]
    for index, (entry, each) in enumerate(zip(conversation.entries, kept, strict=True)):
        asked = short(question(entry.turn), 30)
        if not each:
            rows.append((str(index + 1), asked, *"-----", "not for this model"))
            continue
        rows.append(
            (
                str(index + 1),
                asked,
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
