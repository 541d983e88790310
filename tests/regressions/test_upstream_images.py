"""What went wrong in llama-server's context checkpoints when there are images.

Every test is named after the issue or pull request in ggml-org/llama.cpp. Their common cause: an
image takes as many cells as tokens, but (under M-RoPE) fewer positions, and one number stood for
both.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from llmagic.engine.engine import Outcome
from llmagic.errors import PromptError
from llmagic.model.context import Context
from llmagic.model.vision import Projector
from llmagic.sequence import CHUNK, Boundary, Media, Sequence
from llmagic.session import Session
from llmagic.settings import Sampling
from tests.oracle import sequence_of
from tests.regressions.checks import (
    LONG,
    SEES,
    ask,
    assert_right,
    assert_stored_right,
    end,
    evaluated,
    forget_embeddings,
    forget_live,
    images,
    noise,
    prompt,
    restored,
    stops,
)
from tests.toys import Toy

pytestmark = pytest.mark.parametrize("toy", SEES, indirect=True)
SYSTEM = "You are a helpful assistant."
CAT, DOG = noise(1), noise(2)


def test_issue_19690_every_turn_with_an_image_above(session: Session, stored: bool) -> None:
    """With a projector there were no checkpoints (19747): a hybrid model evaluated all again."""
    first = ask(session, "What is in ", CAT, "this picture?", after=None, system=SYSTEM)
    assert images(first) == (1, 1)
    turns = [first]
    for words in ("Which colour?", LONG, "And its name?"):
        if stored:
            forget_live(session)
            forget_embeddings(session)
        turns.append(ask(session, words))
        assert restored(turns[-1]) == end(turns[-2])
        assert images(turns[-1]) == (0, 0)
        assert_right(session, turns[-1])
    with_another = ask(session, "And ", DOG, "this?", after=turns[1])
    assert restored(with_another) == end(turns[1])
    assert images(with_another) == (1, 1)
    assert_right(session, with_another)
    assert_stored_right(session)


def test_issue_19849_tokens_are_not_positions(session: Session, toy: Toy, stored: bool) -> None:
    """The number of tokens was taken for the next position, so what followed stood too far on."""
    first = ask(session, CAT, LONG, DOG, LONG, "End.", after=None)
    whole = sequence_of(session, first)
    if toy.name != "gemma3":
        assert whole.n_positions < whole.n_tokens
    assert_right(session, first)
    if stored:
        forget_live(session)
    # As much text again as stands before its end, and after both images.
    other = ask(session, CAT, LONG, DOG, LONG, "Else.", after=None)
    last_image = stops(session, first, Boundary.IMAGE)[-1]
    if toy.memory == "attention":
        kept = prompt(other) - last_image
        assert restored(other) > last_image
        assert restored(other) == last_image + (kept - 1) // CHUNK * CHUNK
    else:
        assert restored(other) == last_image
    assert images(other) == (0, 0)
    assert_right(session, other)


@dataclass
class Spy:
    """What llama.cpp was asked to evaluate: tokens (an image as its digest) and positions."""

    items: list[int | bytes] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)

    def watch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        evaluate, see = Context.evaluate, Projector.evaluate

        def text(context: Context, tokens: Any, position: int, *args: Any, **more: Any) -> None:
            self.items += list(tokens)
            self.positions += range(position, position + len(tokens))
            evaluate(context, tokens, position, *args, **more)

        def image(
            projector: Projector, context: Context, media: Media, embedding: Any, *place: int
        ) -> None:
            self.items.append(media.digest)
            self.positions.append(place[0])
            see(projector, context, media, embedding, *place)

        monkeypatch.setattr(Context, "evaluate", text)
        monkeypatch.setattr(Projector, "evaluate", image)

    def wanted(self, sequence: Sequence, start: int) -> None:
        """What must be evaluated of a sequence after its first `start` tokens."""
        token = position = 0
        for span in sequence.spans:
            if isinstance(span, Media):
                if token >= start:
                    self.items.append(span.digest)
                    self.positions.append(position)
            else:
                for index, item in enumerate(span.tokens):
                    if token + index >= start:
                        self.items.append(item)
                        self.positions.append(position + index)
            token, position = token + span.n_tokens, position + span.n_positions


def test_issue_19901_first_position_after_an_image(
    session: Session, stored: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a restore behind an image, one token too many was taken for known."""
    asked = ("See ", CAT, DOG, " and ", CAT, ".")
    first = ask(session, *asked, after=None, system=SYSTEM)
    spy = Spy()
    spy.watch(monkeypatch)
    for n in range(1, len(asked)):
        if stored:
            forget_live(session)
        spy.items.clear()
        spy.positions.clear()
        turn = ask(session, *asked[:n], "X", after=None, system=SYSTEM)
        wanted = Spy()
        wanted.wanted(sequence_of(session, turn), restored(turn))
        assert spy == wanted
        ends = stops(session, first, Boundary.IMAGE)
        n_images = sum(not isinstance(item, str) for item in asked[:n])
        assert restored(turn) >= ([0, *ends])[n_images]
        assert images(turn)[0] == 0
    monkeypatch.undo()
    assert_right(session, turn)
    assert_stored_right(session)


def test_issue_26994_other_words_after_the_same_image(session: Session, stored: bool) -> None:
    """[image][changed text] encoded and evaluated the image again at each change."""
    first = ask(session, CAT, "What is it?", after=None)
    (image,) = stops(session, first, Boundary.IMAGE)
    for words in ("Which colour?", LONG, "What is that?", "W"):
        if stored:
            forget_live(session)
        forget_embeddings(session)
        turn = ask(session, CAT, words, after=None)
        assert images(turn) == (0, 0)
        assert restored(turn) == image
        assert evaluated(turn) == prompt(turn) - image
        assert_right(session, turn)
    if stored:
        forget_live(session)
    undone = ask(session, CAT, "What is it?", after=None)
    assert undone.tokens == first.tokens
    assert restored(undone) == stops(session, first, Boundary.USER)[-1]


def test_issue_16590_common_part_ends_with_an_image(session: Session, stored: bool) -> None:
    """A prefix kept just up to the end of an image lost the image's last token, or aborted."""
    first = ask(session, "See ", CAT, "now.", after=None)
    (image,) = stops(session, first, Boundary.IMAGE)
    for rest, n_images in (((), 0), ((DOG,), 1), (("then.",), 0)):
        if stored:
            forget_live(session)
        turn = ask(session, "See ", CAT, *rest, after=None)
        assert restored(turn) == image
        assert images(turn)[0] == n_images
        assert_right(session, turn)


def test_issue_16590_prompt_ends_with_an_image(session: Session) -> None:
    """No text at all after the last image: there are no logits, and drawing from them aborts."""
    first = ask(session, "See ", CAT, "now.", after=None)
    spans = sequence_of(session, first).spans
    cut = next(index for index, span in enumerate(spans) if isinstance(span, Media))
    sequence = Sequence(spans[: cut + 1], seed=session.engine.fingerprint)
    with pytest.raises(PromptError, match="expected text after the last image"):
        session.engine.answer(sequence, Sampling(), lambda _: None, Outcome())
    assert_right(session, ask(session, "See ", CAT, "then.", after=None))
