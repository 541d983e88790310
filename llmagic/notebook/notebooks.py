"""The conversations of a kernel: one for each notebook that says its name, one for all others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from llmagic.notebook.conversation import Conversation
from llmagic.notebook.entries import Entry
from llmagic.notebook.request import Document, Request
from llmagic.notebook.saved import Found

if TYPE_CHECKING:
    from llmagic.session import Turn


class Notebooks:
    """Finds the conversation that a cell belongs to.

    Attributes
    ----------
    current : Conversation
        The one the last request belonged to.
    """

    def __init__(self) -> None:
        self.current = Conversation()
        # The kernel's own notebook has no name here: it may get another one.
        self._own = self.current
        self._all: dict[str, Conversation] = {"": self._own}
        self._beside: dict[str, Path] = {}
        self._model: tuple[str, Callable[[str], Iterable[int]]] | None = None

    def choose(
        self, request: Request, document: Document | None, found: Found | None = None
    ) -> Conversation:
        """The conversation of a request, from now on the current one.

        Parameters
        ----------
        request : Request
        document : Document or None
            What the front end sent about the notebook.
        found : Found, optional
            The saved notebook that has the cell.
        """
        if document is not None:
            self.current = self._named(document.notebook)
        elif request.notebook is not None:
            self.current = self._named(request.notebook)
        elif found is not None and found.is_own is False:
            self._beside[str(found.path)] = found.path
            self.current = self._named(str(found.path))
        else:
            self.current = self._having(request, found is not None and found.is_own is True)
        return self.current

    def _having(self, request: Request, is_own: bool) -> Conversation:
        """Where nobody says which notebook: the one that has the cell, else the last one."""
        others = [self._all[name] for name in self._beside] if is_own else []
        last = self._own if self.current in others else self.current
        for conversation in (last, *self._all.values()):
            has_it = request.cell is not None and request.cell in conversation
            if has_it and conversation not in others:
                return conversation
        return last

    def saved(self, found: Found) -> Path:
        """Where the current notebook is saved, from what is known of the running cell."""
        beside = [path for name, path in self._beside.items() if self._all[name] is self.current]
        return beside[0] if beside else found.path

    def find(self, name: str, knows: Callable[[Conversation], bool]) -> bool:
        """Let the conversation of a notebook be the current one, if it has one here.

        Parameters
        ----------
        name : str
            Of the notebook. One that was renamed is known by its old name until a cell runs.
        knows : callable
            Whether a conversation has what is asked about; for a name that is not known.

        Returns
        -------
        bool
            Whether it has one.
        """
        named = self._all.get(name)
        others = (self.current, *self._all.values())
        found = named or next((each for each in others if knows(each)), None)
        self.current = found or self.current
        return found is not None

    def _named(self, name: str) -> Conversation:
        if name not in self._all:
            self._all[name] = Conversation()
            if self._model is not None:
                self._all[name].use_model(*self._model)
        return self._all[name]

    def turns(self) -> Iterator[Entry]:
        """The turns of all notebooks."""
        for conversation in self._all.values():
            yield from conversation.known()

    def pinned(self) -> Iterator[Turn]:
        """The turns whose checkpoints are to stay in memory."""
        for conversation in self._all.values():
            for entry in (*conversation.known(), *conversation.versions):
                if entry.turn.id in conversation.pinned:
                    yield entry.turn

    def use_model(self, model: str, tokenize: Callable[[str], Iterable[int]]) -> None:
        """Let another model read all of them; see `Conversation.use_model`."""
        self._model = model, tokenize
        for conversation in self._all.values():
            conversation.use_model(model, tokenize)
