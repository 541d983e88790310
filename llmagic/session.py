"""One turn from request to reply, in order. Read this first.

    prompt and images -> parts -> messages of the conversation -> template -> sequence
    -> nearest checkpoint -> restore -> prefill -> decode and stream -> checkpoint -> turn

A turn is a value: it names its parent, so any earlier turn can be continued, and continuing one
twice makes two branches. The session holds no conversation of its own but the last turn.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Any

from llmagic import inventory
from llmagic.archive import Archive
from llmagic.catalog import resolve
from llmagic.chat import Chat
from llmagic.checkpoint.disk import queue
from llmagic.engine.engine import Engine
from llmagic.errors import UsageError
from llmagic.events import Event, Notice
from llmagic.gate import Gate
from llmagic.lineage import Lineage
from llmagic.prompt.images import picture
from llmagic.prompt.parts import Part, parts_of
from llmagic.prompt.schema import schema_of
from llmagic.replies import Replies, data_of
from llmagic.settings import Loading, Sampling
from llmagic.store import DEFAULT_BUDGET, Store, root
from llmagic.turns import Question, Turn, turn_id

__all__ = ["LAST", "Session", "Turn", "turn_id"]


class _Last(Enum):
    LAST = "the session's last turn"


LAST = _Last.LAST


def _quiet(_: Event) -> None:
    pass


class Session:
    """A loaded model one can talk to.

    Parameters
    ----------
    model : str or path-like
        "demo", the model that comes with the package; the path of a GGUF file, or a name that
        `llmagic.catalog.resolve` knows: an alias, a hub's `user/repo[:quant]`, a file in the
        user's folder of models.
    projector : path-like or bool, optional
        GGUF file of its vision projector, needed for images. None finds the one beside the model
        or in its repository, if there is one; False loads none.
    n_ctx : int
        Most tokens of context; 0 for the model's own limit.
    template : str, optional
        Chat template to use instead of the file's, Jinja source.
    loading : Loading, optional
        Everything else about loading.
    store : bool or path-like
        Folder in which checkpoints, images and replies outlive the process; True for the usual
        one (`llmagic.store.root`), False for none.
    store_budget : int
        Bytes it may take; the least recently used go first.
    on_event : callable, optional
        Hears about progress while loading.

    Raises
    ------
    UsageError
        The name is not known.
    ModelError
        A file is missing, no GGUF, truncated, not loadable, or the projector is another model's;
        or the hub does not give it (`HubError`).
    TemplateError
        The chat template cannot be compiled.
    """

    def __init__(
        self,
        model: str | os.PathLike[str],
        *,
        projector: str | os.PathLike[str] | bool | None = None,
        n_ctx: int = 0,
        template: str | None = None,
        loading: Loading | None = None,
        store: bool | str | os.PathLike[str] = False,
        store_budget: int = DEFAULT_BUDGET,
        on_event: Callable[[Event], None] | None = None,
    ) -> None:
        loading = loading or Loading()
        if n_ctx:
            loading = replace(loading, n_ctx=n_ctx)
        # The store warns from its own thread; the next turn tells.
        self._warnings: deque[str] = deque()
        self.store: Store | None = None
        tell = on_event or _quiet
        files = resolve(model, projector=projector, tell=tell)
        with ExitStack() as opened:
            if store is not False:
                folder = root() if store is True else Path(store)
                self.store = Store(
                    folder,
                    budget=store_budget,
                    warn=self._warnings.append,
                    queue=queue(loading.memory_budget),
                )
                opened.callback(self.store.close)
            self.engine = Engine(
                files.model,
                files.projector,
                template=template,
                loading=loading,
                tell=tell,
                store=self.store,
            )
            opened.callback(self.engine.close)
            # Whoever keeps a closed session must not keep gigabytes with it.
            opened.callback(self.engine.checkpoints.tree.clear)
            self.archive = Archive(
                self.store,
                self.engine.fingerprint,
                self.engine.model.name,
                picture_budget=loading.image_budget,
            )
            self._lineage = Lineage(self.archive)
            self.chat = Chat(self.engine)
            self._opened = opened.pop_all()
        self._replies = Replies(self.engine, self.chat, self.archive)
        self._kept = inventory.Kept(self.engine, self.store, self.chat)
        self._gate = Gate()
        # Turns that were continued last: what they stand on is in this model's tokens.
        self._own = deque[Turn](maxlen=8)
        self.last: Turn | None = None

    def close(self) -> None:
        """Free the model, and wait for the disk at most 5 s. Turns stay usable as values."""
        with self._gate.closing():
            self._opened.close()

    def __repr__(self) -> str:
        state = "" if self._gate.is_open else ", closed"
        return f"<Session of {self.engine.model.name!r}{state}>"

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ask(
        self,
        prompt: str | Iterable[Part],
        *,
        images: Iterable[object] = (),
        after: Turn | _Last | None = LAST,
        system: str | None = None,
        schema: object = None,
        tools: Iterable[object] | None = None,
        sampling: Sampling | None = None,
        replay: bool = False,
        checkpoint: bool = True,
        source: str | None = None,
        began: datetime | None = None,
        on_event: Callable[[Event], None] | None = None,
        **settings: Any,
    ) -> Turn:
        """Ask something, and wait for the whole reply.

        Parameters
        ----------
        prompt : str or iterable of Part
            What to ask. A str is data: nothing in it is interpolated or taken for markup.
        images : iterable, or one image
            Images to put before the text: PIL, arrays, figures, paths, bytes.
        after : Turn or None
            The turn to continue; None begins a conversation. By default the last one. Replies of
            another model are read as plain text, without its calls of tools.
        system : str, optional
            System prompt; by default the conversation's so far.
        schema : optional
            The form of the reply, whose data is then `Turn.data`: a pydantic model, a dataclass, a
            TypedDict, `list[...]` of one, or a JSON schema as dict, JSON text or path.
        tools : iterable of callable, optional
            Functions the model may call before it answers, in this turn and those that continue
            it; their signatures and docstrings are what it is told. By default those of the turn
            continued; empty for none. What one raises is told to the model.
        sampling : Sampling, optional
            How to draw the reply.
        replay : bool
            Give the reply that this very question, drawn in this very way, got before, here or in
            an earlier process with the same store, instead of drawing it.
        checkpoint : bool
            Save the state at the boundaries of this turn, in memory and on disk. Without it the
            next turn goes on from the context while that holds it; another one evaluates it again.
        source : str, optional
            The cell that asks, for `recall` and `earlier`.
        began : datetime, optional
            When the conversation began if it begins with this question, for chat templates that
            tell the date; by default today. All that continues it has its date, on later days too.
        on_event : callable, optional
            Hears about progress and every piece of text.
        **settings
            Fields of `Sampling` that differ from `sampling`: temperature=0, max_tokens=32.

        Raises
        ------
        UsageError
            Nothing is asked, a setting does not exist or is out of its range, or the session is
            closed.
        PromptError, ContextFullError, EvaluationError
            The conversation is unchanged; ask again.
        ReplyError
            The reply does not have the form of the schema: cut, most often. It has `text` and
            `usage`.
        Interrupted
            By Ctrl-C; it has `text` and `usage` of what there was.
        """
        with self._gate.alone():
            parent = self.last if after is LAST else after
            if not isinstance(parent, Turn | None):
                raise UsageError(f"expected a turn to continue, or None, and got {after!r}.")
            if parent is not None:
                parent = self._read(parent)
            drawing = (sampling or Sampling()).changed(settings)
            given = drawing.schema if schema is None else schema
            form = None if given is None else schema_of(given)
            if form is not None:
                drawing = replace(drawing, schema=form.text)
            parts = parts_of(prompt, images)
            if system is None and parent is not None:
                system = parent.system
            tell = on_event or _quiet
            self._warn(tell)
            drawing = self.chat.switched(drawing)
            offered = self.chat.offered(tools, parent, drawing)
            began = None if parent is not None else began or self.chat.today()
            question = Question(parent, system, parts, drawing, offered, began)
            wanted = self.chat.wanted(question)
            turn = self._replies.again(question, wanted, tell) if replay else None
            is_new = turn is None
            if turn is None:
                turn = self._replies.draw(question, wanted, tell, checkpoint=checkpoint)
            if form is not None:
                turn = replace(turn, data=data_of(form, turn))
            if is_new:
                self.archive.put(wanted, turn, source)
            else:
                self.archive.stands(turn)
            if source is not None:
                self.archive.name_source(turn, source)
            for each in self.archive.touch(turn):
                self._lineage.touch(each.id)
            self._warn(tell)
            self.last = turn
            return turn

    def _read(self, parent: Turn) -> Turn:
        """A turn in this model's tokens, with all above it; what was seen is passed over."""
        model = self.model_digest
        turn: Turn | None = parent
        while turn is not None and not any(turn is each for each in self._own):
            if turn.tokens_of not in ("", model):
                return parent.path_read_by(model, self.tokenize)
            turn = turn.parent
        self._own.append(parent)
        return parent

    def _warn(self, tell: Callable[[Event], None]) -> None:
        while self._warnings:
            tell(Notice(self._warnings.popleft()))

    def recall(self, turn: str, *, after: Turn | None, source: str | None = None) -> Turn | None:
        """A turn given before, here or in an earlier process with the same store.

        Parameters
        ----------
        turn : str
            Its id.
        after : Turn or None
            The turn it follows now.
        source : str, optional
            The cell it must have come from (`name_source`).
        """
        found = self.archive.recall(turn, source)
        if found is None:
            return None
        return replace(found, parent=after, tokens_of=self.model_digest)

    def name_notebook(self, name: str) -> None:
        """Label what is stored from now on with the notebook it belongs to ("": with none)."""
        disk = self.engine.checkpoints.disk
        for labels in (self.archive.labels, *((disk.labels,) if disk is not None else ())):
            labels.pop("notebook", None)
            labels.update({"notebook": name} if name else {})

    def name_source(self, turn: Turn, source: str) -> None:
        """Remember that a cell with this source gave this turn, for `recall`."""
        self.archive.name_source(turn, source)

    def replaces(self, turn: Turn, earlier: str) -> None:
        """Remember that a cell gave this turn after another one (its id), for `earlier`."""
        self._lineage.add(turn.id, earlier)

    def earlier(self, turn: Turn) -> Iterator[tuple[Turn, str]]:
        """The turns that the cell of a turn gave besides, with its sources; the newest last.

        They are those in the store, so also an earlier process's; without their parents.
        """
        for each in self._lineage.of(turn.id):
            found, source = self.archive.recall(each, None), self.archive.source(each)
            if found is not None and source is not None:
                yield replace(found, tokens_of=self.model_digest), source

    def usage(self, turn: Turn) -> dict[str, Any]:
        """What a turn cost, or of one from the store what showing it again costs: nothing."""
        if turn.usage:
            return turn.usage
        with self._gate.looking():
            return {**self._replies.cost_again(turn), "turn": turn.id}

    def encode(self, image: object, *, wait: bool = True) -> int | None:
        """Run an image through the vision encoder now, so that no question has to.

        Parameters
        ----------
        image : object
            Anything image-like.
        wait : bool
            Whether to wait while a question is being answered.

        Returns
        -------
        int or None
            Tokens the image takes in a prompt; None where `wait` is false and it would have to.

        Raises
        ------
        ImageError, EvaluationError
            It cannot be read, placed or encoded.
        ProjectorError
            The model was loaded without a projector.
        UsageError
            The session is closed, or asks from the events of its own turn.
        """
        seen = picture(image)
        with self._gate.alone(wait=wait) as free:
            return self.engine.encode(seen) if free else None

    def tokenize(self, text: str) -> list[int]:
        """Tokens of plain text; nothing in it is taken for a control token."""
        self._gate.check_open()
        return self.engine.model.vocabulary.tokenize(text, special=False)

    @property
    def tells_date(self) -> bool:
        """Whether the model's chat template may tell the date."""
        return self.chat.tells_date

    @property
    def model_digest(self) -> str:
        """Digest (hex) of the model's file, as in `Turn.tokens_of`."""
        return self.engine.model.digest

    @property
    def can_switch_thinking(self) -> bool:
        """Whether the model's chat template has a switch for thinking."""
        return self.chat.can_switch_thinking

    def kept(self, turn: Turn) -> dict[str, Any]:
        """Where the state of a turn is, and what a question after it would not have to evaluate.

        Returns
        -------
        dict
            `tokens` of the turn with its reply, `live` of them in the context; bytes of its
            checkpoints in `memory` and on `disk`; of `total` tokens up to its end, `restored`
            ones, which would come from `tier`. Empty where this model cannot take the turn.
        """
        with self._gate.looking():
            kept = self._kept.of(turn)
            return {**kept, **self._kept.for_next(turn)} if kept else {}

    def held(self, turn: Turn) -> dict[str, int]:
        """What `kept` says about the turn alone: `tokens`, `live`, `memory` and `disk`.

        It is quick from the second time on, since a turn's place does not change.
        """
        with self._gate.looking():
            return self._kept.of(turn)

    def pin(self, turn: Turn, pinned: bool = True) -> None:
        """Keep the checkpoints of a turn in memory whatever the budget, or no longer."""
        with self._gate.alone():
            self._kept.pin(turn, pinned)

    def forget(self, turn: Turn) -> int:
        """Drop the checkpoints and the stored reply of a turn, in memory and on disk.

        What other turns stand on stays, and so do the turn's images.

        Returns
        -------
        int
            Bytes that became free on disk.
        """
        with self._gate.alone():
            if self.last is not None and self.last.id == turn.id:
                self.last = turn.parent
            self.archive.forget(turn)
            return self._kept.forget(turn)

    def status(self) -> dict[str, Any]:
        """What is loaded, how it is checkpointed, and what is kept where (tokens, bytes)."""
        self._gate.check_open()
        return inventory.of_session(self.engine, self.store)
