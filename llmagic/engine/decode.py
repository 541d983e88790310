"""Drawing a reply token by token."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field

from llmagic.checkpoint.payload import Layout, Payload
from llmagic.engine.work import Listener, Work
from llmagic.errors import CheckpointError, EvaluationError
from llmagic.events import Delta, Event
from llmagic.model.grammar import Grammar
from llmagic.model.loading import Vocabulary
from llmagic.model.sampling import Sampler, TextStream
from llmagic.prompt.calls import Call, Holder, Syntax
from llmagic.prompt.thought import Reader, Thoughts
from llmagic.sequence import Sequence, Text
from llmagic.settings import Sampling

LONGEST_OPENING = 16
"""Tokens at the end of a generation prompt that may open a thought."""

READ_EVERY = 0.01
"""How soon drawn tokens become text (s): no eye sees it, and small models draw thirty by then."""


@dataclass
class Generated:
    """A reply: tokens, text, and why it ended ("end", "length", "stop", "interrupt").

    `thought` is what the model said to itself before the `text` of its answer; `calls` of tools
    follow the text and are no part of it.
    """

    tokens: list[int] = field(default_factory=list)
    text: str = ""
    thought: str = ""
    stop: str = "interrupt"
    calls: tuple[Call, ...] = ()


class Decoder:
    """Draws the reply to a sequence that was just evaluated; `generated` grows as it does.

    Parameters
    ----------
    work : Work
    vocabulary : Vocabulary
    sequence : Sequence
        What the branch holds.
    sampling : Sampling
    thoughts : Thoughts
        How the model writes its thoughts.
    grammar : Grammar, optional
        What the answer is held to.
    syntax : Syntax, optional
        How the model writes calls of tools, where it may.
    """

    def __init__(
        self,
        work: Work,
        vocabulary: Vocabulary,
        sequence: Sequence,
        sampling: Sampling,
        thoughts: Thoughts,
        grammar: Grammar | None = None,
        syntax: Syntax | None = None,
    ) -> None:
        self._work = work
        self._vocabulary = vocabulary
        self._sequence = sequence
        self._position = sequence.n_positions
        self._sampling = sampling
        self._thoughts = thoughts
        last = sequence.spans[-1]
        ending = last.tokens[-LONGEST_OPENING:] if isinstance(last, Text) else ()
        self._opened = thoughts.opened(vocabulary.spell(ending))
        self._reader = Reader(thoughts, opened=self._opened)
        self._grammar = grammar
        self._syntax = syntax
        self._holder = None if syntax is None else Holder(syntax)
        # Drawn and not yet text, and how many were drawn since something was told.
        self._unread: list[int] = []
        self._untold = 0
        self._back: tuple[int, Payload] | None = None
        # Characters of the text up to each reply token, where a stop text may cut it; None where it
        # ends inside a character.
        self._ends: list[int | None] = []
        self.generated = Generated()

    def run(self, seed: int, room: int, grow: Callable[[int], bool]) -> Generated:
        """Draw at most `room` tokens, and save the branch where the reply ends.

        `grow` lets a full context grow, from the number of the reply's tokens on, and says whether
        it did.

        Raises
        ------
        Interrupted, EvaluationError
            The branch ends before the reply; `generated` holds what there is.
        """
        work, reply = self._work, self.generated
        with work.generated.running():
            stream = TextStream(self._sampling.stop)
            sampler = Sampler(self._sampling, seed, self._vocabulary.n_tokens, self._grammar)
            try:
                stop = self._draw(sampler, stream, room, grow)
            except BaseException:
                # The text must be whole, and what went wrong first is what is raised: a listener
                # that fails now must change neither.
                work.tell = _unfailing(work.tell)
                self._finish(stream)
                raise
            self._finish(stream)
            reply.thought, reply.text = self._thoughts.divide(stream.text, opened=self._opened)
            if self._syntax is not None:
                reply.text, reply.calls = self._syntax.parse(reply.text)
            whole = not stream.stopped or self._drop_stop_text(stream, room)
        work.generated.count = len(reply.tokens)
        reply.stop = stop
        if not whole:
            # It holds more than the reply, which stands; the next turn evaluates that again.
            work.checkpoints.branches.drop(work.branch)
            return reply
        end = work.branch.end
        assert end is not None
        step = self._sequence.reply_step(reply.tokens, end.key)
        if step is not None:
            work.branch.append(step)
            work.save(exact=end.key == self._sequence.steps[-1].key)
        return reply

    def _draw(
        self, sampler: Sampler, stream: TextStream, room: int, grow: Callable[[int], bool]
    ) -> str:
        """Tokens until something ends the reply; returns what did."""
        work, reply = self._work, self.generated
        # A form is about the very next token, and so is a stop text.
        at_once, due = self._grammar is not None or stream.may_stop, 0.0
        held = self._held()
        for _ in range(min(self._sampling.max_tokens, room)):
            if self._grammar is not None and self._grammar.complete:
                return "end"
            # A form is that of the answer.
            token = sampler.sample(work.context, free=self._reader.thinking)
            if self._vocabulary.ends_reply(token):
                return "end"
            if len(reply.tokens) >= held:
                # Only now: the logits it was drawn from are not moved.
                if not grow(len(reply.tokens)):
                    return "length"
                held = self._held()
            self._unread.append(token)
            if at_once or time.perf_counter() >= due:
                was_uncertain = stream.uncertain
                self._read(stream)
                due = time.perf_counter() + READ_EVERY
                if stream.stopped:
                    return "stop"
                if not stream.uncertain:
                    self._back = None
                elif not was_uncertain:
                    self._remember()
            self._evaluate(token, len(reply.tokens))
            reply.tokens.append(token)
            if stream.may_stop:
                self._ends.append(None if stream.inside_character else len(stream.text))
            work.stop_if_interrupted()
        return "end" if self._grammar is not None and self._grammar.complete else "length"

    def _held(self) -> int:
        """Most tokens of the reply that the context holds as it is."""
        return self._work.context.n_ctx - self._sequence.n_tokens

    def _finish(self, stream: TextStream) -> None:
        """Tell the rest of the text, and count the tokens."""
        self._work.generated.count = len(self.generated.tokens)
        self._read(stream)
        self._say(self._reader.push(stream.finish()) + self._reader.finish())
        if self._holder is not None:
            self._tell(self._holder.finish())

    def _read(self, stream: TextStream) -> None:
        """Make text of what was drawn, and tell what is certain of it."""
        data = b"".join(map(self._shown, self._unread))
        self._untold += len(self._unread)
        self._unread.clear()
        text = stream.push(data)
        if text:
            self._say(self._reader.push(text))

    def _say(self, pieces: Iterable[tuple[bool, str]]) -> None:
        for thought, text in pieces:
            if thought:
                self.generated.thought += text
                self._work.tell(self._delta(text, thought))
            else:
                self._tell(text if self._holder is None else self._holder.push(text))

    def _tell(self, text: str) -> None:
        if text:
            self.generated.text += text
            self._work.tell(self._delta(text))

    def _delta(self, text: str, thought: bool = False) -> Delta:
        n, self._untold = self._untold, 0
        return Delta(text, thought, n)

    def _shown(self, token: int) -> bytes:
        """What a token adds to the text; control tokens nothing, unless they mark something."""
        shown: bytes = self._vocabulary.piece(token)
        if not shown and self._vocabulary.is_markup(token):
            spelled = self._vocabulary.spell([token])
            by_syntax = self._syntax is not None and self._syntax.spells(spelled)
            if by_syntax or self._thoughts.spells(spelled):
                return spelled.encode()
        return shown

    def _evaluate(self, token: int, index: int) -> None:
        self._work.evaluate_one(token, self._position + index)

    # A stop text is no part of the reply, and the context must not hold it either. Memory that
    # can be cut is cut, and so is a window that still holds all; another is taken back to the state
    # from before the first token that could have been the beginning of the stop text.

    def _remember(self) -> None:
        checkpoints, n = self._work.checkpoints, len(self.generated.tokens)
        cuts = checkpoints.can_cut or checkpoints.slides
        if not cuts and checkpoints.layout is not Layout.NONE:
            stop = self._sequence.n_positions + n
            try:
                end = checkpoints.payloads.take_end(self._work.branch.sequence, stop)
            except (MemoryError, EvaluationError):
                return  # no reason to lose the reply: a branch that cannot go back is dropped
            self._back = (n, end)

    def _drop_stop_text(self, stream: TextStream, room: int) -> bool:
        """Leave just the tokens whose text is shown; part of a token is tokenised by itself.

        False where the context cannot be taken back, or has no room for them, and holds others.
        """
        reply, size = self.generated, len(stream.text)
        whole, shown = len(reply.tokens), 0
        while whole:
            end = self._ends[whole - 1]
            if end is not None and end <= size:
                shown = end
                break
            whole -= 1
        rest = self._vocabulary.tokenize(stream.text[shown:], special=False)
        tokens = reply.tokens[:whole] + rest
        # Part of a token may be more tokens than the token was.
        fits = len(tokens) <= min(room, self._held())
        held = self._go_back(whole, len(tokens)) if fits else None
        if held is not None:
            for index in range(held, len(tokens)):
                self._evaluate(tokens[index], index)
        reply.tokens = tokens
        return held is not None

    def _go_back(self, n: int, wanted: int) -> int | None:
        """Take the branch back to at most `n` reply tokens; returns how many it holds.

        None where that cannot be done, or where what is evaluated then, up to `wanted` tokens,
        would not be exact: a window that is put back lies in other cells (`Payloads.settle`).
        """
        work, sequence = self._work, self._work.branch.sequence
        if n == len(self.generated.tokens):
            return n
        if work.checkpoints.cut(sequence, self._sequence.n_positions + n):
            return n
        if self._back is not None and self._back[0] <= n:
            if work.context.model.n_swa and self._back[0] < wanted:
                return None
            try:
                work.checkpoints.payloads.put_end(sequence, self._back[1])
            except CheckpointError:
                return None
            return self._back[0]
        return None


def _unfailing(tell: Listener) -> Listener:
    def told(event: Event) -> None:
        with suppress(Exception):
            tell(event)

    return told
