"""pandas objects as Markdown tables, which models read best; nothing else is needed for it."""

from __future__ import annotations

from typing import Any


def markdown_table(value: Any) -> str:
    """A pandas DataFrame or Series, its index first, as a pipe table.

    Floats have six significant digits, as pandas shows them; line ends become spaces.
    """
    frame = value.to_frame("" if value.name is None else value.name) if value.ndim == 1 else value
    levels = frame.index.nlevels
    names = [_cell("" if name is None else name) for name in frame.index.names]
    heading = [*names, *(_cell(_label(column)) for column in frame.columns)]
    rows = [heading, ["---"] * len(heading)]
    for row in frame.itertuples(index=True, name=None):
        index = row[0] if levels > 1 else (row[0],)
        rows.append([_cell(each) for each in (*index, *row[1:])])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _label(column: object) -> object:
    return " / ".join(map(str, column)) if isinstance(column, tuple) else column


def _cell(value: object) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return " ".join(text.split()).replace("|", "\\|")
