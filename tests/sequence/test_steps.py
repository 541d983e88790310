"""The steps of a sequence do not depend on how it came about (DESIGN, "Sequences")."""

from __future__ import annotations

from hypothesis import assume, given
from hypothesis import strategies as st

from llmagic.sequence import (
    CHUNK,
    CHUNKS_PER_SAVE,
    Boundary,
    ContentHash,
    Media,
    Sequence,
    Text,
    common_prefix,
)
from tests.sequence.strategies import (
    CAT,
    Item,
    chunks,
    content_of,
    evaluated,
    items,
    naive_pieces,
    piece,
    sequences,
    splits,
)


@given(sequences())
def test_steps_are_the_pieces_of_d3_and_cover_the_sequence(sequence: Sequence) -> None:
    steps = sequence.steps
    wanted = naive_pieces(sequence.spans, sequence.chunk)
    assert [(piece(step), step.boundary) for step in steps] == wanted
    start = position = 0
    for step in steps:
        assert (step.start, step.position) == (start, position)
        assert step.n_tokens == step.span.n_tokens > 0
        assert step.n_positions == step.span.n_positions
        start, position = step.stop, step.next_position
    assert (start, position) == (sequence.n_tokens, sequence.n_positions)
    assert sequence.digest == content_of(sequence.spans)


@given(sequences())
def test_every_boundary_ends_a_step_that_carries_it(sequence: Sequence) -> None:
    wanted: dict[int, Boundary] = {}
    at = 0
    for span in sequence.spans:
        at += span.n_tokens
        if span.boundary is not None:
            wanted[at] = span.boundary
    found = {step.stop: step.boundary for step in sequence.steps if step.boundary is not None}
    assert {stop: found.get(stop) for stop in wanted} == wanted
    assert {found[stop] for stop in found if stop not in wanted} <= {Boundary.TEXT}


@given(st.data(), items, chunks, chunks)
def test_keys_are_equal_where_the_pieces_are(
    data: st.DataObject, content: list[Item], chunk: int, another: int
) -> None:
    left = Sequence(data.draw(splits(content)), chunk, b"seed")
    right = Sequence(data.draw(splits(content)), another, b"seed")
    for index, (a, b) in enumerate(zip(left.steps, right.steps, strict=False)):
        one, other = (list(map(evaluated, each.steps[: index + 1])) for each in (left, right))
        assert (a.key == b.key) == (one == other)


@given(sequences())
def test_keys_depend_on_the_seed_and_contents_do_not(sequence: Sequence) -> None:
    other = Sequence(sequence.spans, sequence.chunk, b"other seed")
    assert sequence.root != other.root
    for a, b in zip(sequence.steps, other.steps, strict=True):
        assert a.key != b.key
        assert a.content == b.content


@given(sequences(), items)
def test_continuing_after_a_boundary_leaves_the_steps_before_alone(
    sequence: Sequence, more: list[Item]
) -> None:
    assume(sequence.steps and sequence.steps[-1].boundary is not None)
    new = tuple(Text((item,)) if isinstance(item, int) else item for item in more)
    longer = sequence.extended(new)
    assert longer.steps[: len(sequence.steps)] == sequence.steps


def test_long_text_is_cut_every_chunk_after_a_boundary() -> None:
    words = tuple(range(3 * CHUNK + 5))
    sequence = Sequence((Text((1, 2, 3)), Text(words, boundary=Boundary.USER), Text((4, 5))))
    sizes = [(step.n_tokens, step.boundary) for step in sequence.steps]
    assert sizes == [
        (CHUNK, None),
        (CHUNK, None),
        (CHUNK, None),
        (8, Boundary.USER),
        (2, None),
    ]


def test_long_text_has_boundaries_inside() -> None:
    n = CHUNKS_PER_SAVE * CHUNK
    sequence = Sequence((Text(tuple(range(2 * n)), boundary=Boundary.USER), Text((1,) * (n + 1))))
    saved = {step.stop: step.boundary for step in sequence.steps if step.boundary is not None}
    assert saved == {n: Boundary.TEXT, 2 * n: Boundary.USER, 3 * n: Boundary.TEXT}


def test_a_reply_is_one_step_however_long() -> None:
    reply = Text(tuple(range(2 * CHUNK)), reply=True, boundary=Boundary.REPLY)
    sequence = Sequence((Text((1,)), reply, Text((2,))))
    assert [step.n_tokens for step in sequence.steps] == [1, 2 * CHUNK, 1]


def test_slices_of_one_image_count_as_one() -> None:
    slices = (Media(b"a0", 4, 4), Media(b"a1", 4, 4), Media(b"a2", 4, 4, Boundary.IMAGE))
    assert Sequence((*slices, Text((1,)), CAT)).n_images == 2


def test_an_empty_sequence() -> None:
    empty = Sequence(())
    assert empty.steps == ()
    assert (empty.n_tokens, empty.n_positions, empty.n_images) == (0, 0, 0)
    assert empty.digest == ContentHash().digest()
    assert common_prefix(empty, Sequence((CAT,))) == 0
