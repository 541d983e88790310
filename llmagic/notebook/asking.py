"""One turn of the conversation, from the options and text of a cell to what it shows."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from llmagic.errors import Interrupted, ReplyError, UsageError
from llmagic.events import Notice
from llmagic.notebook import display
from llmagic.notebook.blocks import blocks_of
from llmagic.notebook.cell import parts_of, schema_from
from llmagic.notebook.reply import Reply
from llmagic.notebook.request import Cell, Request
from llmagic.notebook.runtime import Runtime
from llmagic.notebook.takeover import follow

if TYPE_CHECKING:
    from llmagic.session import Turn


def ask(runtime: Runtime, given: argparse.Namespace, text: str) -> None:
    """Ask `text` with these options, show the reply, and put the turn into the conversation."""
    if given.out is not None and not given.out.isidentifier():
        raise UsageError(f"-o expects the name of a variable, not {given.out!r}")
    if given.model is None:
        runtime.loaded.require()
    shell = runtime.shell
    parts = parts_of(shell, text, given.image, expressions=not given.no_interpolate)
    schema = None if given.schema is None else schema_from(shell, given.schema)
    request, document = runtime.request()
    screen = display.screen_for(shell, request, stream=not given.no_stream, data=schema is not None)
    above = document.above(request.cell) if document is not None else None
    try:
        session = runtime.loaded.for_cell(given.model, shell.user_ns, screen.event)
        # JupyterLab names the notebook in the kernel's environment.
        session.name_notebook(
            document.notebook if document is not None else os.environ.get("JPY_SESSION_NAME", "")
        )
        conversation = runtime.conversation
        if document is not None and above is not None:
            taken = follow(conversation, document, request, session, runtime.notebooks.turns)
            for notice in taken.notices():
                screen.event(Notice(notice))
        count = None if above is None else conversation.count(above)
        place = conversation.place(request, system=given.system, above=count)
        drawing = runtime.settings.sampling(given, _seed(runtime, given, request, text))
        if given.think is None and not session.can_switch_thinking:
            drawing = replace(drawing, think=None)  # the default is for models that can
        turn = session.ask(
            parts,
            after=place.after,
            system=place.system,
            schema=schema,
            sampling=drawing,
            replay=runtime.settings.replay and not given.resample,
            on_event=screen.event,
        )
    except (Interrupted, ReplyError) as error:
        why = display.INTERRUPTED if isinstance(error, Interrupted) else display.FAILED
        screen.stop(why, metadata=_metadata(runtime, error.usage, request, place.after, above))
        raise
    except BaseException:
        screen.stop(display.FAILED)
        raise
    conversation.put(place, turn, request, system=given.system)
    if request.source is not None:
        session.name_source(turn, request.source)
    if given.resample:
        conversation.drawn(request)
    mark = display.cut(turn.stop, len(turn.tokens), turn.sampling.max_tokens)
    metadata = _metadata(runtime, turn.usage, request, place.after, above)
    screen.finish(blocks_of(turn), metadata, mark)
    if given.out is not None:
        shell.user_ns[given.out] = Reply(turn, turn.usage)


def _seed(runtime: Runtime, given: argparse.Namespace, request: Request, text: str) -> int | None:
    seed: int | None = runtime.settings.seed if given.seed is None else given.seed
    if not given.resample:
        return seed
    return runtime.conversation.seed(request, text if seed is None else seed)


def _metadata(
    runtime: Runtime,
    usage: Mapping[str, object] | None,
    request: Request,
    after: Turn | None,
    above: Iterable[Cell] | None,
) -> dict[str, object]:
    """Output metadata of a reply (DESIGN C2)."""
    place = {
        "thread": "main",
        "after": None if after is None else after.id,
        "source": request.digest,
        "stale": runtime.conversation.stale(above or ()),
    }
    return {"llmagic": {**(usage or {}), **place}}
