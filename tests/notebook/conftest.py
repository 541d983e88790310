"""Fixtures: a shell in this process, kernels, pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from IPython.core.interactiveshell import InteractiveShell
from PIL import Image
from traitlets.config import Config

from tests.notebook.kernel import Kernel
from tests.toys import Toy


@pytest.fixture(scope="session", autouse=True)
def _environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test reads or writes the history and profiles of whoever runs it."""
    patch = pytest.MonkeyPatch()
    patch.setenv("IPYTHONDIR", str(tmp_path_factory.mktemp("ipython")))
    patch.setenv("JUPYTER_CONFIG_DIR", str(tmp_path_factory.mktemp("jupyter")))
    yield
    patch.undo()


@pytest.fixture(autouse=True)
def store(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store of its own for each test, empty: what other tests asked must not be replayed."""
    folder = tmp_path_factory.mktemp("store")
    monkeypatch.setenv("LLMAGIC_STORE", str(folder))
    return folder


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[InteractiveShell]:
    """A shell with llmagic loaded, in an empty folder; replies are drawn, not replayed."""
    monkeypatch.chdir(tmp_path)
    config = Config()
    config.HistoryManager.enabled = False
    config.InteractiveShell.colors = "nocolor"
    config.LLMagic.replay = False
    InteractiveShell.clear_instance()
    shell = InteractiveShell.instance(config=config)
    shell.run_line_magic("load_ext", "llmagic")
    yield shell
    if "LLMagic" in shell.magics_manager.registry:
        shell.run_line_magic("unload_ext", "llmagic")
    InteractiveShell.clear_instance()


@pytest.fixture
def kernel(tmp_path: Path) -> Iterator[Kernel]:
    """A kernel of its own with llmagic loaded, in an empty folder; nothing is replayed."""
    kernel = Kernel(tmp_path)
    yield kernel
    kernel.stop()


@pytest.fixture(scope="session")
def llama(toy_named: Callable[[str], Toy]) -> Toy:
    """Text only, full attention."""
    return toy_named("llama")


@pytest.fixture(scope="session")
def qwen35(toy_named: Callable[[str], Toy]) -> Toy:
    """Images, hybrid memory."""
    return toy_named("qwen35")


def write_picture(path: Path, size: int = 64, shade: int = 0) -> Path:
    """A picture with edges; another `shade` is another picture."""
    image = Image.new("RGB", (size, size), (shade % 256, 80, 200))
    image.paste((250, 220, shade % 256), (size // 4, size // 3, size // 2, size - size // 5))
    image.save(path)
    return path
