"""`%llm history`: the turns of the conversation."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping

from llmagic.errors import UsageError
from llmagic.notebook import display, options
from llmagic.notebook.commands.command import Command, argument
from llmagic.notebook.conversation import Conversation
from llmagic.notebook.entries import MAIN
from llmagic.notebook.question import question
from llmagic.notebook.runtime import Runtime
from llmagic.notebook.table import Row, short, table

STALE = {"edited": "edited since", "above": "stands on a changed turn"}
"""What is said about stale turns."""


def _history(runtime: Runtime, given: argparse.Namespace) -> None:
    document = runtime.arrange()
    conversation = runtime.conversation
    if given.thread is not None and given.thread not in conversation.threads():
        raise UsageError(
            f"there is no thread {given.thread!r}"
            f"{options.hint(given.thread, conversation.threads() or [MAIN])}"
        )
    rows = list(_rows(conversation, document.sources if document is not None else {}, given.thread))
    if rows:
        runtime.show(table([("turn", "question", "images", "reply", "tokens", "end"), *rows]))
    else:
        runtime.show(display.bundle(runtime.nothing(document)))


def _rows(
    conversation: Conversation, sources: Mapping[str, str], thread: str | None
) -> Iterator[Row]:
    """One row for each turn of a thread, of all where None; `sources` as cells read now."""
    from llmagic.prompt.parts import ImagePart  # loads Pillow, which %load_ext need not

    reasons = conversation.stale(sources)
    for index, (entry, reason) in enumerate(zip(conversation.entries, reasons, strict=True)):
        turn, scope = entry.turn, entry.scope
        if thread not in (None, scope.thread):
            continue
        notes = [turn.stop]
        if scope.thread != MAIN and thread is None:
            notes.append(f"thread {scope.thread}")
        notes += ["fresh"] if scope.fresh else ["side"] if scope.side else []
        notes += [STALE[reason]] if reason else []
        yield (
            str(index + 1),
            short(question(turn)),
            str(sum(isinstance(part, ImagePart) for part in turn.parts)),
            short(turn.text),
            str(len(turn.tokens)),
            ", ".join(notes),
        )


HISTORY = Command(
    "history",
    "the turns of this notebook, and which of them are stale",
    _history,
    (argument("--thread", metavar="NAME", help="only the turns of this thread"),),
)
