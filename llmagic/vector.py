"""Lists that are continued and never changed: what two of them have in common is there once.

A conversation of a thousand turns has ten thousand pieces, and a tuple of them that is one longer
copies, and so looks at, every one; they left the processor's caches while the model was at work.
Here only blocks of them are looked at: Clojure's persistent vector, with two levels.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, TypeVar, overload

Item = TypeVar("Item")

BLOCK = 64
"""Items in a block."""


class Vector(Sequence[Item]):
    """An immutable list. `first` and `plus` make others, which share its blocks.

    A slice is a tuple, and equal items make it equal to a tuple.

    Parameters
    ----------
    items : iterable
    """

    __slots__ = ("_blocks", "_tail")

    _blocks: tuple[tuple[Item, ...], ...]
    _tail: tuple[Item, ...]

    def __init__(self, items: Iterable[Item] = ()) -> None:
        if isinstance(items, Vector):
            self._blocks, self._tail = items._blocks, items._tail
        else:
            self._blocks, self._tail = _blocks(tuple(items))

    def first(self, n: int) -> Vector[Item]:
        """The first `n` items, or all where there are fewer."""
        if n >= len(self):
            return self
        return self._made(self._blocks[: n // BLOCK], self._block(n // BLOCK)[: n % BLOCK])

    def plus(self, items: Iterable[Item]) -> Vector[Item]:
        """These items, and more after them."""
        blocks, tail = _blocks((*self._tail, *items))
        return self._made((*self._blocks, *blocks) if blocks else self._blocks, tail)

    def shared(self, other: Vector[Any]) -> int:
        """Number of items that both have in common from the start on.

        Blocks that are the same object are not looked into.
        """
        for at in range(1 + min(len(self._blocks), len(other._blocks))):
            mine, theirs = self._block(at), other._block(at)
            if mine is theirs:
                continue
            for index, (one, another) in enumerate(zip(mine, theirs, strict=False)):
                if one is not another and one != another:
                    return at * BLOCK + index
        return min(len(self), len(other))

    def __len__(self) -> int:
        return BLOCK * len(self._blocks) + len(self._tail)

    @overload
    def __getitem__(self, index: int) -> Item: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[Item, ...]: ...

    def __getitem__(self, index: int | slice) -> Item | tuple[Item, ...]:
        n = len(self)
        if isinstance(index, slice):
            start, stop, step = index.indices(n)
            if step != 1:
                return tuple(self)[index]
            first = start // BLOCK
            blocks = (self._block(at) for at in range(first, -(-stop // BLOCK)))
            found = tuple(chain.from_iterable(blocks))
            return found[start - first * BLOCK : max(stop, start) - first * BLOCK]
        if not -n <= index < n:
            raise IndexError(f"expected an index below {n}, got {index}")
        return self._block(index % n // BLOCK)[index % n % BLOCK]

    def __iter__(self) -> Iterator[Item]:
        return chain(chain.from_iterable(self._blocks), self._tail)

    def __reversed__(self) -> Iterator[Item]:
        blocks = (reversed(block) for block in reversed(self._blocks))
        return chain(reversed(self._tail), chain.from_iterable(blocks))

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Vector):
            return len(self) == len(other) == self.shared(other)
        return tuple(self) == other if isinstance(other, tuple) else NotImplemented

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return f"Vector({tuple(self)!r})"

    def _block(self, at: int) -> tuple[Item, ...]:
        return self._blocks[at] if at < len(self._blocks) else self._tail

    def _made(self, blocks: tuple[tuple[Item, ...], ...], tail: tuple[Item, ...]) -> Vector[Item]:
        made: Vector[Item] = Vector.__new__(Vector)
        made._blocks, made._tail = blocks, tail
        return made


def _blocks(items: tuple[Item, ...]) -> tuple[tuple[tuple[Item, ...], ...], tuple[Item, ...]]:
    """Items as whole blocks, and the rest."""
    whole = len(items) // BLOCK * BLOCK
    return tuple(items[at : at + BLOCK] for at in range(0, whole, BLOCK)), items[whole:]
