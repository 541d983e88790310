"""`%llm tree`: the tree of turns, as text and as a drawing."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from llmagic.notebook import display
from llmagic.notebook.commands.command import Command
from llmagic.notebook.commands.history import STALE
from llmagic.notebook.commands.which import SHORT
from llmagic.notebook.entries import MAIN
from llmagic.notebook.question import question
from llmagic.notebook.runtime import Runtime
from llmagic.notebook.table import short
from llmagic.notebook.tree import Branch, tree

ROW, COLUMN = 22, 16
"""Height of a row and width of a column of the drawing, in pixels."""

_COLOURS = {"live": "#2e7d32", "memory": "#1565c0", "disk": "#6d4c41", "": "#9e9e9e"}


@dataclass(frozen=True)
class Line:
    """One turn in the drawing: its row, its column, and the row and column of its parent."""

    branch: Branch
    row: int
    column: int
    parent: tuple[int, int] | None

    @property
    def label(self) -> str:
        """What stands beside the turn."""
        branch, scope = self.branch, self.branch.entry.scope
        notes = [", ".join(branch.tiers) or "not kept"]
        notes += [f"thread {scope.thread}"] if scope.thread != MAIN else []
        notes += ["fresh"] if scope.fresh else ["side"] if scope.side else []
        notes += ["earlier version"] if branch.number is None else []
        notes += [STALE[branch.stale]] if branch.stale else []
        notes += ["pinned"] if branch.pinned else []
        number = f"{', '.join(map(str, branch.numbers))}. " if branch.numbers else ""
        asked = short(question(branch.entry.turn), 40)
        return f"{number}{asked}  {branch.entry.turn.id[:SHORT]}  [{'; '.join(notes)}]"


def _tree(runtime: Runtime, _: argparse.Namespace) -> None:
    document = runtime.arrange()
    runtime.recall_versions()
    sources = document.sources if document is not None else {}
    branches = tree(runtime.conversation, sources, runtime.loaded.session)
    if not branches:
        runtime.show(display.bundle(runtime.nothing(document)))
        return
    lines = list(arranged(branches))
    runtime.show({"text/plain": as_text(lines), "image/svg+xml": as_svg(lines)})


def arranged(branches: Sequence[Branch]) -> Iterator[Line]:
    """Rows and columns: the last of the turns after a turn goes straight on, others go aside."""
    last = {branch.parent: branch.entry.turn.id for branch in branches}
    places: dict[str, tuple[int, int]] = {}
    for row, branch in enumerate(branches):
        turn = branch.entry.turn.id
        parent = places.get(branch.parent) if branch.parent is not None else None
        column = 0
        if parent is not None:
            column = parent[1] + (last[branch.parent] != turn)
        places[turn] = row, column
        yield Line(branch, row, column, parent)


def as_text(lines: Sequence[Line]) -> str:
    """The tree in lines of text: ● a turn that a cell shows, ○ an earlier one.

    A turn stands on the one above it in its column; an empty line begins what stands on none.
    """
    rows: list[str] = []
    for line in lines:
        if line.parent is None and rows:
            rows.append("")
        aside = line.parent is not None and line.column > line.parent[1]
        bars = "│ " * (line.column - 1) + ("├─" if aside else "│ ") if line.column else ""
        mark = "○" if line.branch.number is None else "●"
        rows.append(f"{bars}{mark} {line.label}")
    return "\n".join(rows)


def as_svg(lines: Sequence[Line]) -> str:
    """The tree as a drawing; colours say where the state of a turn is."""
    width = 24 + COLUMN * max(line.column for line in lines) + 8 * max(len(x.label) for x in lines)
    height = ROW * len(lines) + 8
    drawn = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" role="img" '
        f'viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">',
        f"<title>The tree of {len(lines)} turns</title>",
    ]
    for line in lines:
        x, y = _at(line.row, line.column)
        if line.parent is not None:
            up, left = _at(*line.parent)[::-1]
            drawn.append(
                f'<path d="M{left} {up}V{y - ROW // 2}L{x} {y}" fill="none" stroke="#9e9e9e"/>'
            )
    for line in lines:
        x, y = _at(line.row, line.column)
        colour = _COLOURS[next(iter(line.branch.tiers), "")]
        fill = "none" if line.branch.number is None else colour
        text = escape("".join(c if c.isprintable() else " " for c in line.label))
        shade = "#b26a00" if line.branch.stale else "#808080"
        drawn.append(
            f'<circle cx="{x}" cy="{y}" r="5" fill="{fill}" stroke="{colour}" stroke-width="2"/>'
            f'<text x="{x + 12}" y="{y + 4}" fill="{shade}">{text}</text>'
        )
    return "\n".join([*drawn, "</svg>"])


def _at(row: int, column: int) -> tuple[int, int]:
    return 12 + COLUMN * column, ROW // 2 + 4 + ROW * row


TREE = Command("tree", "the turns and their branches: what stands on what, where it is kept", _tree)
