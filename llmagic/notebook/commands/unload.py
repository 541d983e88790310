"""`%llm unload`: free the model."""

from __future__ import annotations

import argparse

from llmagic.notebook import display
from llmagic.notebook.commands.command import Command
from llmagic.notebook.runtime import Runtime


def _unload(runtime: Runtime, _: argparse.Namespace) -> None:
    runtime.loaded.close()
    runtime.show(display.bundle("no model is loaded"))


UNLOAD = Command("unload", "free the model; the conversation stays", _unload)
