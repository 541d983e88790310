"""Fixtures that all tests share: the toy models, written once a session."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.patience import wait_for_the_disk
from tests.toys import TOYS, Toy, write

# One core for each test process and its kernels, so that none of them waits for another's threads.
# What depends on several threads is tested with `n_threads` given.
if hasattr(os, "sched_setaffinity"):
    cores = sorted(os.sched_getaffinity(0))
    worker = os.environ.get("PYTEST_XDIST_WORKER", "").removeprefix("gw")
    number = int(worker) if worker.isdigit() else os.getpid()
    os.sched_setaffinity(0, {cores[number % len(cores)]})

# What a shell starts in the background ignores Ctrl-C, and so would all that is started from here.
if threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGINT, signal.default_int_handler)

wait_for_the_disk()

# A machine that does something else at the same time is no failure, and neither is the day: new
# examples are for the longer campaigns.
ANYWHERE = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("quick", ANYWHERE, max_examples=25, derandomize=True)
settings.register_profile("slow", ANYWHERE, max_examples=100, derandomize=False, print_blob=True)
settings.load_profile("quick")


def pytest_configure(config: pytest.Config) -> None:
    """Where slow tests run, those with examples try more of them."""
    if config.option.markexpr != "not slow":
        settings.load_profile("slow")


LONGEST = ("tests/browser/", "tests/stateful/")
"""What takes the longest begins first: at the end one of two processes would work alone."""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests that take long in front; all others stay in their order."""

    def place(item: pytest.Item) -> int:
        return next((n for n, part in enumerate(LONGEST) if part in item.nodeid), len(LONGEST))

    items.sort(key=place)


@pytest.fixture(scope="session", autouse=True)
def _store(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep the tests, and every process they start, out of the user's cache folder."""
    os.environ["LLMAGIC_STORE"] = str(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="session")
def toys_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the toys are: a new folder, or the one LLMAGIC_TEST_TOYS names, kept between runs."""
    if kept := os.environ.get("LLMAGIC_TEST_TOYS"):
        return Path(kept)
    return tmp_path_factory.mktemp("toys")


@pytest.fixture(scope="session")
def toy_named(toys_folder: Path) -> Callable[[str], Toy]:
    """A function from a toy's name to the toy, written on first use."""
    return lambda name: write(name, toys_folder)


@pytest.fixture(scope="session", params=TOYS)
def toy(request: pytest.FixtureRequest, toy_named: Callable[[str], Toy]) -> Toy:
    """Each toy in turn: a test that takes it runs on all five kinds of memory."""
    return toy_named(request.param)
