"""The conversations of a kernel: one for each notebook that says its name, one for all others."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator

from llmagic.notebook.conversation import Conversation, Entry
from llmagic.notebook.request import Document, Request


class Notebooks:
    """Finds the conversation that a cell belongs to.

    Attributes
    ----------
    current : Conversation
        The one the last request belonged to.
    """

    def __init__(self) -> None:
        self.current = Conversation()
        self._all: dict[str | None, Conversation] = {None: self.current}
        self._model: tuple[Hashable, Callable[[str], Iterable[int]]] | None = None

    def choose(self, request: Request, document: Document | None) -> Conversation:
        """The conversation of a request, from now on the current one."""
        if document is not None:
            self.current = self._named(document.notebook)
        else:
            # Nobody says which notebook: the one that has the cell, else the last one.
            for conversation in (self.current, *self._all.values()):
                if request.cell is not None and request.cell in conversation:
                    self.current = conversation
                    break
        return self.current

    def find(self, name: str) -> Conversation:
        """The conversation of a notebook if it has one here, from now on the current one."""
        self.current = self._all.get(name, self.current)
        return self.current

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

    def use_model(self, model: Hashable, tokenize: Callable[[str], Iterable[int]]) -> None:
        """Let another model read all of them; see `Conversation.use_model`."""
        self._model = model, tokenize
        for conversation in self._all.values():
            conversation.use_model(model, tokenize)
