"""`%llm history`: the turns of the conversation."""

from __future__ import annotations

import argparse
from collections.abc import Collection
from typing import TYPE_CHECKING

from llmagic.notebook.commands.command import Command
from llmagic.notebook.conversation import Conversation
from llmagic.notebook.runtime import Runtime
from llmagic.notebook.table import Row, short, table

if TYPE_CHECKING:
    from llmagic.session import Turn


def _history(runtime: Runtime, _: argparse.Namespace) -> None:
    document = runtime.request()[1]
    conversation = runtime.conversation
    stale = conversation.stale(document.cells) if document is not None else []
    runtime.show(table(_rows(conversation, stale)))


def _rows(conversation: Conversation, stale: Collection[str]) -> list[Row]:
    """One row for each turn; `stale` are cells edited since they ran."""
    from llmagic.prompt.parts import ImagePart  # loads Pillow, which %load_ext need not

    rows: list[Row] = [("turn", "question", "images", "reply", "tokens", "end")]
    for index, entry in enumerate(conversation.entries):
        turn = entry.turn
        images = sum(isinstance(part, ImagePart) for part in turn.parts)
        rows.append(
            (
                str(index + 1),
                short(question(turn)),
                str(images),
                short(turn.text),
                str(len(turn.tokens)),
                f"{turn.stop}, edited since" if entry.request.cell in stale else turn.stop,
            )
        )
    return rows


def question(turn: Turn) -> str:
    """What a turn asked, with a box for each image."""
    from llmagic.prompt.parts import ImagePart

    return "".join("▢" if isinstance(part, ImagePart) else part.text for part in turn.parts)


HISTORY = Command("history", "the turns of this conversation", _history)
