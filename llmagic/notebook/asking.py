"""One turn of the conversation, from the options and text of a cell to what it shows."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from keyword import iskeyword
from typing import TYPE_CHECKING, Any

from llmagic.errors import Interrupted, ReplyError, UsageError
from llmagic.events import Notice
from llmagic.notebook import display, options
from llmagic.notebook.blocks import blocks_of
from llmagic.notebook.cell import known_again, parts_of, schema_from, tools_from
from llmagic.notebook.conversation import Place
from llmagic.notebook.entries import Entry
from llmagic.notebook.interrupts import KEPT, held, import_all, told
from llmagic.notebook.question import question
from llmagic.notebook.reply import Reply
from llmagic.notebook.request import Document, Request, current_request
from llmagic.notebook.runtime import Runtime
from llmagic.notebook.table import short
from llmagic.notebook.takeover import follow

if TYPE_CHECKING:
    from llmagic.session import Session


def ask(runtime: Runtime, given: argparse.Namespace, text: str) -> None:
    """Ask `text` with these options, show the reply, and put the turn into the conversation."""
    if given.out is not None and (not given.out.isidentifier() or iskeyword(given.out)):
        raise UsageError(f"-o expects the name of a variable, not {given.out!r}")
    if given.model is None and not runtime.loaded.default:
        runtime.loaded.require()
    import_all(schema=given.schema is not None)
    shell = runtime.shell
    request, document = runtime.request(given.name)
    parts = parts_of(
        shell,
        text,
        given.image,
        expressions=not given.no_interpolate,
        base=runtime.folder(document),
        attachments=runtime.attached(request, document),
    )
    if given.tool and given.no_tools:
        raise UsageError("--tool and --no-tools together mean nothing; leave one out.")
    tools = [] if given.no_tools else tools_from(shell, given.tool)
    schema = None if given.schema is None else schema_from(shell, given.schema)
    screen = display.screen_for(
        shell,
        current_request(shell),
        stream=not given.no_stream,
        data=schema is not None,
    )
    metadata: dict[str, Any] = {}
    try:
        session = runtime.loaded.for_cell(given.model, shell.user_ns, screen.event)
        place, stale = _place(runtime, session, request, document, given, screen)
        metadata = _metadata(place, stale, request)
        drawing = runtime.settings.sampling(given, _seed(runtime, given, request, text))
        if given.think is None and not session.can_switch_thinking:
            drawing = replace(drawing, think=None)  # the default is for models that can
        turn = session.ask(
            parts,
            after=known_again(shell, place.after),
            system=place.system,
            schema=schema,
            tools=tools,
            sampling=drawing,
            replay=runtime.settings.replay and not given.resample,
            checkpoint=not given.no_checkpoint,
            source=request.source,
            began=_began(runtime, session, place, request, document),
            on_event=screen.event,
        )
    except (KeyboardInterrupt, ReplyError) as error:
        why = display.FAILED if isinstance(error, ReplyError) else display.INTERRUPTED
        usage = error.usage if isinstance(error, Interrupted | ReplyError) else None
        # No turn that anything could stand on.
        screen.stop(why, metadata=_with_usage(metadata, usage and {**usage, "turn": None}))
        raise
    except BaseException:
        screen.stop(display.FAILED)
        raise
    with told(KEPT), held():
        for earlier in _earlier(runtime, place, request, document):
            session.replaces(turn, earlier)
        runtime.conversation.put(place, turn, request, system=given.system)
        if given.resample:
            runtime.conversation.drawn(request)
        mark = display.cut(turn.stop, len(turn.tokens), turn.sampling.max_tokens)
        screen.finish(blocks_of(turn), _with_usage(metadata, turn.usage), mark)
        if given.out is not None:
            shell.user_ns[given.out] = Reply(turn, turn.usage)


def _place(
    runtime: Runtime,
    session: Session,
    request: Request,
    document: Document | None,
    given: argparse.Namespace,
    screen: display.Screen,
) -> tuple[Place, Sequence[Entry]]:
    """Where the cell stands in its notebook, and which turns above it are stale."""
    conversation = runtime.conversation
    above = None
    # JupyterLab names the notebook in the kernel's environment.
    name = os.environ.get("JPY_SESSION_NAME", "") if document is None else document.notebook
    session.name_notebook(name)
    if document is not None:
        # Others are not asked for, and none where the cell is not in the notebook (not saved yet).
        stop = document.index.get(request.cell, 0)
        taken = follow(conversation, document, stop, session, runtime.notebooks.turns)
        for notice in taken.notices():
            screen.event(Notice(notice))
        if request.cell in document.index:
            above = conversation.above(document, request.cell)
    scope = options.scope_of(given)
    place = conversation.place(request, system=given.system, above=above, scope=scope)
    stale = conversation.stale_above(place, document)
    if stale:
        screen.event(Notice(_stale_line(stale)))
    return place, stale


def _earlier(
    runtime: Runtime, place: Place, request: Request, document: Document | None
) -> Iterator[str]:
    """The turns that the cell gave before, by id: in this kernel, or as its output shows."""
    for entry in runtime.conversation.entries[place.start : place.stop]:
        yield entry.turn.id
    at = None if document is None else document.index.get(request.cell)
    if document is not None and at is not None:
        shown = document.cells[at].turn
        if shown is not None:
            yield shown
    if request.cell is not None:
        yield from [*runtime.conversation.versions.of(request.cell)][::-1]


def _began(
    runtime: Runtime, session: Session, place: Place, request: Request, document: Document | None
) -> datetime | None:
    """When the conversation began that the cell begins, where it did so before as it reads now."""
    if place.after is not None or request.source is None or not session.tells_date:
        return None
    for turn in _earlier(runtime, place, request, document):
        known = session.recall(turn, after=None, source=request.source)
        if known is not None:
            return known.began
    return None


def _stale_line(stale: Sequence[Entry]) -> str:
    """One line that names the stale turns above a cell."""
    named = [f'"{short(question(entry.turn), 30)}"' for entry in stale[:3]]
    if len(stale) > 3:
        named.append(f"{len(stale) - 3} more")
    what = "a stale turn stands" if len(stale) == 1 else f"{len(stale)} stale turns stand"
    return (
        f"{what} above: {', '.join(named)}. Each counts as it ran last; run the cells again to "
        "bring them up to date."
    )


def _seed(runtime: Runtime, given: argparse.Namespace, request: Request, text: str) -> int | None:
    seed: int | None = runtime.settings.seed if given.seed is None else given.seed
    if not given.resample:
        return seed
    return runtime.conversation.seed(request, text if seed is None else seed)


def _metadata(place: Place, stale: Sequence[Entry], request: Request) -> dict[str, Any]:
    """What the output's metadata says beside the usage (DESIGN C2)."""
    cells = dict.fromkeys(entry.request.cell for entry in stale if entry.request.cell)
    metadata: dict[str, Any] = {
        "thread": place.scope.thread,
        "stale": list(cells),
        "after": place.after.id if place.after is not None else None,
        "source": request.digest,
    }
    return metadata if place.scope.joins else {**metadata, "joins": False}


def _with_usage(
    metadata: Mapping[str, Any], usage: Mapping[str, object] | None
) -> dict[str, object]:
    return {"llmagic": {**(usage or {}), **metadata}}
