"""Replies chosen by a test. llama.cpp evaluates them as any others; only the draw is fixed."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from llmagic.engine import decode


def say(patch: pytest.MonkeyPatch, tokens: Sequence[int]) -> None:
    """Let every reply from now on be these tokens, again and again."""

    class Scripted:
        def __init__(self, *_: object) -> None:
            self._n = 0

        def sample(self, _: object, *, free: bool = False) -> int:
            self._n += 1
            return tokens[(self._n - 1) % len(tokens)]

    patch.setattr(decode, "Sampler", Scripted)
