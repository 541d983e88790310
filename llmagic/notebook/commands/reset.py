"""`%llm reset`: begin a new conversation."""

from __future__ import annotations

import argparse

from llmagic.notebook import display
from llmagic.notebook.commands.command import Command
from llmagic.notebook.runtime import Runtime


def _reset(runtime: Runtime, _: argparse.Namespace) -> None:
    runtime.request()
    runtime.conversation.clear()
    runtime.show(display.bundle("the conversation is empty"))


RESET = Command("reset", "begin a new conversation", _reset)
