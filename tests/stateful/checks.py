"""One turn, and everything that is compared after it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from hypothesis import event
from hypothesis.stateful import RuleBasedStateMachine, multiple

from llmagic.checkpoint.live import Branch
from llmagic.checkpoint.payload import Layout
from llmagic.errors import ContextFullError, Interrupted
from llmagic.prompt.parts import Part, TextPart
from llmagic.sequence import Boundary, Sequence
from llmagic.session import Session, Turn
from llmagic.settings import Sampling
from tests.stateful.cold import HEADER, Logits
from tests.stateful.knowledge import Knowledge, Start
from tests.stateful.lab import LIMIT, Lab, piece_of
from tests.stateful.pieces import Piece, Place, pieces, places
from tests.stateful.trouble import DisplayError, Trouble

SETTLED, PIECES, SCATTERED = 2e-3, 3e-3, 1e-2
"""What may move logits, of their range: a window put into place, a reply evaluated again at once,
several branches in one context. The largest seen in 20,000 histories: 0.6e-3, 0.9e-3, 4.2e-3."""


class Checks(RuleBasedStateMachine):
    """A session, and what is known of it from outside."""

    lab: ClassVar[Lab]

    def reset(self, layout: Layout) -> None:
        """A new session, in a layout."""
        self.lab.begin(layout)
        self.layout = layout
        self.knowledge = Knowledge(everywhere=self.lab.checkpoints.can_cut)
        self.replies: dict[tuple[bytes, Sampling], tuple[tuple[int, ...], str]] = {}
        self.encoded: set[bytes] = set()
        self.left: list[Place] = []
        # Where checkpoints may go at any time, what is left is looked up after every turn.
        self.tight = layout is Layout.NONE

    @property
    def session(self) -> Session:
        return self.lab.session

    def forget_the_lost(self) -> None:
        stored, live = list(self.lab.stored()), list(self.lab.live())
        self.left = [*stored, *live]
        # What only the context holds counts where every turn is followed by a look at it.
        self.knowledge.keep(self.left if self.tight else stored)

    def context_goes(self) -> None:
        self.knowledge.remember_last(())
        if self.tight:
            self.knowledge.keep(self.lab.stored())

    # A turn ---------------------------------------------------------------------------------

    def ask(
        self,
        parts: tuple[Part, ...],
        after: Turn | None,
        system: str | None,
        sampling: Sampling,
        trouble: Trouble | None = None,
    ) -> Any:
        if self.session.engine.projector is None:
            parts = tuple(part for part in parts if isinstance(part, TextPart))
        if system is None and after is not None:
            system = after.system
        wanted = self.session.chat.sequence(system, after, parts)
        canonical = pieces(wanted)
        if wanted.n_tokens >= LIMIT:
            self._is_refused(parts, after, system, sampling)
            return multiple()
        if min(wanted.n_tokens + sampling.max_tokens, LIMIT) > self.session.engine.context.n_ctx:
            self.context_goes()
        cuts_anywhere = not self.lab.exact and self.lab.checkpoints.can_cut
        floor = self.knowledge.start(canonical, any_token=cuts_anywhere)
        previous = self.session.last
        trouble = trouble or Trouble("none", 0)
        try:
            with trouble.in_(self.session):
                turn = self.session.ask(
                    parts, after=after, system=system, sampling=sampling, on_event=trouble.hear
                )
        except (Interrupted, DisplayError) as error:
            assert trouble.kind != "none"
            assert self.session.last is previous
            self._after_trouble(error, canonical, wanted, floor)
            return multiple()
        self._check(turn, wanted, floor)
        return turn

    def _is_refused(self, parts: tuple[Part, ...], *rest: Any) -> None:
        after, system, sampling = rest
        previous = self.session.last
        try:
            self.session.ask(parts, after=after, system=system, sampling=sampling)
        except ContextFullError:
            assert self.session.last is previous
            return
        raise AssertionError("a prompt that does not fit was answered")

    def _check(self, turn: Turn, wanted: Sequence, floor: Start) -> None:
        usage, canonical = turn.usage, pieces(wanted)
        restored = usage["restored"]["tokens"]
        evaluated = pieces(wanted, restored)
        self._check_counts(usage, wanted, evaluated, floor)
        start = self._start(canonical, restored)
        exact = start.exact and evaluated == canonical
        if self.lab.exact:
            assert usage["exact"] is exact, (usage, floor)
        reply = Piece(turn.tokens, reply=True, boundary=Boundary.REPLY)
        replied = [reply] if turn.tokens else []
        self._check_reply(turn, canonical)
        if self._is_dropped(turn, [*canonical, *replied]):
            self.knowledge.learn(canonical, evaluated, start, wanted.n_tokens)
            self.knowledge.remember_last(())
        else:
            self._check_state(turn, [*canonical, *replied])
            total = wanted.n_tokens + len(turn.tokens)
            self.knowledge.learn([*canonical, *replied], [*evaluated, *replied], start, total)
            self.knowledge.remember_last([*canonical, *replied])
        if self.tight:
            self.forget_the_lost()

    def _start(self, canonical: list[Piece], restored: int) -> Start:
        """Where a turn began, by what is known of the place."""
        if not restored:
            return Start()
        known = self.knowledge.at(canonical, restored)
        if known is not None:
            return Start(restored, known.exact)
        # More than the floor asks for: something a turn that failed left in the context.
        end = next((place for place in places(canonical) if place.stop == restored), None)
        trails = {each.trail for each in self.left if end and each.content == end.content}
        return Start(restored, not trails or (end is not None and end.trail in trails))

    def _check_counts(
        self, usage: dict[str, Any], wanted: Sequence, evaluated: list[Piece], floor: Start
    ) -> None:
        n, restored = usage["evaluated"]["tokens"], usage["restored"]
        assert restored["tokens"] + n == usage["prompt"]["tokens"] == wanted.n_tokens
        assert 1 <= n <= wanted.n_tokens - floor.stop, (usage, floor)
        assert (restored["tier"] == "none") == (restored["tokens"] == 0)
        rest, images, stop = set(), 0, 0
        for piece in evaluated:
            stop += piece.n_tokens
            if piece.media is not None and stop > restored["tokens"]:
                rest.add(piece.media.digest)
                images += piece.boundary is Boundary.IMAGE
        assert usage["evaluated"]["images"] == images
        assert restored["images"] + images == usage["prompt"]["images"] == wanted.n_images
        assert usage["encoded"]["images"] == len(rest - self.encoded)
        self.encoded |= rest

    def _check_reply(self, turn: Turn, canonical: list[Piece]) -> None:
        """Equal sequences draw equal replies, in any order, from any start."""
        if not turn.usage["exact"]:
            return
        sampling = replace(turn.sampling, stop=())
        path = (places(canonical)[-1].content, sampling)
        stop = turn.sampling.stop
        if turn.stop == "stop":
            if path in self.replies:
                tokens, text = self.replies[path]
                at = min(at for each in stop if (at := text.find(each)) >= 0)
                assert turn.text == text[:at]
            return
        tokens, text = self.replies.setdefault(path, (turn.tokens, turn.text))
        assert (turn.tokens, turn.text) == (tokens, text)

    def _is_dropped(self, turn: Turn, canonical: list[Piece]) -> bool:
        """Whether a stop text could not be taken out of the context, so that nothing is left.

        Only without checkpoints, and where a window that is put back would lie in other cells.
        """
        if self.layout is not Layout.NONE and not self.session.engine.model.n_swa:
            return False
        content = places(canonical)[-1].content
        live = (place.content for place in self.lab.live())
        return turn.stop == "stop" and content not in live

    def _check_state(self, turn: Turn, canonical: list[Piece]) -> None:
        branch = self._newest()
        held = [piece_of(step) for step in branch.steps]
        assert places(held)[-1].content == places(canonical)[-1].content
        plain = None
        if self.session.engine.model.n_swa:
            plain = self.lab.cold.logits(canonical, self.layout, settled=False)
        rows = self.lab.cold.logits(canonical, self.layout, sequence=branch.sequence)
        if plain is not None:
            assert _difference(rows[-1], plain[-1]) <= SETTLED
        if turn.usage["exact"]:
            self._compare_state(branch)
            if turn.sampling.temperature == 0 and turn.sampling.repeat_penalty == 1:
                self._check_greedy(turn, rows)
        if turn.stop == "stop":
            return  # the last logits are of a token that was taken back
        got = self.session.engine.context.logits()
        if turn.usage["exact"]:
            assert np.array_equal(got, rows[-1]), _difference(got, rows[-1])
            return
        difference = _difference(got, rows[-1])
        self.lab.worst = max(self.lab.worst, difference)
        assert difference <= (PIECES if self.lab.exact else SCATTERED)
        if self.lab.exact:
            # Not as an evaluation from nothing would do it, but right all the same.
            again = self.lab.cold.logits(held, self.layout)
            assert np.array_equal(got, again[-1]), _difference(got, again[-1])

    def _check_greedy(self, turn: Turn, rows: Logits) -> None:
        if turn.tokens and turn.stop != "stop":
            assert tuple(rows[:-1].argmax(axis=1)) == turn.tokens

    def _newest(self) -> Branch:
        return max(self.lab.checkpoints.branches, key=lambda branch: branch.used)

    def _compare_state(self, branch: Branch) -> None:
        """Every byte the context holds of a branch, against what the oracle just evaluated."""
        got = self.session.engine.context.read(branch.sequence)[HEADER:]
        wanted = self.lab.cold.state()
        assert got.shape == wanted.shape
        assert np.array_equal(got, wanted)

    def _after_trouble(
        self, error: BaseException, canonical: list[Piece], wanted: Sequence, floor: Start
    ) -> None:
        event("trouble came")
        engine = self.session.engine
        self.knowledge.remember_last(())
        self.left = [*self.lab.stored(), *self.lab.live()]
        if engine.projector is not None:
            self.encoded = set(engine.projector._embeddings)
        if isinstance(error, Interrupted):
            usage = error.usage
            assert usage is not None
            assert usage["generated"]["stop"] == "interrupt"
            restored, n = usage["restored"]["tokens"], usage["evaluated"]["tokens"]
            # It may have come before anything was restored.
            assert restored >= floor.stop or restored + n == 0
            assert restored + n <= wanted.n_tokens
            start = self._start(canonical, restored)
            evaluated = pieces(wanted, restored)
            self.knowledge.learn(canonical, evaluated, start, restored + n)
        if self.tight:
            self.forget_the_lost()
        if not self.lab.exact:
            return
        for branch in self.lab.checkpoints.branches:
            if branch.steps:
                held = [piece_of(step) for step in branch.steps]
                self.lab.cold.logits(held, self.layout, sequence=branch.sequence)
                self._compare_state(branch)


def _difference(got: Logits, wanted: Logits) -> float:
    """The largest difference, of the range."""
    return float(np.abs(got - wanted).max() / np.ptp(wanted))
