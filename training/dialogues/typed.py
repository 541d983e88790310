"""How people type: lower case, no full stop, a letter too many or too few."""

from __future__ import annotations

import random
import re

_WORD = re.compile(r"\{\w+\}|[A-Za-z]{4,}")


def typed(rng: random.Random, text: str, **values: str) -> str:
    """A question as somebody types it; what stands in braces is put in afterwards, unspoilt."""
    if rng.random() < 0.5:
        text = text[:1].lower() + text[1:] if rng.random() < 0.3 else _lower(text)
    if rng.random() < 0.35:
        text = text.rstrip("?.!")
    if rng.random() < 0.12:
        text = _typo(rng, text)
    if rng.random() < 0.02:
        text = re.sub(r"\{\w+\}|[a-z]", lambda f: f[0] if "{" in f[0] else f[0].upper(), text)
    return text.format(**values)


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
