"""`%%llm` and `%llm`: parse, call the session, display."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from IPython.core.magic import Magics, cell_magic, line_magic, magics_class, no_var_expand

from llmagic.errors import Interrupted, NoModelError, UsageError
from llmagic.events import Event, Notice
from llmagic.notebook import display, options, report, transforms
from llmagic.notebook.cell import parts_of
from llmagic.notebook.conversation import Conversation
from llmagic.notebook.defaults import Defaults
from llmagic.notebook.notebooks import Notebooks
from llmagic.notebook.reply import Reply
from llmagic.notebook.request import (
    Cell,
    Document,
    MalformedError,
    Request,
    current_document,
    current_request,
)
from llmagic.notebook.takeover import follow

if TYPE_CHECKING:
    from llmagic.session import Session

NO_MODEL = "no model is loaded; load one first: %llm load PATH [--projector PATH]"


@magics_class
class LLMagic(Magics, Defaults):
    """Defaults of `%%llm`: how replies are drawn, and how the next model is loaded."""

    def __init__(self, shell: Any, **kwargs: Any) -> None:
        super().__init__(shell, **kwargs)
        self._notebooks = Notebooks()
        self._told_malformed = False
        self._session: Session | None = None
        self._loaded: tuple[object, ...] | None = None

    @property
    def conversation(self) -> Conversation:
        """The turns of the notebook that ran last."""
        return self._notebooks.current

    @no_var_expand
    @options.cell_options
    @cell_magic("llm")
    def llm_cell(self, line: str, cell: str) -> None:
        """Ask the model: the text of the cell is the next turn of the conversation.

        In the text {name} is replaced by the value of a variable, an image at its place;
        ![](path) is an image, too; {{ and }} are braces. `%llm help` shows the rest.
        """
        if {"-h", "--help"} & set(line.split()):
            self._help("")
            return
        self._ask(options.parse(self.llm_cell.parser, "%%llm", line), cell)

    @no_var_expand
    @line_magic("llm")
    def llm_line(self, line: str) -> None:
        """See `report.HELP`, which replaces this text."""
        word, _, rest = line.strip().partition(" ")
        commands = self._commands()
        command = commands.get(word or "help")
        if command is not None:
            if rest.strip() and word != "load":
                raise UsageError(
                    f"%llm {word} stands alone, but {rest.strip()!r} follows. If this is a "
                    "question, ask it in a %%llm cell."
                )
            command(rest)
        elif _meant_as_command(word, rest, commands):
            raise UsageError(
                f"%llm has no subcommand {word!r}{options.hint(word, commands)} "
                "If this is a question, ask it in a %%llm cell."
            )
        else:
            self._ask(options.parse(self.llm_cell.parser, "%llm", ""), line)

    llm_line.__doc__ = report.HELP

    def close(self) -> None:
        """Free the model."""
        session, self._session, self._loaded = self._session, None, None
        if session is not None:
            session.close()

    # --- the subcommands ---------------------------------------------------------------------

    def _commands(self) -> dict[str, Callable[[str], None]]:
        return {
            "help": self._help,
            "load": self._load,
            "status": self._status,
            "history": self._history,
            "last": self._last,
            "checkpoints": self._checkpoints,
            "reset": self._reset,
            "unload": self._unload,
        }

    def _help(self, _: str) -> None:
        self._show({"text/plain": report.HELP, "text/markdown": f"```text\n{report.HELP}\n```"})

    def _load(self, line: str) -> None:
        line = options.expand(line, self.shell.user_ns, quote=True)
        given = options.parse(options.load_parser(), "%llm load", line)
        screen = display.screen_for(self.shell, current_request(self.shell), stream=True)
        try:
            session = self._open(given.model, given.projector, given.ctx, screen.event)
        except BaseException:
            screen.stop(display.FAILED)
            raise
        screen.finish(report.loaded(session.status()), {})

    def _status(self, _: str) -> None:
        status = None if self._session is None else self._session.status()
        request, document = self._request()
        order = report.order(request, document)
        self._show(report.table(report.status_rows(status, self.conversation, order)))

    def _history(self, _: str) -> None:
        document = self._request()[1]
        stale = self.conversation.stale(document.cells) if document is not None else []
        self._show(report.table(report.history_rows(self.conversation, stale)))

    def _checkpoints(self, _: str) -> None:
        self._request()
        if self._session is None:
            raise NoModelError(NO_MODEL)
        kept = [self._session.kept(entry.turn) for entry in self.conversation.entries]
        self._show(report.table(report.kept_rows(self.conversation, kept)))

    def _last(self, _: str) -> None:
        self._request()
        turn = self.conversation.last
        if turn is None:
            raise UsageError("there is no turn yet; ask something in a %%llm cell first")
        self._show(report.table(report.usage_rows(turn)))

    def _reset(self, _: str) -> None:
        self._request()
        self.conversation.clear()
        self._show(display.bundle("the conversation is empty"))

    def _unload(self, _: str) -> None:
        self.close()
        self._show(display.bundle("no model is loaded"))

    def _show(self, formats: dict[str, str]) -> None:
        self.shell.display_pub.publish(formats)

    # --- a turn ------------------------------------------------------------------------------

    def _ask(self, given: argparse.Namespace, text: str) -> None:
        if given.out is not None and not given.out.isidentifier():
            raise UsageError(f"-o expects the name of a variable, not {given.out!r}")
        if self._session is None and given.model is None:
            raise NoModelError(NO_MODEL)
        parts = parts_of(self.shell, text, given.image, expressions=not given.no_interpolate)
        request, document = self._request()
        screen = display.screen_for(self.shell, request, stream=not given.no_stream)
        above = document.above(request.cell) if document is not None else None
        try:
            session = self._session_for(given.model, screen.event)
            # JupyterLab names the notebook in the kernel's environment.
            session.name_notebook(
                document.notebook
                if document is not None
                else os.environ.get("JPY_SESSION_NAME", "")
            )
            if document is not None and above is not None:
                taken = follow(self.conversation, document, request, session, self._notebooks.turns)
                for notice in taken.notices():
                    screen.event(Notice(notice))
            count = None if above is None else self.conversation.count(above)
            place = self.conversation.place(request, system=given.system, above=count)
            turn = session.ask(
                parts,
                after=place.after,
                system=place.system,
                sampling=self.sampling(given, self._seed(given, request, text)),
                replay=self.replay and not given.resample,
                on_event=screen.event,
            )
        except Interrupted as interrupted:
            metadata = self._metadata(interrupted.usage, above)
            screen.stop(display.INTERRUPTED, interrupted.text, metadata)
            raise
        except BaseException:
            screen.stop(display.FAILED)
            raise
        self.conversation.put(place, turn, request, system=given.system)
        if request.source is not None:
            session.name_source(turn, request.source)
        if given.resample:
            self.conversation.drawn(request)
        mark = display.cut(turn.stop, len(turn.tokens), turn.sampling.max_tokens)
        screen.finish(turn.text, self._metadata(turn.usage, above), mark)
        if given.out is not None:
            self.shell.user_ns[given.out] = Reply(turn, turn.usage)

    def _seed(self, given: argparse.Namespace, request: Request, text: str) -> int | None:
        seed = self.seed if given.seed is None else given.seed
        if not given.resample:
            return seed
        return self.conversation.seed(request, text if seed is None else seed)

    def _metadata(
        self, usage: Mapping[str, object] | None, above: Iterable[Cell] | None
    ) -> dict[str, object]:
        """Output metadata of a reply (DESIGN C2)."""
        stale = self.conversation.stale(above or ())
        return {"llmagic": {**(usage or {}), "thread": "main", "stale": stale}}

    # --- the notebook ------------------------------------------------------------------------

    def _request(self) -> tuple[Request, Document | None]:
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
        self._notebooks.choose(request, document)
        return request, document

    # --- the model ---------------------------------------------------------------------------

    def _session_for(self, model: str | None, on_event: Callable[[Event], None]) -> Session:
        if model is not None:
            path = Path(options.expand(model, self.shell.user_ns, quote=False)).expanduser()
            # The model that is loaded keeps its projector.
            if self._session is None or self._loaded is None or self._loaded[0] != _file(path):
                return self._open(path, None, None, on_event)
        if self._session is None:
            raise NoModelError(NO_MODEL)
        return self._session

    def _open(
        self,
        model: Path,
        projector: Path | None,
        n_ctx: int | None,
        on_event: Callable[[Event], None],
    ) -> Session:
        """Load a model; the one before it stays when that fails."""
        loading = self.loading(n_ctx)
        store, budget = self.store or False, self.store_budget
        files = (_file(model), None if projector is None else _file(projector))
        wanted = (*files, loading, store, budget)
        if self._session is not None and self._loaded == wanted:
            return self._session  # "Run All" loads it again: nothing kept for it may get lost
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
        self._session, self._loaded = session, wanted
        self._notebooks.use_model(wanted[0], session.tokenize)
        return session


def _file(path: Path) -> tuple[object, ...]:
    """What tells that a file is the one that was loaded."""
    try:
        stat = path.stat()
    except OSError:
        return (path.resolve(),)
    return (path.resolve(), stat.st_size, stat.st_mtime_ns)


def _meant_as_command(word: str, rest: str, commands: Iterable[str]) -> bool:
    """Whether a line that is no subcommand was probably meant to be one, not a question."""
    if not rest.strip():
        return re.fullmatch(r"[a-z_-]+", word) is not None
    return options.near(word, commands) and re.match(r"\s*(-|\S+\.gguf\b)", rest) is not None


def load_ipython_extension(shell: Any) -> None:
    """Register the magics with `shell`."""
    shell.register_magics(LLMagic(shell))
    transforms.install(shell)


def unload_ipython_extension(shell: Any) -> None:
    """Free the model and take the magics away."""
    magics = shell.magics_manager.registry.pop(LLMagic.__name__)
    magics.close()
    shell.configurables.remove(magics)
    transforms.remove(shell)
    for kind in ("line", "cell"):
        shell.magics_manager.magics[kind].pop("llm", None)
