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

from training.dialogues import DRILLS, USUAL, Dialogue, Looks, talked

SEEDS = (20261127, 20261201)
"""Training counts its seeds up from small numbers (`training.data`)."""

SORTS = {"usual": 2200, "where": 300, "compare": 200, "size": 300, "look": 300}
"""Turns at least for each seed, of usual dialogues and of what those seldom ask."""


def write(path: Path) -> int:
    """Write the dialogues, and return how many turns they have.

    In a third of them shapes stand anywhere; those come last.
    """
    records = [one for seed in SEEDS for one in _records(seed)]
    records.sort(key=lambda one: one.get("free", False))
    text = json.dumps(records, separators=(",", ":"))
    # Without the time in its header the file is the same each time.
    path.write_bytes(gzip.compress(text.encode(), mtime=0))
    return sum(len(one["tasks"]) for one in records)


def _records(seed: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng([seed, 0])
    records: list[dict[str, Any]] = []
    turns = end = 0.0
    for free in (False, True):
        for name, wanted in SORTS.items():
            end += wanted / 3 if free else wanted * 2 / 3
            while turns < end:
                drill, looks = DRILLS.get(name, USUAL), Looks(free=float(free))
                made = talked(rng, drill, looks, held_out=True, draw=False)
                records.append({**record(made), "free": True} if free else record(made))
                turns += len(made.tasks)
    return records


def record(dialogue: Dialogue) -> dict[str, Any]:
    """A dialogue as JSON: a picture is its number in `scenes`."""
    n = 0
    messages = []
    for message in dialogue.messages:
        parts: list[str | int] = []
        for part in message.parts:
            parts.append(part if isinstance(part, str) else n)
            n += not isinstance(part, str)
        messages.append([message.role, parts])
    scenes = [asdict(scene) for scene in dialogue.scenes]
    return {"messages": messages, "tasks": dialogue.tasks, "scenes": scenes}


if __name__ == "__main__":
    file = Path(sys.argv[1])
    print(f"{write(file)} turns: {file}, {file.stat().st_size:,} bytes")
