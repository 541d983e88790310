"""Equal digests mean equal content, however it was split."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from llmagic.sequence import (
    Boundary,
    Media,
    Sequence,
    Text,
)
from tests.sequence.strategies import CAT, Item, cells, chunks, content_of, items, splits


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
