"""The model that is there: `demo` by name, and where no other was loaded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from llmagic.catalog import resolve
from llmagic.notebook.loaded import DEMO_ANSWERS
from tests.notebook.kernel import Kernel
from tests.toys import Toy

SELF = "I am a tiny demo model. I know coloured shapes and this conversation, nothing else."


@pytest.fixture
def kernel(tmp_path: Path) -> Iterator[Kernel]:
    kernel = Kernel(tmp_path)
    kernel.run("%config LLMagic.temperature = 0\n%config LLMagic.n_threads = 1")
    yield kernel
    kernel.stop()


def test_the_first_cell_needs_no_model(kernel: Kernel) -> None:
    first = kernel.run("%%llm\nWho are you?")
    assert first.text == SELF
    assert first.usage["model"] == "llmagic demo"
    assert first.stdout == f"llmagic: {DEMO_ANSWERS}\n"
    assert first.stderr == ""
    again = kernel.run("%%llm\nHello.")
    assert again.stdout == again.stderr == ""


def test_by_name(kernel: Kernel) -> None:
    assert "llmagic demo is loaded" in kernel.run("%llm load demo").text
    seen = kernel.run(
        "from llmagic.demo import picture\nthing = picture('red star', 'blue circle')"
    )
    assert seen.error is None
    outcome = kernel.run("%%llm\nWhat do you see? {thing}")
    assert outcome.text == "A red star and a blue circle."
    assert outcome.stderr == ""


def test_in_one_cell_by_option(kernel: Kernel, toy_named) -> None:
    llama: Toy = toy_named("llama")
    kernel.run(f"%llm load {llama.model}")
    assert kernel.run("%%llm -m demo\nWho are you?").text == SELF


def test_status_says_what_it_is(kernel: Kernel) -> None:
    kernel.run("%llm load demo")
    status = kernel.run("%llm status").text
    for words in ("llmagic demo", "mit", "pictures of coloured shapes", "nothing else", "MiB"):
        assert words in status


def test_another_model_unloaded_does_not_make_way_for_it(kernel: Kernel, toy_named) -> None:
    kernel.run(f"%llm load {toy_named('llama').model}\n%llm unload")
    assert kernel.run("%%llm\nWho are you?").error == "NoModelError"


def test_none_is_no_default(kernel: Kernel) -> None:
    kernel.run("%config LLMagic.model = 'none'")
    assert kernel.run("%%llm\nWho are you?").error == "NoModelError"


def test_a_default_of_ones_own(kernel: Kernel, toy_named) -> None:
    kernel.run(f"%config LLMagic.model = {str(toy_named('llama').model)!r}")
    outcome = kernel.run("%%llm --max-tokens 3\nWho are you?")
    assert outcome.usage["model"] == "llmagic toy llama"
    assert outcome.stderr == ""


def test_a_folder_of_that_name_does_not_hide_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "demo").mkdir()
    monkeypatch.chdir(tmp_path)
    files = resolve("demo")
    assert files.model.name == "demo.gguf"
    assert files.projector is not None
    assert resolve("demo", projector=False).projector is None


def test_it_is_small() -> None:
    files = resolve("demo")
    assert files.projector is not None
    assert files.model.stat().st_size + files.projector.stat().st_size < 10e6
