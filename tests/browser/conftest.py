"""One server, browser and page for all tests; each test has a notebook of its own."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.browser.server import BUILT, Server
from tests.toys import Toy

SCREENSHOTS = Path(__file__).parent / "screenshots"
CHROMIUM = next(
    (path for path in map(shutil.which, ("chromium", "chromium-browser")) if path), None
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A browser on a busy machine may miss a deadline; what fails three times is a fault."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.flaky(reruns=2))


FAILED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Let the fixtures know whether a test failed."""
    report = yield
    if call.when == "setup":
        item.stash[FAILED] = False
    item.stash[FAILED] = item.stash[FAILED] or call.excinfo is not None
    return report


class Desks:
    """The page that the tests share, made when it is wanted, and pages of their own."""

    def __init__(self, browser: Any, server: Server) -> None:
        self.server = server
        self._browser = browser
        self._shared: Any = None
        self._own: list[Any] = []

    @property
    def shared(self) -> Any:
        if self._shared is None:
            self._shared = self._new()
        return self._shared

    def own(self) -> Any:
        self._own.append(self._new())
        return self._own[-1]

    def close_own(self) -> None:
        for desk in self._own:
            desk.close()
        self._own = []

    def close(self) -> None:
        self.close_own()
        if self._shared is not None:
            self._shared.close()
        self._shared = None

    def _new(self) -> Any:
        from tests.browser.desk import Desk

        return Desk(self._browser, self.server)


def missing() -> str | None:
    """What the tests need and what is not there."""
    if CHROMIUM is None:
        return "expected Debian's `chromium`; apt-get install chromium, or run .ci/run"
    if not (BUILT / "package.json").exists():
        return "the JupyterLab extension is not built; run `make labextension`"
    return None


@pytest.fixture(scope="session", autouse=True)
def _needed() -> None:
    """Outside CI a machine without a browser skips these tests."""
    if (what := missing()) is not None:
        if os.environ.get("CI"):
            pytest.fail(what)
        pytest.skip(what)


@pytest.fixture(scope="session")
def server(_needed: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("jupyter"))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def browser(_needed: None) -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def toy_llama(toy_named: Callable[[str], Toy]) -> Toy:
    """Text only."""
    return toy_named("llama")


@pytest.fixture(scope="session")
def toy_qwen(toy_named: Callable[[str], Toy]) -> Toy:
    """Images."""
    return toy_named("qwen35")


@pytest.fixture(scope="session")
def desks(server: Server, browser: Any) -> Iterator[Desks]:
    desks = Desks(browser, server)
    yield desks
    desks.close()


@pytest.fixture
def lab(desks: Desks, request: pytest.FixtureRequest) -> Iterator[Callable[..., Any]]:
    """Opens notebooks, each with its kernel; they are closed after the test."""
    from tests.browser.lab import Lab

    opened: list[Lab] = []

    def open_(cells: list[str] | None, app: str = "lab", name: str | None = None) -> Lab:
        name = name or request.node.name.removeprefix("test_")
        desk = desks.own() if app != "lab" or opened else desks.shared
        opened.append(Lab(desk, name, cells, app))
        return opened[-1]

    yield open_
    if request.node.stash.get(FAILED, False):
        for number, lab in enumerate(opened):
            with suppress(Exception):
                lab.shot(f"failed-{request.node.name}-{number}")
        # Nobody knows in what state the page is.
        desks.close()
        desks.server.stop_kernels()
        return
    console = [line for lab in opened[::-1] for line in lab.close()]
    desks.close_own()
    assert console == [], "errors in the browser's console:\n" + "\n".join(console)
