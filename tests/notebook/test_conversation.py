"""Cells become turns; every turn's parent is the turn above it."""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest

from llmagic.errors import PromptError
from llmagic.notebook.conversation import Conversation, Place
from llmagic.notebook.entries import Entry
from llmagic.notebook.notebooks import Notebooks
from llmagic.notebook.options import options_of
from llmagic.notebook.request import Cell, Document, Request
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
        turn = self.turn(text, place)
        self.conversation.put(place, turn, request, system=system)
        return turn

    def turn(self, text: str, place: Place) -> Turn:
        return Turn(
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


def test_a_reply_that_another_model_cannot_write_stays_as_it_is() -> None:
    notebook = Notebook()
    notebook.conversation.use_model("one", lambda text: [7])
    for cell in "ab":
        notebook.run(cell, cell)

    def narrow(text: str) -> bytes:
        if text == "A":
            raise PromptError("no token for 'A'")
        return text.encode()

    notebook.conversation.use_model("two", narrow)
    assert tokens(notebook) == [(1,), (66,)]


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


class Page(Notebook):
    """A notebook whose front end sends the cells in document order, with every run."""

    def __init__(self, cells: str) -> None:
        super().__init__()
        self.cells = {name: name for name in cells}

    def run(self, text: str, cell: str | None = None, system: str | None = None) -> Turn:
        """Run a cell; it reads `text` now."""
        assert cell is not None
        self.cells[cell] = text
        cells = [Cell(name, source, None) for name, source in self.cells.items()]
        document = Document("book", tuple(cells))
        above = document.above(cell)
        assert above is not None
        self.conversation.follow(document, {})
        self.executions += 1
        request = Request(cell, str(self.executions), text)
        count = self.conversation.above(document, cell)
        place = self.conversation.place(request, system=system, above=count)
        turn = self.turn(text, place)
        self.conversation.put(place, turn, request, system=system)
        above_ids = {each.id for each in above}
        stale = self.conversation.stale_above(place, document)
        self.stale = [entry.request.cell for entry in stale]
        assert set(self.stale) <= above_ids
        return turn

    def arrange(self, cells: str) -> None:
        """Delete, insert and move cells: these are left, in this order."""
        self.cells = {name: self.cells.get(name, name) for name in cells}


def test_cells_run_in_any_order_stand_in_document_order() -> None:
    page = Page("abc")
    assert context(page.run("c", "c")) == []
    assert context(page.run("a", "a")) == []
    assert context(page.run("b", "b")) == ["A"]
    assert page.chain == ["A", "B", "C"]
    assert context(page.run("c", "c")) == ["A", "B"]
    assert context(page.run("b2", "b")) == ["A"]
    assert context(page.run("c", "c")) == ["A", "B2"]


def test_insert_delete_move_and_undo() -> None:
    page = Page("abc")
    for name in "abc":
        page.run(name, name)
    page.arrange("axbc")
    assert context(page.run("c", "c")) == ["A", "B"], "x has not run"
    assert context(page.run("x", "x")) == ["A"]
    assert context(page.run("c", "c")) == ["A", "X", "B"]
    page.arrange("abc")
    assert context(page.run("c", "c")) == ["A", "B"], "x is deleted"
    page.arrange("axbc")
    assert context(page.run("c", "c")) == ["A", "X", "B"], "and back again"
    page.arrange("bxac")
    assert context(page.run("c", "c")) == ["B", "X", "A"]
    page.arrange("cbxa")
    assert context(page.run("c", "c")) == []
    assert page.chain == ["C", "B", "X", "A"]
    page.arrange("bxac")
    assert context(page.run("c", "c")) == ["B", "X", "A"]


def test_a_cell_edited_above_counts_with_its_last_run_and_is_stale() -> None:
    page = Page("abc")
    for name in "abc":
        page.run(name, name)
        assert page.stale == []
    page.cells["a"] = "a, edited"
    page.cells["c"] = "c, edited"
    assert context(page.run("b", "b")) == ["A"]
    assert page.stale == ["a"]
    page.cells["a"] = "a"
    page.run("b", "b")
    assert page.stale == [], "the edit was undone"
    assert context(page.run("c, edited", "c")) == ["A", "B"]
    assert page.stale == []


def test_the_system_prompt_moves_with_its_cell() -> None:
    page = Page("abc")
    page.run("a", "a")
    page.run("b", "b", "short")
    page.run("c", "c")
    assert page.systems == [None, "short", "short"]
    page.arrange("bac")
    page.run("c", "c")
    assert page.systems == ["short", "short", "short"]
    page.arrange("ac")
    page.run("c", "c")
    assert page.systems == [None, None]


def test_one_execution_may_ask_twice_in_a_document() -> None:
    page = Page("abc")
    page.run("c", "c")
    page.run("b", "b")
    page.executions -= 1
    assert context(page.run("b", "b")) == ["B"]
    assert page.chain == ["B", "B", "C"]
    assert context(page.run("c", "c")) == ["B", "B"]


def test_turns_from_elsewhere_take_their_place() -> None:
    page = Page("abc")
    page.run("c", "c")
    elsewhere = page.conversation.entries[0]
    entry = Entry(elsewhere.turn, Request("b", "x", "b"), "short")
    cells = tuple(Cell(name, name, None) for name in "abc")
    page.conversation.follow(Document("book", cells), {"b": entry, "c": entry})
    assert [entry.request.cell for entry in page.conversation.entries] == ["b", "c"]
    assert page.systems == ["short", "short"]
    assert context(page.run("c", "c")) == ["C"], "what the cell gave here goes first"


def test_another_model_reads_what_is_put_aside_too() -> None:
    page = Page("ab")
    page.conversation.use_model("one", lambda text: [7])
    page.run("a", "a")
    page.arrange("b")
    page.run("b", "b")
    page.conversation.use_model("two", lambda text: text.encode())
    page.arrange("ab")
    page.run("b", "b")
    assert tokens(page) == [(65,), (1,)]


def test_a_new_conversation_takes_nothing_over() -> None:
    page = Page("ab")
    page.run("a", "a")
    assert page.conversation.takes_over
    page.conversation.clear()
    assert not page.conversation.takes_over
    assert context(page.run("b", "b")) == []


def test_each_notebook_has_its_conversation() -> None:
    notebooks = Notebooks()
    nameless = notebooks.current
    request = Request("a", "1")
    assert notebooks.choose(request, None) is nameless
    one = notebooks.choose(request, Document("one", ()))
    two = notebooks.choose(request, Document("two", ()))
    assert len({id(each) for each in (nameless, one, two)}) == 3
    assert notebooks.choose(request, Document("one", ())) is one
    assert notebooks.choose(Request(None, "2"), None) is one, "the last one"
    turn = Notebook().run("text", "b")
    two.put(two.place(Request("b", "3")), turn, Request("b", "3"))
    assert notebooks.choose(Request("b", "4"), None) is two, "the one that has the cell"
    assert [entry.turn.text for entry in notebooks.turns()] == ["TEXT"]


def test_the_options_of_a_source() -> None:
    assert options_of("%%llm -s 'Be brief.' -t 0\n-s no").system == "Be brief."
    assert options_of('\n%%llm -o a --system="Be\'s"\nHi').system == "Be's"
    assert options_of("%%llm --stop -s\nHi").system is None
    for source in ("%%llm\nHi", "%%llm\n-s Hi", "%%llm -s 'open\nHi", "%%llms -s a\nb", "x", ""):
        assert options_of(source).system is None


CELLS = tuple(Cell(cell, "", None) for cell in "fbcdea")
CHANGES: dict[str, Callable[[Notebook], object]] = {
    "put": lambda notebook: notebook.run("y", "b"),
    "follow": lambda notebook: notebook.conversation.follow(Document("book", CELLS), {}),
    "restore": lambda notebook: notebook.conversation.restore("b", b"b".hex()),
    "remove": lambda notebook: notebook.conversation.remove(notebook.conversation.entries[:1]),
    "model": lambda notebook: notebook.conversation.use_model("two", lambda _: [7]),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_ctrl_c_waits_for_a_change(
    change: Callable[[Notebook], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, stopped = Notebook(), Notebook()
    for notebook in (whole, stopped):
        for cell in "abcdef":
            notebook.run(cell, cell)
        notebook.run("x", "b")
        notebook.conversation.use_model("one", lambda _: [7])
    change(whole)
    standing_on, calls = Turn.standing_on, 0

    def pressed(turn: Turn, parent: Turn | None, system: str | None) -> Turn:
        nonlocal calls
        calls += 1
        if calls == 2:
            signal.raise_signal(signal.SIGINT)
        return standing_on(turn, parent, system)

    monkeypatch.setattr(Turn, "standing_on", pressed)
    with pytest.raises(KeyboardInterrupt):
        change(stopped)
    assert stopped.chain == whole.chain
