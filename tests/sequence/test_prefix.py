"""How much two sequences have in common."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from llmagic.sequence import (
    Media,
    Sequence,
    Text,
    common_prefix,
)
from tests.sequence.strategies import Item, cells, items, splits


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
