"""`%llm models`: which models are on disk."""

from __future__ import annotations

import argparse

from llmagic.notebook.commands.command import Command
from llmagic.notebook.runtime import Runtime
from llmagic.notebook.table import table


def _models(runtime: Runtime, _: argparse.Namespace) -> None:
    from llmagic.catalog.commands import rows, where
    from llmagic.catalog.fit import Machine  # loads llama.cpp
    from llmagic.catalog.inventory import inventory

    entries = inventory()
    shown = table(rows(entries, Machine.here()))
    runtime.show({kind: f"{text}\n\n{where(entries)}" for kind, text in shown.items()})


MODELS = Command("models", "the models on disk, and whether they fit this machine", _models)
