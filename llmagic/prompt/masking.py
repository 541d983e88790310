"""Messages with a private-use character in place of every part, and the way back."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from llmagic.errors import TemplateError
from llmagic.prompt.parts import Message, Part, ReplyPart, TextPart
from llmagic.prompt.thought import Reasoned, reasoned, thought_field
from llmagic.recent import shared
from llmagic.vector import Vector

# Supplementary Private Use Area A: no tokenizer, template or font in use gives them a meaning.
_FIRST, _LAST = 0xF0000, 0xFFFFD
_RESERVED = re.compile(f"[{chr(_FIRST)}-{chr(_LAST)}]")

SPARE = 4
"""Characters that stand for nothing (`Masked.unused`)."""


class Alphabet:
    """The private characters that a template does not write by itself, numbered.

    Parameters
    ----------
    reserved : str
        Text that it may write.
    """

    def __init__(self, reserved: str) -> None:
        self._taken = sorted(set(map(ord, _RESERVED.findall(reserved))))

    def __len__(self) -> int:
        return _LAST - _FIRST + 1 - len(self._taken)

    def __getitem__(self, number: int) -> str:
        code = _FIRST + number
        for taken in self._taken:
            code += taken <= code
        return chr(code)

    def number(self, character: str) -> int:
        """Number of a private character; -1 for one the template may write."""
        code = ord(character)
        before = bisect_right(self._taken, code)
        is_taken = before > 0 and self._taken[before - 1] == code
        return -1 if is_taken else code - _FIRST - before


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
    """A reply whose thought the template may take away: `text` is the whole of it, masked.

    `start` is where its first character stands in it; `parts` are the numbers of its characters,
    that of the answer last, and `whole` the number that stands for all of it.
    """

    text: str
    start: int
    parts: tuple[int, ...]
    whole: int


@dataclass(frozen=True)
class Item:
    """Markup and the slot behind it, which ends at `stop` of the text; None at the text's end."""

    markup: str
    slot: Slot | None
    number: int
    stop: int


@dataclass(frozen=True)
class Parsed:
    """A rendered text and its items; the first `kept` of them are those of the text before.

    `systems` are the indices of the items that are system prompts.
    """

    text: str = ""
    items: Vector[Item] = field(default_factory=Vector)
    kept: int = 0
    systems: tuple[int, ...] = ()


def tool_fields(name: str) -> dict[str, object]:
    """What some templates read in the result of a tool besides its text."""
    # Nine letters and digits, as Mistral's templates want it.
    return {"name": name, "tool_call_id": "call00000"}


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
    alphabet : Alphabet
    known : Masked, optional
        Made with the same of all these, but for other messages after the first `n`.

    Attributes
    ----------
    messages : vector of dict
        With `role`, `content` (str) and, for some replies, the field for a thought.
    first_user : int or None
        Number of the first user's message.
    unused : list of str
        Characters that stand for nothing.
    """

    def __init__(
        self,
        messages: Sequence[Message],
        *,
        fold: bool,
        source: str,
        alphabet: Alphabet,
        known: Masked | None = None,
        n: int = 0,
    ) -> None:
        self.unused = [alphabet[number] for number in range(SPARE)]
        self._alphabet = alphabet
        self._fold = fold
        self._source = source
        self._thought_field = thought_field(source)
        self.messages = Vector[dict[str, object]]()
        self._slots = Vector[Slot]()
        # Those of the messages that are not known.
        self._new: list[Slot] = []
        # For each message the number of slots before it.
        self._starts = Vector[int]()
        self._systems: list[int] = []
        # By the numbers of their first character and of their answer.
        self._splits: dict[int, _Split] = {}
        self.first_user: int | None = None
        if known is not None and n:
            self.messages = known.messages.first(n)
            self._starts = known._starts.first(n)
            rest = known._starts[n] if n < len(known._starts) else len(known._slots)
            self._slots = known._slots.first(rest)
            self._systems += [index for index in known._systems if index < rest]
            self._splits = {
                number: split for number, split in known._splits.items() if number < rest + SPARE
            }
            if known.first_user is not None and known.first_user < n:
                self.first_user = known.first_user
        starts, masked = [], []
        for number, message in enumerate(messages[n:], n):
            starts.append(self._n_slots)
            masked.append(self._message(number, message))
        self.messages, self._starts = self.messages.plus(masked), self._starts.plus(starts)
        self._slots = self._slots.plus(self._new)
        self._new.clear()

    @property
    def _n_slots(self) -> int:
        return len(self._slots) + len(self._new)

    def opening(self) -> tuple[list[dict[str, object]], str]:
        """The messages up to the first user's, and its last character; "" without such a one."""
        if self.first_user is None:
            return [], ""
        messages = [*self.messages[: self.first_user + 1]]
        return messages, str(messages[-1]["content"])[-1]

    def parse(self, text: str, known: Parsed = Parsed(), n: int = 0) -> Parsed:
        """What was rendered, as markup and the slot behind it, in turn.

        Parameters
        ----------
        text : str
            What the template wrote.
        known : Parsed
            What it wrote for other messages, of which the first `n` were these.

        Raises
        ------
        TemplateError
            A part is missing, doubled, or not in its order (a system prompt may stand anywhere).
        """
        kept = _whole_messages(known.items, shared(text, known.text), n)
        items, new = known.items.first(kept), list[Item]()
        systems = [index for index in known.systems if index < kept]
        order = _Order(self._slots, items[-1:], [items[each].number - SPARE for each in systems])
        at = items[-1].stop if items else 0
        for match in _RESERVED.finditer(text, at):
            number = self._alphabet.number(match[0])
            if match.start() < at or not SPARE <= number < len(self._slots) + SPARE:
                continue
            start, stop = match.span()
            split = self._splits.get(number)
            if split is not None:
                # Where the template kept thought and answer as they were, it kept the reply.
                begin = start - split.start
                whole = number == split.parts[0] and begin >= at
                if whole and text.startswith(split.text, begin):
                    start, stop, number = begin, begin + len(split.text), split.whole
                    order.excuse(split.parts)
                else:
                    order.excuse([split.whole])
            slot = self._slots[number - SPARE]
            order.add(number - SPARE)
            if slot.role == "system":
                systems.append(len(items) + len(new))
            new.append(Item(text[at:start], slot, number, stop))
            at = stop
        order.finish(self._starts, self._systems)
        new.append(Item(text[at:], None, -1, len(text)))
        return Parsed(text, items.plus(new), kept, tuple(systems))

    def _message(self, number: int, message: Message) -> dict[str, object]:
        masked: dict[str, object] = {"role": message.role}
        content = ""
        if message.role == "user" and self.first_user is None:
            self.first_user = number
        first = number == self.first_user
        for index, part in enumerate(message.parts):
            if first and self._fold and index == 0:
                content += self._take(Slot(number, "system", part))
                continue
            split = reasoned(part.text, self._source) if isinstance(part, ReplyPart) else None
            if split is None:
                begins = first and index == (1 if self._fold else 0)
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
        before = self._n_slots + SPARE
        thought = ""
        if split.thought:
            thought = self._take(Slot(number, role, TextPart(split.thought), required=False))
        # An empty answer has a character, too: an empty content is a call of a tool to some.
        answer = self._take(Slot(number, role, TextPart(split.answer)))
        self._take(Slot(number, role, part))
        whole = self._n_slots + SPARE - 1
        text = f"{split.opening}{thought}{split.closing}{answer}{split.ending}"
        found = _Split(text, text.index(thought or answer), tuple(range(before, whole)), whole)
        self._splits[before] = self._splits[whole - 1] = found
        return thought, answer

    def _take(self, slot: Slot) -> str:
        if self._n_slots + SPARE == len(self._alphabet):
            raise TemplateError(
                f"A conversation may have {len(self._alphabet) - SPARE} parts, this one has more. "
                "Start another one."
            )
        if slot.role == "system":
            self._systems.append(self._n_slots)
        self._new.append(slot)
        return self._alphabet[self._n_slots + SPARE - 1]


class _Order:
    """Checks that every part is there once, and in its order.

    Parameters
    ----------
    slots : sequence of Slot
    last : sequence of Item
        The last one of those that were checked before, if there are any; no system prompt.
    systems : sequence of int
        Indices of the system prompts among those.
    """

    def __init__(self, slots: Sequence[Slot], last: Sequence[Item], systems: Sequence[int]) -> None:
        self._slots = slots
        self._checked = last[0].number - SPARE if last else -1
        self._next = slots[self._checked].message + 1 if last else 0
        self._latest = {True: systems[-1] if systems else -1, False: self._checked}
        self._seen = set(systems)
        self._excused: set[int] = set()

    def excuse(self, numbers: Sequence[int]) -> None:
        """These need not be there: another one stands for the same."""
        self._excused.update(number - SPARE for number in numbers)

    def add(self, index: int) -> None:
        slot = self._slots[index]
        system = slot.role == "system"
        if index in self._seen or (not system and index <= self._checked):
            raise _bad("repeats", slot)
        if index < self._latest[system]:
            raise _bad("reorders", slot)
        self._seen.add(index)
        self._latest[system] = index

    def finish(self, starts: Sequence[int], systems: Sequence[int]) -> None:
        begin = starts[self._next] if self._next < len(starts) else len(self._slots)
        for index in (*systems, *range(begin, len(self._slots))):
            slot = self._slots[index]
            if slot.required and index not in self._seen and index not in self._excused:
                raise _bad("leaves out", slot)


def _whole_messages(items: Sequence[Item], stop: int, n: int) -> int:
    """How many items end by `stop` and make up whole messages, all among the first `n`."""
    kept = bisect_right(items, stop, key=lambda item: item.stop)
    while kept:
        slot = items[kept - 1].slot
        following = items[kept].slot if kept < len(items) else None
        ends = following is None or (
            slot is not None and following.message != slot.message and following.role != "system"
        )
        if slot is not None and slot.role != "system" and slot.message < n and ends:
            break
        kept -= 1
    return kept


def _bad(what: str, slot: Slot) -> TemplateError:
    return TemplateError(
        "A chat template must give every message once and in order, but this one "
        f"{what} the content of message {slot.message + 1} ({slot.role}). "
        "Load the model with another template."
    )
