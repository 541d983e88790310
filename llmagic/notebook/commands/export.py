"""`%llm export`: the conversation as a file."""

from __future__ import annotations

import argparse
import base64
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmagic.errors import UsageError
from llmagic.notebook import display, options
from llmagic.notebook.blocks import Thought, blocks_of, markdown
from llmagic.notebook.commands.command import Command, argument
from llmagic.notebook.entries import MAIN
from llmagic.notebook.markdown import harmless
from llmagic.notebook.runtime import Runtime

if TYPE_CHECKING:
    from llmagic.prompt.parts import Part
    from llmagic.turns import Round, Turn

SUFFIXES = (".json", ".md")


def _export(runtime: Runtime, given: argparse.Namespace) -> None:
    document = runtime.arrange()
    path = runtime.folder(document) / given.file
    if path.suffix not in SUFFIXES:
        raise UsageError(
            f"%llm export writes {' or '.join(SUFFIXES)} files, and {given.file.name!r} is neither"
        )
    conversation = runtime.conversation
    thread = given.thread or MAIN
    turns = [e.turn for e in conversation.entries if e.scope.joins and e.scope.thread == thread]
    if not turns:
        threads = conversation.threads()
        if not threads:
            raise UsageError(f"{path.name} is not written: {runtime.nothing(document)}")
        raise UsageError(f"there are no turns in thread {thread!r}{options.hint(thread, threads)}")
    try:
        if path.suffix == ".json":
            text = json.dumps({"messages": list(messages(turns[-1]))}, ensure_ascii=False, indent=1)
        else:
            text = "\n".join(_markdown(turns[-1], path))
        _write(path, (text + "\n").encode("utf-8", "replace"))
    except OSError as error:
        reason = error.strerror or error
        raise UsageError(
            f"expected a file that can be written, and got {str(path)!r}: {reason}."
        ) from error
    what = "1 turn" if len(turns) == 1 else f"{len(turns)} turns"
    runtime.show(display.bundle(f"{what} written to {given.file}"))


def messages(last: Turn) -> Iterator[dict[str, Any]]:
    """The conversation up to a turn, as the OpenAI API takes it; images are `data:` URIs."""
    if last.system:
        yield {"role": "system", "content": last.system}
    for turn in last.path():
        yield {"role": "user", "content": _content(turn.parts)}
        for number, each in enumerate(turn.rounds):
            yield from _round(each, f"{turn.id[:8]}-{number}")
        yield {"role": "assistant", "content": turn.text}


def _round(each: Round, name: str) -> Iterator[dict[str, Any]]:
    """A reply that called tools, and their results; calls have ids that begin with `name`."""
    named = [(f"{name}-{number}", use) for number, use in enumerate(each.uses)]
    calls = [
        {
            "id": identity,
            "type": "function",
            "function": {
                "name": use.name,
                "arguments": json.dumps(use.arguments, ensure_ascii=False),
            },
        }
        for identity, use in named
    ]
    yield {"role": "assistant", "content": each.text or None, "tool_calls": calls}
    for identity, use in named:
        yield {"role": "tool", "tool_call_id": identity, "content": use.result}


def _content(parts: Iterable[Part]) -> str | list[dict[str, Any]]:
    from llmagic.prompt.parts import ImagePart

    content: list[dict[str, Any]] = []
    for part in parts:
        if isinstance(part, ImagePart):
            data = base64.b64encode(part.picture.png()).decode()
            url = f"data:image/png;base64,{data}"
            content.append({"type": "image_url", "image_url": {"url": url}})
        else:
            content.append({"type": "text", "text": part.text})
    if len(content) == 1 and content[0]["type"] == "text":
        return str(content[0]["text"])
    return content


def _markdown(last: Turn, path: Path) -> Iterator[str]:
    """The conversation as Markdown; the images go into a folder beside the file."""
    from llmagic.prompt.parts import ImagePart

    folder = path.with_name(f"{path.stem}_files")
    names: dict[bytes, str] = {}
    if last.system:
        yield f"**System**\n\n{harmless(last.system)}\n"
    for turn in last.path():
        text = ""
        for part in turn.parts:
            if not isinstance(part, ImagePart):
                text += harmless(part.text)
                continue
            picture = part.picture
            if picture.digest not in names:
                folder.mkdir(exist_ok=True)
                name = f"image-{len(names) + 1}.png"
                _write(folder / name, picture.png())
                names[picture.digest] = f"![image {len(names) + 1}](<{folder.name}/{name}>)"
            text += names[picture.digest]
        yield f"**You**\n\n{text}\n"
        said = [block for block in blocks_of(turn) if not isinstance(block, Thought)]
        yield f"**Model**\n\n{markdown(said)}\n"


def _write(path: Path, data: bytes) -> None:
    """Write a file whole or not at all."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        unfinished.write_bytes(data)
        unfinished.replace(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


EXPORT = Command(
    "export",
    "write a conversation to a .md or .json file (OpenAI's messages), images included",
    _export,
    (
        argument("file", metavar="FILE", type=options.path, help="ends in .md or .json"),
        argument("--thread", metavar="NAME", help="of this thread instead of the main one"),
    ),
)
