"""What a turn asked, as one line for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llmagic.session import Turn


def question(turn: Turn) -> str:
    """What a turn asked, with a box for each image."""
    from llmagic.prompt.parts import ImagePart  # loads Pillow, which %load_ext need not

    return "".join("▢" if isinstance(part, ImagePart) else part.text for part in turn.parts)
