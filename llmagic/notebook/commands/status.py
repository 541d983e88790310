"""`%llm status`: what is loaded, what is kept."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from llmagic.notebook.commands.command import Command
from llmagic.notebook.runtime import Runtime
from llmagic.notebook.table import Row, amount, from_home, table

if TYPE_CHECKING:
    from llmagic.session import Turn


def _status(runtime: Runtime, _: argparse.Namespace) -> None:
    session = runtime.loaded.session
    status = None if session is None else session.status()
    # What the cells show counts as in `%llm history`, also after a restart.
    document = runtime.arrange()
    turns = str(len(runtime.conversation.entries))
    if turns == "0" and (waiting := runtime.waiting(document)):
        turns += f"; the {waiting} that the notebook shows are taken over once a model is loaded"
    rows = _rows(status, turns, runtime.order(document), runtime.conversation.latest)
    if status is None:
        default = runtime.loaded.default
        first = f"; the first %%llm cell loads {default}" if default else ""
        rows.append(("model", f"none{first}; %llm load MODEL"))
    runtime.show(table(rows))


def _rows(
    status: Mapping[str, Any] | None, turns: str, order: str, latest: Turn | None
) -> list[Row]:
    """`status` is `Session.status()`, None when nothing is loaded."""
    rows: list[Row] = [("what", "value"), ("turns", turns), ("order", order)]
    if latest is not None:
        # Not of the last cell: one that was interrupted has no turn.
        rows.append(("last turn", savings(latest)))
    for name, value in (status or {}).items():
        if isinstance(value, Mapping):
            text = ", ".join(f"{key} {amount(key, item)}" for key, item in value.items())
            text = text.removeprefix("path ")
        else:
            text = "none" if value is None else from_home(str(value))
        rows.append((name, text))
    return rows


def savings(turn: Turn) -> str:
    """What a turn did not have to compute."""
    usage = turn.usage
    restored, prompt = usage["restored"], usage["prompt"]
    if usage["generated"]["stop"] == "replayed":
        # No state was looked for; the tier is where the reply was.
        tokens = usage["generated"]["tokens"]
        return f"reply of {tokens} tokens replayed ({restored['tier']}), nothing evaluated"
    text = f"{restored['tokens']} of {prompt['tokens']} tokens restored"
    if restored["tokens"]:
        text += f" ({restored['tier']})"
    if prompt["images"]:
        again = prompt["images"] - usage["encoded"]["images"]
        text += f", {again} of {prompt['images']} images not encoded again"
    return f"{text}, {usage['generated']['tokens']} tokens generated"


STATUS = Command("status", "what is loaded, what is kept for later cells", _status)
