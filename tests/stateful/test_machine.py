"""Random histories on every toy: 2,000 as part of all tests, 20,000 with `-m slow`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.stateful.lab import Lab
from tests.stateful.machine import machine
from tests.toys import Toy

HISTORIES = 200
STEPS = 12
SETTINGS = settings(
    stateful_step_count=STEPS,
    deadline=None,
    database=None,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module", params=[True, False], ids=["exact", "live"])
def lab(toy: Toy, request: pytest.FixtureRequest) -> Iterator[Lab]:
    lab = Lab(toy, exact=request.param)
    yield lab
    lab.close()


def test_histories(lab: Lab, record_property: Callable[[str, object], None]) -> None:
    """The same ones at every run."""
    begin = time.perf_counter()
    run_state_machine_as_test(
        machine(lab), settings=settings(SETTINGS, max_examples=HISTORIES, derandomize=True)
    )
    record_property("seconds", time.perf_counter() - begin)
    record_property("largest difference", lab.worst)
    print(lab.toy.name, lab.exact, time.perf_counter() - begin, lab.worst)


@pytest.mark.slow
def test_many_histories(lab: Lab) -> None:
    """Other ones at every run."""
    run_state_machine_as_test(
        machine(lab), settings=settings(SETTINGS, max_examples=10 * HISTORIES)
    )
