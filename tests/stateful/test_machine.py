"""Random histories on every toy: 2,000 as part of all tests, 20,000 more with `-m slow`.

A failing history is printed as the calls that make it up. It depends on nothing but the code: to
see it again, run the test again.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from llmagic.checkpoint import payload
from llmagic.checkpoint.payload import Layout, Payload, Payloads
from llmagic.checkpoint.tree import Tree
from llmagic.engine import decode, engine
from llmagic.errors import LLMagicError
from llmagic.events import Delta, Event
from llmagic.model.context import Context
from llmagic.session import Session
from llmagic.settings import Loading
from tests.stateful.lab import SMALL, Lab
from tests.stateful.machine import machine
from tests.stateful.trouble import Trouble
from tests.toys import Toy

HISTORIES = {"llama": 250, "gemma3": 100, "qwen2vl": 250, "qwen35": 150, "mamba2": 250}
"""Of each toy, in each of two ways: 2,000 together, fewer where one takes longer."""
SETTINGS = settings(
    max_examples=200,
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
    some = settings(SETTINGS, max_examples=HISTORIES[lab.toy.name])
    run_state_machine_as_test(machine(lab), settings=some)
    record_property("largest difference", lab.worst)


@pytest.mark.slow
def test_many_histories(lab: Lab) -> None:
    """Other ones at every run."""
    many = settings(SETTINGS, max_examples=2000, derandomize=False, print_blob=True)
    run_state_machine_as_test(machine(lab), settings=many)


# A history that failed must fail again. -----------------------------------------------------------

DRAWN_TWICE = """
import sys
from hypothesis import given, settings, strategies as st
from tests.stateful.machine import PARTS, SAMPLINGS, SYSTEMS, WHEN

def drawn():
    found = []

    @settings(max_examples=50, derandomize=True, deadline=None)
    @given(st.lists(st.tuples(PARTS, SYSTEMS, SAMPLINGS, WHEN), min_size=8, max_size=8))
    def draw(values):
        found.append(repr(values))

    draw()
    return found

before = drawn()
sys.path.append(sys.argv[1])
import constants
assert drawn() == before
"""


def test_histories_do_not_depend_on_what_was_imported(tmp_path: Path) -> None:
    """What draws them takes constants from modules, unless it is asked for small integers."""
    constants = [*range(100, 1000, 2), *(n / 1000 for n in range(1, 1000, 2))]
    (tmp_path / "constants.py").write_text(f"CONSTANTS = {constants}\n")
    # A process of its own: what it imports would count for all examples that are drawn later.
    command = [sys.executable, "-c", DRAWN_TWICE, str(tmp_path)]
    subprocess.run(command, cwd=Path(__file__).parents[2], check=True)


def test_trouble_does_not_depend_on_the_time(
    toy_named: Callable[[str], Toy], monkeypatch: pytest.MonkeyPatch
) -> None:
    toy, told = toy_named("llama"), []
    with Session(toy.model, loading=Loading(n_ctx=SMALL, n_threads=1)) as session:
        for pace in (0.0, float("inf")):
            monkeypatch.setattr(decode, "READ_EVERY", pace)
            told.append(list[Event]())
            trouble = Trouble("event", 100)
            with trouble.in_(session):
                session.ask("Hi", after=None, seed=1, max_tokens=9, on_event=told[-1].append)
    deltas = [sum(isinstance(event, Delta) for event in events) for events in told]
    assert deltas[0] == deltas[1] > 3


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
