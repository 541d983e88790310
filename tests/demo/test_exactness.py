"""Restoring the demo model's state is exact bit for bit, as it is for the toys."""

from __future__ import annotations

import pytest

from llmagic.catalog import resolve
from llmagic.session import Session
from tests.session.cells import Cold, Notebook, cells
from tests.session.conftest import in_both_tiers
from tests.session.test_exactness import live_through
from tests.toys import Toy


@pytest.fixture(scope="module")
def model() -> Toy:
    files = resolve("demo")
    return Toy("demo", files.model, files.projector, "hybrid")


@in_both_tiers
def test_a_notebook(demo: Session, model: Toy, stored: bool) -> None:
    demo.engine.checkpoints.tree.clear()
    demo.engine.checkpoints.branches.drop_all()
    live_through(Notebook(demo, stored=stored, cold=Cold()), cells(model))
