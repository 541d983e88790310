"""Threads, sides and branches, and the subcommands that show, keep and drop turns."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import RichOutput
from PIL import Image

from llmagic.errors import UsageError
from llmagic.notebook.conversation import Conversation
from llmagic.notebook.entries import Scope
from tests.notebook.conftest import write_picture
from tests.notebook.test_shell import Cells as Shell
from tests.notebook.test_shell import texts
from tests.toys import Toy


class Cells(Shell):
    """Every run is an execution of its own, as in a terminal."""

    def run(self, code: str) -> list[RichOutput]:
        self.shell.execution_count += 1
        return super().run(code)


@pytest.fixture
def cells(shell: InteractiveShell) -> Cells:
    return Cells(shell)


@pytest.fixture
def loaded(cells: Cells, llama: Toy) -> Cells:
    cells.run(f"%llm load {llama.model}")
    return cells


def context(cells: Cells) -> list[str]:
    """The questions that the model saw last."""
    return [texts(turn)[0] for turn in conversation(cells).latest.path()]


def conversation(cells: Cells) -> Conversation:
    found: Conversation = cells.shell.magics_manager.registry["LLMagic"].conversation
    return found


def test_threads_are_conversations_of_their_own(loaded: Cells) -> None:
    loaded.ask("a")
    usage = loaded.ask("b", "--thread other -s 'Be brief.'")
    assert usage["thread"] == "other"
    assert "joins" not in usage
    assert context(loaded) == ["b"]
    assert loaded.ask("c")["thread"] == "main"
    assert context(loaded) == ["a", "c"]
    assert conversation(loaded).latest.system is None
    loaded.ask("d", "--thread other")
    assert context(loaded) == ["b", "d"]
    assert conversation(loaded).latest.system == "Be brief."
    rows = loaded.text("%llm history").splitlines()
    assert [row.split()[1] for row in rows[1:]] == list("abcd")
    assert [("thread other" in row) for row in rows[1:]] == [False, True, False, True]
    rows = loaded.text("%llm history --thread other").splitlines()
    assert [row.split()[:2] for row in rows[1:]] == [["2", "b"], ["4", "d"]]
    with pytest.raises(UsageError, match="did you mean other"):
        loaded.run("%llm history --thread othr")
    with pytest.raises(UsageError, match="name"):
        loaded.run('%%llm --thread ""\nx')


def test_sides_and_fresh_cells_do_not_join(loaded: Cells) -> None:
    loaded.ask("a", "-s 'Be brief.'")
    assert loaded.ask("b", "--side")["joins"] is False
    assert context(loaded) == ["a", "b"]
    usage = loaded.ask("c", "--fresh")
    assert (usage["joins"], usage["after"]) == (False, None)
    assert context(loaded) == ["c"]
    assert conversation(loaded).latest.system == "Be brief."
    loaded.ask("d")
    assert context(loaded) == ["a", "d"]
    loaded.ask("e", "--side -s 'Be long.'")
    loaded.ask("f")
    assert conversation(loaded).latest.system == "Be brief.", "a side's holds for it alone"
    rows = loaded.text("%llm history").splitlines()[1:]
    assert [row.split()[-1] for row in rows[1:3]] == ["side", "fresh"]
    assert loaded.ask("a", "-s 'Be brief.' --side")["joins"] is False


def test_a_named_turn_is_replaced(loaded: Cells) -> None:
    loaded.ask("a", "--as one")
    loaded.ask("b")
    loaded.ask("a2", "--as one")
    assert context(loaded) == ["a2"]
    loaded.ask("c")
    assert context(loaded) == ["a2", "b", "c"]
    rows = loaded.text("%llm history").splitlines()
    assert [("stands on a changed turn" in row) for row in rows] == [False, False, True, True]


def test_stale_turns_are_named_in_one_line(
    loaded: Cells, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(5):
        loaded.ask(f"question {number}", f"--as n{number}")
    loaded.ask("other", "--as n0")
    capsys.readouterr()
    loaded.shell.run_cell("%%llm --max-tokens 2\nAnd now?", store_history=True)
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert '4 stale turns stand above: "question 1", "question 2", "question 3", 1 more' in line
    assert loaded.ask("x", "--fresh")["stale"] == []
    assert capsys.readouterr().err == ""
    # What was there before is as it was, also for those that stand on it.
    loaded.ask("question 0", "--as n0")
    loaded.run("%llm forget 6 7")
    assert "changed" not in loaded.text("%llm history")


def test_the_tree(loaded: Cells) -> None:
    assert loaded.text("%llm tree") == "no turns yet; ask something in a %%llm cell"
    loaded.ask("first", "--as a")
    loaded.ask("<b>&second", "--as b")
    loaded.ask("aside", "--side")
    loaded.ask("another second", "--as b")
    loaded.ask("third")
    (output,) = loaded.run("%llm tree")
    lines = output.data["text/plain"].splitlines()
    drawn = [line.split(" ", 1)[0] if "─" in line else line[:1] for line in lines]
    assert drawn == ["●", "├─○", "│", "●", "●"], "the side stands on the earlier version"
    assert [next(w for w in ("first", "<b>", "aside", "another", "third") if w in line)
            for line in lines] == ["first", "<b>", "aside", "another", "third"]  # fmt: skip
    assert all("[live, memory" in line for line in lines[-2:])
    assert "earlier version" in lines[1]
    assert "side" in lines[2]
    drawing = ElementTree.fromstring(output.data["image/svg+xml"])
    labels = [each.text or "" for each in drawing.iter("{http://www.w3.org/2000/svg}text")]
    assert len(labels) == 5
    assert "<b>&second" in labels[1]
    assert drawing[0].text == "The tree of 5 turns"


def test_an_earlier_turn_is_restored(loaded: Cells) -> None:
    loaded.ask("one", "--as a")
    first = conversation(loaded).latest
    loaded.ask("below", "--as b")
    below = conversation(loaded).latest
    loaded.ask("two", "--as a")
    shown = loaded.text(f"%llm restore {first.id[:8]}")
    assert shown.endswith(first.text)
    loaded.ask("below", "--as b")
    assert conversation(loaded).latest.id == below.id
    assert context(loaded) == ["one", "below"]
    for name, what in (("zz", "no turn"), ("0000000", "no turn")):
        with pytest.raises(UsageError, match=what):
            loaded.run(f"%llm restore {name}")
    loaded.ask("nameless")
    with pytest.raises(UsageError, match="no name"):
        loaded.run(f"%llm restore {conversation(loaded).latest.id[:8]}")


def test_forgotten_turns_are_gone(loaded: Cells, store: Path) -> None:
    loaded.run("%config LLMagic.replay = True")
    first, second = loaded.ask("first"), loaded.ask("second")
    session = loaded.shell.magics_manager.registry["LLMagic"].session
    assert session.store.flush(120)
    files = sum(1 for _ in store.rglob("states/*")) + sum(1 for _ in store.rglob("checkpoints/*"))
    turns = len(list(store.rglob("turns/*/*"))) or len(list(store.rglob("turns/*")))
    assert "1 turn is forgotten" in loaded.text("%llm forget 2")
    assert turns > (len(list(store.rglob("turns/*/*"))) or len(list(store.rglob("turns/*"))))
    left = sum(1 for _ in store.rglob("states/*")) + sum(1 for _ in store.rglob("checkpoints/*"))
    assert left <= files
    assert len(loaded.text("%llm tree").splitlines()) == 1
    again = loaded.ask("second")
    assert again["generated"]["stop"] != "replayed"
    assert again["turn"] == second["turn"]
    known = first["prompt"]["tokens"] + first["generated"]["tokens"]
    assert again["restored"]["tokens"] == known, "what it stood on is there"
    loaded.ask("third", "--thread t")
    assert "1 turn is" in loaded.text("%llm forget --thread t")
    assert conversation(loaded).threads() == ["main"]
    for line, what in (
        ("%llm forget", "numbers of %llm history"),
        ("%llm forget 99", "no turn '99'"),
        ("%llm forget --thread t", "no thread 't'"),
    ):
        with pytest.raises(UsageError, match=what):
            loaded.run(line)


def test_turns_of_the_same_content_are_forgotten_one_by_one(loaded: Cells) -> None:
    loaded.run("%config LLMagic.replay = True")
    turns = [
        loaded.ask("name")["turn"],
        loaded.ask("what?", "--side")["turn"],
        loaded.ask("what?")["turn"],
        loaded.ask("name", "--thread a")["turn"],
        loaded.ask("more")["turn"],
        loaded.ask("name", "--fresh")["turn"],
    ]
    assert turns[0] == turns[3] == turns[5]
    assert turns[1] == turns[2]
    rows = loaded.text("%llm tree").splitlines()
    assert [row.split(". ")[0] for row in rows] == ["● 1, 4, 6", "● 2, 3", "● 5"]

    def left() -> list[tuple[str, str]]:
        return [
            (entry.turn.id, "side" if entry.scope.side else entry.scope.thread)
            for entry in conversation(loaded).entries
        ]

    before = left()
    assert "1 turn is forgotten" in loaded.text("%llm forget 2")
    assert left() == [before[0], *before[2:]]
    assert "changed" not in loaded.text("%llm history")
    assert "1 turn is forgotten" in loaded.text("%llm forget --thread a")
    assert left() == [before[0], before[2], before[4], before[5]]
    assert "1 turn is forgotten" in loaded.text("%llm forget 4")
    assert "changed" not in loaded.text("%llm history")
    again = loaded.ask("name", "--fresh")
    assert again["generated"]["stop"] == "replayed", "another cell still has it"
    # By its id it goes everywhere.
    assert "2 turns are forgotten" in loaded.text(f"%llm forget {turns[0][:8]}")
    assert [turn for turn, _ in left()] == [turns[2], turns[4]]


def test_a_line_without_a_turn_begins_another_tree(loaded: Cells) -> None:
    for number in range(2):
        loaded.ask(f"alone {number}", "--fresh")
    loaded.ask("first")
    loaded.ask("second")
    rows = loaded.text("%llm tree").splitlines()
    assert [row[:4] for row in rows] == ["● 1.", "", "● 2.", "", "● 3.", "● 4."]


def test_export(cells: Cells, qwen35: Toy, tmp_path: Path) -> None:
    cells.run(f"%llm load {qwen35.model} --projector {qwen35.projector}")
    with pytest.raises(UsageError, match="no turns"):
        cells.run("%llm export talk.json")
    write_picture(tmp_path / "a.png")
    cells.ask("![](a.png) What is <this>?", "-s 'Be brief.'")
    cells.ask("And ![](a.png)?")
    cells.ask("aside", "--side")
    cells.ask("elsewhere", "--thread other")
    assert cells.text("%llm export talk.json") == "2 turns written to talk.json"
    messages = json.loads((tmp_path / "talk.json").read_text())["messages"]
    roles = [message["role"] for message in messages]
    assert roles == ["system", "user", "assistant", "user", "assistant"]
    assert messages[0]["content"] == "Be brief."
    kinds = [part["type"] for part in messages[3]["content"]]
    assert kinds == ["text", "image_url", "text"]
    url = messages[3]["content"][1]["image_url"]["url"]
    image = Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2])))
    assert image.size == (64, 64)
    turns = [e.turn for e in conversation(cells).entries]
    assert messages[2]["content"] == turns[0].text

    cells.run("%llm export talk.md")
    text = (tmp_path / "talk.md").read_text()
    assert text.count("![image 1](<talk_files/image-1.png>)") == 2
    assert (tmp_path / "talk_files" / "image-1.png").is_file()
    assert "What is \\<this>?" in text
    cells.run("%llm export other.md --thread other")
    assert "elsewhere" in (tmp_path / "other.md").read_text()
    for line in ("talk.txt", "no/such/talk.json", "no/such.md/talk.md", "talk.md --thread nothing"):
        with pytest.raises(UsageError):
            cells.run(f"%llm export {line}")
    assert not list(tmp_path.glob("no*")), "no folder is made, with images or without"
    assert not list(tmp_path.glob(".talk*")), "nothing half written"


def test_a_turn_below_a_changed_one_is_kept(loaded: Cells) -> None:
    """It stands on a reply that was evaluated in other pieces than it was generated in."""
    for number in range(3):
        loaded.ask(f"question {number}", f"--as n{number}")
    loaded.ask("other", "--as n0")
    loaded.ask("last", "--as n3")
    assert "not kept" not in loaded.text("%llm tree").splitlines()[-1]


def test_what_ran_and_what_it_gave_can_be_asked_about(loaded: Cells) -> None:
    loaded.shell.run_cell("6 * 7", store_history=True)
    number = loaded.shell.execution_count - 1
    loaded.ask(f"What is {{In[-1]}}? Is it {{Out[{number}]}}, {{_}}?")
    assert texts(conversation(loaded).latest) == ["What is 6 * 7? Is it 42, 42?"]
    loaded.shell.run_cell("%llm status", store_history=True)
    loaded.ask(f"{{In[-1]}} and {{Out[{number}] if In else 0}}")
    assert texts(conversation(loaded).latest) == ["%llm status and 42"], "as it was typed"


def test_status_says_what_was_saved(loaded: Cells) -> None:
    loaded.ask("a")
    loaded.ask("b")
    rows = dict(line.split("  ", 1) for line in loaded.text("%llm status").splitlines())
    assert "tokens restored (live)" in rows["last turn"]
    assert rows["order"].strip() == "execution"
    usage: Any = conversation(loaded).latest.usage
    last = loaded.text("%llm last").splitlines()
    assert last[1].split()[:2] == ["prompt", str(usage["prompt"]["tokens"])]


def test_scopes() -> None:
    assert Scope().joins
    assert not Scope(side=True).joins
    assert not Scope(fresh=True).joins
