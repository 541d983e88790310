"""Random histories of a conversation, every step of which is compared with the oracle."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from hypothesis import event
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
)

from llmagic.checkpoint.live import Branch
from llmagic.checkpoint.payload import Layout
from llmagic.errors import ContextFullError, Interrupted
from llmagic.events import Event
from llmagic.prompt.parts import ImagePart, Part, TextPart
from llmagic.sequence import Media, Sequence
from llmagic.session import Session, Turn
from llmagic.settings import Sampling
from tests.stateful.cold import HEADER
from tests.stateful.knowledge import Knowledge, Start
from tests.stateful.lab import LIMIT, PICTURES, PLENTY, Lab, letters, piece_of
from tests.stateful.pieces import Piece, Place, pieces, places

TOLERANCE = 5e-2
"""Of the logits' range: what several branches in one context, or a reply that was evaluated again,
may move them by."""


LENGTHS = st.sampled_from((0, 0, 0, 1, 40, 118, 128, 150, 260))
TAILS = st.sampled_from(("?", " why", " é😀", "<|im_end|>", "Q"))
WORDS = st.builds(lambda n, tail: TextPart(letters(n) + tail), LENGTHS, TAILS)
IMAGES = st.sampled_from(PICTURES).map(ImagePart)
PARTS = st.one_of(
    st.tuples(WORDS),
    st.tuples(WORDS),
    st.tuples(IMAGES, WORDS),
    st.tuples(WORDS, IMAGES),
    st.tuples(WORDS, IMAGES, WORDS),
    st.tuples(IMAGES, IMAGES, WORDS),
)
"""What may be asked. Of a toy that sees nothing, just the words."""
SYSTEMS = st.sampled_from(("", "Be brief.", letters(140)))
SEEDS = st.sampled_from((None, 1, 2))
SAMPLINGS = st.builds(
    Sampling,
    temperature=st.sampled_from((0.0, 0.0, 1.0)),
    repeat_penalty=st.sampled_from((1.0, 1.0, 1.3)),
    seed=SEEDS,
    max_tokens=st.sampled_from((2, 1, 3, 5, 0)),
)
Path = tuple[bytes, Sampling]


knows = precondition(lambda machine: len(machine.knowledge) > 0)
"""Where nothing is known yet, nothing can be forgotten."""


class _DisplayError(Exception):
    """Raised by somebody who listens to events."""


class Machine(RuleBasedStateMachine):
    """Somebody writes a notebook, and things happen to the session."""

    lab: ClassVar[Lab]
    turns = Bundle("turns")

    @initialize(pick=st.sampled_from((0, 0, 0, 0, 0, 1, 2, 3)))
    def begin(self, pick: int) -> None:
        layouts = self.lab.layouts
        self.layout = layouts[min(pick, len(layouts) - 1)]
        self.lab.begin(self.layout)
        self.knowledge = Knowledge(everywhere=self.lab.checkpoints.can_cut)
        self.replies: dict[Path, tuple[tuple[int, ...], str]] = {}
        self.encoded: set[bytes] = set()
        self.left: list[Place] = []
        # Where checkpoints may go at any time, what is left is looked up after every turn.
        self.tight = self.layout is Layout.NONE

    @property
    def session(self) -> Session:
        return self.lab.session

    # What the author does -------------------------------------------------------------------

    @rule(target=turns, parts=PARTS, system=SYSTEMS, sampling=SAMPLINGS)
    def start(self, parts: tuple[Part, ...], system: str, sampling: Sampling) -> Any:
        return self._ask(parts, None, system, sampling)

    @rule(target=turns, parts=PARTS, sampling=SAMPLINGS)
    def go_on(self, parts: tuple[Part, ...], sampling: Sampling) -> Any:
        return self._ask(parts, self.session.last, None, sampling)

    @rule(target=turns, turn=turns, parts=PARTS, sampling=SAMPLINGS)
    def branch(self, turn: Turn, parts: tuple[Part, ...], sampling: Sampling) -> Any:
        """Also what comes after later cells were deleted."""
        return self._ask(parts, turn, None, sampling)

    @rule(target=turns, turn=turns, index=st.integers(0, 2), words=WORDS, picture=IMAGES)
    def edit(self, turn: Turn, index: int, words: TextPart, picture: ImagePart) -> Any:
        parts = list(turn.parts)
        index %= len(parts)
        parts[index] = words if isinstance(parts[index], TextPart) else picture
        return self._ask(tuple(parts), turn.parent, turn.system, turn.sampling)

    @rule(target=turns, turn=turns)
    def again(self, turn: Turn) -> Any:
        """Run a cell again, or undo what was done to it."""
        return self._ask(turn.parts, turn.parent, turn.system, turn.sampling)

    @rule(target=turns, turn=turns, seed=SEEDS)
    def resample(self, turn: Turn, seed: int | None) -> Any:
        sampling = replace(turn.sampling, seed=seed, temperature=1.5)
        return self._ask(turn.parts, turn.parent, turn.system, sampling)

    @rule(target=turns, turn=turns, after=turns)
    def move(self, turn: Turn, after: Turn) -> Any:
        """A cell runs in another place, or below others that were edited."""
        return self._ask(turn.parts, after, turn.system, turn.sampling)

    @rule(target=turns, turn=turns)
    def delete_above(self, turn: Turn) -> Any:
        above = turn.parent.parent if turn.parent is not None else None
        return self._ask(turn.parts, above, turn.system, turn.sampling)

    @rule(target=turns, turn=turns, at=st.integers(0, 8), size=st.integers(1, 3))
    def stop_inside(self, turn: Turn, at: int, size: int) -> Any:
        """Draw a reply again that a stop text now ends early."""
        at = min(at, max(0, len(turn.text) - size))
        stop = turn.text[at : at + size]
        sampling = replace(turn.sampling, stop=(stop,) if stop else ())
        return self._ask(turn.parts, turn.parent, turn.system, sampling)

    # What happens meanwhile -----------------------------------------------------------------

    @rule(
        target=turns,
        parts=PARTS,
        sampling=SAMPLINGS,
        kind=st.sampled_from(("node", "step", "event", "error")),
        n=st.integers(0, 30),
        fraction=st.floats(0, 1),
    )
    def interrupt(
        self, parts: tuple[Part, ...], sampling: Sampling, kind: str, n: int, fraction: float
    ) -> Any:
        if kind == "node":
            n = int(fraction * 600)
        return self._ask(parts, self.session.last, None, sampling, Trouble(kind, n))

    @knows
    @rule(n=st.sampled_from((1, 1, 2, 3, 5, 100)))
    def evict(self, n: int) -> None:
        """What was used least recently goes, and not more than it takes."""
        tree = self.lab.checkpoints.tree
        for _ in range(n):
            if not tree.n_bytes:
                break
            before = {node: node.payload for node in tree}
            leaves = [node for node in tree if node.children == 0 and node.payload.n_bytes]
            tree.budget = tree.n_bytes - 1
            tree.evict()
            (gone,) = (
                node
                for node, payload in before.items()
                if tree.at(node.key) is not node or node.payload is not payload
                if payload.n_bytes
            )
            assert all(gone.used <= node.used for node in leaves)
        tree.budget = PLENTY
        self._forget_the_lost()

    @knows
    @rule(budget=st.sampled_from((PLENTY, 0, 8 << 10, 60 << 10, 300 << 10, 1000 << 10)))
    def set_budget(self, budget: int) -> None:
        tree = self.lab.checkpoints.tree
        tree.budget = budget
        tree.evict()
        self.tight = self.layout is Layout.NONE or budget < PLENTY
        self._forget_the_lost()

    @knows
    @rule(what=st.sampled_from(("context", "embeddings")))
    def forget(self, what: str) -> None:
        if what == "context":
            self.lab.checkpoints.branches.drop_all()
            self._context_goes()
            return
        if self.session.engine.projector is not None:
            self.session.engine.projector._embeddings.clear()
        self.encoded.clear()

    @knows
    @rule()
    def reload(self) -> None:
        last = self.session.last
        self.lab.reload(self.layout)
        self.session.last = last
        self.knowledge.forget()
        self.encoded.clear()
        self.tight = self.layout is Layout.NONE

    @knows
    @rule(n=st.sampled_from((300, 600, LIMIT)))
    def grow(self, n: int) -> None:
        if n > self.session.engine.context.n_ctx:
            self._context_goes()
        self.session.engine._make_room(n, 0, lambda event: None)

    # What is looked at ----------------------------------------------------------------------

    @invariant()
    def books_are_right(self) -> None:
        checkpoints, tree = self.lab.checkpoints, self.lab.checkpoints.tree
        nodes = list(tree)
        assert tree.n_bytes == sum(node.payload.n_bytes for node in nodes)
        assert tree.n_bytes <= tree.budget
        for node in nodes:
            assert node.parent is None or tree.at(node.parent.key) is node.parent
            assert node.children == sum(each.parent is node for each in nodes)
        context, branches = checkpoints.context, list(checkpoints.branches)
        assert len(branches) <= self.session.engine.n_branches
        used = {branch.sequence for branch in branches}
        assert len(used) == len(branches)
        for sequence in range(context.shape.n_sequences):
            if sequence not in used:
                assert context.end(sequence) == -1
        for branch in branches:
            if branch.end is None or not isinstance(branch.end.span, Media):
                assert context.end(branch.sequence) == branch.next_position - 1

    def _forget_the_lost(self) -> None:
        stored, live = list(self.lab.stored()), list(self.lab.live())
        self.left = [*stored, *live]
        # What only the context holds counts where every turn is followed by a look at it.
        self.knowledge.keep(self.left if self.tight else stored)

    def _context_goes(self) -> None:
        self.knowledge.remember_last(())
        if self.tight:
            self.knowledge.keep(self.lab.stored())

    # A turn ---------------------------------------------------------------------------------

    def _ask(
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
        wanted = self.session._sequence(system, after, parts)
        canonical = pieces(wanted)
        if wanted.n_tokens >= LIMIT:
            self._is_refused(parts, after, system, sampling)
            return multiple()
        if min(wanted.n_tokens + sampling.max_tokens, LIMIT) > self.session.engine.context.n_ctx:
            self._context_goes()
        cuts_anywhere = not self.lab.exact and self.lab.checkpoints.can_cut
        floor = self.knowledge.start(canonical, any_token=cuts_anywhere)
        previous = self.session.last
        trouble = trouble or Trouble("none", 0)
        try:
            with trouble.in_(self.session):
                turn = self.session.ask(
                    parts, after=after, system=system, sampling=sampling, on_event=trouble.hear
                )
        except (Interrupted, _DisplayError) as error:
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
        reply = Piece(turn.tokens, reply=True, boundary="reply")
        replied = [reply] if turn.tokens else []
        self._check_reply(turn, canonical)
        self._check_state(turn, [*canonical, *replied])
        total = wanted.n_tokens + len(turn.tokens)
        self.knowledge.learn([*canonical, *replied], [*evaluated, *replied], start, total)
        self.knowledge.remember_last([*canonical, *replied])
        if self.tight:
            self._forget_the_lost()

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
                images += piece.boundary == "image"
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

    def _check_state(self, turn: Turn, canonical: list[Piece]) -> None:
        if self.layout is Layout.NONE and turn.stop == "stop":
            content = places(canonical)[-1].content
            if content not in (place.content for place in self.lab.live()):
                return  # what followed the reply could not be taken out, so nothing is left
        branch = self._newest()
        held = [piece_of(step) for step in branch.steps]
        assert places(held)[-1].content == places(canonical)[-1].content
        rows = self.lab.cold.logits(canonical, self.layout, sequence=branch.sequence)
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
        assert difference <= TOLERANCE
        if self.lab.exact:
            # Not as an evaluation from nothing would do it, but right all the same.
            again = self.lab.cold.logits(held, self.layout)
            assert np.array_equal(got, again[-1]), _difference(got, again[-1])

    def _check_greedy(self, turn: Turn, rows: Any) -> None:
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
            assert restored >= floor.stop
            assert restored + n <= wanted.n_tokens
            start = self._start(canonical, restored)
            evaluated = pieces(wanted, restored)
            self.knowledge.learn(canonical, evaluated, start, restored + n)
        if self.tight:
            self._forget_the_lost()
        if not self.lab.exact:
            return
        for branch in self.lab.checkpoints.branches:
            if branch.steps:
                held = [piece_of(step) for step in branch.steps]
                self.lab.cold.logits(held, self.layout, sequence=branch.sequence)
                self._compare_state(branch)


class Trouble:
    """Something goes wrong during a turn, at the `n`-th occasion.

    `kind`: "node", asked for inside llama.cpp or between steps; "step", between steps only;
    "event", Ctrl-C in a listener; "error", an exception there.
    """

    def __init__(self, kind: str, n: int) -> None:
        self.kind = kind
        self._left = n

    def _strikes(self) -> bool:
        self._left -= 1
        return self._left < 0

    @contextmanager
    def in_(self, session: Session) -> Iterator[None]:
        flag, context = session.engine.interrupt, session.engine.context
        if self.kind not in ("node", "step"):
            yield
            return
        flag.is_set = self._strikes
        if self.kind == "step":
            context.watch_interrupt = lambda on: None
        try:
            yield
        finally:
            del flag.is_set
            if self.kind == "step":
                del context.watch_interrupt

    def hear(self, _: Event) -> None:
        if self.kind in ("event", "error") and self._strikes():
            raise KeyboardInterrupt if self.kind == "event" else _DisplayError


def _difference(got: Any, wanted: Any) -> float:
    """The largest difference, of the range."""
    return float(np.abs(got - wanted).max() / np.ptp(wanted))


def machine(lab: Lab) -> Callable[[], RuleBasedStateMachine]:
    """A machine class for one lab."""
    return type(f"{lab.toy.name.title()}Machine", (Machine,), {"lab": lab})
