"""One server and one browser for all tests; each test has a notebook of its own."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
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


@pytest.fixture
def lab(
    server: Server, browser: Any, request: pytest.FixtureRequest
) -> Iterator[Callable[..., Any]]:
    """Opens notebooks, each with its kernel; they are closed after the test."""
    from tests.browser.lab import Lab

    opened: list[Lab] = []

    def open_(cells: list[str], name: str | None = None, **options: Any) -> Lab:
        name = name or f"{request.node.name.removeprefix('test_')}{len(opened) or ''}"
        opened.append(Lab(browser, server, name, cells, **options))
        return opened[-1]

    yield open_
    for lab in opened:
        lab.close()
