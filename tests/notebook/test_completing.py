"""What Tab offers behind the magics: ours, and not Python's names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from IPython.core.completer import provisionalcompleter
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from llmagic.notebook.completing import complete


@pytest.fixture(scope="module")
def shell() -> Iterator[Any]:
    InteractiveShell.clear_instance()
    config = Config()
    config.HistoryManager.enabled = False
    shell = InteractiveShell.instance(config=config)
    shell.run_line_magic("load_ext", "llmagic")
    shell.user_ns.update(tokens=1, status_of=2, history_file=3)
    yield shell
    InteractiveShell.clear_instance()


def offered(shell: Any, code: str) -> list[str]:
    """What a kernel would answer: each completion as the whole text would be."""
    with provisionalcompleter():
        found = [*shell.Completer.completions(code, len(code))]
    return [code[: each.start] + each.text + code[each.end :] for each in found]


def test_subcommands_and_options(shell: Any) -> None:
    assert offered(shell, "%%llm --max-t") == ["%%llm --max-tokens"]
    assert offered(shell, "\n  %%llm --max-t") == ["\n  %%llm --max-tokens"]
    assert offered(shell, "%%llm -t 0 --top") == ["%%llm -t 0 --top-p", "%%llm -t 0 --top-k"]
    assert offered(shell, "%llm sta") == ["%llm status"]
    assert offered(shell, "x = 1\n%llm hist") == ["x = 1\n%llm history"]
    every = offered(shell, "%llm ")
    assert {"%llm load", "%llm tree", "%llm help"} < set(every)
    assert offered(shell, "%llm load x.gguf --proj") == ["%llm load x.gguf --projector"]
    # In the text of a question, and in Python, IPython is not disturbed.
    assert "tokens = 1\ntokens" in offered(shell, "tokens = 1\ntok")
    assert complete("--max-t", ["--max-tokens"]) == ("", [])
    for text, rest in (
        ("%%llm\n%llm hist", "ory"),
        ("  %%llm -t 0\nHow?\n%%llm --temp", "erature"),
    ):
        assert text + rest not in offered(shell, text)


def test_it_is_gone_with_the_extension(shell: Any) -> None:
    before = len(shell.Completer.custom_matchers)
    shell.run_line_magic("unload_ext", "llmagic")
    assert len(shell.Completer.custom_matchers) == before - 1
