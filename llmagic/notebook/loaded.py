"""The model of a kernel: loaded, exchanged, freed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from llmagic.errors import NoModelError
from llmagic.events import Event, Notice
from llmagic.notebook.defaults import Defaults
from llmagic.notebook.interrupts import held, told
from llmagic.notebook.options import expand

if TYPE_CHECKING:
    from llmagic.catalog import Files
    from llmagic.session import Session

DEMO = "demo"
DEMO_ANSWERS = (
    "no model is loaded, so the bundled demo model answers: it knows pictures of coloured shapes "
    "and this conversation, nothing else. %llm load MODEL loads another (a path, user/repo or an "
    "alias)"
)
LOADED = "the model was loaded, and nothing else was done."
NO_MODEL = "no model is loaded; load one first: %llm load MODEL (a path, user/repo or an alias)"


class Loaded:
    """The model that answers, if there is one.

    Parameters
    ----------
    settings : Defaults
        How models are loaded.
    on_open : callable
        Called with the session of a model when another one is loaded.

    Attributes
    ----------
    session : Session or None
    """

    def __init__(self, settings: Defaults, on_open: Callable[[Session], None]) -> None:
        self.session: Session | None = None
        self._settings = settings
        self._on_open = on_open
        self._loaded: tuple[object, ...] | None = None
        # What `%llm unload` frees does not come back by itself: a conversation with a large model
        # must not go on with the tiny one.
        self._had_one = False
        # What the hub said of a name holds as long as the kernel: cells do not ask it each time.
        self._from_hub: dict[str, Files] = {}

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
        """The session a cell asks; `model` is its option, with `{name}` from `namespace` in it.

        The first cell of a kernel loads the default model, if nothing was loaded before.
        """
        if model is not None:
            name = expand(model, namespace)
            files = self._from_hub.get(name) or self._resolve(name, None, on_event)
            # The model that is loaded keeps its projector and its settings.
            if self._loaded is None or self._loaded[0] != _file(files.model):
                return self._open(files, MappingProxyType({}), on_event)
        elif name := self.default:
            if name == DEMO:
                on_event(Notice(DEMO_ANSWERS, warns=False))
            return self._open(self._resolve(name, None, on_event), MappingProxyType({}), on_event)
        return self.require()

    @property
    def default(self) -> str:
        """The model that a cell loads because the kernel had none yet; "" where there is none."""
        name = self._settings.model
        return "" if self._had_one or name == "none" else str(name)

    def open(
        self,
        name: str,
        projector: Path | bool | None,
        settings: Mapping[str, Any],
        on_event: Callable[[Event], None],
    ) -> Session:
        """Load a model; the one before it stays when that fails.

        Parameters
        ----------
        name : str
            What `llmagic.catalog.resolve` takes.
        projector : Path or bool, optional
            Likewise.
        settings : mapping
            Fields of `Loading`; None is the usual.
        on_event : callable
            Hears about progress.
        """
        return self._open(self._resolve(name, projector, on_event), settings, on_event)

    def _resolve(
        self, name: str, projector: Path | bool | None, on_event: Callable[[Event], None]
    ) -> Files:
        from llmagic.catalog import resolve

        files = resolve(name, projector=projector, tell=on_event)
        if files.is_from_hub:
            self._from_hub[name] = files
        return files

    def _open(
        self, files: Files, settings: Mapping[str, Any], on_event: Callable[[Event], None]
    ) -> Session:
        loading = self._settings.loading(settings)
        store, budget = self._settings.store or False, self._settings.store_budget
        model = _file(files.model)
        projector = None if files.projector is None else _file(files.projector)
        adapters = tuple(_file(Path(path)) for path, _ in loading.lora)
        wanted = (model, projector, adapters, loading, store, budget)
        if self.session is not None and self._loaded == wanted:
            return self.session  # "Run All" loads it again: nothing kept for it may get lost
        from llmagic.session import Session  # loads llama.cpp

        # From the old model to the new one is one step: half of it would leave one that is closed.
        with told(LOADED), held():
            session = Session(
                files.model,
                projector=files.projector or False,
                loading=loading,
                store=store,
                store_budget=budget,
                on_event=on_event,
            )
            try:
                self.close()
            except BaseException:
                session.close()
                raise
            self.session, self._loaded, self._had_one = session, wanted, True
            self._on_open(session)
        return session

    def close(self) -> None:
        """Free the model.

        Raises
        ------
        UsageError
            It is answering: a tool that it called wants to free it.
        """
        if self.session is not None:
            self.session.close()
        self.session, self._loaded = None, None


def _file(path: Path) -> tuple[object, ...]:
    """What tells that a file is the one that was loaded."""
    try:
        stat = path.stat()
    except OSError:
        return (path.resolve(),)
    return (path.resolve(), stat.st_size, stat.st_mtime_ns)
