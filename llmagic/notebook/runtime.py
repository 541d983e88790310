"""What one kernel holds: its shell and settings, the model, the conversations."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from llmagic.notebook import display
from llmagic.notebook.ahead import Ahead
from llmagic.notebook.attachments import Attached, Received
from llmagic.notebook.conversation import Conversation
from llmagic.notebook.defaults import Defaults
from llmagic.notebook.entries import Entry
from llmagic.notebook.loaded import Loaded
from llmagic.notebook.notebooks import Notebooks
from llmagic.notebook.request import (
    Document,
    MalformedError,
    Reader,
    Request,
    current_document,
    current_request,
    own_attachments,
)
from llmagic.notebook.saved import Found, Saved, saved_path
from llmagic.notebook.takeover import earlier_versions, follow

if TYPE_CHECKING:
    from llmagic.session import Session


class Runtime:
    """Everything the magics work on.

    Parameters
    ----------
    shell : IPython.core.interactiveshell.InteractiveShell
    settings : Defaults
        What `%config LLMagic` shows.

    Attributes
    ----------
    notebooks : Notebooks
    loaded : Loaded
    saved : Saved
    received : Received
        Attachments that front ends sent to this kernel.
    ahead : Ahead
        Encodes images between two cells.
    """

    def __init__(self, shell: Any, settings: Defaults) -> None:
        self.shell = shell
        self.settings = settings
        self.notebooks = Notebooks()
        self.loaded = Loaded(settings, self._read_by)
        self.saved = Saved()
        self.received = Received()
        self.ahead = Ahead(lambda: self.loaded.session)
        # As they were sent last: most of a notebook does not change between two cells.
        self._reader = Reader()
        self._told_malformed = False

    @property
    def conversation(self) -> Conversation:
        """The turns of the notebook that ran last."""
        return self.notebooks.current

    def request(self, name: str | None = None) -> tuple[Request, Document | None]:
        """What is running, in which notebook; `conversation` is the one of that from now on.

        Parameters
        ----------
        name : str, optional
            Of the turn, where the front end names no cell.
        """
        request = current_request(self.shell)
        named = request.cell is not None
        if not named and name is not None:
            request = replace(request, cell=f"--as {name}")
        try:
            document = current_document(self.shell, self._reader)
        except MalformedError as error:
            document = None
            if not self._told_malformed:
                self._told_malformed = True
                display.notice(
                    f"what the front end sent about the notebook is not used: {error}. Cells are "
                    "taken by their ids."
                )
        found = self._saved(request) if document is None and named else None
        self.notebooks.choose(request, document, found)
        if found is not None:
            path = self.notebooks.saved(found)
            document = self.saved.document(path, self.conversation, request)
        for cell in document.pictured if document is not None else ():
            new = self.received.take(cell.attachments)
            if cell.turn is None and cell.id != request.cell:
                self.ahead.offer(new)
        return request, document

    def arrange(self) -> Document | None:
        """The notebook around the running cell; its conversation is brought into its order.

        What the cells show is taken over where a model is loaded.
        """
        request, document = self.request()
        if document is not None:
            stop = document.index.get(request.cell, len(document.cells))
            session = self.loaded.session
            taken = follow(self.conversation, document, stop, session, self.notebooks.turns)
            for notice in taken.notices():
                display.notice(notice)
        return document

    def nothing(self, document: Document | None) -> str:
        """One line for a conversation without turns."""
        if self.waiting(document):
            return (
                "no turns yet in this kernel; load the model (%llm load MODEL), and those that the "
                "notebook shows are taken over"
            )
        return "no turns yet; ask something in a %%llm cell"

    def waiting(self, document: Document | None) -> int:
        """How many turns the notebook shows that are taken over once a model is loaded."""
        if document is None or self.loaded.session is not None or not self.conversation.takes_over:
            return 0
        return sum(cell.turn is not None for cell in document.cells)

    def recall_versions(self) -> None:
        """Let the conversation know what the store has of its cells' earlier turns."""
        if self.loaded.session is not None:
            earlier_versions(self.conversation, self.loaded.session)

    def order(self, document: Document | None) -> str:
        """By what the turns of the running cell's notebook are ordered."""
        if document is not None:
            return "saved notebook" if document.is_saved else "document"
        return "execution" if current_request(self.shell).cell is None else "cell ids"

    def restore(self, cell: str, turn: str) -> Entry | None:
        """Let a cell count with an earlier turn of its own again; see `Conversation.restore`."""
        others = [*self.conversation.versions.of(cell)][::-1]
        entry = self.conversation.restore(cell, turn)
        if entry is not None and self.loaded.session is not None:
            for other in others:
                self.loaded.session.replaces(entry.turn, other)
        return entry

    def attached(self, request: Request, document: Document | None) -> Attached:
        """The attachments that the running cell may name."""
        own = own_attachments(self.shell)
        if document is None:
            return Attached(self.received, own)
        at = document.index.get(request.cell)
        mine = [document.cells[at].attachments] if at is not None else []
        # All of them for the first cell, and for one that is not in the notebook.
        above = [
            cell.attachments
            for cell in reversed(document.pictured)
            if not at or document.index[cell.id] < at
        ]
        return Attached(self.received, *mine, own, *above)

    def folder(self, document: Document | None) -> Path:
        """Where relative paths start: the notebook's folder, else the working directory."""
        if document is not None and document.is_saved:
            return Path(document.notebook).parent
        path = saved_path(self.shell, current_request(self.shell))
        if path is None or not path.parent.is_dir():
            return Path.cwd()
        if document is not None:
            # Another notebook on the same kernel: only the first one's folder is known.
            name = PurePosixPath(document.notebook).name
            if name and name != path.name:
                return Path.cwd()
        return path.parent

    def _saved(self, request: Request) -> Found | None:
        path = saved_path(self.shell, request)
        return None if path is None else self.saved.find(path, request)

    def show(self, formats: dict[str, str]) -> None:
        """Display something that is no reply."""
        self.shell.display_pub.publish(formats)

    def _read_by(self, session: Session) -> None:
        self.notebooks.use_model(session.model_digest, session.tokenize)
        for turn in self.notebooks.pinned():
            session.pin(turn)
