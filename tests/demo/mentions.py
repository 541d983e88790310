"""Which shapes a question of a dialogue is about."""

from __future__ import annotations

import re
from collections.abc import Iterable

from llmagic.demo.picture import COLOURS, SHAPES, Object

_NAME = re.compile(rf"(?:({'|'.join(COLOURS)}) )?\b({'|'.join(SHAPES)})\b")


def mentioned(text: str, objects: Iterable[Object]) -> list[Object]:
    """The shapes that a text names, in its order: "the red star", or "the star" if it is one."""
    every = list(objects)
    found = []
    for colour, shape in _NAME.findall(text):
        (one,) = (each for each in every if each.shape == shape and colour in ("", each.colour))
        found.append(one)
    return found
