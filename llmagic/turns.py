"""Turns: questions and their replies as values."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from typing import Any, NamedTuple

from llmagic.prompt.parts import ImagePart, Message, Part, ReplyPart, TextPart
from llmagic.prompt.tools import Tool, Use
from llmagic.sequence import Sequence
from llmagic.settings import Sampling


@dataclass(frozen=True)
class Round:
    """A reply that called tools, and what came of it.

    Attributes
    ----------
    reply : ReplyPart
    text, thought : str
        What the model said before its calls.
    uses : tuple of Use
        The calls in their order, with their results.
    """

    reply: ReplyPart = field(repr=False)
    text: str
    thought: str
    uses: tuple[Use, ...]


@dataclass(frozen=True)
class Turn:
    """A question and its reply.

    Attributes
    ----------
    id : str
        Digest (hex) of everything before the reply, the sampling settings and the reply: the same
        in every kernel for the same content.
    parent : Turn or None
        The turn it continues.
    system : str or None
        System prompt of the conversation up to here.
    parts : tuple of Part
        What was asked.
    reply : ReplyPart
        The tokens as they were generated, spelled out with control tokens for the template.
    text : str
        The reply as a person reads it; of a model that thinks, its answer.
    sampling : Sampling
    stop : str
        Why the reply ended: "end", "length" or "stop".
    usage : dict
        What it cost and what was reused (DESIGN, "Contracts").
    data
        What a reply with a schema says: an instance of the type that was given as the schema,
        else JSON data. None without a schema, and after a reply of null.
    thought : str
        What the model said to itself before it answered; "" if nothing.
    tokens_of : str
        Digest (hex) of the model whose tokens its replies are; "" where that is not known.
    after : str or None
        Id of the turn above when it was drawn, "" without one; None where that is not known. A
        `parent` of another id says that something else stands above it now.
    rounds : tuple of Round
        Replies before the last one, which called tools.
    tools : tuple of Tool
        What the model could call, here and in the turns that continue this one.
    exact : bool
        Whether the reply was drawn from the very logits an evaluation from nothing gives.
    began : datetime or None
        When the conversation began, which templates may tell the model; of the first turn of one.
    """

    id: str
    # The id tells turns apart, and says what stands above them.
    parent: Turn | None = field(repr=False, compare=False)
    system: str | None
    parts: tuple[Part, ...] = field(repr=False)
    reply: ReplyPart = field(repr=False)
    text: str
    sampling: Sampling = field(repr=False)
    stop: str
    usage: dict[str, Any] = field(repr=False, compare=False)
    data: Any = field(default=None, repr=False, compare=False)
    thought: str = field(default="", repr=False)
    tokens_of: str = field(default="", repr=False, compare=False)
    after: str | None = field(default=None, repr=False, compare=False)
    rounds: tuple[Round, ...] = field(default=(), repr=False)
    tools: tuple[Tool, ...] = field(default=(), repr=False)
    exact: bool = field(default=True, repr=False, compare=False)
    began: datetime | None = field(default=None, repr=False, compare=False)

    @property
    def tokens(self) -> tuple[int, ...]:
        return self.reply.tokens

    @property
    def question(self) -> Question:
        """What was asked, to be asked again."""
        return Question(self.parent, self.system, self.parts, self.sampling, self.tools, self.began)

    @property
    def n_images(self) -> int:
        """Images in the question."""
        return sum(isinstance(part, ImagePart) for part in self.parts)

    def path(self) -> list[Turn]:
        """The turns of the conversation up to this one."""
        turns: list[Turn] = []
        turn: Turn | None = self
        while turn is not None:
            turns.append(turn)
            turn = turn.parent
        return turns[::-1]

    def standing_on(self, parent: Turn | None, system: str | None) -> Turn:
        """The same turn below another one, under another system prompt.

        Its messages are the very same objects, which whoever has seen them knows at a glance;
        `replace` would make them anew for every turn below one that changed.
        """
        moved = object.__new__(Turn)
        moved.__dict__.update(self.__dict__, parent=parent, system=system)
        return moved

    def read_by(self, model: str, tokenize: Callable[[str], Iterable[int]]) -> Turn:
        """The same turn for another model: its reply is plain text, in that model's tokens.

        Not the control tokens of the model that wrote it: those are no text elsewhere. Nor its
        calls of tools, which another model writes in another way.
        """
        reply = ReplyPart(self.text, tuple(tokenize(self.text)))
        return replace(self, reply=reply, rounds=(), tools=(), tokens_of=model)

    def path_read_by(self, model: str, tokenize: Callable[[str], Iterable[int]]) -> Turn:
        """The turn, with those above it, for a model that did not write all of them; see `read_by`.

        It is the very turn where the model wrote all whose writer is known.
        """
        path = self.path()
        if all(turn.tokens_of in ("", model) for turn in path):
            return self
        above: Turn | None = None
        for turn in path:
            own = turn.tokens_of in ("", model)
            read = turn if own else turn.read_by(model, tokenize)
            above = read.standing_on(above, turn.system)
        assert above is not None
        return above

    @cached_property
    def messages(self) -> tuple[Message, ...]:
        """Its question, calls, results and reply as messages, without those above."""
        return (*asked(self.parts, self.rounds), Message("assistant", (self.reply,)))


@dataclass(frozen=True)
class Question:
    """All that the model is to see, and how its reply is drawn.

    Attributes
    ----------
    parent : Turn or None
        The turn it continues.
    system : str or None
    parts : tuple of Part
        What is asked.
    sampling : Sampling
    tools : tuple of Tool
        What the model may call.
    began : datetime or None
        When the conversation began; of the first question of one.
    """

    parent: Turn | None
    system: str | None
    parts: tuple[Part, ...]
    sampling: Sampling
    tools: tuple[Tool, ...]
    began: datetime | None = None

    def answered(self, answer: Answer, usage: dict[str, Any], tokens_of: str) -> Turn:
        """The question with its answer, as a turn."""
        return Turn(
            usage["turn"],
            self.parent,
            self.system,
            self.parts,
            answer.reply,
            answer.text,
            self.sampling,
            answer.stop,
            usage,
            thought=answer.thought,
            tokens_of=tokens_of,
            after=self.parent.id if self.parent is not None else "",
            rounds=answer.rounds,
            tools=self.tools,
            exact=usage["exact"],
            began=self.began,
        )


class Answer(NamedTuple):
    """A reply with the calls before it: what is needed to show it again without drawing it."""

    reply: ReplyPart
    text: str
    stop: str
    thought: str = ""
    rounds: tuple[Round, ...] = ()
    exact: bool = True


def asked(parts: tuple[Part, ...], rounds: Iterable[Round]) -> Iterator[Message]:
    """Messages of a question with its calls and results up to the next reply."""
    yield Message("user", parts)
    for each in rounds:
        yield Message("assistant", (each.reply,))
        for use in each.uses:
            yield Message("tool", (TextPart(use.result),), use.name)


def turn_id(before: Sequence, sampling: Sampling, tokens: tuple[int, ...]) -> str:
    """Digest (hex, 16 bytes) of what is before a reply, how it was drawn, and the reply."""
    hash_ = hashlib.blake2b(asked_key(before, sampling, b""), digest_size=16)
    hash_.update(json.dumps(tokens).encode())
    return hash_.hexdigest()


def asked_key(before: Sequence, sampling: Sampling, fingerprint: bytes) -> bytes:
    """Digest (16 bytes) of a question: the same one is answered by the same reply."""
    hash_ = hashlib.blake2b(fingerprint, digest_size=16, person=b"llmagic-asked-01")
    hash_.update(before.digest)
    hash_.update(json.dumps(sampling.document(), sort_keys=True).encode())
    return hash_.digest()
