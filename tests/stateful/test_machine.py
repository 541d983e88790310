"""Random histories on every toy: 2,000 as part of all tests, 20,000 more with `-m slow`.

A failing history is printed as the calls that make it up. It depends on nothing but the code: to
see it again, run the test again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from llmagic.checkpoint import payload
from llmagic.checkpoint.payload import Layout, Payload, Payloads
from llmagic.checkpoint.tree import Tree
from llmagic.engine import engine
from llmagic.errors import LLMagicError
from llmagic.model.context import Context
from tests.stateful.lab import Lab
from tests.stateful.machine import machine
from tests.toys import Toy

HISTORIES = 200
SETTINGS = settings(
    max_examples=HISTORIES,
    stateful_step_count=12,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module", params=[True, False], ids=["exact", "live"])
def lab(toy: Toy, request: pytest.FixtureRequest) -> Iterator[Lab]:
    lab = Lab(toy, exact=request.param)
    yield lab
    lab.close()


def test_histories(lab: Lab, record_property: Callable[[str, object], None]) -> None:
    run_state_machine_as_test(machine(lab), settings=SETTINGS)
    record_property("largest difference", lab.worst)


@pytest.mark.slow
def test_many_histories(lab: Lab) -> None:
    """Other ones at every run."""
    many = settings(SETTINGS, max_examples=10 * HISTORIES, derandomize=False, print_blob=True)
    run_state_machine_as_test(machine(lab), settings=many)


# The machine must find what is wrong: some ways to break the code, each on one toy. ------------


def _forget_the_header(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(payload, "HEADER", 0)


def _restore_another_state(patch: pytest.MonkeyPatch) -> None:
    put = Payloads.put
    seen: list[Payload] = []

    def wrong(self: Payloads, sequence: int, payloads: list[Payload], state: Payload) -> int:
        seen.append(state)
        return put(self, sequence, payloads, seen[0])

    patch.setattr(Payloads, "put", wrong)


def _do_not_cut(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Context, "cut", lambda *_: True)


def _do_not_settle(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Payloads, "settle", lambda *_: None)


def _call_everything_exact(patch: pytest.MonkeyPatch) -> None:
    prefill = engine.prefill
    patch.setattr(engine, "prefill", lambda *rest: prefill(*rest) or True)


def _save_nothing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Tree, "add", lambda *_: None)


@pytest.mark.parametrize(
    ("name", "break_it"),
    [
        ("qwen35", _forget_the_header),
        ("mamba2", _restore_another_state),
        ("llama", _do_not_cut),
        ("gemma3", _do_not_settle),
        ("qwen2vl", _call_everything_exact),
        ("mamba2", _save_nothing),
    ],
)
def test_broken_code_is_found(
    name: str,
    break_it: Callable[[pytest.MonkeyPatch], None],
    toy_named: Callable[[str], Toy],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lab = Lab(toy_named(name), exact=True)
    break_it(monkeypatch)
    machine_class = machine(lab)
    try:
        with pytest.raises((AssertionError, LLMagicError)):
            run_state_machine_as_test(
                machine_class, settings=settings(SETTINGS, phases=[Phase.generate])
            )
    finally:
        monkeypatch.undo()
        lab.begin(Layout.NONE)
        lab.close()
