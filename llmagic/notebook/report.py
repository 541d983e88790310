"""Texts of `%llm help`, `status`, `history`, `checkpoints` and `last`."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmagic.notebook.conversation import Conversation
from llmagic.notebook.request import Document, Request

if TYPE_CHECKING:
    from llmagic.session import Turn

Row = Sequence[str]

HELP = """\
%llm load PATH [--projector PATH] [--ctx TOKENS]   load a GGUF model
%llm status        what is loaded, what is kept for later cells
%llm history       the turns of this conversation
%llm checkpoints   where the state of each turn is, and what is restored from there
%llm last          what the last turn restored, evaluated and generated
%llm reset         begin a new conversation
%llm unload        free the model; the conversation stays
%llm help          this text
%llm TEXT          ask a question of one line

%%llm [options] asks the text below it; `%%llm?` shows the options. In the text {name} is replaced
by the variable's value, an image at its place; ![](path) is an image, too; {{ and }} are braces.
%config LLMagic shows the defaults, %config LLMagic.temperature = 0.2 sets one."""


def table(rows: Iterable[Row]) -> dict[str, str]:
    """Rows of equal length as display formats; the first row is the heading."""
    rows = [[cell.replace("\n", " ") for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    plain = "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )
    escaped = [[_escape(cell) for cell in row] for row in rows]
    lines = [f"| {' | '.join(row)} |" for row in escaped]
    lines.insert(1, "|" + " --- |" * len(widths))
    return {"text/plain": plain, "text/markdown": "\n".join(lines)}


def loaded(status: Mapping[str, Any]) -> str:
    """One line about a model that has just been loaded."""
    projector = f", projector {status['projector']}" if status["projector"] else ""
    return (
        f"{status['model']} is loaded: {status['architecture']}, {status['memory']} memory"
        f"{projector}, context of up to {status['context']['limit']} tokens"
    )


def order(request: Request, document: Document | None) -> str:
    """By what the turns of a request's notebook are ordered."""
    if document is not None:
        return "document"
    return "execution" if request.cell is None else "cell ids"


def status_rows(
    status: Mapping[str, Any] | None, conversation: Conversation, order: str
) -> list[Row]:
    """Rows of `%llm status`; `status` is `Session.status()`, None when nothing is loaded."""
    rows: list[Row] = [
        ("what", "value"),
        ("turns", str(len(conversation.entries))),
        ("order", order),
    ]
    if status is None:
        return [*rows, ("model", "none; %llm load PATH")]
    for name, value in status.items():
        if isinstance(value, Mapping):
            text = ", ".join(f"{key} {_amount(key, item)}" for key, item in value.items())
            text = text.removeprefix("path ")
        else:
            text = "none" if value is None else _from_home(str(value))
        rows.append((name, text))
    return rows


def history_rows(conversation: Conversation, stale: Collection[str]) -> list[Row]:
    """Rows of `%llm history`, one for each turn; `stale` are cells edited since they ran."""
    from llmagic.prompt.parts import ImagePart  # loads Pillow, which %load_ext need not

    rows: list[Row] = [("turn", "question", "images", "reply", "tokens", "end")]
    for index, entry in enumerate(conversation.entries):
        turn = entry.turn
        images = sum(isinstance(part, ImagePart) for part in turn.parts)
        rows.append(
            (
                str(index + 1),
                _short(_question(turn)),
                str(images),
                _short(turn.text),
                str(len(turn.tokens)),
                f"{turn.stop}, edited since" if entry.request.cell in stale else turn.stop,
            )
        )
    return rows


def kept_rows(conversation: Conversation, kept: Iterable[Mapping[str, Any]]) -> list[Row]:
    """Rows of `%llm checkpoints`; `kept` is `Session.kept()` of each turn."""
    rows: list[Row] = [
        ("turn", "question", "tokens", "live", "memory", "disk", "restored after it", "from")
    ]
    for index, (entry, each) in enumerate(zip(conversation.entries, kept, strict=True)):
        rows.append(
            (
                str(index + 1),
                _short(_question(entry.turn), 30),
                str(each["tokens"]),
                f"{each['live']} tokens" if each["live"] else "-",
                _amount("bytes", each["memory"]) if each["memory"] else "-",
                _amount("bytes", each["disk"]) if each["disk"] else "-",
                f"{each['restored']} of {each['total']} tokens",
                each["tier"],
            )
        )
    return rows


def usage_rows(turn: Turn) -> list[Row]:
    """Rows of `%llm last`; a turn that was taken over from the store cost nothing."""
    rows: list[Row] = [("what", "tokens", "images", "ms", "")]
    if not turn.usage:
        return [*rows, ("taken over from the store", "", "", "", "")]
    for name in ("prompt", "restored", "evaluated", "encoded", "generated", "saved"):
        part = dict(turn.usage[name])
        first = [part.pop(key, "") for key in ("tokens", "images", "ms")]
        rest = ", ".join(f"{key} {_amount(key, value)}" for key, value in part.items())
        rows.append((name, *(str(value) for value in first), rest))
    return rows


def _question(turn: Turn) -> str:
    from llmagic.prompt.parts import ImagePart

    return "".join("▢" if isinstance(part, ImagePart) else part.text for part in turn.parts)


def _short(text: str, width: int = 40) -> str:
    text = " ".join(text.split())
    return text if len(text) <= width else f"{text[: width - 1]}…"


def _from_home(path: str) -> str:
    home = str(Path.home())
    return f"~{path.removeprefix(home)}" if path.startswith(f"{home}/") else path


def _amount(name: str, value: object) -> str:
    if name == "path":
        return _from_home(str(value))
    if name in ("bytes", "budget") and isinstance(value, int):
        if value >= 2**30:
            return f"{value / 2**30:.1f} GiB"
        return f"{value / 2**20:.1f} MiB" if value >= 2**20 else f"{value / 2**10:.1f} KiB"
    return str(value)


def _escape(cell: str) -> str:
    # Replies are data: no cell of a table, no markup.
    for character in "\\`*_{}[]<>|$~":
        cell = cell.replace(character, f"\\{character}")
    return cell
