"""Messages and their parts: what a prompt is before any template or tokenizer saw it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from operator import and_

from llmagic.errors import UsageError
from llmagic.prompt.images import Picture, is_image_like, picture, the_one


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

    @cached_property
    def _is_joined(self) -> bool:
        texts = [isinstance(part, TextPart) for part in self.parts]
        return bool(texts) and not any(map(and_, texts, texts[1:]))

    @property
    def joined(self) -> Message:
        """The message with neighbouring texts as one part, and at least one part.

        Text is tokenised a part at a time, and `{name}` must give what typing its value gives.
        """
        if self._is_joined:
            return self
        parts: list[Part] = []
        for part in self.parts:
            last = parts[-1] if parts else None
            if isinstance(part, TextPart) and isinstance(last, TextPart):
                parts[-1] = TextPart(last.text + part.text)
            else:
                parts.append(part)
        return replace(self, parts=tuple(parts) or (TextPart(""),))


def parts_of(prompt: str | Iterable[Part], images: Iterable[object] = ()) -> tuple[Part, ...]:
    """The parts of a prompt: its images, then its text or parts as they are.

    Raises
    ------
    UsageError
        They are no parts, or nothing is asked.
    ImageError
        An image cannot be read.
    """
    if isinstance(images, str | os.PathLike) or is_image_like(images):
        images = [images]  # one picture, not a list of its letters or rows
    if not hasattr(images, "__iter__") and not hasattr(images, "__getitem__"):
        raise UsageError(f"expected images as a list, or one image, and got {images!r:.100}.")
    before = [ImagePart(picture(image)) for image in images]
    text = [TextPart(prompt)] if isinstance(prompt, str) else prompt
    if not isinstance(text, Iterable):
        raise UsageError(f"expected a prompt as text or parts, and got {prompt!r}.")
    parts = (*before, *text)
    for part in parts:
        if not isinstance(part, TextPart | ImagePart | ReplyPart):
            raise UsageError(f"expected TextParts and ImageParts in a prompt, and got {part!r}.")
    if not any(isinstance(part, ImagePart) or part.text.strip() for part in parts):
        raise UsageError("expected a prompt, and the text is empty. Write something to ask.")
    return tuple(
        ImagePart(the_one(part.picture)) if isinstance(part, ImagePart) else part for part in parts
    )
