"""Rows as a table: Markdown in a notebook, aligned text in a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

Row = Sequence[str]


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


def short(text: str, width: int = 40) -> str:
    """A text on one line, cut to `width` characters."""
    text = " ".join(text.split())
    return text if len(text) <= width else f"{text[: width - 1]}…"


def from_home(path: str) -> str:
    """A path as people write it: ~ for the home folder."""
    home = str(Path.home())
    return f"~{path.removeprefix(home)}" if path.startswith(f"{home}/") else path


def in_bytes(number: int) -> str:
    """A number of bytes in the unit that suits it."""
    if number >= 2**30:
        return f"{number / 2**30:.1f} GiB"
    return f"{number / 2**20:.1f} MiB" if number >= 2**20 else f"{number / 2**10:.1f} KiB"


def amount(name: str, value: object) -> str:
    """A value as it is shown under its name."""
    if name == "path":
        return from_home(str(value))
    if name in ("bytes", "budget") and isinstance(value, int):
        return in_bytes(value)
    return str(value)


def _escape(cell: str) -> str:
    # Replies are data: no cell of a table, no markup.
    for character in "\\`*_{}[]<>|$~":
        cell = cell.replace(character, f"\\{character}")
    return cell
