"""Messages and their parts: what a prompt is before any template or tokenizer saw it."""

from __future__ import annotations

from dataclasses import dataclass, field

from llmagic.prompt.images import Picture


@dataclass(frozen=True)
class TextPart:
    """Text from a user, a variable or a system prompt: data, never markup."""

    text: str


@dataclass(frozen=True)
class ImagePart:
    """A picture at its place in the text."""

    picture: Picture


@dataclass(frozen=True)
class ReplyPart:
    """A reply as it was generated: its text for the template, its tokens for the model."""

    text: str
    tokens: tuple[int, ...] = field(repr=False)


Part = TextPart | ImagePart | ReplyPart


@dataclass(frozen=True)
class Message:
    """One message; `role` is "system", "user", "assistant" or "tool".

    `name` is that of the tool whose result the message is.
    """

    role: str
    parts: tuple[Part, ...]
    name: str = ""

    @property
    def text(self) -> str:
        """The text parts and replies, joined; pictures are left out."""
        return "".join(part.text for part in self.parts if not isinstance(part, ImagePart))
