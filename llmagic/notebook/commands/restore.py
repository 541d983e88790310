"""`%llm restore`: switch a cell back to a turn it had before."""

from __future__ import annotations

import argparse

from llmagic.errors import UsageError
from llmagic.notebook import display
from llmagic.notebook.blocks import blocks_of, code
from llmagic.notebook.commands.command import Command, argument
from llmagic.notebook.commands.which import SHORT, which
from llmagic.notebook.runtime import Runtime


def _restore(runtime: Runtime, given: argparse.Namespace) -> None:
    runtime.arrange()
    runtime.recall_versions()
    conversation = runtime.conversation
    found = which(conversation, given.turn, versions=True)
    cell = found.request.cell
    entry = runtime.restore(cell, found.turn.id) if cell is not None else None
    if entry is None:
        raise UsageError(
            f"turn {found.turn.id[:SHORT]} cannot be put back: its cell is not in the notebook "
            "any more, or has no name; ask its question again, and its reply is shown at once"
        )
    source = (entry.request.source or "").rstrip()
    markdown = f"The cell counts with this turn again:\n\n{code(source)}\n\n"
    shown = display.bundle(blocks_of(entry.turn))
    runtime.show(
        {
            "text/plain": f"{source}\n\n{shown['text/plain']}",
            "text/markdown": markdown + shown["text/markdown"],
        }
    )


RESTORE = Command(
    "restore",
    "let a cell count with an earlier turn of its own again; shows its source and reply",
    _restore,
    (argument("turn", metavar="TURN", help="id of the turn, as %%llm tree shows it"),),
)
