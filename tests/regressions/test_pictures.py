"""Which picture stands where: what a cache by position, by file or by size would confuse."""

from __future__ import annotations

import numpy as np
import pytest

from llmagic.sequence import Boundary
from llmagic.session import Session, Turn
from tests.oracle import sequence_of
from tests.regressions.checks import (
    LONG,
    SEES,
    Opens,
    Pixels,
    ask,
    assert_right,
    assert_stored_right,
    cold,
    end,
    forget_live,
    forgetful,
    images,
    media_of,
    noise,
    restored,
    stops,
)
from tests.toys import Toy

pytestmark = pytest.mark.parametrize("toy", SEES, indirect=True)
CAT, DOG, OWL = noise(1), noise(2), noise(3)


class Desk:
    """Asks first questions, after forgetting what is live where only the store is to help."""

    def __init__(self, session: Session, stored: bool) -> None:
        self.session, self._stored = session, stored

    def ask(self, *items: str | Pixels) -> Turn:
        if self._stored:
            forget_live(self.session)
        turn = ask(self.session, *items, after=None, system="You see.")
        assert_right(self.session, turn)
        return turn

    def image_ends(self, turn: Turn) -> list[int]:
        return stops(self.session, turn, Boundary.IMAGE)


@pytest.fixture
def desk(session: Session, stored: bool) -> Desk:
    return Desk(session, stored)


def logits_before_reply(session: Session, turn: Turn) -> np.ndarray:
    with forgetful(session):
        before = sequence_of(session, turn, with_reply=False)
        return cold(session, before.steps, media_of(before))[0]


def test_two_images_side_by_side(desk: Desk) -> None:
    first = desk.ask(CAT, DOG, "Which one?")
    one, two = desk.image_ends(first)
    words = desk.ask(CAT, DOG, "What else?")
    assert (restored(words), images(words)) == (two, (0, 0))
    other = desk.ask(CAT, OWL, "Which one?")
    assert images(other) == (1, 1)
    assert one <= restored(other) < two
    swapped = desk.ask(DOG, CAT, "Which one?")
    assert images(swapped) == (2, 0)
    assert restored(swapped) < one
    again = desk.ask(CAT, DOG, "Which one?")
    assert again.tokens == first.tokens
    assert images(again) == (0, 0)
    assert_stored_right(desk.session)


def test_image_first_without_anything_before(session: Session, stored: bool) -> None:
    first = ask(session, CAT, "What?", after=None)
    assert_right(session, first)
    follow = ask(session, "And?")
    if stored:
        forget_live(session)
    other = ask(session, CAT, "Which?", after=None)
    assert (restored(other), images(other)) == (stops(session, first, Boundary.IMAGE)[0], (0, 0))
    assert_right(session, other)
    if stored:
        forget_live(session)
    after = ask(session, "So?", after=follow)
    assert restored(after) == end(follow)
    assert_right(session, after)


def test_image_last(session: Session, stored: bool) -> None:
    first = ask(session, LONG, CAT, after=None)
    assert_right(session, first)
    if stored:
        forget_live(session)
    other = ask(session, LONG, DOG, after=None)
    assert images(other) == (1, 1)
    cuts = session.engine.checkpoints.can_cut
    assert restored(other) == (before_image(session, first) if cuts else 0)
    assert_right(session, other)
    if stored:
        forget_live(session)
    more = ask(session, LONG, CAT, DOG, after=None)
    assert (restored(more), images(more)) == (stops(session, first, Boundary.IMAGE)[0], (1, 0))
    assert_right(session, more)


def before_image(session: Session, turn: Turn) -> int:
    steps = sequence_of(session, turn).steps
    return next(step.start for step in steps if step.boundary is Boundary.IMAGE)


def test_nothing_but_an_image(desk: Desk) -> None:
    first = desk.ask(CAT)
    assert desk.ask(DOG).tokens
    again = desk.ask(CAT)
    assert again.tokens == first.tokens
    assert images(again) == (0, 0)


def test_same_image_twice(desk: Desk) -> None:
    first = desk.ask("Is ", CAT, "the same as ", CAT, "?")
    assert images(first) == (2, 1)
    one, two = desk.image_ends(first)
    other = desk.ask("Is ", CAT, "the same as ", DOG, "?")
    assert images(other) == (1, 1)
    assert one <= restored(other) < two
    words = desk.ask("Is ", CAT, "the same as ", CAT, "or not?")
    assert (restored(words), images(words)) == (two, (0, 0))
    # The second picture must not be found where the first one is, nor the other way round.
    dogs = desk.ask("Is ", DOG, "the same as ", CAT, "?")
    assert images(dogs) == (2, 0)
    assert restored(dogs) < one
    thrice = desk.ask(CAT, CAT, CAT)
    assert images(thrice) == (3, 0)


def test_same_image_in_two_turns(session: Session, stored: bool) -> None:
    first = ask(session, CAT, "What?", after=None)
    if stored:
        forget_live(session)
    second = ask(session, CAT, "What?")
    assert (restored(second), images(second)) == (end(first), (1, 0))
    assert_right(session, second)


def test_images_that_differ_in_one_pixel(desk: Desk) -> None:
    almost = CAT.copy()
    almost[48, 48] ^= 0xFF
    first = desk.ask("See ", CAT, "now.")
    second = desk.ask("See ", almost, "now.")
    assert images(second) == (1, 1)
    assert restored(second) < desk.image_ends(first)[0]
    both = [logits_before_reply(desk.session, turn) for turn in (first, second)]
    assert not np.array_equal(*both), "the toy cannot tell the images apart"
    again = desk.ask("See ", CAT, "now.")
    assert images(again) == (0, 0)
    pair = desk.ask(CAT, almost, "?")
    assert images(pair) == (2, 0)


def test_images_of_equal_bytes_and_different_size(desk: Desk) -> None:
    wide = noise(4, 64, 128)
    tall = np.ascontiguousarray(wide).reshape(128, 64, 3)
    assert wide.tobytes() == tall.tobytes()
    first = desk.ask("See ", wide, "now.")
    second = desk.ask("See ", tall, "now.")
    assert images(second) == (1, 1)
    assert restored(second) < desk.image_ends(first)[0]
    both = [logits_before_reply(desk.session, turn) for turn in (first, second)]
    assert not np.array_equal(*both), "the toy cannot tell the images apart"
    assert images(desk.ask("See ", wide, "now.")) == (0, 0)


def test_edit_that_changes_only_the_number_of_image_tokens(desk: Desk, toy: Toy) -> None:
    """The same picture, resized: one colour, so that nothing else tells them apart."""
    small, large = (np.full((side, side, 3), 90, np.uint8) for side in (96, 192))
    first = desk.ask("See ", small, "now.")
    follow = ask(desk.session, "And then?", after=first)
    second = desk.ask("See ", large, "now.")
    assert images(second) == (1, 1)
    assert restored(second) < desk.image_ends(first)[0]
    if toy.name != "gemma3":  # which makes 16 tokens of any picture
        assert desk.image_ends(second)[0] > desk.image_ends(first)[0]
    undone = ask(desk.session, "And then?", after=first)
    assert undone.tokens == follow.tokens
    assert images(undone) == (0, 0)
    assert_right(desk.session, undone)
    assert_right(desk.session, ask(desk.session, "And then?", after=second))
    assert_stored_right(desk.session)


def test_another_session_sees_the_same(desk: Desk, toy: Toy, open_session: Opens) -> None:
    """After many pictures, the answer is that of a session that never saw another one."""
    for seed in range(5, 9):
        desk.ask("See ", noise(seed), CAT, "now.")
    last = desk.ask("See ", DOG, CAT, "now.")
    here = desk.session.engine.context.logits()
    there = open_session(toy)
    turn = ask(there, "See ", DOG, CAT, "now.", after=None, system="You see.")
    assert turn.tokens == last.tokens
    assert np.array_equal(here, there.engine.context.logits())
