"""Turns that are forgotten for good, or kept whatever the budget."""

from __future__ import annotations

from collections.abc import Iterable

from llmagic.notebook.entries import Entry
from llmagic.notebook.runtime import Runtime


def forget(runtime: Runtime, entries: Iterable[Entry]) -> int:
    """Drop turns from the conversation and its versions, from memory and from disk.

    Those below stay, and are stale now: they stand on something else. What is stored of a turn
    goes when no other cell has a turn of the same content.

    Returns
    -------
    int
        Bytes that became free on disk.

    Raises
    ------
    NoModelError
        No model is loaded.
    """
    # What stands on another one first: only then that one's rows are needed by nobody.
    ordered = sorted(entries, key=lambda entry: -len(entry.turn.path()))
    # What is stored of a turn is found through its model; what is left would be taken over again.
    session = runtime.loaded.require()
    free = 0
    runtime.conversation.remove(ordered)
    for entry in ordered:
        if not runtime.conversation.has(entry.turn.id):
            runtime.conversation.pinned.discard(entry.turn.id)
            free += session.forget(entry.turn)
    return free


def pin(runtime: Runtime, entry: Entry, pinned: bool) -> None:
    """Keep the checkpoints of a turn in memory while this model is loaded, or no longer."""
    if runtime.loaded.session is not None:
        runtime.loaded.session.pin(entry.turn, pinned)
    pins = runtime.conversation.pinned
    (pins.add if pinned else pins.discard)(entry.turn.id)
