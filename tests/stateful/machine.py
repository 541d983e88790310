"""Random histories of a conversation, every step of which is compared with the oracle."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, initialize, invariant, precondition, rule

from llmagic.checkpoint.payload import Layout
from llmagic.prompt.parts import ImagePart, Part, TextPart
from llmagic.sequence import Media
from llmagic.session import Turn
from llmagic.settings import Sampling
from tests.stateful.checks import Checks
from tests.stateful.lab import LIMIT, PICTURES, PLENTY, Lab, letters
from tests.stateful.trouble import OCCASIONS, Trouble

LENGTHS = st.sampled_from((0, 0, 40, 118, 128, 150, 150, 260))
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
WHEN = st.builds(lambda eighth, rest: 25 * eighth + rest, st.integers(0, 7), st.integers(0, 24))
"""A number below 200. Of large integers and of floats Hypothesis takes some from the modules that
happen to be loaded, and histories must depend on the code alone."""
knows = precondition(lambda machine: len(machine.knowledge) > 0)
"""Where nothing is known yet, nothing can be forgotten."""


class Machine(Checks):
    """Somebody writes a notebook, and things happen to the session."""

    turns = Bundle("turns")

    @initialize(pick=st.sampled_from((0, 0, 0, 0, 0, 1, 2, 3)))
    def begin(self, pick: int) -> None:
        layouts = self.lab.layouts
        self.reset(layouts[min(pick, len(layouts) - 1)])

    # What the author does -------------------------------------------------------------------

    @rule(target=turns, parts=PARTS, system=SYSTEMS, sampling=SAMPLINGS)
    def start(self, parts: tuple[Part, ...], system: str, sampling: Sampling) -> Any:
        return self.ask(parts, None, system, sampling)

    @rule(target=turns, parts=PARTS, sampling=SAMPLINGS)
    def go_on(self, parts: tuple[Part, ...], sampling: Sampling) -> Any:
        return self.ask(parts, self.session.last, None, sampling)

    @rule(target=turns, turn=turns, parts=PARTS, sampling=SAMPLINGS)
    def branch(self, turn: Turn, parts: tuple[Part, ...], sampling: Sampling) -> Any:
        """Also what comes after later cells were deleted."""
        return self.ask(parts, turn, None, sampling)

    @rule(target=turns, turn=turns, index=st.integers(0, 2), words=WORDS, picture=IMAGES)
    def edit(self, turn: Turn, index: int, words: TextPart, picture: ImagePart) -> Any:
        parts = list(turn.parts)
        index %= len(parts)
        parts[index] = words if isinstance(parts[index], TextPart) else picture
        return self.ask(tuple(parts), turn.parent, turn.system, turn.sampling)

    @rule(target=turns, turn=turns)
    def again(self, turn: Turn) -> Any:
        """Run a cell again, or undo what was done to it."""
        return self.ask(turn.parts, turn.parent, turn.system, turn.sampling)

    @rule(target=turns, turn=turns, seed=SEEDS)
    def resample(self, turn: Turn, seed: int | None) -> Any:
        sampling = replace(turn.sampling, seed=seed, temperature=1.5)
        return self.ask(turn.parts, turn.parent, turn.system, sampling)

    @rule(target=turns, turn=turns, after=turns)
    def move(self, turn: Turn, after: Turn) -> Any:
        """A cell runs in another place, or below others that were edited."""
        return self.ask(turn.parts, after, turn.system, turn.sampling)

    @rule(target=turns, turn=turns)
    def delete_above(self, turn: Turn) -> Any:
        above = turn.parent.parent if turn.parent is not None else None
        return self.ask(turn.parts, above, turn.system, turn.sampling)

    @rule(target=turns, turn=turns, at=st.integers(0, 8), size=st.integers(1, 3))
    def stop_inside(self, turn: Turn, at: int, size: int) -> Any:
        """Draw a reply again that a stop text now ends early."""
        at = min(at, max(0, len(turn.text) - size))
        stop = turn.text[at : at + size]
        sampling = replace(turn.sampling, stop=(stop,) if stop else ())
        return self.ask(turn.parts, turn.parent, turn.system, sampling)

    # What happens meanwhile -----------------------------------------------------------------

    @rule(
        target=turns,
        parts=PARTS,
        sampling=SAMPLINGS,
        kind=st.sampled_from(tuple(OCCASIONS)),
        when=WHEN,
    )
    def interrupt(self, parts: tuple[Part, ...], sampling: Sampling, kind: str, when: int) -> Any:
        trouble = Trouble(kind, when * OCCASIONS[kind] // 200)
        return self.ask(parts, self.session.last, None, sampling, trouble)

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
        self.forget_the_lost()

    @knows
    @rule(budget=st.sampled_from((PLENTY, 0, 8 << 10, 60 << 10, 300 << 10, 1000 << 10)))
    def set_budget(self, budget: int) -> None:
        tree = self.lab.checkpoints.tree
        tree.budget = budget
        tree.evict()
        self.tight = self.layout is Layout.NONE or budget < PLENTY
        self.forget_the_lost()

    @knows
    @rule(what=st.sampled_from(("context", "embeddings")))
    def forget(self, what: str) -> None:
        if what == "context":
            self.lab.checkpoints.branches.drop_all()
            self.context_goes()
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
            self.context_goes()
        self.session.engine._make_room(n - 1, 1, lambda event: None)

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


def machine(lab: Lab) -> type[Machine]:
    """A machine class for one lab."""
    return type(f"{lab.toy.name.title()}Machine", (Machine,), {"lab": lab})
