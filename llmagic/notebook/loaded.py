"""The model of a kernel: loaded, exchanged, freed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmagic.errors import NoModelError
from llmagic.events import Event
from llmagic.notebook.defaults import Defaults
from llmagic.notebook.options import expand

if TYPE_CHECKING:
    from llmagic.session import Session

NO_MODEL = "no model is loaded; load one first: %llm load PATH [--projector PATH]"


class Loaded:
    """The model that answers, if there is one.

    Parameters
    ----------
    settings : Defaults
        How models are loaded.
    on_open : callable
        Called with what names the files of a model, and its session, when another one is loaded.

    Attributes
    ----------
    session : Session or None
    """

    def __init__(
        self, settings: Defaults, on_open: Callable[[tuple[object, ...], Session], None]
    ) -> None:
        self.session: Session | None = None
        self._settings = settings
        self._on_open = on_open
        self._loaded: tuple[object, ...] | None = None

    def require(self) -> Session:
        """The session.

        Raises
        ------
        NoModelError
            No model is loaded.
        """
        if self.session is None:
            raise NoModelError(NO_MODEL)
        return self.session

    def for_cell(
        self, model: str | None, namespace: dict[str, Any], on_event: Callable[[Event], None]
    ) -> Session:
        """The session a cell asks; `model` is its option, with `{name}` from `namespace` in it."""
        if model is not None:
            path = Path(expand(model, namespace, quote=False)).expanduser()
            # The model that is loaded keeps its projector.
            if self.session is None or self._loaded is None or self._loaded[0] != _file(path):
                return self.open(path, None, None, on_event)
        return self.require()

    def open(
        self,
        model: Path,
        projector: Path | None,
        n_ctx: int | None,
        on_event: Callable[[Event], None],
    ) -> Session:
        """Load a model; the one before it stays when that fails."""
        loading = self._settings.loading(n_ctx)
        store, budget = self._settings.store or False, self._settings.store_budget
        files = (_file(model), None if projector is None else _file(projector))
        wanted = (*files, loading, store, budget)
        if self.session is not None and self._loaded == wanted:
            return self.session  # "Run All" loads it again: nothing kept for it may get lost
        from llmagic.session import Session  # loads llama.cpp

        session = Session(
            model,
            projector=projector,
            n_ctx=loading.n_ctx,
            loading=loading,
            store=store,
            store_budget=budget,
            on_event=on_event,
        )
        self.close()
        self.session, self._loaded = session, wanted
        self._on_open(files[0], session)
        return session

    def close(self) -> None:
        """Free the model."""
        session, self.session, self._loaded = self.session, None, None
        if session is not None:
            session.close()


def _file(path: Path) -> tuple[object, ...]:
    """What tells that a file is the one that was loaded."""
    try:
        stat = path.stat()
    except OSError:
        return (path.resolve(),)
    return (path.resolve(), stat.st_size, stat.st_mtime_ns)
