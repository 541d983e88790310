"""Dialogues for the evaluation: `python -m training.heldout FILE`.

Their random numbers are none that training used, and the names, words, cities and foods told in
them are in no training dialogue. The file holds words and where each shape is, not pixels, so the
evaluation needs nothing of this folder.
"""

from __future__ import annotations

import gzip
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from training.dialogues import Dialogue, dialogue
from training.drill import free, late, sizes

SEED = 20261123
"""Training counts its seeds up from small numbers (`training.data`)."""

TURNS = 2400

SIZES = 300
"""Turns of dialogues about sizes after them, which are seldom asked for in the others."""

LATE = 300
"""Turns after those, of what only later rounds of the training ask."""

FREE = 400
"""And at the end about shapes that stand anywhere, on canvases of any ratio, in other words."""


def write(path: Path) -> int:
    """Write the dialogues, and return how many turns they have."""
    rng = np.random.default_rng([SEED, 0])
    records: list[dict[str, Any]] = []
    turns = 0
    end = 0
    for make, more in ((dialogue, TURNS), (sizes, SIZES), (late, LATE), (free, FREE)):
        end += more
        while turns < end:
            made = make(rng, held_out=True, draw=False)
            records.append(record(made, free=make is free))
            turns += len(made.tasks)
    text = json.dumps(records, separators=(",", ":"))
    # Without the time in its header the file is the same each time.
    path.write_bytes(gzip.compress(text.encode(), mtime=0))
    return turns


def record(dialogue: Dialogue, *, free: bool) -> dict[str, Any]:
    """A dialogue as JSON: a picture is its number in `scenes`; `free` says where shapes stand."""
    n = 0
    messages = []
    for message in dialogue.messages:
        parts: list[str | int] = []
        for part in message.parts:
            parts.append(part if isinstance(part, str) else n)
            n += not isinstance(part, str)
        messages.append([message.role, parts])
    scenes = [asdict(scene) for scene in dialogue.scenes]
    whole = {"messages": messages, "tasks": dialogue.tasks, "scenes": scenes}
    return {**whole, "free": True} if free else whole


if __name__ == "__main__":
    file = Path(sys.argv[1])
    print(f"{write(file)} turns: {file}, {file.stat().st_size:,} bytes")
