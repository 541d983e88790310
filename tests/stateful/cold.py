"""The logits a turn must give: everything evaluated from nothing, in a context of its own.

Its model, projector and context are not the session's; of llmagic it uses what calls llama.cpp,
and nothing of the lookup, the tree, the live branches, the payloads or the sequence's steps.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from llmagic.checkpoint.payload import Layout
from llmagic.model.context import Context, Shape
from llmagic.model.loading import Model
from llmagic.model.vision import Projector
from llmagic.prompt.images import Picture
from llmagic.sequence import Media
from tests.stateful.pieces import Piece
from tests.toys import Toy

Logits = npt.NDArray[np.float32]
State = npt.NDArray[np.uint8]

HEADER = 8
"""Bytes before a state's body: they name the sequence it was read from, and so do its rows."""


class Cold:
    """Evaluates pieces from nothing, as often as one likes.

    Parameters
    ----------
    toy : Toy
    shape : Shape
        That of the session's context; its number of cells may be another.
    pictures : iterable of Picture
        All that will be seen.
    """

    def __init__(self, toy: Toy, shape: Shape, pictures: Iterable[Picture]) -> None:
        self.model = Model(toy.model)
        self.projector: Projector | None = None
        # Placed and encoded by itself: what the session made of them is not taken on trust.
        self._media: dict[bytes, Media] = {}
        if toy.projector is not None:
            self.projector = Projector(self.model, toy.projector, n_threads=1, budget=1 << 30)
            for picture in pictures:
                for span in self.projector.place(picture):
                    if isinstance(span, Media):
                        self._media[span.digest] = span
        self.context = Context(self.model, shape)
        self._sequence, self._scratch = 0, shape.n_sequences - 1

    def close(self) -> None:
        for part in (self.context, self.projector, self.model):
            if part is not None:
                part.close()

    def logits(
        self, pieces: Iterable[Piece], layout: Layout, *, sequence: int = 0, settled: bool = True
    ) -> Logits:
        """Logits after the last piece, (1, n_vocab); a reply's come with those before each of its
        tokens, (1 + n_tokens, n_vocab). A window is put into place at every boundary if `settled`
        and the layout is one that can be restored.
        """
        settled = settled and layout is not Layout.NONE
        context = self.context
        context.clear(self._sequence)
        self._sequence = sequence
        rows: list[Logits] = []
        position = 0
        for piece in pieces:
            if piece.media is not None:
                self._see(piece.media, position)
                rows = []
            elif piece.reply:
                rows = [context.logits()]
                for index, token in enumerate(piece.tokens):
                    context.evaluate([token], position + index, self._sequence, logits=True)
                    rows.append(context.logits())
            else:
                context.evaluate(piece.tokens, position, self._sequence, logits=True)
                rows = [context.logits()]
            position += piece.n_positions
            if piece.boundary is not None and self.model.n_swa and settled:
                self._settle(position, layout)
        return np.array(rows)

    def state(self) -> State:
        """Everything the context holds after `logits`."""
        return self.context.read(self._sequence)[HEADER:]

    def _see(self, media: Media, position: int) -> None:
        assert self.projector is not None
        own = self._media[media.digest]
        assert (own.n_tokens, own.n_positions) == (media.n_tokens, media.n_positions)
        embedding, _ = self.projector.encode(own)
        self.projector.evaluate(self.context, own, embedding, position, self._sequence)

    def _settle(self, position: int, layout: Layout) -> None:
        """Put a sliding window where a restore puts it: from the first free cell on."""
        context = self.context
        if layout is Layout.SPLIT:
            start = max(0, position - self.model.n_swa)
            context.copy(self._sequence, self._scratch, start, position)
            window = context.read(self._scratch, partial=True)
            context.clear(self._scratch)
            assert context.write(self._sequence, window, partial=True)
            assert context.cut(self._sequence, position)
        else:
            assert context.write(self._sequence, context.read(self._sequence))
