"""What strangers ask the demo model: which replies count, and that most of the plain ones do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random

import pytest

from llmagic.session import Session
from training.strangers import ask, cases, has, names, yes


@pytest.fixture(autouse=True)
def _nothing_is_kept(demo: Session) -> Iterator[None]:
    yield
    demo.engine.checkpoints.tree.clear()


@pytest.mark.parametrize(
    ("right", "reply", "counts"),
    [
        (names([("red", "star"), ("blue", "circle")]), "A blue circle and a red star.", True),
        (names([("red", "star")]), "A red star and a blue circle.", False),
        (names([("red", "star"), ("red", "star")]), "A red star.", False),
        (has("two|2"), "There are two.", True),
        (has("two|2"), "Twenty.", False),
        (has("left"), "On the left.", True),
        (yes(True), "Yes.", True),
        (yes(False), "Yes.", False),
    ],
)
def test_a_reply_counts_when_it_says_the_right_thing(
    right: Callable[[str], bool], reply: str, counts: bool
) -> None:
    assert right(reply) is counts


def test_every_case_asks_something_whose_answer_is_judged() -> None:
    for name, case in cases().items():
        talk = next(case(Random(name)))
        assert talk[-1][2], name


@pytest.mark.parametrize(
    ("case", "least"),
    [
        ("1 anywhere", 0.9),
        ("2 anywhere", 0.85),
        ("two on black", 0.85),
        ("two pictures at once", 0.85),
        ("what is left of", 0.85),
        ("WHAT WAS IN THE FIRST PICTURE?", 0.85),
    ],
)
def test_most_of_what_strangers_ask_plainly_is_answered(
    demo: Session, case: str, least: float
) -> None:
    right = [one for talk in cases()[case](Random(case)) for one in ask(demo, talk)]
    assert len(right) >= 24
    assert sum(right) >= least * len(right)
