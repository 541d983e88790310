"""Sequences: digests, keys, cuts and common prefixes, against oracles that do it the slow way."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from llmagic.sequence import (
    CHUNK,
    CHUNKS_PER_SAVE,
    Boundary,
    ContentHash,
    Media,
    Sequence,
    Span,
    Step,
    Text,
    common_prefix,
    until,
)

CAT = Media(b"cat", 4, 4, Boundary.IMAGE)
DOG = Media(b"dog", 6, 2, Boundary.IMAGE)  # M-RoPE: fewer positions than tokens
CAT_AGAIN = Media(b"cat", 6, 2, Boundary.IMAGE)  # the same pixels at another size
MEDIA = (CAT, DOG, CAT_AGAIN)

Item = int | Media

# Few tokens and a short chunk, so that prefixes agree and cuts fall everywhere.
items = st.lists(st.one_of(st.integers(0, 2), st.sampled_from(MEDIA)), max_size=30)
chunks = st.integers(1, 9)


@st.composite
def splits(draw: st.DrawFn, content: list[Item], *, replies: bool = True) -> tuple[Span, ...]:
    """Spans that hold `content`, split anywhere, some of them replies, with any boundaries."""
    spans: list[Span] = []
    run: list[int] = []
    boundaries = st.sampled_from([None, None, Boundary.USER, Boundary.SYSTEM])

    def end() -> None:
        if run:
            reply = replies and draw(st.booleans())
            boundary = Boundary.REPLY if reply else draw(boundaries)
            spans.append(Text(tuple(run), reply, boundary))
            run.clear()

    for item in content:
        if isinstance(item, Media):
            end()
            spans.append(item)
        else:
            run.append(item)
            if draw(st.booleans()):
                end()
    end()
    return tuple(spans)


@st.composite
def sequences(draw: st.DrawFn, *, replies: bool = True) -> Sequence:
    content = draw(items)
    return Sequence(draw(splits(content, replies=replies)), draw(chunks), b"seed")


def cells(spans: tuple[Span, ...]) -> list[object]:
    """What a cache would hold, cell by cell: a token, or the n-th cell of an image."""
    found: list[object] = []
    for span in spans:
        if isinstance(span, Text):
            found += span.tokens
        else:
            found += [
                (span.digest, span.n_tokens, span.n_positions, n) for n in range(span.n_tokens)
            ]
    return found


Piece = tuple[str, tuple[object, ...]]


def naive_pieces(spans: tuple[Span, ...], chunk: int) -> list[tuple[Piece, Boundary | None]]:
    """How a sequence is evaluated (DESIGN D3), token by token, and where it is saved (D4)."""
    pieces: list[tuple[Piece, Boundary | None]] = []
    run: list[object] = []

    def close(boundary: Boundary | None) -> None:
        n = 0
        while run:
            text, n = tuple(run[:chunk]), n + 1
            del run[:chunk]
            inside = Boundary.TEXT if n % CHUNKS_PER_SAVE == 0 else None
            pieces.append((("text", text), inside if run else boundary))

    for span in spans:
        if isinstance(span, Media) or span.reply:
            close(None)
            kind = "media" if isinstance(span, Media) else "reply"
            pieces.append(((kind, tuple(cells((span,)))), span.boundary))
        else:
            run += span.tokens
            if span.boundary is not None:
                close(span.boundary)
    close(None)
    return pieces


def piece(step: Step) -> Piece:
    kind = "media" if isinstance(step.span, Media) else "reply" if step.span.reply else "text"
    return kind, tuple(cells((step.span,)))


def evaluated(step: Step) -> tuple[Piece, bool]:
    """What decides the arithmetic of a step: a sliding window is put into place at boundaries."""
    return piece(step), step.boundary is not None


def is_meant(step: Step) -> bool:
    """Whether the conversation has a boundary here, and not only the length of its text."""
    return step.boundary not in (None, Boundary.TEXT)


def content_of(spans: tuple[Span, ...]) -> bytes:
    hash_ = ContentHash()
    for span in spans:
        hash_.update(span)
    return hash_.digest()


# Digests ----------------------------------------------------------------------------------------


@given(st.data(), items, chunks, chunks)
def test_digest_does_not_depend_on_the_split(
    data: st.DataObject, content: list[Item], one: int, other: int
) -> None:
    left = Sequence(data.draw(splits(content)), one, b"seed")
    right = Sequence(data.draw(splits(content)), other, b"another seed")
    assert left.digest == right.digest
    assert left.n_tokens == right.n_tokens == len(cells(left.spans))
    assert left.n_positions == right.n_positions
    # Nor do the digests on the way: a place that both are cut at is the same place.
    shared = {step.stop: step.content for step in left.steps}
    for step in right.steps:
        assert shared.get(step.stop, step.content) == step.content


@given(st.data(), items, items)
def test_other_content_has_another_digest(
    data: st.DataObject, one: list[Item], other: list[Item]
) -> None:
    left, right = Sequence(data.draw(splits(one))), Sequence(data.draw(splits(other)))
    assert (left.digest == right.digest) == (cells(left.spans) == cells(right.spans))


def test_digest_tells_tokens_from_images_and_images_from_each_other() -> None:
    image = Media(b"x" * 32, 1, 1)
    variants = [
        (Text((1,)),),
        (Text((1, 1)),),
        (Text((256,)),),
        (Text((1 << 24,)),),
        (image,),
        (image, image),
        (Media(b"y" * 32, 1, 1),),
        (Media(b"x" * 32, 2, 1),),
        (Media(b"x" * 32, 1, 2),),
        (Text((0xFFFFFFFF,)),),
        (),
    ]
    assert len({content_of(spans) for spans in variants}) == len(variants)


def test_handle_and_boundary_of_an_image_do_not_count() -> None:
    bare = Media(b"cat", 4, 4)
    assert content_of((bare,)) == content_of((Media(b"cat", 4, 4, Boundary.IMAGE, object()),))
    assert Sequence((bare,)).steps[0].key == Sequence((CAT,)).steps[0].key


# Steps ------------------------------------------------------------------------------------------


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


# Common prefix ----------------------------------------------------------------------------------


@given(st.data(), items, items, items)
def test_common_prefix_agrees_with_the_naive_one_and_never_ends_in_an_image(
    data: st.DataObject, shared: list[Item], one: list[Item], other: list[Item]
) -> None:
    left = Sequence(data.draw(splits([*shared, *one])))
    right = Sequence(data.draw(splits([*shared, *other])))
    a, b = cells(left.spans), cells(right.spans)
    n = 0
    while n < min(len(a), len(b)) and a[n] == b[n]:
        n += 1
    while 0 < n < len(a) and isinstance(a[n], tuple) and a[n][3] > 0:
        n -= 1
    assert common_prefix(left, right) == common_prefix(right, left) == n
    inside = {
        at
        for step in left.steps
        if isinstance(step.span, Media)
        for at in range(step.start + 1, step.stop)
    }
    assert n not in inside


def test_common_prefix_stops_before_an_image_that_differs_in_one_byte_or_in_size() -> None:
    before = Text((1, 2))
    left = Sequence((before, Media(b"cat", 4, 4), Text((3,))))
    for other in (Media(b"caT", 4, 4), Media(b"cat", 5, 4), Media(b"cat", 4, 5)):
        assert common_prefix(left, Sequence((before, other, Text((3,))))) == 2
    assert common_prefix(left, left) == 7


# Resuming ---------------------------------------------------------------------------------------


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
