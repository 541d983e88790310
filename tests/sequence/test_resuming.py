"""Going on after a step is what evaluating all of it would have done."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from llmagic.sequence import (
    Boundary,
    Media,
    Sequence,
    Span,
    Text,
    until,
)
from tests.sequence.strategies import CAT, cells, chunks, is_meant, items, sequences, splits


def positions(spans: tuple[Span, ...]) -> dict[int, int]:
    """Next position after the first n tokens, for every n that is not inside an image."""
    found = {0: 0}
    at = position = 0
    for span in spans:
        if isinstance(span, Text):
            for _ in span.tokens:
                at, position = at + 1, position + 1
                found[at] = position
        else:
            at, position = at + span.n_tokens, position + span.n_positions
            found[at] = position
    return found


@given(st.data(), sequences())
def test_steps_after_cover_exactly_the_rest(data: st.DataObject, sequence: Sequence) -> None:
    where = positions(sequence.spans)
    start = data.draw(st.sampled_from(sorted(where)))
    steps = sequence.steps_after(start, b"k" * 16)
    rest = [cell for step in steps for cell in cells((step.span,))]
    assert rest == cells(sequence.spans)[start:]
    at = start
    for step in steps:
        assert step.start == at
        assert step.position == where[at]
        assert step.next_position == where[step.stop]
        assert isinstance(step.span, Media) or 0 < step.n_tokens <= sequence.chunk
        # What has to be evaluated again goes like a prompt, replies too.
        assert isinstance(step.span, Media) or not step.span.reply
        at = step.stop
    assert at == sequence.n_tokens
    assert len({step.key for step in steps}) == len(steps)
    # Every boundary left is still one, so the checkpoints come back.
    wanted = {step.stop for step in sequence.steps if is_meant(step) and step.stop > start}
    assert {step.stop for step in steps if is_meant(step)} == wanted
    contents = {step.stop: step.content for step in sequence.steps}
    for step in steps:
        assert contents.get(step.stop, step.content) == step.content


@given(st.data(), sequences())
def test_steps_after_a_step_are_the_ones_an_evaluation_from_nothing_does(
    data: st.DataObject, sequence: Sequence
) -> None:
    assume(sequence.steps)
    index = data.draw(st.integers(0, len(sequence.steps) - 1))
    done = sequence.steps[index]
    left = sequence.steps[index + 1 :]
    found = sequence.steps_after(done.stop, done.key)
    replies = any(isinstance(step.span, Text) and step.span.reply for step in left)
    if replies:
        assert [step.key for step in found] != [step.key for step in left]
        assert found[-1].key != left[-1].key
    else:
        assert found == list(left)


@given(sequences(replies=False))
def test_steps_after_nothing_are_all_steps(sequence: Sequence) -> None:
    assert sequence.steps_after(0, sequence.root) == list(sequence.steps)


@given(sequences(), st.lists(st.integers(0, 2), max_size=5))
def test_reply_step_is_the_last_one_of_the_longer_sequence(
    sequence: Sequence, reply: list[int]
) -> None:
    key = sequence.steps[-1].key if sequence.steps else sequence.root
    step = sequence.reply_step(reply, key)
    if not reply:
        assert step is None
        return
    longer = sequence.extended([Text(tuple(reply), reply=True, boundary=Boundary.REPLY)])
    assert step == longer.steps[-1]
    other = sequence.reply_step(reply, b"evaluated in other pieces")
    assert other is not None
    assert other.key != step.key
    assert other.content == step.content


@given(st.data(), sequences())
def test_until_keeps_the_first_tokens_and_never_half_an_image(
    data: st.DataObject, sequence: Sequence
) -> None:
    stop = data.draw(st.integers(0, sequence.n_tokens))
    steps = until(sequence.steps, stop)
    where = positions(sequence.spans)
    end = steps[-1].stop if steps else 0
    assert end == max(at for at in where if at <= stop)
    kept = [cell for step in steps for cell in cells((step.span,))]
    assert kept == cells(sequence.spans)[:end]
    for before, after in pairwise(steps):
        assert (before.stop, before.next_position) == (after.start, after.position)
    if steps:
        assert steps[-1].next_position == where[end]
    # A step that was kept whole is found again; a part of one by nothing that is looked up.
    known = {step.key for step in sequence.steps} | {step.content for step in sequence.steps}
    for step in steps:
        whole = any(step == each for each in sequence.steps)
        assert whole or not {step.key, step.content} & known


@pytest.mark.parametrize("start", range(1, 12))
def test_a_reply_cut_in_the_middle_goes_on_as_text(start: int) -> None:
    reply = Text((7, 8, 9, 10), reply=True, boundary=Boundary.REPLY)
    sequence = Sequence((Text((1, 2, 3, 4)), reply, Text((5, 6, 7, 8))), chunk=3)
    steps = sequence.steps_after(start, b"key")
    tokens = [token for step in steps for token in step.span.tokens]
    assert tokens == [1, 2, 3, 4, 7, 8, 9, 10, 5, 6, 7, 8][start:]
    again = sequence.with_replies_as_text(start)
    assert [span.reply for span in again.spans] == [False, start >= 8, False]
    assert again.digest == sequence.digest


@given(st.data(), chunks)
def test_a_sequence_that_begins_like_another_is_walked_to_the_same_steps(
    data: st.DataObject, chunk: int
) -> None:
    known = Sequence(data.draw(splits(data.draw(items))), chunk, b"seed")
    n = data.draw(st.integers(0, len(known.spans)))
    spans = (*known.spans[:n], *data.draw(splits(data.draw(items))))
    wanted, got = (Sequence(spans, chunk, b"seed") for _ in range(2))
    got.like(known)
    assert got.steps == wanted.steps
    assert got.reply_step((1, 2)) == wanted.reply_step((1, 2))
    assert (got.n_tokens, got.n_images) == (wanted.n_tokens, wanted.n_images)
    # And it is gone on from: what was walked is the very same objects.
    again = Sequence((*spans, CAT), chunk, b"seed").like(got)
    last = max((at for at, span in enumerate(spans) if span.boundary is not None), default=-1)
    sure = Sequence(spans[: last + 1], chunk, b"seed").steps
    assert all(a is b for a, b in zip(again.steps[: len(sure)], got.steps, strict=False))


def test_only_sequences_of_one_kind_are_gone_on_from() -> None:
    spans = (Text((1, 2, 3), boundary=Boundary.USER),)
    for chunk, seed in ((2, b"one"), (1, b"two")):
        other = Sequence(spans, chunk, seed)
        assert Sequence(spans, 2, b"two").like(other).steps == Sequence(spans, 2, b"two").steps


def test_half_a_step_is_not_found_as_one_that_was_evaluated_by_itself() -> None:
    """It was cut out of a larger batch, whose other tokens moved its last bits."""
    begin = Text((1, 2), boundary=Boundary.SYSTEM)
    longer = Sequence((begin, Text((3, 4, 5, 6), boundary=Boundary.USER)))
    before_image = Sequence((begin, Text((3, 4)), CAT))
    cut = until(longer.steps, 4)[-1]
    by_itself = before_image.steps[1]
    assert (cut.start, cut.stop) == (by_itself.start, by_itself.stop) == (2, 4)
    assert {cut.key, cut.content}.isdisjoint((by_itself.key, by_itself.content))
