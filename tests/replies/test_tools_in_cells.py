"""Tools of a notebook: `--tool` in cells, what is shown of calls."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from llmagic.errors import Interrupted, UsageError
from tests.replies.test_cells import Cells
from tests.replies.test_tools import HERMES, SCRIPT
from tests.toys import parrot

DEFINE = '''
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b

def interrupt() -> None:
    """Stop."""
    import signal, time
    signal.raise_signal(signal.SIGINT)  # as Jupyter does
    time.sleep(60)
'''


@pytest.fixture
def cells(shell: Any, tmp_path: Path) -> Cells:
    cells = Cells(shell)
    cells.run(DEFINE)
    cells.run(f"%llm load {parrot.write(tmp_path, SCRIPT, HERMES)}")
    return cells


def test_calls_are_folded(cells: Cells) -> None:
    output = cells.ask("what is twice two", "-t 0 --tool add")
    assert output.data["text/plain"] == ("Let me see.\n\n> add(a=2, b=2)\n> 4\n\nIt is done.")
    assert output.data["text/markdown"] == (
        "Let me see.\n\n<details><summary>add(a=2, b=2)</summary>\n\n"
        "```text\n4\n```\n\n</details>\n\nIt is done."
    )
    assert output.metadata["llmagic"]["tools"] == {"rounds": 1, "calls": 1}
    assert str(cells.reply) == "It is done."
    # From this cell on, with the function there is now.
    cells.run("def add(a, b): return 'new'")
    output = cells.ask("twice", "-t 0")
    assert "> new" in output.data["text/plain"]
    # What is exported says what was called.
    cells.run("%llm export talk.md")
    assert "<summary>add(a=2, b=2)</summary>" in Path("talk.md").read_text()
    cells.run("%llm export talk.json")
    _, said, result, answer, *_ = json.loads(Path("talk.json").read_text())["messages"]
    (call,) = said["tool_calls"]
    assert call["function"] == {"name": "add", "arguments": '{"a": 2, "b": 2}'}
    assert result == {"role": "tool", "tool_call_id": call["id"], "content": "4"}
    assert answer["content"] == "It is done."
    output = cells.ask("twice", "-t 0 --no-tools")
    assert "<tool_call>" in output.data["text/plain"]


def test_a_tool_of_a_module_is_that_of_the_module(cells: Cells) -> None:
    cells.run(
        "import types\nbooks = types.ModuleType('books')\n"
        "exec('def add(a: int, b: int):\\n    return \"of the books\"', books.__dict__)"
    )
    output = cells.ask("twice", "-t 0 --tool books.add")
    assert "> of the books" in output.data["text/plain"]
    # The notebook has another function of that name.
    output = cells.ask("both", "-t 0")
    assert output.data["text/plain"].count("> of the books") == 2
    cells.run("add = 12.5")
    output = cells.ask("both", "-t 0")
    assert output.data["text/plain"].count("> of the books") == 2


def test_a_tool_cannot_take_the_model_away(cells: Cells) -> None:
    """It would be freed under the turn that runs, which ends the kernel."""
    loaded = cells.shell.magics_manager.registry["LLMagic"]._runtime.loaded
    session = loaded.require()
    for line in ("unload", "load demo --no-projector", "Hi"):
        cells.run(f"def add(a, b): get_ipython().run_line_magic('llm', {line!r})")
        cells.run("%%llm -t 0 --tool add -o reply\ntwice")
        (use,) = cells.reply.turn.rounds[0].uses
        assert use.result.startswith("UsageError: expected the session to be free"), line
        assert loaded.require() is session
    assert cells.ask("hello", "-t 0").data["text/plain"] == "Hi there!"


def test_what_names_no_tool(cells: Cells) -> None:
    with pytest.raises(UsageError, match="'addd' is not defined"):
        cells.ask("twice", "--tool addd")
    with pytest.raises(UsageError, match="leave one out"):
        cells.ask("twice", "--tool add --no-tools")


def test_an_interrupted_tool_shows_its_call(cells: Cells) -> None:
    with pytest.raises(Interrupted):
        cells.run("%%llm -t 0 --tool interrupt\nstop")
    (output,) = cells.outputs
    assert output.data["text/plain"].startswith("I ask. \n\n> interrupt()\n")
    assert "not part of the conversation" in output.data["text/plain"]
