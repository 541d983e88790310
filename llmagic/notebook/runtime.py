"""What one kernel holds: its shell and settings, the model, the conversations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmagic.notebook import display
from llmagic.notebook.conversation import Conversation
from llmagic.notebook.defaults import Defaults
from llmagic.notebook.loaded import Loaded
from llmagic.notebook.notebooks import Notebooks
from llmagic.notebook.request import (
    Document,
    MalformedError,
    Request,
    current_document,
    current_request,
)

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
    """

    def __init__(self, shell: Any, settings: Defaults) -> None:
        self.shell = shell
        self.settings = settings
        self.notebooks = Notebooks()
        self.loaded = Loaded(settings, self._read_by)
        self._told_malformed = False

    @property
    def conversation(self) -> Conversation:
        """The turns of the notebook that ran last."""
        return self.notebooks.current

    def request(self) -> tuple[Request, Document | None]:
        """What is running, in which notebook; `conversation` is the one of that from now on."""
        request = current_request(self.shell)
        try:
            document = current_document(self.shell)
        except MalformedError as error:
            document = None
            if not self._told_malformed:
                self._told_malformed = True
                display.notice(
                    f"what the front end sent about the notebook is not used: {error}. Cells are "
                    "taken by their ids."
                )
        self.notebooks.choose(request, document)
        return request, document

    def show(self, formats: dict[str, str]) -> None:
        """Display something that is no reply."""
        self.shell.display_pub.publish(formats)

    def _read_by(self, model: tuple[object, ...], session: Session) -> None:
        self.notebooks.use_model(model, session.tokenize)
