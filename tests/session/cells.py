"""A notebook of six cells as a session sees it, and what each step of its life must cost.

The tokens are counted here from the text of the cells, with the bare bindings of `toys.runner`;
nothing of llmagic's template, tokenizer or sequence is asked.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from llmagic.events import Event, Prefill
from llmagic.model.context import Context
from llmagic.model.vision import Projector, Slot
from llmagic.prompt.images import picture
from llmagic.prompt.parts import ImagePart, Part, TextPart
from llmagic.sequence import Media, Sequence, Step
from llmagic.session import Session, Turn
from tests import oracle
from tests.toys import Toy
from tests.toys.runner import Runner

N_CELLS = 6
IMAGE_TOKENS = {"gemma3": 16, "qwen2vl": 9, "qwen35": 9}
"""Tokens of a 96 x 96 px image (`toys.projectors`)."""

Pixels = npt.NDArray[np.uint8]


def image(index: int) -> Pixels:
    """The picture of a cell: noise, 96 x 96 px."""
    return np.random.default_rng(index).integers(0, 256, (96, 96, 3), np.uint8)


def prose(n: int, seed: int = 0) -> str:
    """`n` English words in no order."""
    words = ["the", "a", "red", "blue", "circle", "square", "answer", "question", "image", "cell"]
    words += ["word", "that", "is", "not", "here"]
    chosen = np.random.default_rng(seed).integers(0, len(words), n)
    return " ".join(words[index] for index in chosen)


@dataclass(frozen=True)
class Cell:
    """What stands in a cell: words, one picture (on toys that see), more words."""

    before: str
    pixels: Pixels | None
    after: str

    def parts(self) -> tuple[Part, ...]:
        if self.pixels is None:
            return (TextPart(self.before + self.after),)
        return (TextPart(self.before), ImagePart(picture(self.pixels)), TextPart(self.after))


def cells(toy: Toy, *, n_words: int = 12) -> list[Cell]:
    """Six cells, with about `n_words` words after the picture; cell 3 has 150 more."""
    return [
        Cell(
            f"Look at this, number {index}. ",
            image(index) if toy.projector else None,
            f" What is in picture {index}? {prose(n_words + 150 * (index == 3), index)}.",
        )
        for index in range(N_CELLS)
    ]


class Ruler:
    """Tokens of conversations, counted piece by piece as the template writes them."""

    def __init__(self, toy: Toy) -> None:
        self._runner = Runner(toy)
        self._toy = toy
        self.begin = 1 if toy.name == "gemma3" else 0  # BOS
        self.open = self.markup("<|im_start|>user\n")
        self.close = self.markup("<|im_end|>\n")
        self.ask = self.markup("<|im_start|>assistant\n")

    def end(self) -> None:
        self._runner.close()

    def markup(self, text: str) -> int:
        return len(self._runner.tokenize(text, True))

    def plain(self, text: str) -> list[int]:
        return self._runner.tokenize(text, False)

    def image(self) -> int:
        """A picture with the tokens that open and close it."""
        return 1 + IMAGE_TOKENS[self._toy.name] + 1

    def question(self, cell: Cell, *, first: bool) -> int:
        """From the end of the reply above (or from nothing) up to the generation prompt."""
        if cell.pixels is None:
            words = len(self.plain(cell.before + cell.after))
        else:
            words = len(self.plain(cell.before)) + self.image() + len(self.plain(cell.after))
        return (self.begin if first else self.close) + self.open + words + self.close

    def new(self, cell: Cell, *, first: bool) -> int:
        """What appending a cell evaluates: all of it, and the generation prompt."""
        return self.question(cell, first=first) + self.ask

    def edit(self, old: Cell, new: Cell) -> int:
        """What an edit of a cell (not the first) evaluates, of the words after its picture."""
        assert (old.before, old.pixels is None) == (new.before, new.pixels is None)
        total = self.new(new, first=False)
        start = self.close + self.open
        if new.pixels is None:
            resume = 0  # the end of the reply above
            one, other = (self.plain(cell.before + cell.after) for cell in (old, new))
        else:
            # The end of the picture: the token that closes it comes after.
            start += len(self.plain(new.before)) + self.image()
            resume = start - 1
            one, other = (self.plain(cell.after) for cell in (old, new))
        if self._toy.memory == "attention":
            # The last place a cold run cuts at (every 128 tokens after a boundary).
            shared = next(i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)
            resume += (start + shared - resume) // 128 * 128
        return total - resume


class Costs:
    """Counts what really enters llama.cpp from one session; install with `monkeypatch`."""

    def __init__(self, monkeypatch: Any, session: Session) -> None:
        self.tokens = self.images = self.encoded = 0
        engine = session.engine
        evaluate, see, encode = Context.evaluate, Projector.evaluate, Projector.encode

        def counted_evaluate(context: Context, tokens: Any, *rest: Any, **more: Any) -> None:
            evaluate(context, tokens, *rest, **more)
            if context is engine.context:
                self.tokens += len(tokens)

        def counted_see(projector: Projector, context: Context, media: Any, *rest: Any) -> None:
            see(projector, context, media, *rest)
            if context is engine.context:
                self.tokens += media.n_tokens
                self.images += 1

        def counted_encode(projector: Projector, media: Any) -> Any:
            embedding, ran = encode(projector, media)
            self.encoded += ran
            return embedding, ran

        monkeypatch.setattr(Context, "evaluate", counted_evaluate)
        monkeypatch.setattr(Projector, "evaluate", counted_see)
        monkeypatch.setattr(Projector, "encode", counted_encode)

    def taken(self) -> tuple[int, int, int]:
        """Tokens, images evaluated and images encoded since the last call."""
        taken = self.tokens, self.images, self.encoded
        self.tokens = self.images = self.encoded = 0
        return taken


class Cold:
    """Logits from nothing, kept: the same conversation comes back in many tests."""

    def __init__(self) -> None:
        self._known: dict[tuple[object, ...], oracle.Logits] = {}

    def logits(self, session: Session, sequence: Sequence) -> oracle.Logits:
        """`oracle.cold_logits`, at most once for the same tokens, pictures and cuts."""
        key = (session.engine.fingerprint, *map(_evaluated, sequence.steps))
        if key not in self._known:
            self._known[key] = oracle.cold_logits(session, sequence)
        return self._known[key]


def _evaluated(step: Step) -> object:
    # Not the step's key: two pictures under one digest must not share what is expected.
    span = step.span
    if isinstance(span, Media):
        assert isinstance(span.handle, Slot)
        return span.handle.picture.pixels, span.handle.index
    return span.tokens, span.reply, step.boundary


class Notebook:
    """Turns in the order of their cells; running a cell again replaces its turn.

    Parameters
    ----------
    session : Session
    stored : bool
        Drop what is live before every cell, so that it must come from memory.
    cold : Cold, optional
        For `assert_exact`.
    **sampling
        Settings of every turn.
    """

    def __init__(
        self, session: Session, *, stored: bool = False, cold: Cold | None = None, **sampling: Any
    ) -> None:
        self.session = session
        self.stored = stored
        self.cold = cold or Cold()
        self.sampling = {"max_tokens": 6, **sampling}
        self.turns: list[Turn] = []
        self.before_reply: oracle.Logits | None = None

    def run(self, index: int, cell: Cell | str, **sampling: Any) -> Turn:
        """Run a cell at its place, and keep its turn there."""
        turn = self.ask(self.turns[index - 1] if index else None, cell, **sampling)
        below = self.turns[index + 1 :]
        self.turns[index:] = [turn]
        for each in below:
            self.turns.append(replace(each, parent=self.turns[-1]))
        return turn

    def ask(self, after: Turn | None, cell: Cell | str, **settings: Any) -> Turn:
        """Ask after any turn; no cell's turn changes."""
        if self.stored:
            self.session.engine.checkpoints.branches.drop_all()
        self.before_reply = None
        prompt = cell if isinstance(cell, str) else cell.parts()
        settings = {**self.sampling, **settings}
        return self.session.ask(prompt, after=after, on_event=self._hear, **settings)

    def _hear(self, event: Event) -> None:
        if isinstance(event, Prefill) and event.done == event.total:
            self.before_reply = oracle.warm_logits(self.session)

    def assert_exact(self, turn: Turn) -> None:
        """The turn just asked was exact, before its reply and after."""
        assert turn.usage["exact"] is True
        self.assert_exact_before(turn)
        whole = oracle.sequence_of(self.session, turn)
        assert_same(oracle.warm_logits(self.session), self.cold.logits(self.session, whole))

    def assert_exact_before(self, turn: Turn) -> None:
        """The turn just asked was exact before its reply."""
        assert self.before_reply is not None
        before = oracle.sequence_of(self.session, turn, with_reply=False)
        assert_same(self.before_reply, self.cold.logits(self.session, before))


def assert_same(got: oracle.Logits, wanted: oracle.Logits) -> None:
    """Equal bit for bit."""
    if not np.array_equal(got, wanted):
        difference = float(np.abs(got - wanted).max())
        raise AssertionError(
            f"logits differ by up to {difference:.3g} (range {float(np.ptp(wanted)):.3g})"
        )


def run_all(notebook: Notebook, sources: Iterable[Cell]) -> list[Turn]:
    """Every cell once, from the first to the last."""
    return [notebook.run(index, cell) for index, cell in enumerate(sources)]
