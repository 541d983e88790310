"""Messages through a chat template, as pieces that say what is markup and what is content.

The template never sees what a user, a variable or a reply contributed. It renders with one
private-use character standing for each part, and the output is cut at those characters: whatever
stands between them the template wrote, so it is trusted. Nobody can forge such a character,
because no text but the template's own is ever searched for one, and those that occur there are
not used. Three things follow:

- `trim`, `upper` and the like find nothing to change: content keeps its white space, verbatim;
- Jinja syntax in content is text;
- switches that a template looks for in a message ("/no_think") are not found; use its variables.

The one exception is the mark between a reply's thought and its answer (`prompt.thought`). A blank
that the template writes before somebody's words belongs to them where they are tokenised.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from typing import Any

from llmagic.errors import TemplateError
from llmagic.prompt.environment import SOME_DAY, Program
from llmagic.prompt.masking import (
    Alphabet,
    Item,
    Masked,
    Parsed,
    Slot,
    folded,
    tool_fields,
)
from llmagic.prompt.parts import Message, Part, ReplyPart, TextPart
from llmagic.recent import Recent
from llmagic.sequence import Boundary
from llmagic.vector import Vector


@dataclass(frozen=True)
class Markup:
    """Text the template wrote: trusted, its special tokens are meant."""

    text: str


@dataclass(frozen=True)
class Content:
    """What somebody contributed: data, whatever it looks like.

    `moved` is true of a reply that no longer follows the generation prompt it was generated
    after, because the template renders history in another way: nothing computed for it then
    holds, so it is evaluated as any other text.
    """

    part: Part
    moved: bool = False


@dataclass(frozen=True)
class Mark:
    """A place to resume at, between two pieces."""

    boundary: Boundary


Piece = Markup | Content | Mark


@dataclass(frozen=True)
class _Way:
    """One manner of passing the same messages."""

    messages: Vector[Message]
    typed: bool
    variables: Mapping[str, object]
    fold: bool
    now: datetime


@dataclass(frozen=True)
class _Rendered:
    """Messages that were rendered, to go on from; `counts` are the pieces up to each item."""

    masked: Masked
    parsed: Parsed
    endings: _Endings
    pieces: Vector[Piece]
    counts: Vector[int]


@dataclass(frozen=True)
class _Ending:
    """What follows a user message; None where that cannot be told.

    `whole` if a reply is asked for at once, and of that `close` whatever comes next.
    """

    close: str | None
    whole: str | None


NO_PARAMETERS: dict[str, Any] = {"type": "object", "properties": {}, "required": []}

SWITCHES = {"enable_thinking", "thinking"}
"""Variables by which templates switch thoughts on and off: Qwen's, Granite's, DeepSeek's."""


class ChatTemplate:
    """A chat template, ready to render conversations.

    Parameters
    ----------
    source : str
        Jinja2, as in `tokenizer.chat_template` of a GGUF.
    bos, eos : str
        The text of these tokens, for templates that write them.

    Raises
    ------
    TemplateError
        The source cannot be compiled.

    Attributes
    ----------
    thinking_switches : tuple of str
        Variables of it that switch thoughts on and off.
    tells_date : bool
        Whether it may tell the date.
    """

    def __init__(self, source: str, *, bos: str = "", eos: str = "") -> None:
        self.source = source
        self.bos = bos
        self.eos = eos
        self._program = Program(source)
        self.tells_date = "strftime_now" in self._program.variables
        self.thinking_switches = tuple(sorted(SWITCHES & self._program.variables))
        self._recent = Recent[_Rendered]()

    def render(
        self,
        messages: Sequence[Message],
        *,
        generation_prompt: bool = True,
        variables: Mapping[str, object] | None = None,
        joined: bool = False,
        now: datetime = SOME_DAY,
    ) -> Vector[Piece]:
        """Pieces of a conversation, in order; equal messages give equal pieces.

        Where the template allows, the pieces of a conversation begin with those of every shorter
        one it continues. A template that takes no system message gets its text at the beginning
        of the first user message.

        Marks stand before the first user's words (if a system prompt precedes them), at the end
        of each user message before the generation prompt, and at the end of a reply of which the
        template kept only the answer. A whole reply ends with `Content(ReplyPart)`.

        Parameters
        ----------
        messages : sequence of Message
        generation_prompt : bool
            Whether to ask for a reply at the end.
        variables : mapping, optional
            Further template variables, as `enable_thinking`.
        joined : bool
            Whether the messages are `Message.joined`, all of them.
        now : datetime
            What it may tell as the date: the same for all turns of a conversation, every one of
            which would be evaluated again otherwise.

        Raises
        ------
        TemplateError
            The template refuses the messages in every way they can be passed, or loses, repeats
            or reorders their content.
        """
        first: TemplateError | None = None
        whole = Vector(messages if joined else (message.joined for message in messages))
        for way in _ways(whole, variables or {}, now):
            try:
                return self._pieces(way, generation_prompt)
            except TemplateError as error:
                first = first or error
        assert first is not None
        raise first

    def _pieces(self, way: _Way, generation_prompt: bool) -> Vector[Piece]:
        """Pieces of the messages, those of messages rendered before as they were then."""
        variables = json.dumps(dict(way.variables), ensure_ascii=False, default=str)
        manner = (way.fold, way.typed, variables, way.now, generation_prompt)
        n, known = self._recent.nearest(way.messages, manner)
        masked = Masked(
            way.messages,
            fold=way.fold,
            source=self.source,
            alphabet=Alphabet(self.source + self.bos + self.eos + variables),
            known=known.masked if known is not None else None,
            n=n,
        )
        text = self._run(masked.messages, way, generation_prompt)
        if known is None or masked.first_user is None or masked.first_user >= n:
            known = _Rendered(masked, Parsed(), _Endings(self, masked, way), Vector(), Vector())
        parsed = masked.parse(text, known.parsed, n)
        counts = known.counts.first(parsed.kept)
        pieces = known.pieces.first(counts[-1] if counts else 0)
        new: list[Piece] = []
        ends: list[int] = []
        last = parsed.items[parsed.kept - 1] if parsed.kept else None
        for item in parsed.items[parsed.kept :]:
            new += _assembled(last, item, known.endings)
            ends.append(len(pieces) + len(new))
            last = item
        found = _Rendered(masked, parsed, known.endings, pieces.plus(new), counts.plus(ends))
        self._recent.keep(way.messages, found, manner)
        return found.pieces

    def _run(
        self, messages: Sequence[Mapping[str, object]], way: _Way, generation_prompt: bool
    ) -> str:
        if way.typed:
            messages = [
                {**message, "content": [{"type": "text", "text": message["content"]}]}
                for message in messages
            ]
        return self._program.run(
            {
                "bos_token": self.bos,
                "eos_token": self.eos,
                **way.variables,
                "messages": messages,
                "add_generation_prompt": generation_prompt,
            },
            way.now,
        )

    @cached_property
    def takes_tools(self) -> bool:
        """Whether it shows definitions of tools, and takes calls and results as they come."""
        if "tools" not in self._program.variables:
            return False
        call = ReplyPart("call", ())
        messages = [
            Message("user", (TextPart("question"),)),
            Message("assistant", (call,)),
            Message("tool", (TextPart("result"),), name="tool"),
        ]
        answered = [*messages, Message("assistant", (call,)), Message("user", (TextPart("more"),))]
        function = {"name": "mark0tool", "description": "", "parameters": NO_PARAMETERS}
        variables = {"tools": [{"type": "function", "function": function}]}
        try:
            pieces = self.render(messages, variables=variables)
            self.render(answered, variables=variables)
        except TemplateError:
            return False
        return any(isinstance(piece, Markup) and "mark0tool" in piece.text for piece in pieces)

    def ending(
        self,
        way: _Way,
        opening: Sequence[Mapping[str, object]],
        last: str,
        reply: str,
        question: str,
    ) -> _Ending:
        """What it writes after `last`, the end of the `opening` messages.

        From the shortest conversations, so that it is the same string in every turn, and costs no
        rendering of the whole. What it says about longer ones is checked where it is used.
        """
        answered: list[Mapping[str, object]] = [
            *opening,
            {"role": "assistant", "content": reply},
            {"role": "user", "content": question},
        ]

        def written(messages: Sequence[Mapping[str, object]], asks: bool) -> str:
            try:
                return self._run(messages, way, asks)
            except TemplateError:
                return ""

        begun, found, whole = written(opening, True).partition(last)
        if not found:
            return _Ending(None, None)
        silent, again, close = written(opening, False).partition(last)
        history = written(answered, False).partition(last)[2].partition(reply)[0]
        # Not so: a template that always asks for a reply, or that treats the last message alone
        # in another way than the others.
        stable = (
            (begun, found) == (silent, again)
            and whole.startswith(close)
            and history.startswith(close)
        )
        # Where nothing asks for a reply, the boundary must still leave something to evaluate.
        return _Ending(close if stable and close != whole else None, whole)


class _Endings:
    """What a template writes after a user message, and after a tool's result.

    Parameters
    ----------
    template : ChatTemplate
    masked : Masked
        Messages up to the first user's, at least.
    way : _Way
        How they are passed.
    """

    def __init__(self, template: ChatTemplate, masked: Masked, way: _Way) -> None:
        self._template = template
        # Not the conversation: its messages would be kept as long as it is continued.
        self._way = replace(way, messages=Vector())
        self._opening, self._last = masked.opening()
        self._unused = masked.unused

    def of(self, role: str) -> _Ending | None:
        """The ending of a message of this role; None where nothing is known of it."""
        if not self._last or role not in ("user", "tool"):
            return None
        return self._user if role == "user" else self._tool

    @cached_property
    def _user(self) -> _Ending:
        reply, question, _, _ = self._unused
        return self._template.ending(self._way, self._opening, self._last, reply, question)

    @cached_property
    def _tool(self) -> _Ending:
        reply, question, another, result = self._unused
        called: list[Mapping[str, object]] = [
            *self._opening,
            {"role": "assistant", "content": another},
            {"role": "tool", "content": result, **tool_fields("tool")},
        ]
        return self._template.ending(self._way, called, result, reply, question)


def _ways(whole: Vector[Message], variables: Mapping[str, object], now: datetime) -> Iterator[_Way]:
    """Ways to pass messages, the usual one first: see `transformers.apply_chat_template`."""
    for fold in (False, True):
        passed = folded(whole) if fold else whole
        if passed is None:
            return
        for typed in (False, True):
            # Some templates iterate `tools` without asking, some ask only whether it is defined.
            nothing: tuple[dict[str, object], ...] = (
                {"tools": None, "documents": None},
                {"tools": [], "documents": []},
                {},
            )
            for empty in nothing:
                yield _Way(Vector(passed), typed, {**empty, **variables}, fold, now)


def _assembled(last: Item | None, item: Item, endings: _Endings) -> Iterator[Piece]:
    """Pieces of the markup and the slot of an item; `last` is the one before it."""
    slot, previous, markup = item.slot, last.slot if last is not None else None, item.markup
    part = None if slot is None else slot.part
    whole: str | None = None
    if isinstance(part, ReplyPart):
        ending = endings.of(previous.role) if previous is not None else None
        whole = None if ending is None else ending.whole
        if whole is not None and markup == f"{whole} " and part.text.startswith(" "):
            # The model wrote that blank itself; the template expects replies without it.
            markup = whole
    elif isinstance(part, TextPart) and part.text and markup.endswith(" "):
        # Vocabularies have a blank in one token with the word behind it ("[INST] What",
        # "User: What"), which is tokenised with it, therefore; alone it is a token that no model
        # has seen before a word.
        markup, part = markup[:-1], TextPart(f" {part.text}")
    finished = previous if slot is None or slot.message != _number(previous) else None
    asked = _asked(finished, slot)
    if asked is not None:
        ending = endings.of(asked)
        yield from _after_question(markup, None if ending is None else ending.close)
    else:
        if finished is not None and _is_answer(finished):
            yield Mark(Boundary.REPLY)
        if markup:
            yield Markup(markup)
    if slot is None or part is None:
        return
    if slot.first_user and previous is not None and previous.role == "system":
        yield Mark(Boundary.SYSTEM)
    yield Content(part, moved=isinstance(part, ReplyPart) and markup != whole)


def _asked(finished: Slot | None, following: Slot | None) -> str | None:
    """The role of a message that was just finished and that a reply follows."""
    if finished is None or finished.role not in ("user", "tool"):
        return None
    # Results of several calls are asked with the last one.
    return None if following is not None and following.role == "tool" else finished.role


def _number(slot: Slot | None) -> int | None:
    return None if slot is None else slot.message


def _is_answer(slot: Slot) -> bool:
    return slot.role == "assistant" and isinstance(slot.part, TextPart)


def _after_question(markup: str, close: str | None) -> Iterator[Piece]:
    if close is None or not markup.startswith(close):
        # No place behind the message is known to be stable: the end of its words always is.
        close = ""
    if close:
        yield Markup(close)
    yield Mark(Boundary.USER)
    if rest := markup[len(close) :]:
        yield Markup(rest)
