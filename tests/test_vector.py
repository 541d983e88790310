"""A vector is a tuple that shares its beginning with those it was made from."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmagic.vector import BLOCK, Vector

SIZES = st.sampled_from([0, 1, 2, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, 3 * BLOCK + 5])


@given(SIZES, SIZES, st.integers(0, 5 * BLOCK), st.data())
def test_it_is_as_a_tuple(n: int, more: int, kept: int, data: st.DataObject) -> None:
    wanted = (*range(n),)
    vector = Vector(wanted)
    cut, longer = vector.first(kept), vector.first(kept).plus(range(-more, 0))
    whole = (*wanted[:kept], *range(-more, 0))
    assert (tuple(vector), tuple(cut), tuple(longer)) == (wanted, wanted[:kept], whole)
    assert longer == whole
    assert longer == Vector(whole)
    assert hash(longer) == hash(Vector(whole))
    assert (longer == wanted) is (whole == wanted)
    assert len(longer) == len(whole)
    assert [*reversed(longer)] == [*reversed(whole)]
    ends = st.none() | st.integers(-5 * BLOCK, 5 * BLOCK)
    index = slice(data.draw(ends), data.draw(ends), data.draw(st.sampled_from([None, 1, 2, -1])))
    assert longer[index] == whole[index]
    for at in (*range(-len(whole), 0), *range(len(whole))):
        assert longer[at] == whole[at]
    for at in (len(whole), -len(whole) - 1):
        with pytest.raises(IndexError):
            longer[at]


@given(SIZES, st.integers(0, 4 * BLOCK), SIZES, SIZES, st.booleans())
def test_what_two_share_is_counted(n: int, kept: int, one: int, two: int, apart: bool) -> None:
    base = Vector(range(n))
    left = base.first(kept).plus(range(1000, 1000 + one))
    right = (Vector([*base]) if apart else base).first(kept).plus(range(2000, 2000 + two))
    assert left.shared(right) == right.shared(left) == min(kept, n)
    assert left.shared(left.first(kept)) == min(kept, len(left))


def test_whole_blocks_are_shared() -> None:
    base = Vector(range(3 * BLOCK + 7))
    for other in (base.plus(["more"]), base.first(3 * BLOCK), base.first(3 * BLOCK).plus([1, 2])):
        assert len(other._blocks) == 3
        assert all(a is b for a, b in zip(base._blocks, other._blocks, strict=True))
    assert base.first(len(base)) is base
