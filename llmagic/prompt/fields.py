"""Fields in a prompt, ``{expression!conversion:spec}``: where they end, and whether they are any.

The grammar is that of f-strings, less ``{x=}``, comments and backslashes outside of string
literals. Brackets and quotes say where an expression ends; Python's own parser says whether it
is one. Nothing is executed here.
"""

from __future__ import annotations

import ast
import keyword
import re
import unicodedata
import warnings
from dataclasses import dataclass

MAX_LENGTH = 4096
"""Characters of the longest field. What is longer is text."""

_MAX_NESTING = 16
_START = re.compile(r"\{\s*+(?P<name>[^\W\d]\w*+)(?![\"'])")
# Possessive, so that what does not match is not tried in every other division.
_TOKEN = re.compile(
    r"""
    (?P<string> \"""(?:[^"\\]++|\\.|"(?!""))*+\""" | '''(?:[^'\\]++|\\.|'(?!''))*+'''
              | "(?!"")(?:[^"\\\n]++|\\.)*+"        | '(?!'')(?:[^'\\\n]++|\\.)*+' )
    | (?P<plain> [^"'()\[\]{}!:\#\\]++ | != )
    | (?P<open> [(\[{] )
    | (?P<close> [)\]}] )
    """,
    re.VERBOSE | re.DOTALL,
)
_CLOSING = {"(": ")", "[": "]", "{": "}"}
_ENDING = re.compile(r"(?:!(?P<conversion>[rsa]))?(?::(?P<spec>(?:[^{}\n]++|\{[^{}\n]*+\})*+))?\}")


@dataclass(frozen=True)
class Field:
    """A possible field from `start` to `stop` (characters).

    Attributes
    ----------
    source : str
        All of it as typed, braces included.
    name : str
        The name that the expression begins with, as Python spells it (NFKC).
    expression : str
        Ready for `eval`.
    conversion : str
        "r", "s", "a" or "".
    spec : str or None
        The format spec, itself with fields in it; None when there is no colon.
    """

    start: int
    stop: int
    source: str
    name: str
    expression: str
    conversion: str
    spec: str | None

    @property
    def is_expression(self) -> bool:
        """Whether Python can parse it."""
        if self.expression == self.name:
            return True
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about the style of what may be no code at all
                tree = ast.parse(self.expression, mode="eval")
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return False
        # Only the parentheses around a broken line make {x for x in y} a generator.
        return not isinstance(tree.body, ast.GeneratorExp)


def field_at(text: str, start: int) -> Field | None:
    """The field whose ``{`` is at `start`, if one that begins with a name ends somewhere.

    Whether the name is defined and the rest is Python is left to ask.
    """
    opening = _START.match(text, start, start + MAX_LENGTH)
    if opening is None or keyword.iskeyword(opening["name"]):
        return None
    stop = _expression_end(text, opening.end(), start + MAX_LENGTH)
    ending = _ENDING.match(text, stop, start + MAX_LENGTH) if stop else None
    if ending is None:
        return None
    expression = text[opening.start("name") : stop].strip()
    if "\n" in expression:
        expression = f"({expression})"
    name = unicodedata.normalize("NFKC", opening["name"])
    conversion = ending["conversion"] or ""
    source = text[start : ending.end()]
    return Field(start, ending.end(), source, name, expression, conversion, ending["spec"])


def _expression_end(text: str, at: int, limit: int) -> int:
    """Where an expression stops at ``}``, ``!`` or ``:`` outside of brackets; 0 if nowhere."""
    stack: list[str] = []
    while token := _TOKEN.match(text, at, limit):
        if token.lastgroup == "open":
            stack.append(_CLOSING[token[0]])
            if len(stack) > _MAX_NESTING:
                return 0
        elif token.lastgroup == "close":
            if not stack:
                return at if token[0] == "}" else 0
            if stack.pop() != token[0]:
                return 0
        at = token.end()
        while stack and text.startswith(":", at):  # slices, dicts, lambdas
            at += 1
    return 0 if stack or text[at : at + 1] not in ("!", ":") else at
