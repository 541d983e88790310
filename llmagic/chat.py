"""How a loaded model is talked to: what its template makes of a question, what it can be given."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from types import MappingProxyType

from llmagic.engine.engine import Engine
from llmagic.errors import ModelError, UsageError
from llmagic.prompt.parts import Message, Part, TextPart
from llmagic.prompt.template import ChatTemplate
from llmagic.prompt.tokens import Tokenised, sequence
from llmagic.prompt.tools import Tool, tools_of
from llmagic.recent import Recent
from llmagic.sequence import Sequence
from llmagic.settings import Sampling
from llmagic.turns import Question, Round, Turn, asked
from llmagic.vector import Vector

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message.role + '\\n' + message.content "
    "+ '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
"""For a model without a template, as llama.cpp does it."""


class Chat:
    """The chat template of a loaded model, at work.

    Parameters
    ----------
    engine : Engine

    Raises
    ------
    ModelError
        The model has no tokenizer.
    TemplateError
        Its template cannot be compiled.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        vocabulary = engine.model.vocabulary
        if not vocabulary.has_text:
            # llama.cpp ends the process when it is to tokenise (llama-vocab.cpp:3653).
            raise ModelError(
                f"expected a model with a tokenizer, and {engine.model.name!r} has none "
                "(`tokenizer.ggml.model` is no_vocab). Convert the model again, with its tokenizer."
            )
        self._template = ChatTemplate(
            engine.template or CHATML,
            bos=vocabulary.text(vocabulary.bos),
            eos=vocabulary.text(vocabulary.eos),
        )
        self._now = datetime.now()
        self._recent = Recent[Tokenised]()
        self._histories = deque[tuple[Turn, str | None, Vector[Message]]](maxlen=4)

    @property
    def tells_date(self) -> bool:
        """Whether the template may tell the date."""
        return self._template.tells_date

    def today(self) -> datetime:
        """The date for a conversation that begins now: one a day.

        Otherwise asking the same question again would be another question each minute.
        """
        now = datetime.now()
        if now.date() != self._now.date():
            self._now = now
        return self._now

    @property
    def can_switch_thinking(self) -> bool:
        """Whether the template has a switch for thinking."""
        return bool(self._template.thinking_switches)

    @property
    def takes_tools(self) -> bool:
        """Whether the template teaches the model to call tools in a way that is known here."""
        return self._engine.syntax.known and self._template.takes_tools

    def wanted(self, question: Question, rounds: Iterable[Round] = ()) -> Sequence:
        """What the model is to continue: everything up to the generation prompt.

        Parameters
        ----------
        question : Question
        rounds : iterable of Round
            Replies to it that called tools, with their results.
        """
        variables: dict[str, object] = {}
        if question.sampling.think is not None:
            variables |= dict.fromkeys(self._template.thinking_switches, question.sampling.think)
        if question.tools:
            variables["tools"] = [tool.definition for tool in question.tools]
        return self.sequence(
            question.system,
            question.parent,
            question.parts,
            rounds=rounds,
            variables=variables,
            began=question.began,
        )

    def sequence(
        self,
        system: str | None,
        parent: Turn | None,
        parts: tuple[Part, ...],
        *,
        rounds: Iterable[Round] = (),
        variables: Mapping[str, object] = MappingProxyType({}),
        began: datetime | None = None,
    ) -> Sequence:
        """The same from its pieces; `variables` are for the template.

        The date that it may tell is that on which the conversation began: of its first turn, or of
        the question if that is the first (`began`).
        """
        asking = (message.joined for message in asked(parts, rounds))
        messages = self._history(system, parent).plus(asking)
        engine = self._engine
        if self._template.tells_date:
            while parent is not None:
                began, parent = parent.began, parent.parent
        pieces = self._template.render(
            messages, variables=variables, joined=True, now=began or self._now
        )
        return sequence(
            pieces,
            engine.model.vocabulary,
            engine.projector,
            seed=engine.fingerprint,
            recent=self._recent,
        )

    def _history(self, system: str | None, parent: Turn | None) -> Vector[Message]:
        """The messages up to a turn, joined; going on from those that are known."""
        new: list[Turn] = []
        history: Vector[Message] | None = None
        turn = parent
        while turn is not None and history is None:
            history = next(
                (
                    known
                    for each, its_system, known in self._histories
                    if each is turn and its_system == system
                ),
                None,
            )
            if history is None:
                new.append(turn)
                turn = turn.parent
        if history is None:
            history = Vector([Message("system", (TextPart(system),))] if system else [])
        if parent is not None and new:
            history = history.plus(
                message.joined for turn in reversed(new) for message in turn.messages
            )
            self._histories.append((parent, system, history))
        return history

    def switched(self, sampling: Sampling) -> Sampling:
        """The settings with a switch for thinking that is there.

        Raises
        ------
        UsageError
            There is none, and it was to be set.
        """
        if sampling.think is not None and not self.can_switch_thinking:
            raise UsageError(
                "expected a model whose chat template has a switch for thinking "
                "(`enable_thinking`), and this one's has none. Ask without --think/--no-think."
            )
        if sampling.schema is not None and sampling.think is None and self.can_switch_thinking:
            # The answer is all that has the form.
            return replace(sampling, think=False)
        return sampling

    def offered(
        self, given: Iterable[object] | None, parent: Turn | None, sampling: Sampling
    ) -> tuple[Tool, ...]:
        """The tools the model may call: those given, else those of the conversation.

        Raises
        ------
        UsageError
            They are no tools, or this model or this reply takes none.
        """
        if given is None:
            inherited = parent.tools if parent is not None else ()
            # They may come from another model.
            return inherited if inherited and self.takes_tools else ()
        tools = tools_of([given] if callable(given) else given)
        if tools and not self.takes_tools:
            raise UsageError(
                "expected a model whose chat template teaches it to call tools in a way that is "
                "known here (docs/replies.md lists them), and this one's does not. Ask without "
                "--tool, or load another model."
            )
        if tools and sampling.schema is not None:
            raise UsageError(
                "expected a schema or tools, and got both: a reply that is held to a form cannot "
                "call anything. Ask twice."
            )
        return tools
