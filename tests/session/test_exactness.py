"""Logits after every restore are those of an evaluation from nothing, bit for bit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from llmagic.engine.engine import Outcome
from llmagic.events import Event, Prefill
from llmagic.prompt.images import picture
from llmagic.sequence import CHUNK, CHUNKS_PER_SAVE, Media, Sequence, Text
from llmagic.session import Session
from llmagic.settings import Sampling
from tests import oracle
from tests.session.cells import Cell, Cold, Notebook, assert_same, cells, image, prose, run_all
from tests.session.conftest import Opens, in_both_tiers
from tests.toys import Toy
from tests.toys.runner import Runner
from tests.toys.text import WINDOW

NOISE = 3e-3
"""What cutting the same tokens elsewhere moves logits by, of their range (measured)."""

QWEN = ("<|vision_start|>", "<|vision_end|>")
MARKS = {
    "gemma3": ("<start_of_image>", "<end_of_image>"),
    "qwen2vl": QWEN,
    "qwen35": QWEN,
}


def live_through(notebook: Notebook, sources: list[Cell]) -> None:
    """The steps of `test_floors`, each turn compared with the oracle."""
    last = len(sources) - 1
    for index, cell in enumerate(sources):
        notebook.assert_exact(notebook.run(index, cell))
    first_run = list(notebook.turns)
    for index in reversed(range(len(sources))):
        after = first_run[index - 1] if index else None
        notebook.assert_exact(notebook.ask(after, sources[index], seed=index))
    edited = replace(sources[3], after=sources[3].after[:-3] + "? Or so.")
    notebook.assert_exact(notebook.run(3, edited))
    notebook.assert_exact(notebook.run(3, sources[3]))
    notebook.assert_exact(notebook.run(last, sources[last]))
    notebook.assert_exact(notebook.ask(first_run[0], "And something else?"))
    notebook.assert_exact(notebook.run(last, sources[last]))
    notebook.assert_exact(notebook.ask(None, "A conversation of its own."))
    notebook.assert_exact(notebook.run(last, sources[last]))
    assert notebook.turns == first_run


@in_both_tiers
def test_a_notebook(session: Session, toy: Toy, cold: Cold, stored: bool) -> None:
    live_through(Notebook(session, stored=stored, cold=cold), cells(toy))


@in_both_tiers
def test_cells_of_several_chunks_and_windows(
    toy: Toy, session: Session, cold: Cold, stored: bool
) -> None:
    # Three windows a cell: the window slides far, and a restore must find it all the same.
    sources = [
        replace(cell, after=f"{cell.after} {prose(320, index)}")
        for index, cell in enumerate(cells(toy)[:4])
    ]
    notebook = Notebook(session, stored=stored, cold=cold)
    live_through(notebook, sources)
    sequence = oracle.sequence_of(session, notebook.turns[-1])
    assert sequence.n_tokens > 1500
    assert sum(step.n_tokens == CHUNK for step in sequence.steps) >= 3 * len(sources)


@in_both_tiers
def test_replies_longer_than_the_window(session: Session, cold: Cold, stored: bool) -> None:
    length = WINDOW + 40
    notebook = Notebook(session, stored=stored, cold=cold, max_tokens=length, temperature=0)
    for index in range(3):
        turn = notebook.run(index, f"Say something long, number {index}.")
        assert len(turn.tokens) == length
        notebook.assert_exact(turn)
    notebook.assert_exact(notebook.run(1, "Say something long, number 1.", temperature=1, seed=5))
    notebook.assert_exact(notebook.ask(notebook.turns[0], "And again?"))


@pytest.mark.parametrize("toy", ["gemma3"], indirect=True)
def test_the_same_tokens_with_and_without_a_boundary_are_two_places(session: Session) -> None:
    # A text of 16 chunks that goes on is saved there, and its window put into place; one that an
    # image follows is not.
    rng = np.random.default_rng(0)
    n = CHUNK * CHUNKS_PER_SAVE
    words, more = (tuple(rng.integers(0, 400, size).tolist()) for size in (n, 50))
    projector, seed = session.engine.projector, session.engine.fingerprint
    assert projector is not None
    media = [span for span in projector.place(picture(image(0))) if isinstance(span, Media)]
    for spans in (Text((*words, *more)),), (Text(words), *media, Text(more)):
        sequence = Sequence(spans, seed=seed)
        heard: list[oracle.Logits] = []

        def hear(event: Event, heard: list[oracle.Logits] = heard) -> None:
            if isinstance(event, Prefill) and event.done == event.total:
                heard.append(oracle.warm_logits(session))

        outcome = Outcome()
        session.engine.answer(sequence, Sampling(max_tokens=1), hear, outcome)
        if outcome.exact:
            assert_same(heard[-1], oracle.cold_logits(session, sequence))
    assert outcome.resumed is not None
    assert outcome.resumed.tokens == n
    assert outcome.exact is False


@in_both_tiers
@pytest.mark.parametrize("kv_type", ["q8_0", "q4_0"])
@pytest.mark.parametrize("toy", ["llama", "gemma3"], indirect=True)
def test_small_cache_types(
    toy: Toy, open_session: Opens, cold: Cold, kv_type: str, stored: bool
) -> None:
    notebook = Notebook(open_session(toy, kv_type=kv_type), stored=stored, cold=cold)
    live_through(notebook, cells(toy)[:4])


@in_both_tiers
def test_a_system_prompt_is_shared(session: Session, stored: bool) -> None:
    system = prose(150)
    for index in range(3):
        if stored:
            session.engine.checkpoints.branches.drop_all()
        turn = session.ask(f"Question {index}?", after=None, system=system, max_tokens=4)
        oracle.assert_exact(session, turn)
        assert (turn.usage["restored"]["tokens"] > 150) == (index > 0)
    assert session.ask("Without one.", after=None).usage["restored"]["tokens"] == 0


def test_an_edited_notebook_says_what_a_new_one_says(toy: Toy, open_session: Opens) -> None:
    """However it came about (DESIGN D3): same cells, same turns, in another process' stead."""
    sources = cells(toy)[:4]
    session = open_session(toy)
    edited = Notebook(session, temperature=1.0, max_tokens=12)
    run_all(edited, [*sources[:2], replace(sources[2], after="Nothing.")])
    edited.ask(edited.turns[0], "Something else?")
    edited.run(1, replace(sources[1], before="Not this."))
    edited.run(1, sources[1])
    session.engine.checkpoints.branches.drop_all()
    for index in (2, 3):
        edited.run(index, sources[index])

    new = Notebook(open_session(toy), temperature=1.0, max_tokens=12)
    run_all(new, sources)
    assert [turn.tokens for turn in edited.turns] == [turn.tokens for turn in new.turns]
    assert [turn.id for turn in edited.turns] == [turn.id for turn in new.turns]
    assert_same(oracle.warm_logits(edited.session), oracle.warm_logits(new.session))


def test_the_oracle_says_what_bare_llama_cpp_says(session: Session, toy: Toy) -> None:
    """Up to the places where batches are cut: nothing of llmagic evaluates here."""
    notebook = Notebook(session)
    sources = cells(toy, n_words=60)[:3]
    turn = run_all(notebook, sources)[-1]
    runner = Runner(toy)
    try:
        logits = np.empty(0, np.float32)
        for index, (cell, answer) in enumerate(zip(sources, notebook.turns, strict=True)):
            head = "<bos>" if toy.name == "gemma3" and index == 0 else ""
            head = "<|im_end|>\n" if index else head
            text = runner.tokenize(head + "<|im_start|>user\n", True)
            if cell.pixels is not None:
                opening, closing = (runner.tokenize(mark, True) for mark in MARKS[toy.name])
                picture = runner.chunks(cell.pixels)[1]
                runner.decode([*text, *runner.tokenize(cell.before, False), *opening])
                runner.see(picture, runner.embed(picture))
                text = [*closing, *runner.tokenize(cell.after, False)]
            else:
                text += runner.tokenize(cell.before + cell.after, False)
            text += runner.tokenize("<|im_end|>\n<|im_start|>assistant\n", True)
            logits = runner.decode([*text, *answer.tokens])
    finally:
        runner.close()
    wanted = oracle.cold_logits(session, oracle.sequence_of(session, turn))
    assert float(np.abs(logits - wanted).max()) < NOISE * float(np.ptp(wanted))
