"""Results that can be continued: what was made for the longest common beginning is made once.

A conversation is rendered, tokenised and hashed again for every cell, and all but its end is as
it was. Each of these steps keeps its last results here, under the items they were made from.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import compress, count, islice
from operator import is_not
from typing import Any, Generic, TypeVar

from llmagic.vector import Vector

Result = TypeVar("Result")


def shared(left: Sequence[Any], right: Sequence[Any]) -> int:
    """Number of items that two tuples, lists, strings or vectors have in common from the start on.

    Items that are the very same object are passed over in C, so the cost of a long tuple is that
    of looking at its pointers.
    """
    if isinstance(left, Vector) and isinstance(right, Vector):
        return left.shared(right)
    most = min(len(left), len(right))
    if not isinstance(left, str):
        others = compress(count(), map(is_not, islice(left, most), right))
        return next((index for index in others if left[index] != right[index]), most)
    if left[:most] == right[:most]:
        return most
    least = 0
    while least + 1 < most:
        middle = (least + most) // 2
        if left[least:middle] == right[least:middle]:
            least = middle
        else:
            most = middle
    return least


class Recent(Generic[Result]):
    """The last results, each with the items it was made from and a key for all else.

    Parameters
    ----------
    most : int
        Results kept: as many branches of a conversation can be continued in turn. Each keeps the
        pictures in it alive.
    """

    def __init__(self, most: int = 4) -> None:
        self._kept: deque[tuple[object, Vector[Any], Result]] = deque(maxlen=most)

    def nearest(self, items: Vector[Any], key: object = None) -> tuple[int, Result | None]:
        """The result that shares most items with these, and how many; 0 and None without one."""
        best, found = 0, None
        for other, known, result in self._kept:
            n = known.shared(items) if other == key else 0
            if n > best:
                best, found = n, result
        return best, found

    def keep(self, items: Vector[Any], result: Result, key: object = None) -> None:
        """Remember a result; one that it continues is not needed any more."""
        others = [
            (other, known, each)
            for other, known, each in self._kept
            if other != key or known.shared(items) < len(known)
        ]
        self._kept.clear()
        self._kept.extend(others)
        self._kept.append((key, items, result))
