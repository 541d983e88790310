"""The subcommands of `%llm`: one file each, listed here in the order in which help shows them."""

from __future__ import annotations

import argparse

from llmagic.notebook.commands.checkpoints import CHECKPOINTS
from llmagic.notebook.commands.command import Command
from llmagic.notebook.commands.export import EXPORT
from llmagic.notebook.commands.forget import FORGET
from llmagic.notebook.commands.history import HISTORY
from llmagic.notebook.commands.last import LAST
from llmagic.notebook.commands.load import LOAD
from llmagic.notebook.commands.models import MODELS
from llmagic.notebook.commands.reset import RESET
from llmagic.notebook.commands.restore import RESTORE
from llmagic.notebook.commands.status import STATUS
from llmagic.notebook.commands.tree import TREE
from llmagic.notebook.commands.unload import UNLOAD
from llmagic.notebook.runtime import Runtime

__all__ = ["COMMANDS", "HELP_TEXT", "Command"]


def _show_help(runtime: Runtime, _: argparse.Namespace) -> None:
    runtime.show({"text/plain": HELP_TEXT, "text/markdown": f"```text\n{HELP_TEXT}\n```"})


COMMANDS = (
    LOAD,
    MODELS,
    STATUS,
    HISTORY,
    TREE,
    CHECKPOINTS,
    LAST,
    EXPORT,
    RESTORE,
    FORGET,
    RESET,
    UNLOAD,
    Command("help", "this text", _show_help),
)


def _help_text() -> str:
    rows = [(command.usage, command.help) for command in COMMANDS]
    rows.append(("%llm TEXT", "ask a question of one line"))
    width = 2 + max(len(usage) for usage, _ in rows if len(usage) <= 40)
    lines = []
    for usage, text in rows:
        if len(usage) > width - 2:
            lines.append(usage)
            usage = ""
        lines.append(f"{usage:{width}}{text}")
    return "\n".join(lines) + _ABOUT_CELLS


_ABOUT_CELLS = """

%%llm [options] asks the text below it; `%%llm?` shows the options. In the text {name} is replaced
by the variable's value, an image at its place; ![](path) is an image, too; {{ and }} are braces.
%config LLMagic shows the defaults, %config LLMagic.temperature = 0.2 sets one."""

HELP_TEXT = _help_text()
"""What `%llm help` shows: every subcommand, one line each."""
