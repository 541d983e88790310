"""What `%%llm -o NAME` puts into a variable."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llmagic.session import Turn


class Reply(str):
    """The text of a reply, with what is known about it.

    Attributes
    ----------
    turn : Turn
        The turn; `Session.ask(..., after=reply.turn)` goes on from it.
    usage : dict
        DESIGN C2's dictionary: tokens and images restored, evaluated, generated; ms, bytes.
    data
        What a reply with a schema says (`Turn.data`); None without one.
    thought : str
        What the model said to itself before it answered; "" if nothing.
    """

    __slots__ = ("data", "thought", "turn", "usage")

    def __new__(cls, turn: Turn, usage: dict[str, Any]) -> Reply:
        """Make the reply of `turn`."""
        self = super().__new__(cls, turn.text)
        self.turn = turn
        self.usage = usage
        self.data = turn.data
        self.thought = turn.thought
        return self

    turn: Turn
    usage: dict[str, Any]
    data: object
    thought: str

    def __reduce__(self) -> tuple[type[Reply], tuple[Turn, dict[str, Any]]]:
        return type(self), (self.turn, self.usage)
