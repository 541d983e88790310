"""One layout tried on one story: saved at every boundary, restored there, compared bit for bit."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from llmagic.checkpoint.payload import Layout, Payload, Payloads
from llmagic.errors import CheckpointError, Interrupted
from llmagic.model.vision import Projector
from llmagic.sequence import Media, Sequence, Span, Step

LIVE, OTHER = 0, 1

Logits = list[npt.NDArray[np.float32]]


@dataclass(frozen=True)
class Sizes:
    """Bytes of a checkpoint for each of its tokens, and beside them."""

    per_token: float
    state: int


class Trial:
    """Restores a layout in every way the lookup does, and says what is not as it was.

    Parameters
    ----------
    payloads : Payloads
        In the layout to try, of an empty context. Sequences 0 and 1 are used, too.
    scratch : int
        The sequence `payloads` loads into.
    projector : Projector or None
        Encodes the images of the stories.
    """

    def __init__(
        self, payloads: Payloads, scratch: int, projector: Projector | None = None
    ) -> None:
        self._payloads = payloads
        self._scratch = scratch
        self._context = payloads.context
        self._projector = projector
        self.restores = 0

    def clear(self) -> None:
        """Empty the context."""
        for sequence in (LIVE, OTHER, self._scratch):
            self._context.clear(sequence)

    def differs(self, story: Sequence, other: Sequence | None = None) -> str | None:
        """What restoring `story` anywhere changes; None when nothing does.

        `other` has spans like `story` one by one: after each place it is continued with those of
        `other`, too.
        """
        saved, wanted = self._evaluate_all(story)
        payloads = [payload for _, payload in saved]
        for place, (index, _) in enumerate(saved):
            for way, restore in self._ways(payloads, place + 1):
                reason = self._compare(story, index, wanted, restore)
                if reason is not None:
                    return f"{way} after {story.steps[index].stop} tokens: {reason}"
        if other is not None:
            return self._differs_elsewhere(story, other, saved)
        return None

    def depends(self, story: Sequence, other: Sequence) -> bool:
        """Whether the last logits depend on what a restore brings back at all.

        Only then do equal logits say anything: `story` and what `other` makes of its beginning,
        both with the last span of `story`, must differ.
        """
        _, wanted = self._evaluate_all(story)
        _, got = self._evaluate_all(Sequence((*other.spans[:-1], story.spans[-1])))
        return not np.array_equal(wanted[-1], got[-1])

    def _differs_elsewhere(
        self, story: Sequence, other: Sequence, saved: list[tuple[int, Payload]]
    ) -> str | None:
        """Like `differs` in the middle of the story, going on with the rest of `other`."""
        place = len(saved) // 2
        index = saved[place][0]
        n_spans = _spans_until(story.spans, story.steps[index].stop)
        mixed = Sequence((*story.spans[:n_spans], *other.spans[n_spans:]))
        _, wanted = self._evaluate_all(mixed)
        for way, restore in self._ways([payload for _, payload in saved], place + 1):
            reason = self._compare(mixed, index, wanted, restore)
            if reason is not None:
                at = story.steps[index].stop
                return f"{way} after {at} tokens, going on with another text: {reason}"
        return None

    def _ways(self, payloads: list[Payload], n: int) -> list[tuple[str, Callable[[], object]]]:
        """How a lookup may bring back the first `n` payloads (`Checkpoints._try_load`)."""
        ways: list[tuple[str, Callable[[], object]]] = [
            ("restored", lambda: self._payloads.put(OTHER, payloads[:n], payloads[n - 1]))
        ]
        if n < len(payloads) and self._payloads.layout is not Layout.WHOLE:
            ways.append(("forked", lambda: self._fork(payloads, n)))
            if self._payloads.memory.can_be_cut:
                ways.append(("cut", lambda: self._cut(payloads, n)))
        return ways

    def _fork(self, payloads: list[Payload], n: int) -> None:
        """Share what a branch that is further along holds, and load only what ends there."""
        put, memory = self._payloads.put, self._payloads.memory
        put(LIVE, payloads, payloads[-1])
        # A delta holds rows and state in one blob, so the last one is always loaded.
        joined = self._payloads.layout is Layout.DELTA and not memory.can_be_cut
        known = n - joined
        if known:
            self._context.copy(LIVE, OTHER, 0, payloads[known - 1].stop)
        # Its cells in between would move the last bits: see `Payloads.settle`.
        self._context.clear(LIVE)
        put(OTHER, payloads[known:n], payloads[n - 1])

    def _cut(self, payloads: list[Payload], n: int) -> None:
        """Load one more, and cut it off."""
        self._payloads.put(OTHER, payloads[: n + 1], payloads[n])
        if not self._context.cut(OTHER, payloads[n - 1].stop):
            raise CheckpointError("the restored rows could not be cut.")

    def _compare(
        self, story: Sequence, index: int, wanted: Logits, restore: Callable[[], object]
    ) -> str | None:
        self.clear()
        restore()
        self.restores += 1
        _, got = self._evaluate(story.steps[index + 1 :], OTHER)
        for mine, theirs in zip(got, wanted[len(wanted) - len(got) :], strict=True):
            if not np.array_equal(mine, theirs):  # bit for bit
                worst = float(np.abs(mine - theirs).max())
                return f"the logits differ by up to {worst:.3g} of {float(np.ptp(theirs)):.3g}"
        return None

    def _evaluate_all(self, story: Sequence) -> tuple[list[tuple[int, Payload]], Logits]:
        """From nothing, saving at the boundaries: (index of the step, payload)s and logits."""
        self.clear()
        return self._evaluate(story.steps, LIVE)

    def _evaluate(
        self, steps: Iterable[Step], sequence: int
    ) -> tuple[list[tuple[int, Payload]], Logits]:
        saved: list[tuple[int, Payload]] = []
        logits: Logits = []
        start = 0
        for index, step in enumerate(steps):
            self._step(step, sequence)
            if not isinstance(step.span, Media):
                logits.append(self._context.logits())
            if step.boundary is not None:
                end = self._payloads.settle(sequence, step.next_position)
                if sequence == LIVE:
                    stop = step.next_position
                    saved.append((index, self._payloads.take(sequence, start, stop, end)))
                    start = stop
        return saved, logits

    def _step(self, step: Step, sequence: int) -> None:
        span, context = step.span, self._context
        if context.interrupt.is_set():
            raise Interrupted("a layout was not tried to its end.")
        if isinstance(span, Media):
            assert self._projector is not None
            embedding, _ = self._projector.encode(span)
            self._projector.evaluate(context, span, embedding, step.position, sequence)
        elif span.reply:
            for index, token in enumerate(span.tokens):
                context.evaluate([token], step.position + index, sequence, logits=True)
        else:
            context.evaluate(span.tokens, step.position, sequence, logits=True)

    def sizes(self, story: Sequence) -> Sizes:
        """What checkpoints of this layout cost, from the first and the last of a story."""
        saved = [payload for _, payload in self._evaluate_all(story)[0]]
        self.clear()
        if self._payloads.layout is Layout.WHOLE:
            points = [(each.stop, each.n_bytes) for each in saved]
            per_token, rest = _line(points)
            return Sizes(per_token, max(int(rest), 0))
        rows = [(each.stop - each.start, each.rows) for each in saved]
        per_token, rest = _line([(n, 0 if each is None else each.nbytes) for n, each in rows])
        ends = [(each.stop, 0 if each.state is None else each.state.nbytes) for each in saved]
        n_swa = self._context.model.n_swa
        # A window's state grows until the window is full.
        slope, fixed = _line([end for end in ends if end[0] <= n_swa]) if n_swa else (0.0, 0.0)
        state = fixed + slope * n_swa if slope else float(ends[-1][1])
        return Sizes(per_token, int(max(rest, 0) + state))


def _line(points: list[tuple[int, int]]) -> tuple[float, float]:
    """Slope and offset of a line through the points with the least and the most x."""
    if not points:
        return 0.0, 0.0
    (x, y), (z, w) = min(points), max(points)
    slope = (w - y) / (z - x) if z != x else 0.0
    return slope, y - slope * x


def _spans_until(spans: Collection[Span], stop: int) -> int:
    """How many spans make up the first `stop` tokens."""
    n_tokens = 0
    for index, span in enumerate(spans):
        if n_tokens == stop:
            return index
        n_tokens += span.n_tokens
    return len(spans)
