"""Pictures in a conversation: encoded once, never mistaken for each other."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from llmagic.engine.engine import Outcome
from llmagic.events import Encoding, Event, Prefill
from llmagic.model import library
from llmagic.prompt.images import picture
from llmagic.prompt.parts import ImagePart, Part, TextPart
from llmagic.sequence import Sequence, Text
from llmagic.session import Session
from llmagic.settings import Sampling
from tests import oracle
from tests.session.cells import Cell, Costs, Notebook, cells, image, run_all
from tests.session.conftest import Opens, in_both_tiers, only_seeing
from tests.toys import Toy

pytestmark = only_seeing


def see(index: int) -> ImagePart:
    return ImagePart(picture(image(index)))


LAYOUTS: dict[str, tuple[Part, ...]] = {
    "first": (see(0), TextPart("What is it?")),
    "last": (TextPart("What is it?"), see(0)),
    "alone": (see(0),),
    "two": (see(0), see(1), TextPart("Compare.")),
    "the same twice": (see(0), TextPart(" and "), see(0)),
    "between": (TextPart("One: "), see(0), TextPart(" Two: "), see(1), TextPart(".")),
    "white space between": (see(0), TextPart("\n"), see(1), TextPart(" \n")),
}


@in_both_tiers
@pytest.mark.parametrize("layout", LAYOUTS)
def test_pictures_in_any_place(session: Session, layout: str, stored: bool) -> None:
    parts = LAYOUTS[layout]
    first = session.ask(parts, system="Look.", max_tokens=4)
    oracle.assert_exact(session, first)
    n_images = sum(isinstance(part, ImagePart) for part in parts)
    assert first.usage["prompt"]["images"] == n_images
    assert first.usage["encoded"]["images"] == len({p for p in parts if isinstance(p, ImagePart)})
    if stored:
        session.engine.checkpoints.branches.drop_all()
    again = session.ask(parts, after=None, system="Look.", max_tokens=4, seed=1)
    oracle.assert_exact(session, again)
    assert (again.usage["restored"]["images"], again.usage["encoded"]["images"]) == (n_images, 0)
    more = session.ask((TextPart("And these? "), *parts), max_tokens=4)
    oracle.assert_exact(session, more)
    assert more.usage["evaluated"]["images"] == n_images
    assert more.usage["encoded"]["images"] == 0


@pytest.mark.parametrize("size", [(1, 1), (300, 20), (20, 300), (97, 61), (640, 480)])
def test_pictures_of_any_shape(session: Session, size: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    first = session.ask("What is it?", images=[pixels], max_tokens=4)
    oracle.assert_exact(session, first)
    session.engine.checkpoints.branches.drop_all()
    again = session.ask("What is it?", images=[pixels], max_tokens=4, after=None, seed=1)
    oracle.assert_exact(session, again)
    assert again.usage["evaluated"]["images"] == 0


def test_pictures_that_differ_in_one_pixel_are_two(session: Session) -> None:
    one = image(0)
    other = one.copy()
    other[95, 95, 2] ^= 1
    first = session.ask("What is it?", images=[one], max_tokens=4)
    turn = session.ask("What is it?", images=[other], after=None, max_tokens=4)
    assert (turn.usage["encoded"]["images"], turn.usage["restored"]["images"]) == (1, 0)
    assert turn.id != first.id
    oracle.assert_exact(session, turn)


def test_the_same_pixels_are_one_picture_however_they_come(
    session: Session, tmp_path: Path
) -> None:
    pixels = image(0)
    drawn = Image.fromarray(pixels)
    drawn.save(tmp_path / "picture.png")
    stream = io.BytesIO()
    drawn.save(stream, "BMP")
    ways = [pixels, drawn, tmp_path / "picture.png", stream.getvalue(), drawn.convert("RGBA")]
    turns = [session.ask("It?", images=[way], after=None, max_tokens=4) for way in ways]
    assert len({turn.id for turn in turns}) == 1
    assert [turn.usage["encoded"]["images"] for turn in turns] == [1, 0, 0, 0, 0]
    assert [turn.usage["evaluated"]["images"] for turn in turns] == [1, 0, 0, 0, 0]


def test_images_stand_before_the_text(session: Session) -> None:
    first = session.ask("It?", images=[image(0), image(1)], max_tokens=4)
    turn = session.ask((see(0), see(1), TextPart("It?")), after=None, max_tokens=4)
    assert turn == first


def test_embeddings_that_were_dropped_are_made_again(
    toy: Toy, open_session: Opens, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = open_session(toy, image_budget=0)
    costs = Costs(monkeypatch, session)
    notebook = Notebook(session)
    sources = cells(toy)[:4]
    for turn in run_all(notebook, sources):
        assert turn.usage["encoded"]["images"] == 1
    costs.taken()
    # Checkpoints need no embedding ...
    turn = notebook.run(3, sources[3], seed=1)
    assert turn.usage["encoded"]["images"] == costs.taken()[2] == 0
    # ... but cell 1 with other words before its pictures does, for it and all that follow.
    notebook.run(1, Cell("Other words. ", sources[1].pixels, sources[1].after))
    assert notebook.run(3, sources[3]).usage["encoded"]["images"] == 2
    assert costs.taken()[2] == 3
    assert session.status()["images"]["count"] == 1


def test_progress_of_encoding_counts_only_what_is_encoded(session: Session) -> None:
    heard: list[Event] = []
    parts = (see(0), see(1), see(0), TextPart("It?"))
    session.ask(parts, max_tokens=2, on_event=heard.append)
    assert [event for event in heard if isinstance(event, Encoding)] == [
        Encoding(0, 2),
        Encoding(1, 2),
        Encoding(2, 2),
    ]
    heard.clear()
    session.ask((TextPart("Again: "), see(1)), max_tokens=2, on_event=heard.append)
    assert not [event for event in heard if isinstance(event, Encoding)]


def test_no_more_embeddings_are_kept_than_the_budget_holds(toy: Toy, open_session: Opens) -> None:
    parts = (see(0), see(1), see(2), TextPart("It?"))
    session = open_session(toy, image_budget=0)
    heard: list[Event] = []
    turn = session.ask(parts, max_tokens=4, on_event=heard.append)
    oracle.assert_exact(session, turn)
    assert turn == open_session(toy).ask(parts, max_tokens=4)
    assert turn.usage["encoded"]["images"] == 3
    told = [event for event in heard if isinstance(event, Encoding | Prefill)]
    assert [event for event in told if isinstance(event, Encoding)] == [
        Encoding(0, 3),
        Encoding(1, 3),
        Encoding(2, 3),
    ]
    # The second one when the first one is evaluated.
    assert isinstance(told[1], Prefill)


def test_an_image_of_several_slices_is_one_image(session: Session) -> None:
    projector = session.engine.projector
    assert projector is not None
    first, second = (projector.place(see(index).picture) for index in (0, 1))
    sliced = (*(replace(span, boundary=None) for span in first), *second)
    text = Text(tuple(session.tokenize("What is it?")))
    sequence = Sequence((*sliced, text), seed=session.engine.fingerprint)
    assert sequence.n_images == 1
    heard: list[Event] = []
    outcome = session.engine.answer(sequence, Sampling(max_tokens=1), heard.append, Outcome())
    assert outcome.work is not None
    assert outcome.work.encoded.count == 1
    assert [event for event in heard if isinstance(event, Encoding)] == [
        Encoding(0, 1),
        Encoding(1, 1),
    ]


def test_content_is_the_same_whatever_computes_it(
    toy: Toy, open_session: Opens, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So are ids of turns and seeds; what is evaluated is not, and is never mistaken for it."""
    sessions = [open_session(toy, n_threads=1), open_session(toy, n_threads=2)]
    monkeypatch.setattr(library, "bindings_version", "0.3.37")
    sessions.append(open_session(toy, n_threads=1))
    parts = (see(0), TextPart("What is it?"))
    sequences = [session.chat.sequence(None, None, parts) for session in sessions]
    assert len({each.digest for each in sequences}) == 1
    assert len({step.key for each in sequences for step in each.steps[:1]}) == 3
    assert len({session.ask(parts, max_tokens=1, seed=1, top_k=1).id for session in sessions}) == 1
    other = open_session(toy, n_threads=1, image_tokens=16)
    assert other.chat.sequence(None, None, parts).digest != sequences[0].digest
