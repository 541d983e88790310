"""The comm of a front end's panel: the tree of turns, and what can be done with a turn."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any, cast

import pytest

from llmagic.notebook import panel as server
from llmagic.notebook.conversation import Conversation
from llmagic.notebook.panel import PATIENCE
from tests.notebook.book import Book
from tests.notebook.kernel import LIMIT, Kernel
from tests.toys import Toy


class Panel:
    """A panel's end of the comm."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.number = 0
        self._send("comm_open", {"comm_id": "p", "target_name": "llmagic.panel", "data": {}})

    def _send(self, kind: str, content: dict[str, Any]) -> None:
        client = self.kernel.client
        client.shell_channel.send(client.session.msg(kind, content))

    def ask(self, kind: object, **more: Any) -> dict[str, Any]:
        self.number += 1
        data = {"id": self.number, "type": kind, **more}
        self._send("comm_msg", {"comm_id": "p", "data": data})
        while True:
            message = self.kernel.client.get_iopub_msg(timeout=LIMIT)
            if message["msg_type"] == "comm_msg":
                answer = dict(message["content"]["data"])
                assert answer.pop("id") == self.number
                return answer

    def turns(self, **more: Any) -> list[dict[str, Any]]:
        return list(self.ask("state", **more)["turns"])


@pytest.fixture
def book() -> Book:
    return Book({name: f"%%llm --max-tokens 4\nQuestion {name}?" for name in "abc"})


def test_the_tree_of_turns(kernel: Kernel, llama: Toy, book: Book) -> None:
    panel = Panel(kernel)
    assert panel.ask("state")["turns"] == []
    kernel.load(llama.model)
    ran = book.run_all(kernel)
    state = panel.ask("state")
    assert state["version"] == 1
    assert state["model"] == "llmagic toy llama"
    assert 0 < state["context"]["used"] <= state["context"]["limit"]
    assert 0 < state["memory"]["used"] <= state["memory"]["budget"]
    assert set(state["disk"]) == {"used", "budget"}
    ids = [outcome.usage["turn"] for outcome in ran]
    turns = state["turns"]
    assert [turn["turn"] for turn in turns] == ids
    assert [turn["parent"] for turn in turns] == [None, *ids[:2]]
    assert [turn["cell"] for turn in turns] == ["a", "b", "c"]
    assert [turn["number"] for turn in turns] == [1, 2, 3]
    assert [turn["question"] for turn in turns] == [f"Question {name}?" for name in "abc"]
    for turn in turns:
        assert turn["tiers"][:2] == ["live", "memory"]
        assert turn["bytes"]["memory"] > 0
        assert (turn["current"], turn["stale"], turn["joins"]) == (True, "", True)
    sources = {cell.id: cell.source for cell in book.cells}
    edited = panel.turns(sources=sources | {"b": "%%llm\nAnother?"})
    assert [turn["stale"] for turn in edited] == ["", "edited", "above"]


def test_a_turn_belongs_to_the_cell_that_shows_it(kernel: Kernel, llama: Toy, book: Book) -> None:
    panel = Panel(kernel)
    kernel.load(llama.model)
    book.run(kernel, "a")
    book["b"].source = book["a"].source
    book.delete("a")
    book.run(kernel, "b")
    (turn,) = panel.turns()
    assert (turn["turn"], turn["cell"], turn["number"]) == (book["b"].turn, "b", 1)


def test_an_earlier_version_comes_back(kernel: Kernel, llama: Toy, book: Book) -> None:
    kernel.load(llama.model)
    first = book.run_all(kernel)
    old = book["a"].source
    book["a"].source = "%%llm --max-tokens 4\nAnother?"
    book.run(kernel, "a")
    panel = Panel(kernel)
    turns = panel.turns()
    assert [turn["cell"] for turn in turns] == ["a", "b", "c", "a"], "b stands on the old a"
    assert [turn["current"] for turn in turns] == [False, True, True, True]
    assert [turn["stale"] for turn in turns] == ["", "above", "above", ""]
    assert turns[1]["parent"] == turns[0]["turn"] == first[0].usage["turn"]
    below = book.run(kernel, "b")
    assert below.usage["turn"] != first[1].usage["turn"]

    (version, newest) = panel.ask("versions", cell="a")["versions"]
    assert newest["turn"] == book["a"].turn
    restored = panel.ask("restore", cell="a", turn=version["turn"])
    assert restored["type"] == "restored"
    assert restored["source"] == old
    assert restored["output"]["data"] == first[0].shown
    assert restored["output"]["metadata"]["llmagic"]["turn"] == first[0].usage["turn"]
    book["a"].source, book["a"].turn = restored["source"], restored["turn"]
    again = book.run(kernel, "b")
    assert again.usage["turn"] == first[1].usage["turn"]
    assert again.usage["stale"] == []
    assert panel.ask("restore", cell="a", turn="00")["type"] == "error"
    assert panel.ask("restore", cell="nowhere", turn=version["turn"])["type"] == "error"


def test_forget_and_pin(kernel: Kernel, llama: Toy, book: Book) -> None:
    kernel.load(llama.model)
    ran = book.run_all(kernel)
    panel = Panel(kernel)
    assert panel.ask("pin", turn=book["c"].turn, pinned=True) == {"type": "done"}
    assert [turn["pinned"] for turn in panel.turns()] == [False, False, True]
    tree = "get_ipython().magics_manager.registry['LLMagic'].session.engine.checkpoints.tree"
    kernel.run(f"{tree}.budget = 1; {tree}.evict()")
    kept = [turn["bytes"]["memory"] > 0 for turn in panel.turns()]
    assert kept == [True, True, True], "what it stands on stays, too"
    assert panel.ask("pin", turn=book["c"].turn, pinned=False) == {"type": "done"}
    kernel.run(f"{tree}.evict()")
    assert [turn["bytes"]["memory"] for turn in panel.turns()] == [0, 0, 0]

    assert panel.ask("forget", turn=book["b"].turn) == {"type": "done"}
    turns = panel.turns()
    assert [turn["cell"] for turn in turns] == ["a", "c"]
    assert turns[1]["stale"] == "above"
    kernel.run("%config LLMagic.replay = True")
    anew = book.run(kernel, "b")
    assert anew.usage["generated"]["stop"] != "replayed", "its reply is gone"
    assert anew.text == ran[1].text
    assert panel.ask("forget", turn="00")["type"] == "error"


def test_pins_hold_for_the_next_model(kernel: Kernel, llama: Toy, book: Book) -> None:
    kernel.load(llama.model)
    book.run(kernel, "a")
    panel = Panel(kernel)
    panel.ask("pin", turn=book["a"].turn)
    kernel.run(f"%llm load {llama.model} --ctx 1024")
    pinned = (
        "get_ipython().magics_manager.registry['LLMagic'].session.engine.checkpoints.tree.pinned"
    )
    assert kernel.value(f"bool({pinned})") == "True"


def test_a_copy_of_a_notebook_on_the_same_kernel(kernel: Kernel, llama: Toy, book: Book) -> None:
    kernel.load(llama.model)
    book.run(kernel, "a")
    copy = Book({"a": book["a"].source}, "folder/copy.ipynb")
    copy.run(kernel, "a")
    copy["a"].source = "%%llm --max-tokens 4\nAnother?"
    copy.run(kernel, "a")
    panel = Panel(kernel)
    here, there = {"notebook": book.path}, {"notebook": copy.path}
    # The copy ran last; what is asked about the first one is done to the first one.
    assert panel.ask("pin", turn=copy["a"].turn, **here)["type"] == "error"
    assert len(panel.ask("versions", cell="a", **here)["versions"]) == 1
    assert panel.ask("forget", turn=book["a"].turn, **here) == {"type": "done"}
    assert panel.turns(**here) == []
    assert len(panel.turns(**there)) == 2
    assert len(panel.ask("versions", cell="a", **there)["versions"]) == 2


def test_a_notebook_that_has_not_run_shows_no_other(kernel: Kernel, llama: Toy, book: Book) -> None:
    kernel.load(llama.model)
    book.run(kernel, "a")
    panel = Panel(kernel)
    other = {"notebook": "folder/other.ipynb"}
    state = panel.ask("state", sources={"x": "%%llm\nHi"}, **other)
    assert (state["model"], state["turns"]) == ("llmagic toy llama", [])
    assert "no cell of folder/other.ipynb" in panel.ask("versions", cell="x", **other)["message"]
    assert panel.ask("forget", turn="00", **other)["type"] == "error"
    # One that was renamed is known by its cells.
    renamed = {"notebook": "folder/renamed.ipynb"}
    sources = {cell.id: cell.source for cell in book.cells}
    assert len(panel.turns(sources=sources, **renamed)) == 1
    assert panel.ask("pin", turn=book["a"].turn, **renamed) == {"type": "done"}
    assert panel.turns(sources=sources, **renamed)[0]["pinned"]


def test_nonsense_is_answered(kernel: Kernel) -> None:
    panel = Panel(kernel)
    for kind in ("nonsense", None, ["state"], {}):
        assert panel.ask(kind)["type"] == "error"
    assert panel.ask("state", notebook=["x"], sources=3)["turns"] == []
    assert panel.ask("versions", cell="nowhere")["versions"] == []
    kernel.run("%unload_ext llmagic\n%load_ext llmagic")
    panel.number += 1
    panel._send("comm_msg", {"comm_id": "p", "data": {"id": panel.number, "type": "state"}})
    assert Panel(kernel).ask("state")["turns"] == [], "the one that was open is closed"


CODE = """
import threading
panel = get_ipython().magics_manager.registry["LLMagic"].panel
answers = []
def ask():
    answers.append(panel.answer({"type": "state", "id": 7}))
    answers.append(panel.answer({"type": "forget", "turn": TURN, "id": 8}))
thread = threading.Thread(target=ask)
thread.start()
thread.join()
"""


def test_another_thread_waits_for_no_cell(kernel: Kernel, llama: Toy, book: Book) -> None:
    """Comms may be handled on a subshell, while a cell runs in the main thread."""
    kernel.load(llama.model)
    book.run(kernel, "a")
    panel = Panel(kernel)
    before = panel.ask("state")
    outcome = kernel.run(CODE.replace("TURN", repr(book["a"].turn)))
    assert outcome.error is None, outcome.message
    state, forgotten = eval(kernel.value("answers"))
    assert state == {**before, "busy": True, "id": 7}
    assert forgotten == {"type": "later", "id": 8}
    assert panel.turns() == [], "it was forgotten when the cell was done"


def test_a_late_thread_of_cells_is_waited_for() -> None:
    """On a busy machine the main thread wakes up late, though no cell runs."""

    class Loop:
        is_free = False

        def add_callback(self, run: Callable[[], None]) -> None:
            if self.is_free:
                threading.Timer(2 * PATIENCE, run).start()

    loop = Loop()
    shell = SimpleNamespace(kernel=SimpleNamespace(io_loop=loop))
    runtime = SimpleNamespace(
        shell=shell, conversation=Conversation(), recall_versions=lambda: None
    )
    panel = server.Panel(cast(Any, runtime))

    def ask(kind: str) -> dict[str, Any]:
        with ThreadPoolExecutor(1) as subshell:
            return subshell.submit(panel.answer, {"type": kind, "cell": "a", "id": 1}).result()

    state = ask("state")
    assert state["busy"], "it was made in a cell, which is not over"
    assert (state["model"], state["context"], state["turns"]) == (None, None, [])
    panel.cell_ended()
    loop.is_free = True
    assert ask("versions") == {"type": "versions", "cell": "a", "versions": [], "id": 1}
    panel.cell_begins()
    loop.is_free = False
    assert ask("versions") == {"type": "later", "id": 1}


def test_what_was_asked_during_a_cell_does_not_pile_up() -> None:
    """A panel that is open through a long cell asks for the state every second."""
    waiting: list[Callable[[], None]] = []
    counted: list[str] = []
    shell = SimpleNamespace(
        kernel=SimpleNamespace(io_loop=SimpleNamespace(add_callback=waiting.append))
    )
    runtime = SimpleNamespace(
        shell=shell,
        conversation=Conversation(),
        loaded=SimpleNamespace(session=None),
        recall_versions=lambda: counted.append("versions"),
    )
    panel = server.Panel(cast(Any, runtime))
    panel.cell_begins()
    with ThreadPoolExecutor(1) as subshell:
        for kind, answer in (("state", "state"), ("versions", "later"), ("pin", "later")):
            request = {"type": kind, "cell": "a", "turn": "00", "id": 1}
            assert subshell.submit(panel.answer, request).result()["type"] == answer
    assert len(waiting) == 3
    for run in waiting:
        run()
    assert not counted
    assert not panel._known, "no state was made of a conversation that nobody asks for any more"
