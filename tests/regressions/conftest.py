"""Sessions on toys, closed when the test is over."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from llmagic.session import Session
from llmagic.settings import Loading
from tests.regressions.checks import Opens
from tests.toys import Toy


@pytest.fixture
def open_session() -> Iterator[Opens]:
    with ExitStack() as stack:

        def opened(toy: Toy, **loading: Any) -> Session:
            # With more threads than free cores, ggml's barriers spin: a hundred times slower.
            settings = Loading(**{"n_threads": 1, **loading})
            # No disk: it would make good what a fault takes from memory.
            session = Session(
                toy.model, projector=toy.projector or False, loading=settings, store=False
            )
            return stack.enter_context(session)

        yield opened


@pytest.fixture
def session(toy: Toy, open_session: Opens) -> Session:
    """A session on each toy in turn."""
    return open_session(toy)


@pytest.fixture(params=[False, True], ids=["live", "stored"])
def stored(request: pytest.FixtureRequest) -> bool:
    """Whether to restore from memory, or to go on with what is still in the context."""
    return bool(request.param)
