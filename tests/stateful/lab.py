"""One toy's session and its oracle, used again and again: loading costs more than a history."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from llmagic.checkpoint.checkpoints import Checkpoints
from llmagic.checkpoint.payload import Layout
from llmagic.prompt.images import Picture, picture
from llmagic.sequence import Media, Step
from llmagic.session import Session
from llmagic.settings import Loading
from tests.stateful.cold import Cold
from tests.stateful.pieces import Piece, Place, places
from tests.toys import Toy

SMALL, LIMIT = 256, 1024
"""Tokens the context holds at first, and at most."""
PLENTY = 1 << 30
"""Bytes of checkpoints that no history fills."""

LAYOUTS = {
    "attention": [Layout.DELTA, Layout.WHOLE, Layout.NONE],
    "swa": [Layout.SPLIT, Layout.WHOLE, Layout.NONE],
    "hybrid": [Layout.SPLIT, Layout.DELTA, Layout.WHOLE, Layout.NONE],
    "recurrent": [Layout.SPLIT, Layout.DELTA, Layout.WHOLE, Layout.NONE],
}


class Lab:
    """A session to try things with.

    Parameters
    ----------
    toy : Toy
    exact : bool
        `Loading.exact`.
    """

    def __init__(self, toy: Toy, *, exact: bool) -> None:
        self.toy = toy
        self.exact = exact
        self.session = self._load()
        shape = replace(self.session.engine.context.shape, n_ctx=LIMIT)
        self.cold = Cold(toy, shape, PICTURES)
        self.worst = 0.0

    def close(self) -> None:
        self.session.close()
        self.cold.close()

    def _load(self) -> Session:
        loading = Loading(
            n_ctx=LIMIT, n_ctx_start=SMALL, n_threads=1, exact=self.exact, memory_budget=PLENTY
        )
        projector = self.toy.projector or False
        return Session(self.toy.model, projector=projector, loading=loading)

    @property
    def layouts(self) -> list[Layout]:
        """Layouts the model could be given, the one that it is given first."""
        verdict = self.session.engine.verdict.layout
        return [verdict, *(each for each in LAYOUTS[self.toy.memory] if each is not verdict)]

    def begin(self, layout: Layout) -> None:
        """As if the session had just been made, in a layout."""
        engine = self.session.engine
        engine._shape = replace(engine._shape, n_ctx=SMALL)
        engine._use(engine._shape)
        self._lay_out(layout)
        if engine.projector is not None:
            engine.projector._embeddings.clear()
        self.session.last = None

    def _lay_out(self, layout: Layout) -> None:
        engine = self.session.engine
        engine.checkpoints = Checkpoints(
            engine.context,
            engine.model.memory,
            layout,
            budget=PLENTY,
            n_sequences=engine.n_branches,
            exact=self.exact,
        )

    def reload(self, layout: Layout) -> None:
        """Another session on the same files."""
        self.session.close()
        self.session = self._load()
        self._lay_out(layout)

    @property
    def checkpoints(self) -> Checkpoints:
        return self.session.engine.checkpoints

    def stored(self) -> Iterator[Place]:
        """Places that could be resumed from memory, by the bytes that are there."""
        split = self.checkpoints.layout is Layout.SPLIT
        for node in self.checkpoints.tree:
            # Others may stand on a checkpoint whose own state had to go.
            if not split or node.payload.state is not None:
                yield from self._resumable(step for each in node.path() for step in each.steps)

    def live(self) -> Iterator[Place]:
        """Places that could be resumed in the context."""
        for branch in self.checkpoints.branches:
            yield from self._resumable(branch.steps)

    def _resumable(self, steps: Iterator[Step]) -> list[Place]:
        found = places(map(piece_of, steps))
        return found if self.checkpoints.can_cut else found[-1:]


def piece_of(step: Step) -> Piece:
    span = step.span
    if isinstance(span, Media):
        return Piece(media=span, boundary=step.boundary)
    return Piece(span.tokens, reply=span.reply, boundary=step.boundary)


def _pictures() -> list[Picture]:
    """Small ones: two that differ in one pixel, and one of another size."""
    red = np.full((56, 56, 3), (200, 30, 30), np.uint8)
    spot = red.copy()
    spot[20, 20] = (20, 20, 220)
    wide = np.random.RandomState(1).randint(0, 256, (28, 84, 3)).astype(np.uint8)
    return [picture(each) for each in (red, spot, wide)]


PICTURES = _pictures()


def letters(n: int) -> str:
    """A text of `n` tokens in any toy's vocabulary, each the beginning of the longer ones."""
    found = np.random.RandomState(5).choice(list("QXZJKVWYG"), 400)
    return "".join(found[:n])
