"""Replies to questions: drawn, with the tools they call, or given again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from llmagic.archive import Archive
from llmagic.chat import Chat
from llmagic.engine.decode import Generated
from llmagic.engine.engine import Engine, Outcome
from llmagic.errors import Interrupted, ReplyError
from llmagic.events import Called, Delta, Event, Notice, Returned
from llmagic.prompt.calls import Call
from llmagic.prompt.parts import ReplyPart
from llmagic.prompt.schema import Schema
from llmagic.prompt.tools import MOST_ROUNDS, Tool, Use, run
from llmagic.sequence import Sequence
from llmagic.settings import Sampling
from llmagic.turns import Answer, Question, Round, Turn
from llmagic.usage import replayed, together, usage

SHOWN = 2000
"""Characters of a reply in an error message."""


class Replies:
    """What answers questions.

    Parameters
    ----------
    engine : Engine
    chat : Chat
    archive : Archive
        Where replies that were given before are found.
    """

    def __init__(self, engine: Engine, chat: Chat, archive: Archive) -> None:
        self._engine = engine
        self._chat = chat
        self._archive = archive

    def draw(
        self,
        question: Question,
        wanted: Sequence,
        tell: Callable[[Event], None],
        *,
        checkpoint: bool = True,
    ) -> Turn:
        """Draw the reply, and run the tools it calls until one calls none.

        Parameters
        ----------
        question : Question
        wanted : Sequence
            What the model is to continue (`Chat.wanted`).
        tell : callable
            Hears every piece of text, call and result.
        checkpoint : bool
            Whether the state is saved on the way.

        Raises
        ------
        Interrupted
            By Ctrl-C, also while a tool runs; it has `text` and `usage` of what there was.
        ContextFullError, EvaluationError
        """
        rounds: list[Round] = []
        costs: list[dict[str, Any]] = []
        may_call = bool(question.tools) and question.sampling.schema is None
        try:
            while True:
                generated, cost = self._drawn(
                    wanted, question.sampling, tell, may_call=may_call, checkpoint=checkpoint
                )
                costs.append(cost)
                tokens = tuple(generated.tokens)
                reply = ReplyPart(self._engine.model.vocabulary.spell(tokens), tokens)
                if not generated.calls or len(rounds) == MOST_ROUNDS:
                    break
                uses = tuple(_use(question.tools, call, tell) for call in generated.calls)
                rounds.append(Round(reply, generated.text, generated.thought, uses))
                wanted = self._chat.wanted(question, rounds)
        except Interrupted as error:
            if error.usage is None:  # in a tool, which a whole reply called
                error.text = generated.text
            else:
                costs.append(error.usage)
            error.usage = together(costs, rounds)
            error.usage["generated"]["stop"] = "interrupt"
            if question.sampling.schema is not None and error.text:
                # What is shown of it is laid out; this is what there was.
                error.args = (f"{error} The reply so far: {_shown(error.text)}",)
            raise
        if generated.calls:
            tell(Notice(f"tools were called {MOST_ROUNDS} times; the last calls were not made."))
        answer = Answer(reply, generated.text, generated.stop, generated.thought, tuple(rounds))
        return question.answered(answer, together(costs, rounds), self._engine.model.digest)

    def again(
        self, question: Question, wanted: Sequence, tell: Callable[[Event], None]
    ) -> Turn | None:
        """The reply this question got before, as a turn; None if it never got one.

        One that a context cut that was smaller than this one is none.
        """
        found = self._archive.answer(wanted, question.sampling)
        if found is None:
            return None
        answer, tier = found
        if answer.rounds:
            wanted = self._chat.wanted(question, answer.rounds)
        if self._goes_on(answer, wanted, question.sampling):
            return None
        disk, reply = self._engine.checkpoints.disk, wanted.reply_step(answer.reply.tokens)
        if disk is not None:
            disk.touch([*wanted.steps, *([reply] if reply is not None else [])])
        name = self._engine.model.name
        tokens, exact = answer.reply.tokens, answer.exact
        cost = replayed(wanted, question.sampling, tokens, tier=tier, model=name, exact=exact)
        for event in _events(answer):
            tell(event)
        return question.answered(answer, cost, self._engine.model.digest)

    def _goes_on(self, answer: Answer, wanted: Sequence, sampling: Sampling) -> bool:
        """Whether a context was full at the end of a reply, and there is more room for it now."""
        n_tokens = len(answer.reply.tokens)
        was_full = answer.stop == "length" and n_tokens < sampling.max_tokens
        return was_full and wanted.n_tokens + n_tokens < self._engine.n_ctx_limit

    def cost_again(self, turn: Turn) -> dict[str, Any]:
        """What it costs to give a turn again that is in the store."""
        before = self._chat.wanted(turn.question, turn.rounds)
        name, exact = self._engine.model.name, turn.exact
        return replayed(before, turn.sampling, turn.tokens, tier="disk", model=name, exact=exact)

    def _drawn(
        self,
        wanted: Sequence,
        sampling: Sampling,
        tell: Callable[[Event], None],
        *,
        may_call: bool,
        checkpoint: bool,
    ) -> tuple[Generated, dict[str, Any]]:
        """One reply of the model, and what it cost."""
        outcome, name = Outcome(), self._engine.model.name
        try:
            self._engine.answer(
                wanted, sampling, tell, outcome, with_calls=may_call, checkpoint=checkpoint
            )
        except Interrupted as error:
            error.text = outcome.generated.text if outcome.generated else ""
            error.usage = usage(wanted, sampling, outcome, stop="interrupt", model=name)
            raise
        assert outcome.generated is not None
        generated = outcome.generated
        return generated, usage(wanted, sampling, outcome, stop=generated.stop, model=name)


def data_of(form: Schema, turn: Turn) -> Any:
    """What a reply says, in the form that was asked for.

    Raises
    ------
    ReplyError
        It was cut, or what the grammar cannot hold it to is not so.
    """
    try:
        if turn.stop != "length":
            return form.read(turn.text)
        reason = f"it was cut after {len(turn.tokens):,} tokens. Allow more (--max-tokens)"
    except ValueError as error:
        reason = f"{error}. Draw another (--resample)"
    failed = ReplyError(
        f"expected a reply that fits the schema, but {reason}, or ask for less. The reply, which "
        f"is not part of the conversation: {_shown(turn.text)}"
    )
    failed.text, failed.usage = turn.text, turn.usage
    raise failed


def _shown(text: str) -> str:
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def _use(tools: Iterable[Tool], call: Call, tell: Callable[[Event], None]) -> Use:
    """Call a tool; Ctrl-C stops it, and the turn with it."""
    tell(Called(call.name, call.arguments))
    try:
        use = run(tools, call)
    except KeyboardInterrupt as error:
        raise Interrupted(
            f"{call.name} was stopped; the turn is not part of the conversation."
        ) from error
    tell(Returned(use.result, use.failed))
    return use


def _events(answer: Answer) -> Iterator[Event]:
    """What was told when an answer was drawn."""
    replies: tuple[Round | Answer, ...] = (*answer.rounds, answer)
    for each in replies:
        if each.thought:
            yield Delta(each.thought, thought=True)
        if each.text:
            yield Delta(each.text)
        for use in each.uses if isinstance(each, Round) else ():
            yield Called(use.name, use.arguments)
            yield Returned(use.result, use.failed)
