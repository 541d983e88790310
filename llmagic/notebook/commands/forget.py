"""`%llm forget`: drop turns for good."""

from __future__ import annotations

import argparse

from llmagic.errors import UsageError
from llmagic.notebook import display, options
from llmagic.notebook.commands.command import Command, argument
from llmagic.notebook.commands.which import every
from llmagic.notebook.forgetting import forget
from llmagic.notebook.runtime import Runtime
from llmagic.notebook.table import in_bytes


def _forget(runtime: Runtime, given: argparse.Namespace) -> None:
    runtime.arrange()
    conversation = runtime.conversation
    entries = [entry for text in given.turn for entry in every(conversation, text)]
    if given.thread is not None:
        there = [*conversation.entries, *conversation.versions]
        threads = sorted({entry.scope.thread for entry in there})
        if given.thread not in threads:
            raise UsageError(
                f"there is no thread {given.thread!r}{options.hint(given.thread, threads)}"
            )
        entries += [entry for entry in there if entry.scope.thread == given.thread]
    if not entries:
        raise UsageError(
            "%llm forget expects the turns to forget: numbers of %llm history, ids of %llm tree, "
            "names that --as gave, or --thread NAME. %llm reset forgets the conversation and "
            "keeps what is stored of it."
        )
    unique = {entry.place: entry for entry in entries}
    free = forget(runtime, unique.values())
    what = "1 turn is" if len(unique) == 1 else f"{len(unique)} turns are"
    disk = f"; {in_bytes(free)} are free on disk" if free else ""
    runtime.show(display.bundle(f"{what} forgotten{disk}"))


FORGET = Command(
    "forget",
    "drop turns, their checkpoints and stored replies, in memory and on disk",
    _forget,
    (
        argument(
            "turn",
            nargs="*",
            metavar="TURN",
            help="number in %%llm history, id in %%llm tree, or the name that --as gave",
        ),
        argument("--thread", metavar="NAME", help="all turns of this thread"),
    ),
)
