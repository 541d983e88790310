"""How often the demo model answers right what it was not trained on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from llmagic.demo.evaluate import EVERY, FREE, MANY, ask_all, dialogues, figures, main
from llmagic.session import Session

LEAST = {
    "describe": 0.97, "colour": 0.97, "count": 0.97, "recall": 0.97,
    "which": 0.93, "is-there": 0.93, "none": 0.93, "place": 0.93, "compare": 0.93,
    "told": 0.98, "unknown": 0.98,
}  # fmt: skip
"""Fractions of right answers, by task."""

LEAST_OF_MANY = 0.88
"""That of any task in dialogues about three or four pictures."""

LEAST_ANYWHERE = 0.92
"""That of all turns about pictures whose shapes stand anywhere."""

OTHERS = 40
"""Dialogues whose pictures are drawn otherwise."""


@pytest.fixture(autouse=True)
def _nothing_is_kept(demo: Session) -> Iterator[None]:
    yield
    demo.engine.checkpoints.tree.clear()


def test_held_out_questions_are_answered(demo: Session) -> None:
    turns = []
    for dialogue in dialogues():
        turns += ask_all(demo, dialogue)
        demo.engine.checkpoints.tree.clear()
    found = figures([one for one in turns if not one.free])
    missed = {
        (group, task, right, asked)
        for group in (EVERY, MANY)
        for task, (asked, right) in found[group].items()
        if right < asked * (LEAST_OF_MANY if group == MANY else LEAST.get(task, 0.88))
    }
    assert not missed
    assert found[EVERY]["all"][0] > 2000
    asked, right = figures(turns)[FREE]["all"]
    assert asked > 1000
    assert right >= LEAST_ANYWHERE * asked


@pytest.mark.parametrize(
    ("ratios", "plots", "least"), [(True, False, 0.95), (False, True, 0.9), (True, True, 0.85)]
)
def test_pictures_drawn_otherwise_are_answered(
    demo: Session, ratios: bool, plots: bool, least: float
) -> None:
    turns = []
    for dialogue in [one for one in dialogues() if one["scenes"]][:OTHERS]:
        turns += ask_all(demo, dialogue, ratios=ratios, plots=plots)
        demo.engine.checkpoints.tree.clear()
    asked, right = figures(turns)[EVERY]["all"]
    assert right >= least * asked


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nosuchmodel"], "expected a model"),
        (["--turns", "0"], "a number from 1 on"),
        (["--threads", "-3"], "0 to 512"),
    ],
)
def test_a_wrong_argument_is_told(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert told in capsys.readouterr().err
