"""Messages with a private-use character in place of every part, and the way back."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from llmagic.errors import TemplateError
from llmagic.prompt.parts import Message, Part, ReplyPart, TextPart
from llmagic.prompt.thought import Reasoned, reasoned, thought_field

# Supplementary Private Use Area A: no tokenizer, template or font in use gives them a meaning.
_FIRST, _LAST = 0xF0000, 0xFFFFD
_RESERVED = re.compile(f"[{chr(_FIRST)}-{chr(_LAST)}]")


@dataclass(frozen=True)
class Slot:
    """What a character stands for.

    `message` counts messages; `first_user` is true of the first part of the first user's words;
    a slot that is not `required` may be left out by the template.
    """

    message: int
    role: str
    part: Part
    first_user: bool = False
    required: bool = True


@dataclass(frozen=True)
class _Split:
    """A reply whose thought the template may take away: `text` is the whole of it, masked."""

    text: str
    characters: str
    whole: str


def tool_fields(name: str) -> dict[str, object]:
    """What some templates read in the result of a tool besides its text."""
    # Nine letters and digits, as Mistral's templates want it.
    return {"name": name, "tool_call_id": "call00000"}


def joined(message: Message) -> Message:
    """The message with neighbouring texts as one part, and at least one part.

    Text is tokenised a part at a time, and `{name}` must give what typing its value gives.
    """
    parts: list[Part] = []
    for part in message.parts:
        last = parts[-1] if parts else None
        if isinstance(part, TextPart) and isinstance(last, TextPart):
            parts[-1] = TextPart(last.text + part.text)
        else:
            parts.append(part)
    return replace(message, parts=tuple(parts) or (TextPart(""),))


def folded(messages: Sequence[Message]) -> tuple[Message, ...] | None:
    """The messages with the system prompt before the first user's words; None where it cannot."""
    systems = [message for message in messages if message.role == "system"]
    others = [message for message in messages if message.role != "system"]
    words = [part for message in systems for part in message.parts]
    if not systems or not others or others[0].role != "user":
        return None
    if not all(isinstance(part, TextPart) for part in words):
        return None
    text = "\n\n".join(message.text for message in systems)
    first = replace(others[0], parts=(TextPart(f"{text}\n\n"), *others[0].parts))
    return (first, *others[1:])


class Masked:
    """Messages as the template gets them.

    Parameters
    ----------
    messages : sequence of Message
        Neighbouring texts joined.
    fold : bool
        Whether the first part is a system prompt put into the first user message.
    source : str
        The template, which tells how it takes the thought of a reply.
    reserved : str
        Text that the template may write by itself; none of its characters stands for a part.

    Attributes
    ----------
    messages : list of dict
        With `role`, `content` (str) and, for some replies, the field for a thought.
    unused : tuple of str
        Four characters that stand for nothing.
    """

    def __init__(
        self,
        messages: Sequence[Message],
        *,
        fold: bool,
        source: str,
        reserved: str,
    ) -> None:
        taken = set(reserved)
        self._free = (chr(c) for c in range(_FIRST, _LAST + 1) if chr(c) not in taken)
        self.unused = next(self._free), next(self._free), next(self._free), next(self._free)
        self._slots: dict[str, Slot] = {}
        self._splits: list[_Split] = []
        self._first_user = next((i for i, m in enumerate(messages) if m.role == "user"), None)
        self._source = source
        self._thought_field = thought_field(source)
        self.messages: list[dict[str, object]] = [
            self._message(number, message, fold) for number, message in enumerate(messages)
        ]

    def opening(self) -> tuple[list[dict[str, object]], str]:
        """The messages up to the first user's, and its last character; "" without such a one."""
        if self._first_user is None:
            return [], ""
        messages = self.messages[: self._first_user + 1]
        return messages, str(messages[-1]["content"])[-1]

    def parse(self, text: str) -> list[tuple[str, Slot | None]]:
        """What was rendered, as markup and the slot behind it, in turn; the last slot is None.

        Raises
        ------
        TemplateError
            A part is missing, doubled, or not in its order (a system prompt may stand anywhere).
        """
        slots = dict(self._slots)
        for split in self._splits:
            # Where the template kept thought and answer as they were, it kept the reply.
            unused = split.whole
            if split.text in text:
                text = text.replace(split.text, split.whole)
                unused = split.characters
            for character in unused:
                del slots[character]
        # One pass over a range: a class of all slots makes a long conversation's cost its square.
        matches = [match for match in _RESERVED.finditer(text) if match[0] in slots]
        _check([match[0] for match in matches], slots)
        starts = [0, *(match.end() for match in matches)]
        stops = [*(match.start() for match in matches), len(text)]
        markup = (text[start:stop] for start, stop in zip(starts, stops, strict=True))
        return list(zip(markup, [*(slots[match[0]] for match in matches), None], strict=True))

    def _message(self, number: int, message: Message, fold: bool) -> dict[str, object]:
        masked: dict[str, object] = {"role": message.role}
        content = ""
        for index, part in enumerate(message.parts):
            first = number == self._first_user
            if first and fold and index == 0:
                content += self._take(Slot(number, "system", part))
                continue
            split = reasoned(part.text, self._source) if isinstance(part, ReplyPart) else None
            if split is None:
                begins = first and index == (1 if fold else 0)
                content += self._take(Slot(number, message.role, part, first_user=begins))
                continue
            thought, answer = self._split(number, message.role, part, split)
            if self._thought_field is None:
                content += f"{split.opening}{thought}{split.closing}{answer}{split.ending}"
            else:
                masked[self._thought_field] = thought
                content += answer
        if message.role == "tool":
            masked |= tool_fields(message.name)
        return masked | {"content": content}

    def _split(self, number: int, role: str, part: Part, split: Reasoned) -> tuple[str, str]:
        thought = ""
        if split.thought:
            thought = self._take(Slot(number, role, TextPart(split.thought), required=False))
        # An empty answer has a character, too: an empty content is a call of a tool to some.
        answer = self._take(Slot(number, role, TextPart(split.answer)))
        whole = self._take(Slot(number, role, part))
        text = f"{split.opening}{thought}{split.closing}{answer}{split.ending}"
        self._splits.append(_Split(text, thought + answer, whole))
        return thought, answer

    def _take(self, slot: Slot) -> str:
        character = next(self._free, None)
        if character is None:
            raise TemplateError(
                f"A conversation may have {_LAST - _FIRST + 1} parts, this one has more. "
                "Start another one."
            )
        self._slots[character] = slot
        return character


def _check(found: Sequence[str], slots: dict[str, Slot]) -> None:
    seen: set[str] = set()
    latest = {True: "", False: ""}
    for character in found:
        slot = slots[character]
        system = slot.role == "system"
        if character in seen:
            raise _bad("repeats", slot)
        if character < latest[system]:
            raise _bad("reorders", slot)
        seen.add(character)
        latest[system] = character
    for character, slot in slots.items():
        if slot.required and character not in seen:
            raise _bad("leaves out", slot)


def _bad(what: str, slot: Slot) -> TemplateError:
    return TemplateError(
        "A chat template must give every message once and in order, but this one "
        f"{what} the content of message {slot.message + 1} ({slot.role}). "
        "Load the model with another template."
    )
