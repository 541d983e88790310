"""What is noted of the order of turns is what looking at all of them gives."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from llmagic.notebook.conversation import Conversation
from llmagic.notebook.entries import Entry, Scope
from llmagic.notebook.request import Cell, Document, Request
from llmagic.prompt.parts import ReplyPart, TextPart
from llmagic.session import Turn
from llmagic.settings import Sampling

SCOPES = (Scope(), Scope(), Scope(), Scope(side=True), Scope(fresh=True), Scope("other"))
KINDS = ("run",) * 4 + ("again", "edit", "insert", "delete", "move", "back", "restore", "saved")
STEPS = st.tuples(st.sampled_from(KINDS), st.integers(0, 20), st.integers(0, 20))


class Notebook:
    """A notebook that is edited, and the conversation that follows it."""

    def __init__(self) -> None:
        self.conversation = Conversation()
        self.cells = [Cell(f"c{number}", f"text {number}", None) for number in range(4)]
        self.deleted: list[Cell] = []
        self.n, self.is_saved = 4, False

    def do(self, what: str, one: int, other: int) -> None:
        self.n += 1
        at = one % max(1, len(self.cells))
        if what == "insert":
            self.cells.insert(at, Cell(f"c{self.n}", f"text {self.n}", None))
        elif what == "back" and self.deleted:
            self.cells.insert(at, self.deleted.pop())
        elif what == "saved":
            self.is_saved = not self.is_saved
        elif not self.cells:
            return
        elif what == "edit":
            self.cells[at] = replace(self.cells[at], source=f"text {other % 3}")
        elif what == "delete":
            self.deleted.append(self.cells.pop(at))
        elif what == "move":
            cell = self.cells.pop(at)
            self.cells.insert(other % (len(self.cells) + 1), cell)
        elif what == "restore":
            cell = self.cells[at].id
            versions = [*self.conversation.versions.of(cell)]
            if versions:
                self.conversation.restore(cell, versions[other % len(versions)])
        elif what in ("run", "again"):
            self.run(self.cells[at], SCOPES[other % len(SCOPES)], twice=what == "again")

    def run(self, cell: Cell, scope: Scope, *, twice: bool) -> None:
        conversation = self.conversation
        document = Document("book.ipynb", tuple(self.cells), self.is_saved)
        lacking = conversation.lacking(document, len(self.cells))
        known = {entry.request.cell for entry in conversation.known()}
        assert lacking == [each for each in self.cells if each.id not in known]
        conversation.follow(document, {})
        self.check(document)
        for _ in range(1 + twice):
            request = Request(cell.id, str(self.n), cell.source)
            above = conversation.above(document, cell.id)
            entries = conversation.entries
            assert above == sum(
                document.index[entry.request.cell] < document.index[cell.id] for entry in entries
            )
            place = conversation.place(request, above=above, scope=scope)
            reasons = conversation.stale(document.sources)
            expected = [
                entry
                for entry, reason in zip(entries[: place.start], reasons, strict=False)
                if reason and entry.scope.joins and entry.scope.thread == scope.thread
            ]
            found = conversation.stale_above(place, document)
            assert [id(entry) for entry in found] == ([] if scope.fresh else [*map(id, expected)])
            text = f"{cell.source} {scope}"
            turn = Turn(
                id=text.encode().hex(),
                parent=place.after,
                system=None,
                parts=(TextPart(text),),
                reply=ReplyPart(text, (1,)),
                text=text,
                sampling=Sampling(),
                stop="end",
                usage={},
                after=place.after.id if place.after is not None else "",
            )
            conversation.put(place, turn, request)
            self.check(document)

    def check(self, document: Document) -> None:
        entries = self.conversation.entries
        places = [document.index[entry.request.cell] for entry in entries]
        assert places == sorted(places)
        ends: dict[str, Turn | None] = {}
        for entry in entries:
            above = None if entry.scope.fresh else ends.get(entry.scope.thread)
            assert entry.turn.parent is above
            assert _moved(entry) == entry.moved
            if entry.scope.joins:
                ends[entry.scope.thread] = entry.turn


def _moved(entry: Entry) -> bool:
    turn = entry.turn
    return turn.after not in (None, turn.parent.id if turn.parent is not None else "")


@settings(max_examples=200)
@given(st.lists(STEPS, min_size=30, max_size=60))
def test_the_order_is_that_of_the_notebook(steps: list[tuple[str, int, int]]) -> None:
    notebook = Notebook()
    for step in steps:
        notebook.do(*step)
