"""Close the laptop, continue tomorrow: a kernel finds what an earlier one stored."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from tests.notebook.book import Book
from tests.notebook.conftest import write_picture
from tests.notebook.kernel import Kernel, Outcome
from tests.toys import Toy, parrot

OPTIONS = "--max-tokens 8 -t 0.7"
SEEING = {
    "a": f"%%llm {OPTIONS} -s 'Answer in one word.'\n![](a.png) What is this?",
    "b": f"%%llm {OPTIONS}\nLook at ![](b.png) and compare.",
    "c": f"%%llm {OPTIONS}\nWhich is larger?",
    "d": f"%%llm {OPTIONS} -a c.png\nAnd this? It costs {{price}}.",
    "e": f"%%llm {OPTIONS}\n![](a.png)![](b.png) Once more.",
    "f": f"%%llm {OPTIONS}\nWhich of all these is the best?",
}
READING = {name: f"%%llm {OPTIONS}\nQuestion {name}?" for name in "abcdef"}
READING["a"] = f"%%llm {OPTIONS} -s 'Answer in one word.'\nQuestion a?"

Start = Callable[..., Kernel]


@contextmanager
def starting(folder: Path) -> Iterator[Start]:
    """Gives a function that starts a kernel in a folder with pictures, with a model in it."""
    kernels = []
    for shade, name in enumerate("abc"):
        write_picture(folder / f"{name}.png", shade=90 * shade)

    def start(toy: Toy, *, replay: bool = False) -> Kernel:
        kernels.append(Kernel(folder, replay=replay))
        kernels[-1].run("price = 3")
        kernels[-1].load(toy.model, toy.projector)
        return kernels[-1]

    try:
        yield start
    finally:
        for kernel in kernels:
            kernel.stop()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    with starting(tmp_path) as start:
        yield start


@pytest.fixture(scope="module", params=["qwen35", "llama"])
def toy(request: pytest.FixtureRequest, toy_named: Callable[[str], Toy]) -> Toy:
    return toy_named(request.param)


@dataclass(frozen=True)
class Yesterday:
    """A notebook that ran in a kernel which has ended, and what is left of it.

    `again` is the last cell, run once more while the kernel was there.
    """

    book: Book
    before: list[Outcome]
    again: Outcome
    store: Path


@pytest.fixture(scope="module")
def ran(toy: Toy, tmp_path_factory: pytest.TempPathFactory) -> Yesterday:
    """Once for all tests that begin with a restart."""
    book = Book(SEEING if toy.projector is not None else READING)
    store = tmp_path_factory.mktemp("yesterday")
    with pytest.MonkeyPatch.context() as patch, starting(tmp_path_factory.mktemp("ran")) as start:
        patch.setenv("LLMAGIC_STORE", str(store))
        kernel = start(toy)
        before = book.run_all(kernel)
        again = book.run(kernel, "f")
        # An exit waits for some time only.
        session = "get_ipython().magics_manager.registry['LLMagic'].session"
        assert kernel.value(f"{session}.store.flush(120)") == "True"
        kernel.stop(gently=True)
    return Yesterday(book, before, again, store)


@pytest.fixture
def yesterday(ran: Yesterday, store: Path) -> Yesterday:
    """The same, in this test's own notebook and store."""
    shutil.copytree(ran.store, store, dirs_exist_ok=True)
    return replace(ran, book=copy.deepcopy(ran.book), store=store)


def generation_prompt(kernel: Kernel) -> int:
    """Tokens after a question that belong to the reply: what a cell run again evaluates."""
    ask = "get_ipython().magics_manager.registry['LLMagic'].session.ask"
    return int(
        kernel.value(
            f"[{ask}('x', after=None, max_tokens=1).usage['evaluated']['tokens'] for _ in 'ab'][1]"
        )
    )


def computed(outcome: Outcome) -> tuple[int, int]:
    """Tokens evaluated and images encoded."""
    usage = outcome.usage
    return usage["evaluated"]["tokens"], usage["encoded"]["images"]


def test_only_the_last_cell_after_a_restart(start: Start, toy: Toy, yesterday: Yesterday) -> None:
    book, before, again = yesterday.book, yesterday.before, yesterday.again
    kernel = start(toy)
    after = book.run(kernel, "f")
    assert computed(after) == (computed(again)[0], 0)
    assert after.usage["restored"]["tier"] == "disk"
    assert after.usage["exact"] is True
    assert after.usage["stale"] == []
    assert after.shown == before[-1].shown
    assert after.usage["turn"] == before[-1].usage["turn"]
    assert after.usage["prompt"] == before[-1].usage["prompt"]
    assert after.stderr == "llmagic: 5 turns above were taken over from the store.\n"
    assert computed(after)[0] <= generation_prompt(kernel)
    # They belong to this kernel now, and nothing more is said about them.
    assert book.run(kernel, "f").stderr == ""
    middle = book.run(kernel, "c")
    assert computed(middle)[1] == 0
    assert middle.usage["turn"] == before[2].usage["turn"]
    assert middle.stderr == ""
    kernel.stop(gently=True)

    kernel = start(toy, replay=True)
    shown = book.run(kernel, "f")
    assert shown.usage["generated"]["stop"] == "replayed"
    assert computed(shown) == (0, 0)
    assert shown.shown == before[-1].shown
    assert "5 turns" in shown.stderr


def test_all_from_the_top_after_a_restart(start: Start, toy: Toy, yesterday: Yesterday) -> None:
    """Without a front end: nothing says which cell runs, and nothing is decoded."""
    kernel = start(toy, replay=True)
    for cell, first in zip(yesterday.book.cells, yesterday.before, strict=True):
        again = kernel.run(cell.source)
        assert again.usage["generated"]["stop"] == "replayed"
        assert again.usage["generated"]["ms"] == 0
        assert computed(again) == (0, 0)
        assert again.shown == first.shown
        assert again.usage["turn"] == first.usage["turn"]
        assert again.stderr == ""
    further = kernel.run(f"%%llm {OPTIONS}\nAnd then?")
    assert further.usage["restored"]["tier"] == "disk"
    assert computed(further)[1] == 0
    assert computed(further)[0] < further.usage["prompt"]["tokens"] // 2


def test_a_front_end_may_run_all_as_well(start: Start, toy: Toy, yesterday: Yesterday) -> None:
    book = yesterday.book
    kernel = start(toy, replay=True)
    # "Run All" sends every request before the first one is answered: outputs are cleared then.
    for cell in book.cells:
        cell.turn = None
    sent = {"llmagic": book.message()}
    for cell, first in zip(book.cells, yesterday.before, strict=True):
        again = kernel.run(cell.source, cell.id, metadata=sent)
        assert again.usage["generated"]["stop"] == "replayed"
        assert again.usage["turn"] == first.usage["turn"]
        assert again.stderr == ""


def test_edited_above_is_not_taken_over(start: Start, toy: Toy, yesterday: Yesterday) -> None:
    book = yesterday.book
    book["b"].source += " Please."
    book["d"].turn = "00" * 16
    book["e"].turn = None

    kernel = start(toy)
    after = book.run(kernel, "f")
    second = "Which is larger?" if toy.projector is not None else "Question c?"
    assert after.stderr.splitlines() == [
        "llmagic: 2 turns above were taken over from the store.",
        "llmagic: 1 cell above was edited since the last run, or that run was not stored in time: "
        "not part of the context until run again.",
        "llmagic: 1 turn above was not in the store: not part of the context until the cell is run "
        "again.",
        f'llmagic: a stale turn stands above: "{second}". Each counts as it ran last; run the '
        "cells again to bring them up to date.",
    ]
    assert after.usage["stale"] == ["c"], "b stood above it when it ran"
    entries = "get_ipython().magics_manager.registry['LLMagic'].conversation.entries"
    assert kernel.value(f"[entry.request.cell for entry in {entries}]") == "['a', 'c', 'f']"
    assert "Answer in one word." in kernel.value(f"[entry.turn.system for entry in {entries}]")

    assert after.usage["prompt"]["images"] == (1 if toy.projector is not None else 0)

    assert book.run(kernel, "b").stderr == "", "a is here already"
    assert kernel.value(f"[entry.request.cell for entry in {entries}]") == "['a', 'b', 'c', 'f']"
    assert "1 turn above was not in the store" in book.run(kernel, "f").stderr, "d, still"


TODAY = """
import datetime, llmagic.chat
class Day(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return datetime.datetime(2026, 11, {day}, 9)
llmagic.chat.datetime = Day
"""


def test_a_template_that_tells_the_date(tmp_path: Path) -> None:
    template = (Path(__file__).parents[1] / "templates" / "date.jinja").read_text()
    model = parrot.write(tmp_path, {"cat": ["It sits."], "dog": ["It runs."]}, template)
    book = Book({"a": "%%llm -t 0\nThe cat?", "b": "%%llm -t 0\nThe dog?"})
    turns = []
    for day in (27, 28):
        kernel = Kernel(tmp_path, replay=True)
        try:
            kernel.run(TODAY.format(day=day))
            kernel.load(model)
            if day == 28:
                # The last cell goes on where it was, and so does the whole notebook.
                for name in "bab":
                    assert book.run(kernel, name).usage["generated"]["stop"] == "replayed"
                assert [cell.turn for cell in book.cells] == turns[0]
                # A cell that was edited begins another conversation: today's.
                book["a"].source += " "
                assert book.run(kernel, "a").usage["generated"]["stop"] != "replayed"
            book.run_all(kernel)
            turns.append([cell.turn for cell in book.cells])
        finally:
            kernel.stop(gently=True)
    assert turns[0][0] != turns[1][0]


def test_the_document_orders_the_turns(start: Start, llama: Toy) -> None:
    kernel = start(llama)
    book = Book({name: f"%%llm --max-tokens 3\nQuestion {name}?" for name in "abc"})

    def context(name: str) -> str:
        """The questions that the model saw when a cell ran."""
        outcome = book.run(kernel, name)
        assert (
            outcome.stderr.count("\n")
            == outcome.stderr.count("stale")
            == bool(outcome.usage["stale"])
        )
        return questions(kernel)

    assert [context(name) for name in "cab"] == ["c", "a", "ab"]
    assert context("c") == "abc"
    book.insert(1, "x", "%%llm --max-tokens 3\nQuestion x?")
    assert context("b") == "ab"
    assert context("x") == "ax"
    assert context("c") == "axbc"
    kept = book.delete("x")
    assert context("c") == "abc"
    book.cells.insert(1, kept)
    assert context("c") == "axbc"
    book.move("c", 0)
    assert context("b") == "caxb"
    assert context("c") == "c"
    book.move("c", 3)
    book["a"].source = "%%llm --max-tokens 3\nQuestion y?"
    edited = book.run(kernel, "b")
    assert edited.usage["stale"] == ["a", "x"], "x stands on a"
    history = kernel.run("%llm history", "s", metadata={"llmagic": book.message()}).text
    marked = [row.split()[2] for row in history.splitlines() if row.endswith("edited since")]
    assert marked == ["a?"]
    assert history.count("stands on a changed turn") == 3
    assert context("b") == "axb", "a counts as it ran last"
    assert context("a") == "y"
    assert book.run(kernel, "b").usage["stale"] == ["x"], "it ran when another a stood above"
    assert context("x") == "yx"
    assert book.run(kernel, "b").usage["stale"] == []
    assert context("c") == "yxbc"
    status = kernel.run("%llm status", "s", metadata={"llmagic": book.message()}).text
    assert cells(status)["order"] == "document"
    history = kernel.run("%llm history", "s", metadata={"llmagic": book.message()}).text
    assert len(history.splitlines()) == 5
    assert cells(kernel.run("%llm status", "s").text)["order"] == "cell ids"
    assert cells(kernel.run("%llm status").text)["order"] == "execution"


def questions(kernel: Kernel) -> str:
    """The letters of the questions the model saw last."""
    turn = "get_ipython().magics_manager.registry['LLMagic'].session.last"
    return str(eval(kernel.value(f"''.join(t.parts[0].text[-2] for t in {turn}.path())")))


def cells(table: str) -> dict[str, str]:
    return {row.split()[0]: row.split(maxsplit=1)[1].strip() for row in table.splitlines()}


def test_a_copied_cell_keeps_its_turn_and_reset_forgets(start: Start, llama: Toy) -> None:
    kernel = start(llama)
    book = Book({name: f"%%llm --max-tokens 3\nQuestion {name}?" for name in "ab"})
    book.run_all(kernel)
    # Cut and pasted, a cell has a new name and shows what it showed.
    book["a"].id = "a2"
    assert book.run(kernel, "b").stderr == ""
    assert questions(kernel) == "ab"
    kernel.run("%llm reset", "r", metadata={"llmagic": book.message()})
    assert book.run(kernel, "b").stderr == ""
    assert questions(kernel) == "b", "not taken over again"
    book.run(kernel, "a2")
    book.run(kernel, "b")
    assert questions(kernel) == "ab"


def test_two_notebooks_on_one_kernel(start: Start, llama: Toy) -> None:
    """A copy of a notebook has the same cell ids."""
    kernel = start(llama)
    sources = {name: f"%%llm --max-tokens 3\nQuestion {name}?" for name in "ab"}
    one, two = Book(sources, "one.ipynb"), Book(sources, "two.ipynb")
    one.run(kernel, "a")
    other = two.run(kernel, "b")
    assert questions(kernel) == "b"
    below = one.run(kernel, "b")
    assert questions(kernel) == "ab"
    assert two.run(kernel, "b").usage["turn"] == other.usage["turn"]
    # The copy's outputs name turns of the original.
    two["a"].turn = one["a"].turn
    assert two.run(kernel, "b").usage["turn"] == below.usage["turn"]


MALFORMED: dict[str, Any] = {
    "newer": {"version": 2, "notebook": "book.ipynb", "cells": []},
    "missing": {"version": 1, "notebook": "book.ipynb"},
    "wrong": {
        "version": 1,
        "notebook": "book.ipynb",
        "cells": [{"id": "b", "source": 3, "turn": None}],
    },
    "10,000": {
        "version": 1,
        "notebook": "book.ipynb",
        "cells": [{"id": str(n), "source": "", "turn": None} for n in range(10_000)],
    },
    "list": ["version", "cells"],
}


def test_a_malformed_message_is_ignored_with_one_line(start: Start, llama: Toy) -> None:
    kernel = start(llama)
    for name, sent in MALFORMED.items():
        kernel.run("%reload_ext llmagic")  # what was said is forgotten with it
        kernel.load(llama.model)
        kernel.ask("One?", "a")
        plain = kernel.ask("Two?", "b")
        bad = kernel.ask("Two?", "b", metadata={"llmagic": sent})
        assert bad.usage["turn"] == plain.usage["turn"], name
        assert bad.stderr.startswith(
            "llmagic: what the front end sent about the notebook is not used"
        ), name
        assert bad.stderr.count("\n") == 1
        for cell in "ba":
            assert kernel.ask("Two?", cell, metadata={"llmagic": sent}).stderr == ""
        assert kernel.ask("Two?", "b", metadata={"llmagic": "x"}).stderr == "", "once, whatever"


def test_checkpoints_say_where_the_bytes_are(start: Start, toy: Toy) -> None:
    book = Book(SEEING if toy.projector is not None else READING)
    kernel = start(toy)
    assert len(kernel.run("%llm checkpoints").text.splitlines()) == 1
    for name in "abc":
        book.run(kernel, name)
    session = "get_ipython().magics_manager.registry['LLMagic'].session"
    assert kernel.value(f"{session}.store.flush(120)") == "True"

    def rows() -> list[dict[str, Any]]:
        entries = "get_ipython().magics_manager.registry['LLMagic'].conversation.entries"
        return list(eval(kernel.value(f"[{session}.kept(e.turn) for e in {entries}]")))

    shown = kernel.run("%llm checkpoints")
    assert set(shown.shown) == {"text/plain", "text/markdown"}
    assert len(shown.text.splitlines()) == 4
    first = rows()
    for row in first:
        assert row["live"] == row["tokens"]
        assert min(row["memory"], row["disk"]) > 0
        assert row["restored"] == row["total"]
    assert sum(row["tokens"] for row in first) == first[-1]["total"]
    branches, tree = f"{session}.engine.checkpoints.branches", f"{session}.engine.checkpoints.tree"
    total = int(kernel.value(f"{tree}.n_bytes"))
    assert sum(row["memory"] for row in first) == total
    kernel.run(f"{branches}.drop_all()")
    second = rows()
    assert {row["live"] for row in second} == {0}
    assert {row["tier"] for row in second} == {"memory"}
    kernel.run(f"{tree}.clear()")
    third = rows()
    assert {row["tier"] for row in third} == {"disk"}
    assert {row["memory"] for row in third} == {0}
    assert [row["restored"] for row in third] == [row["total"] for row in first]
    # What it says is what happens.
    further = kernel.run(f"%%llm {OPTIONS}\nAnd then?")
    assert further.usage["restored"]["tokens"] == third[-1]["restored"]
    kernel.run(f"{branches}.drop_all(); {tree}.clear()")
    # The writer would make files in it meanwhile.
    assert kernel.value(f"{session}.store.flush(120)") == "True"
    assert kernel.run(f"import shutil; shutil.rmtree({session}.store.path)").error is None
    assert {(row["restored"], row["tier"]) for row in rows()} == {(0, "none")}
    assert kernel.run("%llm unload").error is None
    assert kernel.run("%llm checkpoints").error == "NoModelError"


def test_without_the_store_nothing_is_taken_over(start: Start, toy: Toy, ran: Yesterday) -> None:
    """Its store is another: this test's own, which is empty."""
    alone = copy.deepcopy(ran.book).run(start(toy), "f")
    assert alone.stderr.startswith("llmagic: 5 turns above were not in the store")
    assert alone.usage["restored"]["tier"] == "none"
