"""Forms in cells of a real shell: how they are named, what is shown, what a variable holds."""

from __future__ import annotations

import json
from typing import Any

import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import RichOutput, capture_output

from llmagic.errors import ReplyError, UsageError
from llmagic.notebook.reply import Reply
from tests.toys import Toy

FORMS = """
import dataclasses
from typing import Literal
from pydantic import BaseModel

class Person(BaseModel):
    happy: bool
    mood: Literal["good", "bad"]

@dataclasses.dataclass
class Point:
    x: bool
    y: bool

colour = {"enum": ["red", "green"]}
"""


class Cells:
    """Runs cells and gives what they display."""

    def __init__(self, shell: InteractiveShell) -> None:
        self.shell = shell

    def run(self, code: str) -> list[RichOutput]:
        with capture_output() as captured:
            result = self.shell.run_cell(code)
        self.outputs = list(captured.outputs)
        result.raise_error()
        return self.outputs

    def ask(self, text: str, options: str) -> RichOutput:
        (output,) = self.run(f"%%llm --max-tokens 60 -o reply {options}\n{text}")
        return output

    @property
    def reply(self) -> Reply:
        reply = self.shell.user_ns["reply"]
        assert isinstance(reply, Reply)
        return reply


@pytest.fixture
def cells(shell: InteractiveShell, llama: Toy) -> Cells:
    cells = Cells(shell)
    cells.run(FORMS)
    cells.run(f"%llm load {llama.model}")
    return cells


def test_a_pydantic_model(cells: Cells) -> None:
    output = cells.ask("who?", "--schema Person")
    assert type(cells.reply.data).__name__ == "Person"
    assert output.data["text/plain"] == str(cells.reply)
    laid_out = json.dumps(json.loads(cells.reply), indent=2)
    assert output.data["text/markdown"] == f"```json\n{laid_out}\n```"


def test_what_names_a_schema(cells: Cells) -> None:
    with open("file.json", "w", encoding="utf-8") as file:
        json.dump({"enum": ["red", "green"]}, file)
    for name, kind in (
        ("Point", "Point"),
        ("colour", "str"),
        ("list[bool]", "list"),
        ("bool", "bool"),
        ("file.json", "str"),
        ("""'{"enum": ["red", "green"]}'""", "str"),
    ):
        cells.ask("which?", f"--schema {name} -t 1.5 --fresh")
        assert type(cells.reply.data).__name__ == kind


def test_what_names_none(cells: Cells) -> None:
    cells.run("import json")
    for name, message in (
        ("Persn", "'Persn' is the name of neither"),
        ("missing.json", "missing.json"),
        ("colour.x", "AttributeError"),
        ("json", "and got"),
    ):
        with pytest.raises(UsageError, match=message):
            cells.ask("which?", f"--schema {name}")


def test_a_cut_reply_is_shown_and_raises(cells: Cells) -> None:
    cells.ask("first", "--schema bool")
    history = cells.run("%llm history")[0].data["text/plain"]
    with pytest.raises(ReplyError, match="--max-tokens"):
        cells.run("%%llm --max-tokens 3 --schema Person\nwho?")
    (output,) = cells.outputs
    assert output.data["text/plain"].startswith('{"')
    assert "not part of the conversation" in output.data["text/plain"]
    assert output.metadata["llmagic"]["generated"]["stop"] == "length"
    assert output.metadata["llmagic"]["turn"] is None
    assert cells.run("%llm history")[0].data["text/plain"] == history


def test_a_stored_reply_has_its_data(cells: Cells) -> None:
    cells.run("%config LLMagic.replay = True")
    cells.ask("who?", "--schema Person")
    first: Any = cells.reply.data
    cells.run("%llm reset")
    cells.ask("who?", "--schema Person")
    assert cells.reply.usage["generated"]["stop"] == "replayed"
    assert cells.reply.data == first
