"""Which turn a subcommand means: by its number in the history, its id, or its name."""

from __future__ import annotations

from llmagic.errors import UsageError
from llmagic.notebook.conversation import Conversation
from llmagic.notebook.entries import Entry

SHORT = 8
"""Characters of a turn's id that are shown, and are enough to name it."""


def which(conversation: Conversation, text: str, *, versions: bool = False) -> Entry:
    """The turn that `text` names.

    Parameters
    ----------
    conversation : Conversation
    text : str
        A number of `%llm history`, the beginning of an id of `%llm tree` (4 characters or more),
        or the name that `--as` gave.
    versions : bool
        Whether an earlier turn of the same content is meant rather than the one that is shown.

    Raises
    ------
    UsageError
        There is no such turn, or more than one.
    """
    entries = conversation.entries
    one = _numbered(conversation, text)
    if one is not None:
        return one
    found: dict[str, Entry] = {}
    if len(text) >= 4:
        every = (
            [*conversation.versions, *entries] if versions else [*entries, *conversation.versions]
        )
        for entry in every:
            if entry.turn.id.startswith(text.lower()):
                found.setdefault(entry.turn.id, entry)
    if len(found) > 1:
        raise UsageError(f"more than one turn begins with {text!r}; give more of its id")
    if not found:
        raise UsageError(
            f"there is no turn {text!r}; give its number in %llm history, the id that %llm tree "
            "shows, or the name that --as gave"
        )
    return next(iter(found.values()))


def every(conversation: Conversation, text: str) -> list[Entry]:
    """The turn of a number or a name; with an id, that turn wherever it stands.

    Raises
    ------
    UsageError
        As for `which`.
    """
    one = _numbered(conversation, text)
    return [one] if one is not None else conversation.all_of(which(conversation, text).turn.id)


def _numbered(conversation: Conversation, text: str) -> Entry | None:
    entries = conversation.entries
    if text.isdecimal() and 0 < int(text) <= len(entries):
        return entries[int(text) - 1]
    named = [entry for entry in entries if entry.request.cell == f"--as {text}"]
    return named[-1] if named else None
