"""What a turn costs, counted where it is spent; and what prefill and decode have in common."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from llmagic.checkpoint.checkpoints import Checkpoints
from llmagic.checkpoint.live import Branch
from llmagic.errors import CheckpointError, Interrupted
from llmagic.events import Event, Notice
from llmagic.model.context import NoRoomError

Listener = Callable[[Event], None]


@dataclass
class Meter:
    """A count (tokens, images or bytes) and the time it took (s)."""

    count: int = 0
    seconds: float = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        """Adds the time of a `with` block, also when it fails."""
        begin = time.perf_counter()
        try:
            yield
        finally:
            self.seconds += time.perf_counter() - begin


class Work:
    """One turn's work in one live branch.

    Parameters
    ----------
    checkpoints : Checkpoints
        Its context evaluates; boundaries are saved there.
    branch : Branch
        Grows with every step that was evaluated whole.
    tell : callable
        Hears what happens.
    keep : bool
        Whether anything is saved.
    """

    def __init__(
        self, checkpoints: Checkpoints, branch: Branch, tell: Listener, *, keep: bool = True
    ) -> None:
        self.checkpoints = checkpoints
        self.context = checkpoints.context
        self.branch = branch
        self.tell = tell
        self._keep = keep
        self.evaluated = Meter()
        self.evaluated_images = 0
        self.encoded = Meter()
        self.saved = Meter()
        self.generated = Meter()

    def move(self, branch: Branch) -> None:
        """Go on in another branch, of the context that the checkpoints are used in now."""
        self.context = self.checkpoints.context
        self.branch = branch

    def with_room(self, position: int, evaluate: Callable[[], None]) -> None:
        """Evaluate at `position`; where cells are short, give up other branches, the oldest first.

        Raises
        ------
        NoRoomError
            This branch alone fills the context, or part of an image is in it already and cannot
            be cut off.
        """
        while True:
            try:
                return evaluate()
            except NoRoomError:
                if not self._make_room(position):
                    raise

    def evaluate_one(self, token: int, position: int) -> None:
        """Evaluate one token of a reply, as `with_room` does.

        Raises
        ------
        NoRoomError, EvaluationError
        """
        while True:
            try:
                return self.context.evaluate((token,), position, self.branch.sequence, logits=True)
            except NoRoomError:
                if not self._make_room(position):
                    raise

    def _make_room(self, position: int) -> bool:
        """Give up the oldest other branch; False where nothing is gained by trying again."""
        # An image of several batches may be half there.
        clean = self.context.cut(self.branch.sequence, position)
        return clean and self.checkpoints.branches.drop_oldest(keep=self.branch)

    def save(self, *, exact: bool) -> None:
        """At a boundary: store a checkpoint. That it fails costs a notice, not the cell.

        `exact`: an evaluation from nothing would have come here in the same pieces.

        Raises
        ------
        EvaluationError
            The branch was lost on the way.
        """
        with self.saved.running():
            # Also where nothing is kept: it is part of the arithmetic.
            settled = self.checkpoints.settle(self.branch)
            if not self._keep:
                return
            try:
                self.saved.count += self.checkpoints.save(self.branch, settled, exact=exact)
            except CheckpointError as error:
                self.tell(Notice(str(error)))

    def stop_if_interrupted(self) -> None:
        """Between two steps: give up when the user asked for it.

        Raises
        ------
        Interrupted
        """
        if self.context.interrupt.is_set():
            raise Interrupted("the turn is not part of the conversation.")
