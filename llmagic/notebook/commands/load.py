"""`%llm load`: from this cell on a model answers."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from llmagic.errors import UsageError
from llmagic.notebook import display, options
from llmagic.notebook.commands.command import Command, argument
from llmagic.notebook.interrupts import import_all
from llmagic.notebook.request import current_request
from llmagic.notebook.runtime import Runtime


def _load(runtime: Runtime, given: argparse.Namespace) -> None:
    if given.no_projector and given.projector is not None:
        raise UsageError("--projector and --no-projector together mean nothing; leave one out.")
    screen = display.screen_for(runtime.shell, current_request(runtime.shell), stream=True)
    import_all()
    try:
        session = runtime.loaded.open(
            given.model,
            False if given.no_projector else given.projector,
            {
                "n_ctx": given.ctx,
                "n_gpu_layers": given.gpu_layers,
                "n_threads": given.threads,
                "kv_type": given.kv,
                "image_tokens": given.image_tokens,
                "lora": tuple(given.lora) or None,
            },
            screen.event,
        )
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
    "load a model: a GGUF file, user/repo[:quant] of a hub, an alias, demo",
    _load,
    (
        argument(
            "model",
            metavar="MODEL",
            help="path of a GGUF file, a hub's user/repo[:quant], an alias, a file in the folder "
            "of models, or demo: the tiny model that comes with llmagic",
        ),
        argument(
            "--projector",
            metavar="PATH",
            type=options.path,
            help="its vision projector (mmproj); default: the one beside it or in its repository",
        ),
        argument("--no-projector", action="store_true", help="without images, with less memory"),
        argument(
            "--ctx",
            metavar="TOKENS",
            type=options.number(int, 0),
            help="most tokens in the context; 0: the model's limit",
        ),
        argument(
            "--kv",
            metavar="TYPE",
            choices=("f16", "q8_0", "q4_0"),
            help="type of the attention cache: f16, q8_0 or q4_0",
        ),
        argument(
            "--gpu-layers",
            metavar="N",
            type=options.number(int, -1),
            help="layers on the GPU; -1: all",
        ),
        argument(
            "--threads",
            metavar="N",
            type=options.number(int, 0),
            help="threads; 0: one for each physical core",
        ),
        argument(
            "--image-tokens",
            metavar="N",
            type=options.number(int, 0),
            help="most tokens of an image; 0: the projector's",
        ),
        argument(
            "--lora",
            metavar="PATH[:SCALE]",
            type=options.scaled_path,
            action="append",
            default=[],
            help="LoRA adapter (GGUF) and how strongly it counts (1); repeatable",
        ),
    ),
)
