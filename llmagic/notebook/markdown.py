"""A reply as Markdown that shows what the model wrote, and does nothing else.

A reply is text from outside: HTML in it would be rendered, an image loaded from wherever the model
(or whoever wrote into a picture it saw) says, and "$5 to $10" set as a formula.
"""

from __future__ import annotations

import re

from llmagic.prompt.markdown import code_ranges

# `<` begins HTML or an autolink; `![` an image, which becomes a link; `$` before a digit is money.
_LIVE = re.compile(r"<|!(?=\[)|\$(?=\d)")


def harmless(text: str) -> str:
    """The same text, with HTML, images and amounts of money escaped outside code."""
    pieces: list[str] = []
    at = 0
    for start, stop in [*code_ranges(text), (len(text), len(text))]:
        pieces.append(_LIVE.sub(_escaped, text[at:start]))
        pieces.append(text[start:stop])
        at = stop
    return "".join(pieces)


def _escaped(found: re.Match[str]) -> str:
    text, at = found.string, found.start()
    backslashes = len(text[:at]) - len(text[:at].rstrip("\\"))
    # After an odd number of backslashes it is escaped already.
    return found[0] if backslashes % 2 else "\\" + found[0]
