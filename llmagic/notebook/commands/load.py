"""`%llm load`: from this cell on a model answers."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from llmagic.notebook import display, options
from llmagic.notebook.commands.command import Command, argument
from llmagic.notebook.request import current_request
from llmagic.notebook.runtime import Runtime


def _load(runtime: Runtime, given: argparse.Namespace) -> None:
    screen = display.screen_for(runtime.shell, current_request(runtime.shell), stream=True)
    try:
        session = runtime.loaded.open(given.model, given.projector, given.ctx, screen.event)
    except BaseException:
        screen.stop(display.FAILED)
        raise
    screen.finish(_loaded(session.status()), {})


def _loaded(status: Mapping[str, Any]) -> str:
    """One line about a model that has just been loaded."""
    projector = f", projector {status['projector']}" if status["projector"] else ""
    return (
        f"{status['model']} is loaded: {status['architecture']}, {status['memory']} memory"
        f"{projector}, context of up to {status['context']['limit']} tokens"
    )


LOAD = Command(
    "load",
    "load a GGUF model",
    _load,
    (
        argument("model", metavar="PATH", type=options.path, help="GGUF file of the model"),
        argument(
            "--projector",
            metavar="PATH",
            type=options.path,
            help="GGUF file of its vision projector (mmproj), for images",
        ),
        argument(
            "--ctx",
            metavar="TOKENS",
            type=options.number(int, 0),
            help="most tokens in the context; 0: the model's limit",
        ),
    ),
)
