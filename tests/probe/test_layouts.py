"""Every layout through a session, on every kind of memory: right answers, honest usage."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest

from llmagic.checkpoint import probe
from llmagic.checkpoint.payload import Layout
from llmagic.checkpoint.trial import Trial
from llmagic.engine import engine
from llmagic.errors import ContextFullError
from llmagic.events import Event, Notice
from llmagic.model.context import Context
from llmagic.session import Session, Turn
from tests.oracle import assert_exact, cold_logits, sequence_of, warm_logits
from tests.probe.conftest import Opens
from tests.toys import Toy

Forced = Callable[[Toy, Layout], Session]


@pytest.fixture
def forced(open_session: Opens, store: Path, monkeypatch: pytest.MonkeyPatch) -> Forced:
    def opened(toy: Toy, layout: Layout) -> Session:
        shutil.rmtree(store, ignore_errors=True)  # nothing is remembered
        only = [] if layout is Layout.NONE else [layout]
        monkeypatch.setattr(probe, "candidates", lambda *_: only)
        session = open_session(toy)
        assert session.status()["layout"] == layout.value
        return session

    return opened


def _notebook(session: Session, *, long: int = 40) -> list[Turn]:
    """Three cells, with a picture each where the model can see; past gemma3's window."""
    generator = np.random.default_rng(0)
    turns: list[Turn] = []
    for index in range(3):
        pixels = generator.integers(0, 256, (96, 96, 3), np.uint8)
        turns.append(
            session.ask(
                f"Cell {index}. " + "some words " * long,
                images=[pixels] if session.engine.projector is not None else [],
                max_tokens=12,
                temperature=0,
            )
        )
        assert_exact(session, turns[-1])
    return turns


def _again(session: Session, turn: Turn, notices: list[Event] | None = None) -> Turn:
    heard = notices if notices is not None else []
    return session.ask(
        turn.parts, after=turn.parent, max_tokens=12, temperature=0, on_event=heard.append
    )


def _layouts(toy: Toy) -> list[Layout]:
    everything = [Layout.DELTA, Layout.WHOLE]
    return everything if toy.memory == "attention" else [Layout.SPLIT, *everything]


def test_every_layout_answers_as_if_evaluated_from_nothing(toy: Toy, forced: Forced) -> None:
    for layout in _layouts(toy):
        if layout is Layout.DELTA and toy.memory == "swa":
            continue  # never a candidate: see the test below
        session = forced(toy, layout)
        turns = _notebook(session)
        for turn in (turns[0], turns[2], turns[1]):
            again = _again(session, turn)
            assert again.id == turn.id
            assert again.usage["exact"] is True
            # Only the generation prompt.
            assert again.usage["evaluated"]["tokens"] < 8
            assert_exact(session, again)
        edited = session.ask("And this one?", after=turns[0], max_tokens=4, temperature=0)
        n_kept = turns[0].usage["prompt"]["tokens"] + len(turns[0].tokens)
        assert edited.usage["restored"]["tokens"] == n_kept
        assert_exact(session, edited)


def test_whole_blobs_are_counted_whole(toy_named, forced: Forced) -> None:
    session = forced(toy_named("llama"), Layout.WHOLE)
    turns = _notebook(session)
    usage = _again(session, turns[1]).usage
    assert usage["restored"]["tier"] == "memory"
    # 3 layers, keys and values of 64 in 2 bytes, and 12 bytes that say where a token is.
    n_bytes = usage["restored"]["tokens"] * (3 * 2 * 64 * 2 + 12)
    assert usage["restored"]["bytes"] == pytest.approx(n_bytes, abs=200)


def test_a_window_is_never_put_together_from_deltas(toy_named, open_session: Opens) -> None:
    toy = toy_named("gemma3")
    model = open_session(toy).engine.model
    found = probe.candidates(model.header.architecture, model.memory, model.n_swa)
    assert Layout.DELTA not in found


# Nothing is exact -------------------------------------------------------------------------------


def test_without_an_exact_layout_checkpoints_are_off(toy: Toy, forced: Forced) -> None:
    session = forced(toy, Layout.NONE)
    status = session.status()
    assert status["layout"] == "none"
    assert status["exact"] is False
    turns = _notebook(session)
    assert session.status()["checkpoints"]["count"] == 0
    assert all(turn.usage["saved"]["bytes"] == 0 for turn in turns)
    # Going on where the last cell stopped needs no restore.
    assert [turn.usage["restored"]["tier"] for turn in turns] == ["none", "live", "live"]
    assert all(turn.usage["exact"] for turn in turns)
    again = _again(session, turns[1])
    usage = again.usage
    assert usage["restored"] == {**usage["restored"], "tokens": 0, "tier": "none", "bytes": 0}
    assert usage["evaluated"]["tokens"] == usage["prompt"]["tokens"]
    # The reply above went like a prompt, not token by token: nearly the same.
    assert usage["exact"] is False
    wanted, got = cold_logits(session, sequence_of(session, again)), warm_logits(session)
    assert np.abs(got - wanted).max() <= 1e-3 * np.ptp(wanted)
    second, best = np.sort(wanted)[-2:]
    if best - second > 2e-3 * np.ptp(wanted):
        assert again.tokens[0] == turns[1].tokens[0]
    # The first cell has no reply above.
    first = _again(session, turns[0])
    assert first.usage["exact"] is True
    assert first.id == turns[0].id
    assert_exact(session, first)


def test_without_an_exact_layout_no_state_is_put_back(
    toy: Toy, forced: Forced, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even a window into its place, or the state from before a stop text."""
    session = forced(toy, Layout.NONE)
    monkeypatch.delattr(Context, "write")
    asked = "some words " * 100
    free = session.ask(asked, max_tokens=12, temperature=0)
    again = session.ask(asked, after=None, max_tokens=12, temperature=0, stop=(free.text[3:9],))
    assert again.stop == "stop"
    assert free.text.startswith(again.text)


def test_the_first_cell_says_that_checkpoints_are_off(toy_named, forced: Forced) -> None:
    session = forced(toy_named("qwen35"), Layout.NONE)
    heard: list[Event] = []
    for _ in range(2):
        session.ask("hello", max_tokens=2, on_event=heard.append)
    notices = [event.text for event in heard if isinstance(event, Notice)]
    assert len(notices) == 1
    assert "not exact" in notices[0]
    assert "llmagic check" in notices[0]


def test_a_stop_text_without_checkpoints(toy: Toy, forced: Forced) -> None:
    """What was drawn beyond it cannot be taken back; the next cell must not see it."""
    session = forced(toy, Layout.NONE)
    free = session.ask("Tell me.", max_tokens=12, temperature=0)
    assert len(free.text) > 6
    stop = free.text[4:7]
    session.last = None
    turn = session.ask("Tell me.", max_tokens=12, temperature=0, stop=(stop,))
    assert turn.stop == "stop"
    assert stop not in turn.text
    following = session.ask("And?", after=turn, max_tokens=4, temperature=0)
    usage = following.usage
    if usage["restored"]["tokens"]:
        assert_exact(session, following)
    wanted, got = cold_logits(session, sequence_of(session, following)), warm_logits(session)
    assert np.abs(got - wanted).max() <= 1e-3 * np.ptp(wanted)


def test_no_layout_is_exact_when_restoring_is_not(
    toy_named, open_session: Opens, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Trial, "differs", lambda *_: "it differs")
    session = open_session(toy_named("qwen35"), n_ctx_start=512)
    verdict = session.engine.verdict
    assert verdict.layout is Layout.NONE
    assert [layout for layout, _ in verdict.refused] == ["split", "delta", "whole"]
    # What the context takes is known all the same.
    memory = SimpleNamespace(available=engine.SPARE_MEMORY + 100)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    with pytest.raises(ContextFullError, match="must grow from 512 to"):
        session.ask("word " * 600)
