"""Sessions on toys, closed when the test is over."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, Protocol

import pytest

from llmagic.session import Session
from llmagic.settings import Loading
from tests.session.cells import Cold
from tests.toys import Toy

SEES = ("gemma3", "qwen2vl", "qwen35")
only_seeing = pytest.mark.parametrize("toy", SEES, indirect=True)
"""For tests that need a projector."""

in_both_tiers = pytest.mark.parametrize("stored", [False, True], ids=["live", "memory"])
"""For tests of what is still in the context, and of what comes back from memory."""


class Opens(Protocol):
    """Opens a session on a toy; keyword arguments are fields of `Loading`."""

    def __call__(self, toy: Toy, **loading: Any) -> Session: ...


@pytest.fixture
def open_session() -> Iterator[Opens]:
    with ExitStack() as stack:

        def opened(toy: Toy, **loading: Any) -> Session:
            # With more threads than free cores, ggml's barriers spin: a hundred times slower.
            settings = Loading(**{"n_threads": 1, **loading})
            session = Session(toy.model, projector=toy.projector or False, loading=settings)
            return stack.enter_context(session)

        yield opened


@pytest.fixture(scope="session")
def cold() -> Cold:
    """Logits from nothing, shared by all tests."""
    return Cold()


@pytest.fixture
def session(toy: Toy, open_session: Opens) -> Session:
    """A session on each toy in turn."""
    return open_session(toy)
