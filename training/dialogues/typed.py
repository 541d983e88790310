"""How people type: lower case, no full stop, a letter too many or too few."""

from __future__ import annotations

import random
import re

COPIED = ("v", "w")
"""Names of values that an answer repeats."""

_WORD = re.compile(r"\{\w+\}|[A-Za-z]{4,}")


def typed(rng: random.Random, text: str, **values: str) -> str:
    """A question as somebody types it, with the values put in where braces are.

    Capitals and, now and then, a letter too many or too few are in the values, too; only what has
    to be said again (`COPIED`) is as it was given.
    """
    if rng.random() < 0.5:
        text = text[:1].lower() + text[1:] if rng.random() < 0.3 else _lower(text)
    if rng.random() < 0.35:
        text = text.rstrip("?.!")
    if rng.random() < 0.12:
        if rng.random() < 0.4:
            text = _filled(text, values)
        text = _typo(rng, text)
    if rng.random() < 0.04:
        text = re.sub(
            r"\{\w+\}|[a-z]",
            lambda found: found[0] if "{" in found[0] else found[0].upper(),
            _filled(text, values),
        )
    return text.format(**values)


def _filled(text: str, values: dict[str, str]) -> str:
    """The text with all values but those that have to be said again."""
    return text.format(**{name: f"{{{name}}}" if name in COPIED else value
                          for name, value in values.items()})  # fmt: skip


def _lower(text: str) -> str:
    return re.sub(
        r"\{\w+\}|[A-Z]", lambda found: found[0] if "{" in found[0] else found[0].lower(), text
    )


def _typo(rng: random.Random, text: str) -> str:
    places = [found for found in _WORD.finditer(text) if not found[0].startswith("{")]
    if not places:
        return text
    found = rng.choice(places)
    at = rng.randrange(found.start() + 1, found.end() - 1)
    kind = rng.randrange(3)
    if kind == 0:  # two letters swapped
        return text[:at] + text[at + 1] + text[at] + text[at + 2 :]
    if kind == 1:  # one left out
        return text[:at] + text[at + 1 :]
    return text[:at] + text[at] + text[at:]  # one twice
