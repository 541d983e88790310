"""The benchmark's workload, with few cells: every step evaluates and encodes the least it can."""

from __future__ import annotations

import pytest

from benchmarks.workload import STEPS, Floor, measure
from llmagic.sequence import Boundary, Media, Sequence, Text
from llmagic.session import Session
from tests.toys import Toy

N_CELLS = 4


@pytest.mark.parametrize("toy", ["llama", "gemma3", "qwen35", "mamba2"], indirect=True)
def test_every_step_is_at_the_floor(toy: Toy) -> None:
    results = measure(toy.model, toy.projector or False, N_CELLS)
    assert [found["step"] for found in results] == list(STEPS)
    for found in results:
        assert found["evaluated"] == found["floor"], found
        assert found["encoded"] == found["images_floor"], found
        # Replies above are evaluated again under another prompt, which goes in chunks.
        assert found["exact"] is (found["step"] != "another system prompt, come back"), found
    by_step = {found["step"]: found for found in results}
    # The floor is none that anything reaches: steps have something to do, and only these.
    assert by_step["append"]["floor"] > 100
    assert by_step["append"]["encoded"] == (N_CELLS // 2 if toy.projector else 0)
    assert sum(found["encoded"] for found in results[1:]) == 0
    assert by_step["edit before an image"]["floor"] > 0
    assert by_step["restart, run all"]["evaluated"] == 0
    assert by_step["restart, run the last cell"]["last"]["tier"] == "disk"


def test_the_floor_is_what_stands_behind_the_last_shared_boundary() -> None:
    cat, dog = (Media(name, 4, 2, Boundary.IMAGE) for name in (b"cat", b"dog"))
    floor = Floor(cuts=False)
    first = Sequence((Text((1, 2, 3)), cat, Text((4, 5), boundary=Boundary.USER), Text((6,))))
    assert floor.of(first) == (10, 1)
    floor.add(first)
    assert floor.of(first) == (1, 0)
    other = Sequence((Text((1, 2, 3)), cat, Text((4, 9), boundary=Boundary.USER), Text((6,))))
    assert floor.of(other) == (3, 0)
    assert floor.of(Sequence((Text((1, 2, 3)), dog, Text((4, 5))))) == (9, 1)
    assert Floor(cuts=True).of(first) == (10, 1)


@pytest.mark.parametrize("toy", ["llama", "gemma3", "qwen35", "mamba2"], indirect=True)
def test_checkpoints_take_the_rows_of_new_tokens_and_a_state_each(toy: Toy) -> None:
    """By the sizes that llama.cpp states itself; never what stands above a cell again."""
    with Session(toy.model, projector=toy.projector or False) as session:
        checkpoints = session.engine.checkpoints
        parent = None
        for index in range(6):
            parent = session.ask(f"{index} " + "word " * 60, after=parent, max_tokens=24)
            (branch,) = checkpoints.branches
            context = checkpoints.context
            n = parent.usage["evaluated"]["tokens"] + len(parent.tokens)
            whole = context.state_size(branch.sequence)
            state = context.state_size(branch.sequence, partial=True)
            if checkpoints.can_cut:
                state = 0  # then all of it can be cut
            row = (whole - state) / branch.n_tokens
            # After the question and after the reply; the first has no system prompt.
            expected = n * row + 2 * state
            assert parent.usage["saved"]["bytes"] <= 1.05 * expected, index
            assert parent.usage["saved"]["bytes"] >= 0.5 * n * row
