"""The fewest tokens there are: each step of a notebook's life evaluates exactly what is new."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from llmagic.session import Session, Turn
from tests.session.cells import N_CELLS, Cell, Costs, Notebook, Ruler, cells, run_all
from tests.session.conftest import Opens, in_both_tiers, only_seeing
from tests.toys import Toy


@pytest.fixture
def ruler(toy: Toy) -> Iterator[Ruler]:
    made = Ruler(toy)
    yield made
    made.end()


class Checked(Notebook):
    """A notebook that compares what each turn evaluated with what it must have."""

    def __init__(self, session: Session, costs: Costs, *, stored: bool) -> None:
        super().__init__(session, stored=stored, temperature=1.0)
        self.costs = costs
        self.encoded = 0

    def must(self, turn: Turn, evaluated: int, *, images: int = 0, encoded: int = 0) -> None:
        usage = turn.usage
        assert usage["evaluated"]["tokens"] == evaluated
        assert usage["evaluated"]["images"] == images
        assert usage["encoded"]["images"] == encoded
        assert usage["restored"]["tokens"] == usage["prompt"]["tokens"] - evaluated
        assert usage["restored"]["images"] == usage["prompt"]["images"] - images
        assert usage["exact"] is True
        if self.stored:
            expected = "memory" if usage["restored"]["tokens"] else "none"
            assert usage["restored"]["tier"] == expected
            assert (usage["restored"]["bytes"] > 0) == (expected == "memory")
        # What usage says is what llama.cpp was given.
        drawn = usage["generated"]["tokens"]
        assert drawn == len(turn.tokens)
        assert self.costs.taken() == (evaluated + drawn, images, encoded)
        self.encoded += usage["encoded"]["images"]


@in_both_tiers
def test_a_notebook_evaluates_what_is_new_and_nothing_else(
    toy: Toy,
    ruler: Ruler,
    session: Session,
    monkeypatch: pytest.MonkeyPatch,
    stored: bool,
) -> None:
    notebook = Checked(session, Costs(monkeypatch, session), stored=stored)
    sources = cells(toy)
    seen = toy.projector is not None
    total = 0

    # Appending evaluates the new cell.
    for index, cell in enumerate(sources):
        turn = notebook.run(index, cell)
        new = ruler.new(cell, first=index == 0)
        notebook.must(turn, new, images=seen, encoded=seen)
        total += new
        assert turn.usage["prompt"] == {"tokens": total, "images": (index + 1) * seen}
        total += len(turn.tokens)
    first_run = list(notebook.turns)

    # A cell again, unchanged but for its seed: the generation prompt.
    for index in reversed(range(N_CELLS)):
        after = first_run[index - 1] if index else None
        turn = notebook.ask(after, sources[index], seed=100 + index)
        notebook.must(turn, ruler.ask)
        assert turn.id != first_run[index].id

    # Other words after the picture in cell 3: from the end of the picture on.
    edited = replace(sources[3], after=sources[3].after[:-3] + "? Or so.")
    assert edited.after != sources[3].after
    turn = notebook.run(3, edited)
    notebook.must(turn, ruler.edit(sources[3], edited))
    floor = ruler.ask + ruler.new(edited, first=False)
    assert turn.usage["evaluated"]["tokens"] < floor or toy.name == "mamba2"

    # The old words again, the same reply, and then the last cell.
    turn = notebook.run(3, sources[3])
    notebook.must(turn, ruler.ask)
    assert turn == first_run[3]
    turn = notebook.run(5, sources[5])
    notebook.must(turn, ruler.ask)
    assert turn == first_run[5]

    # Something else asked after cell 0, and then the last cell.
    aside = Cell("", None, "And something else?")
    turn = notebook.ask(first_run[0], aside)
    notebook.must(turn, ruler.new(aside, first=False))
    turn = notebook.run(5, sources[5])
    notebook.must(turn, ruler.ask)
    assert turn == first_run[5]

    assert notebook.encoded == N_CELLS * seen


@only_seeing
def test_words_before_the_picture_cost_no_encoding(
    toy: Toy, ruler: Ruler, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    notebook = Checked(session, Costs(monkeypatch, session), stored=False)
    sources = cells(toy)[:2]
    run_all(notebook, sources)
    notebook.costs.taken()
    edited = replace(sources[1], before="Now this one: ")
    turn = notebook.run(1, edited)
    notebook.must(turn, ruler.new(edited, first=False), images=1)


@only_seeing
def test_the_same_picture_in_two_cells_is_encoded_once(
    toy: Toy, ruler: Ruler, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    notebook = Checked(session, Costs(monkeypatch, session), stored=False)
    one, other = cells(toy)[:2]
    other = replace(other, pixels=one.pixels)
    notebook.must(notebook.run(0, one), ruler.new(one, first=True), images=1, encoded=1)
    notebook.must(notebook.run(1, other), ruler.new(other, first=False), images=1)


def test_a_context_that_grows_evaluates_nothing_again(
    toy: Toy, ruler: Ruler, open_session: Opens, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = open_session(toy, n_ctx_start=256)
    start = session.engine.context.n_ctx
    notebook = Checked(session, Costs(monkeypatch, session), stored=False)
    seen = toy.projector is not None
    for index, cell in enumerate(cells(toy, n_words=90)):
        turn = notebook.run(index, cell)
        notebook.must(turn, ruler.new(cell, first=index == 0), images=seen, encoded=seen)
        notebook.assert_exact(turn)
        notebook.costs.taken()
    assert session.engine.context.n_ctx > start


def test_without_exactness_a_memory_that_can_be_cut_resumes_at_any_token(
    toy: Toy, ruler: Ruler, open_session: Opens
) -> None:
    session = open_session(toy, exact=False)
    notebook = Notebook(session)
    sources = cells(toy)
    run_all(notebook, sources)
    edited = replace(sources[3], after=sources[3].after[:-3] + "? Or so.")
    evaluated = notebook.run(3, edited).usage["evaluated"]["tokens"]
    if toy.memory == "attention":
        old, new = (
            ruler.plain(cell.after if cell.pixels is not None else cell.before + cell.after)
            for cell in (sources[3], edited)
        )
        shared = next(i for i, (a, b) in enumerate(zip(old, new, strict=False)) if a != b)
        assert evaluated == len(new) - shared + ruler.close + ruler.ask
    else:
        assert evaluated == ruler.edit(sources[3], edited)
    # The other branch is still in the context.
    turn = notebook.run(3, sources[3])
    assert turn.usage["evaluated"]["tokens"] <= ruler.ask
    assert turn.usage["restored"]["tier"] == "live"
