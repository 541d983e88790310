"""Cells become turns; every turn's parent is the turn above it."""

from __future__ import annotations

from llmagic.notebook.conversation import Conversation
from llmagic.notebook.request import Request
from llmagic.prompt.parts import ReplyPart, TextPart
from llmagic.session import Turn
from llmagic.settings import Sampling


class Notebook:
    """Runs cells without a model: a turn's reply is its question in capitals."""

    def __init__(self) -> None:
        self.conversation = Conversation()
        self.executions = 0

    def run(self, text: str, cell: str | None = None, system: str | None = None) -> Turn:
        self.executions += 1
        return self.ask(text, cell, system)

    def ask(self, text: str, cell: str | None, system: str | None = None) -> Turn:
        request = Request(cell, str(self.executions))
        place = self.conversation.place(request, system=system)
        turn = Turn(
            id=text.encode().hex(),
            parent=place.after,
            system=place.system,
            parts=(TextPart(text),),
            reply=ReplyPart(text.upper(), (1,)),
            text=text.upper(),
            sampling=Sampling(),
            stop="end",
            usage={},
        )
        self.conversation.put(place, turn, request, system=system)
        return turn

    @property
    def chain(self) -> list[str]:
        """The replies that the next new cell sees."""
        texts = []
        turn = self.conversation.last
        while turn is not None:
            texts.append(turn.text)
            turn = turn.parent
        return texts[::-1]

    @property
    def systems(self) -> list[str | None]:
        return [entry.turn.system for entry in self.conversation.entries]


def context(turn: Turn) -> list[str]:
    texts = []
    while turn.parent is not None:
        turn = turn.parent
        texts.append(turn.text)
    return texts[::-1]


def test_cells_append_and_replace() -> None:
    notebook = Notebook()
    for cell in "abc":
        notebook.run(cell, cell)
    assert context(notebook.run("x", "b")) == ["A"]
    assert notebook.chain == ["A", "X", "C"]
    assert context(notebook.run("d", "d")) == ["A", "X", "C"]
    assert context(notebook.run("a2", "a")) == []
    assert notebook.chain == ["A2", "X", "C", "D"]
    assert context(notebook.run("c2", "c")) == ["A2", "X"]


def test_without_ids_every_execution_appends() -> None:
    notebook = Notebook()
    for _ in range(3):
        notebook.run("a")
    assert notebook.chain == ["A", "A", "A"]


def test_named_and_nameless_cells_mix() -> None:
    notebook = Notebook()
    notebook.run("a", "a")
    notebook.run("b")
    notebook.run("c", "c")
    assert context(notebook.run("a2", "a")) == []
    assert notebook.chain == ["A2", "B", "C"]


def test_one_execution_may_ask_more_than_once() -> None:
    notebook = Notebook()
    notebook.run("one", "a")
    assert context(notebook.ask("two", "a")) == ["ONE"]
    notebook.run("b", "b")
    assert notebook.chain == ["ONE", "TWO", "B"]
    assert context(notebook.run("three", "a")) == []
    assert notebook.chain == ["THREE", "B"]
    assert context(notebook.ask("four", "a")) == ["THREE"]
    assert notebook.chain == ["THREE", "FOUR", "B"]


def test_a_cell_that_fails_changes_nothing() -> None:
    notebook = Notebook()
    notebook.run("a", "a")
    notebook.run("b", "b")
    notebook.conversation.place(Request("a", "9"), system="other")
    assert notebook.chain == ["A", "B"]
    assert notebook.systems == [None, None]


def test_the_system_prompt_holds_from_its_cell_on() -> None:
    notebook = Notebook()
    notebook.run("a", "a")
    notebook.run("b", "b", system="short")
    notebook.run("c", "c")
    assert notebook.systems == [None, "short", "short"]
    notebook.run("a", "a")
    assert notebook.systems == [None, "short", "short"]
    notebook.run("b", "b", system="long")
    assert notebook.systems == [None, "long", "long"]
    notebook.run("c", "c", system="")
    assert notebook.systems == [None, "long", ""]
    notebook.run("b", "b")
    notebook.run("d", "d")
    assert notebook.systems == [None, None, "", ""]


def test_draws_are_counted_for_each_cell() -> None:
    def seeds(cell: str | None) -> list[int]:
        conversation = Conversation()
        found = []
        for execution in range(3):
            request = Request(cell, str(execution))
            found.append(conversation.seed(request, "text"))
            conversation.drawn(request)
        return found

    assert len(set(seeds("a"))) == 3
    assert seeds("a") == seeds("b"), "the cell's name is a label, not content"
    assert len(set(seeds(None))) == 1
    assert seeds(None)[0] == seeds("a")[0]
    request = Request("a", "0")
    assert Conversation().seed(request, "x") != Conversation().seed(request, "y")
    assert all(0 <= seed < 2**31 for seed in seeds("a"))
    assert Conversation().seed(request, "\ud800") >= 0


def test_another_model_reads_the_replies_as_its_own_tokens() -> None:
    notebook = Notebook()
    notebook.conversation.use_model("one", lambda text: [7])
    for cell in "ab":
        notebook.run(cell, cell)
    notebook.conversation.use_model("one", lambda text: [7])
    assert tokens(notebook) == [(1,), (1,)]
    notebook.conversation.use_model("two", lambda text: text.encode())
    assert tokens(notebook) == [(65,), (66,)]
    notebook.run("c", "c")
    notebook.conversation.use_model("one", lambda text: [7])
    assert tokens(notebook) == [(1,), (1,), (7,)]
    assert notebook.chain == ["A", "B", "C"]


def tokens(notebook: Notebook) -> list[tuple[int, ...]]:
    assert notebook.conversation.last is not None
    return [turn.tokens for turn in notebook.conversation.last.path()]


def test_clear() -> None:
    notebook = Notebook()
    notebook.run("a", "a", system="s")
    notebook.conversation.clear()
    assert notebook.conversation.last is None
    assert context(notebook.run("b", "b")) == []
    assert notebook.systems == [None]
