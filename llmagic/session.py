"""One turn from request to reply, in order. Read this first.

    prompt and images -> parts -> messages of the conversation -> template -> sequence
    -> nearest checkpoint -> restore -> prefill -> decode and stream -> checkpoint -> turn

A turn is a value: it names its parent, so any earlier turn can be continued, and continuing one
twice makes two branches. The session holds no conversation of its own but the last turn.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from enum import Enum
from pathlib import Path
from types import MappingProxyType
from typing import Any

from llmagic import inventory
from llmagic.catalog import resolve
from llmagic.engine.decode import Generated
from llmagic.engine.engine import Engine, Outcome
from llmagic.errors import Interrupted, ReplyError, UsageError
from llmagic.events import Called, Delta, Event, Notice, Returned
from llmagic.prompt.calls import Call
from llmagic.prompt.images import is_image_like, picture
from llmagic.prompt.parts import ImagePart, Message, Part, ReplyPart, TextPart
from llmagic.prompt.schema import Schema, schema_of
from llmagic.prompt.template import ChatTemplate
from llmagic.prompt.tokens import sequence
from llmagic.prompt.tools import MOST_ROUNDS, Tool, Use, run, tools_of
from llmagic.sequence import Sequence
from llmagic.settings import Loading, Sampling
from llmagic.store import DEFAULT_BUDGET, Store, root
from llmagic.turns import Answer, Archive, Round, Turn, asked, turn_id
from llmagic.usage import replayed, together, usage

__all__ = ["CHATML", "LAST", "Session", "Turn", "turn_id"]

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message.role + '\\n' + message.content "
    "+ '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
"""For a model without a template, as llama.cpp does it."""

SHOWN = 2000
"""Characters of a reply in an error message."""


class _Last(Enum):
    LAST = "the session's last turn"


LAST = _Last.LAST


def _quiet(_: Event) -> None:
    pass


@dataclass(frozen=True)
class _Asking:
    """A question: all that the model is to see, and how its reply is drawn."""

    parent: Turn | None
    system: str | None
    parts: tuple[Part, ...]
    sampling: Sampling
    tools: tuple[Tool, ...]

    def turn(self, cost: dict[str, Any], answer: Answer) -> Turn:
        """The question with its answer."""
        return Turn(
            cost["turn"],
            self.parent,
            self.system,
            self.parts,
            answer.reply,
            answer.text,
            self.sampling,
            answer.stop,
            cost,
            thought=answer.thought,
            after=self.parent.id if self.parent is not None else "",
            rounds=answer.rounds,
            tools=self.tools,
        )

    @classmethod
    def of(cls, turn: Turn) -> _Asking:
        """The question of a turn."""
        return cls(turn.parent, turn.system, turn.parts, turn.sampling, turn.tools)


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
                self.store = Store(folder, budget=store_budget, warn=self._warnings.append)
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
            self.archive = Archive(self.store, self.engine.fingerprint, self.engine.model.name)
            vocabulary = self.engine.model.vocabulary
            self._template = ChatTemplate(
                self.engine.template or CHATML,
                bos=vocabulary.text(vocabulary.bos),
                eos=vocabulary.text(vocabulary.eos),
                now=datetime.now(),
            )
            self._opened = opened.pop_all()
        self._kept = inventory.Kept(self.engine, self.store, self._before)
        self._is_open = True
        # A kernel may use the session from several threads; the context takes one at a time.
        self._lock = threading.RLock()
        self._busy = False
        self.last: Turn | None = None

    def close(self) -> None:
        """Free the model, and wait for the disk at most 5 s. Turns stay usable as values."""
        with self._lock:
            self._is_open = False
            self._opened.close()

    def __repr__(self) -> str:
        state = "" if self._is_open else ", closed"
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
            The turn to continue; None begins a conversation. By default the last one.
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
        with self._lock, self._only_one():
            self._check_open()
            parent = self.last if after is LAST else after
            if not isinstance(parent, Turn | None):
                raise UsageError(f"expected a turn to continue, or None, and got {after!r}.")
            drawing = _settings(sampling or Sampling(), settings)
            given = drawing.schema if schema is None else schema
            form = None if given is None else schema_of(given)
            if form is not None:
                drawing = replace(drawing, schema=form.text)
            parts = _parts(prompt, images)
            if system is None and parent is not None:
                system = parent.system
            tell = on_event or _quiet
            self._warn(tell)
            drawing = self._switched(drawing)
            offered = self._offered(tools, parent, drawing)
            asking = _Asking(parent, system, parts, drawing, offered)
            wanted = self._wanted(asking)
            turn = self._replay(asking, wanted, tell) if replay else None
            is_new = turn is None
            if turn is None:
                turn = self._answer(asking, wanted, tell)
            if form is not None:
                turn = replace(turn, data=_data(form, turn))
            if is_new:
                self.archive.put(wanted, turn)
            self.archive.touch(turn)
            self._warn(tell)
            self.last = turn
            return turn

    def _warn(self, tell: Callable[[Event], None]) -> None:
        while self._warnings:
            tell(Notice(self._warnings.popleft()))

    @contextmanager
    def _only_one(self) -> Iterator[None]:
        """Refuse a question that is asked while another is being answered (from `on_event`)."""
        if self._busy:
            raise UsageError(
                "expected the session to be free, and a turn is being answered. Ask again when it "
                "is done, not from its events."
            )
        self._busy = True
        try:
            yield
        finally:
            self._busy = False

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
        return None if found is None else replace(found, parent=after)

    def name_notebook(self, name: str) -> None:
        """Label what is stored from now on with the notebook it belongs to ("": with none)."""
        disk = self.engine.checkpoints.disk
        for labels in (self.archive.labels, *((disk.labels,) if disk is not None else ())):
            labels.pop("notebook", None)
            labels.update({"notebook": name} if name else {})

    def name_source(self, turn: Turn, source: str) -> None:
        """Remember that a cell with this source gave this turn, for `recall`."""
        self.archive.name_source(turn, source)

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
        if not self._lock.acquire(blocking=wait):
            return None
        try:
            with self._only_one():
                self._check_open()
                return self.engine.encode(seen)
        finally:
            self._lock.release()

    def tokenize(self, text: str) -> list[int]:
        """Tokens of plain text; nothing in it is taken for a control token."""
        self._check_open()
        return self.engine.model.vocabulary.tokenize(text, special=False)

    def _check_open(self) -> None:
        # llama.cpp would be called with what was freed, which ends the process.
        if not self._is_open:
            raise UsageError(
                "expected an open session, and this one was closed. Load the model again."
            )

    @property
    def can_switch_thinking(self) -> bool:
        """Whether the model's chat template has a switch for thinking."""
        return bool(self._template.thinking_switches)

    def _switched(self, drawing: Sampling) -> Sampling:
        """The settings with a switch that is there.

        Raises
        ------
        UsageError
            There is none, and it was to be set.
        """
        if drawing.think is not None and not self.can_switch_thinking:
            raise UsageError(
                "expected a model whose chat template has a switch for thinking "
                "(`enable_thinking`), and this one's has none. Ask without --think/--no-think."
            )
        if drawing.schema is not None and drawing.think is None and self.can_switch_thinking:
            # The answer is all that has the form.
            return replace(drawing, think=False)
        return drawing

    def _wanted(self, asking: _Asking, rounds: Iterable[Round] = ()) -> Sequence:
        """What the model is to continue: everything up to the generation prompt."""
        variables: dict[str, object] = {}
        if asking.sampling.think is not None:
            variables |= dict.fromkeys(self._template.thinking_switches, asking.sampling.think)
        if asking.tools:
            variables["tools"] = [tool.definition for tool in asking.tools]
        return self._sequence(
            asking.system, asking.parent, asking.parts, rounds=rounds, variables=variables
        )

    def _sequence(
        self,
        system: str | None,
        parent: Turn | None,
        parts: tuple[Part, ...],
        *,
        rounds: Iterable[Round] = (),
        variables: Mapping[str, object] = MappingProxyType({}),
    ) -> Sequence:
        messages = [*_messages(system, parent), *asked(parts, rounds)]
        engine = self.engine
        pieces = self._template.render(messages, variables=variables)
        return sequence(pieces, engine.model.vocabulary, engine.projector, seed=engine.fingerprint)

    def _offered(
        self, given: Iterable[object] | None, parent: Turn | None, sampling: Sampling
    ) -> tuple[Tool, ...]:
        """The tools the model may call: those given, else those of the conversation.

        Raises
        ------
        UsageError
            They are no tools, or this model or this reply takes none.
        """
        if given is None:
            tools = parent.tools if parent is not None else ()
        else:
            tools = tools_of([given] if callable(given) else given)
        # What is inherited may come from another model.
        can = self.engine.syntax.known and self._template.takes_tools if tools else True
        if (not can or sampling.schema is not None) and given is None:
            return tools if can else ()
        if not can:
            raise UsageError(
                "expected a model whose chat template teaches it to call tools in a way that is "
                "known here (docs/replies.md lists them), and this one's does not. Ask without "
                "--tool, or load another model."
            )
        if tools and sampling.schema is not None:
            raise UsageError(
                "expected a schema or tools, and got both: a reply that is held to a form cannot "
                "call anything. Ask twice."
            )
        return tools

    def _answer(self, asking: _Asking, wanted: Sequence, tell: Callable[[Event], None]) -> Turn:
        """Draw the reply, and run the tools it calls until one calls none."""
        rounds: list[Round] = []
        costs: list[dict[str, Any]] = []
        may_call = bool(asking.tools) and asking.sampling.schema is None
        try:
            while True:
                generated, cost = self._draw(wanted, asking.sampling, tell, may_call=may_call)
                costs.append(cost)
                tokens = tuple(generated.tokens)
                reply = ReplyPart(self.engine.model.vocabulary.spell(tokens), tokens)
                if not generated.calls or len(rounds) == MOST_ROUNDS:
                    break
                uses = tuple(_use(asking.tools, call, tell) for call in generated.calls)
                rounds.append(Round(reply, generated.text, generated.thought, uses))
                wanted = self._wanted(asking, rounds)
        except Interrupted as error:
            costs += [error.usage] if error.usage else []
            error.usage = together(costs, rounds)
            raise
        if generated.calls:
            tell(Notice(f"tools were called {MOST_ROUNDS} times; the last calls were not made."))
        answer = Answer(reply, generated.text, generated.stop, generated.thought, tuple(rounds))
        return asking.turn(together(costs, rounds), answer)

    def _draw(
        self,
        wanted: Sequence,
        sampling: Sampling,
        tell: Callable[[Event], None],
        *,
        may_call: bool,
    ) -> tuple[Generated, dict[str, Any]]:
        outcome, name = Outcome(), self.engine.model.name
        try:
            self.engine.answer(wanted, sampling, tell, outcome, with_calls=may_call)
        except Interrupted as error:
            error.text = outcome.generated.text if outcome.generated else ""
            error.usage = usage(wanted, sampling, outcome, stop="interrupt", model=name)
            raise
        assert outcome.generated is not None
        generated = outcome.generated
        return generated, usage(wanted, sampling, outcome, stop=generated.stop, model=name)

    def _replay(
        self, asking: _Asking, wanted: Sequence, tell: Callable[[Event], None]
    ) -> Turn | None:
        """The reply this question got before, as a turn; None if it never got one."""
        found = self.archive.answer(wanted, asking.sampling)
        if found is None:
            return None
        answer, tier = found
        if answer.rounds:
            wanted = self._wanted(asking, answer.rounds)
        disk, reply = self.engine.checkpoints.disk, wanted.reply_step(answer.reply.tokens)
        if disk is not None:
            disk.touch([*wanted.steps, *([reply] if reply is not None else [])])
        name = self.engine.model.name
        cost = replayed(wanted, asking.sampling, answer.reply.tokens, tier=tier, model=name)
        for event in _events(answer):
            tell(event)
        return asking.turn(cost, answer)

    def kept(self, turn: Turn) -> dict[str, Any]:
        """Where the state of a turn is, and what a question after it would not have to evaluate.

        Returns
        -------
        dict
            `tokens` of the turn with its reply, `live` of them in the context; bytes of its
            checkpoints in `memory` and on `disk`; of `total` tokens up to its end, `restored`
            ones, which would come from `tier`.
        """
        with self._lock:
            self._check_open()
            before = self._before(turn)
            asking = replace(_Asking.of(turn), parent=turn, parts=(TextPart("?"),))
            next_one = self._wanted(asking)
            restored, tier = self.engine.checkpoints.nearest(next_one)
            return {
                **self._kept.of(turn),
                "total": before.n_tokens + len(turn.tokens),
                "restored": restored,
                "tier": tier,
            }

    def held(self, turn: Turn) -> dict[str, int]:
        """What `kept` says about the turn alone: `tokens`, `live`, `memory` and `disk`.

        It is quick from the second time on, since a turn's place does not change.
        """
        with self._lock:
            self._check_open()
            return self._kept.of(turn)

    def pin(self, turn: Turn, pinned: bool = True) -> None:
        """Keep the checkpoints of a turn in memory whatever the budget, or no longer."""
        with self._lock:
            self._check_open()
            self._kept.pin(turn, pinned)

    def forget(self, turn: Turn) -> int:
        """Drop the checkpoints and the stored reply of a turn, in memory and on disk.

        What other turns stand on stays, and so do the turn's images.

        Returns
        -------
        int
            Bytes that became free on disk.
        """
        with self._lock:
            self._check_open()
            if self.last is not None and self.last.id == turn.id:
                self.last = turn.parent
            self.archive.forget(self._wanted(_Asking.of(turn)), turn)
            return self._kept.forget(turn)

    def _before(self, turn: Turn) -> Sequence:
        """What the reply of a turn continued."""
        return self._wanted(_Asking.of(turn), turn.rounds)

    def status(self) -> dict[str, Any]:
        """What is loaded, how it is checkpointed, and what is kept where (tokens, bytes)."""
        self._check_open()
        return inventory.of_session(self.engine, self.store)


def _messages(system: str | None, parent: Turn | None) -> Iterator[Message]:
    if system:
        yield Message("system", (TextPart(system),))
    for turn in parent.path() if parent is not None else []:
        yield from turn.messages()


def _parts(prompt: str | Iterable[Part], images: Iterable[object]) -> tuple[Part, ...]:
    if isinstance(images, str | os.PathLike) or is_image_like(images):
        images = [images]  # one picture, not a list of its letters or rows
    before = [ImagePart(picture(image)) for image in images]
    text = [TextPart(prompt)] if isinstance(prompt, str) else prompt
    if not isinstance(text, Iterable):
        raise UsageError(f"expected a prompt as text or parts, and got {prompt!r}.")
    parts = (*before, *text)
    for part in parts:
        if not isinstance(part, TextPart | ImagePart | ReplyPart):
            raise UsageError(f"expected TextParts and ImageParts in a prompt, and got {part!r}.")
    if not any(isinstance(part, ImagePart) or part.text.strip() for part in parts):
        raise UsageError("expected a prompt, and the text is empty. Write something to ask.")
    return parts


def _use(tools: Iterable[Tool], call: Call, tell: Callable[[Event], None]) -> Use:
    """Call a tool; Ctrl-C stops it, and the turn with it."""
    tell(Called(call.name, call.arguments))
    try:
        use = run(tools, call)
    except KeyboardInterrupt as error:
        raise Interrupted(
            f"{call.name} was stopped; the turn is not part of the conversation."
        ) from error
    tell(Returned(use.result, use.failed))
    return use


def _events(answer: Answer) -> Iterator[Event]:
    """What was told when an answer was drawn."""
    replies: tuple[Round | Answer, ...] = (*answer.rounds, answer)
    for each in replies:
        if each.thought:
            yield Delta(each.thought, thought=True)
        if each.text:
            yield Delta(each.text)
        for use in each.uses if isinstance(each, Round) else ():
            yield Called(use.name, use.arguments)
            yield Returned(use.result, use.failed)


def _data(form: Schema, turn: Turn) -> Any:
    """What a reply says, in the form that was asked for.

    Raises
    ------
    ReplyError
        It was cut, or what the grammar cannot hold it to is not so.
    """
    try:
        if turn.stop != "length":
            return form.read(turn.text)
        reason = f"it was cut after {len(turn.tokens):,} tokens. Allow more (--max-tokens)"
    except ValueError as error:
        reason = f"{error}. Draw another (--resample)"
    shown = turn.text if len(turn.text) <= SHOWN else f"{turn.text[:SHOWN]}…"
    failed = ReplyError(
        f"expected a reply that fits the schema, but {reason}, or ask for less. The reply, which "
        f"is not part of the conversation: {shown}"
    )
    failed.text, failed.usage = turn.text, turn.usage
    raise failed


def _settings(sampling: Sampling, settings: dict[str, Any]) -> Sampling:
    known = set(asdict(sampling))
    unknown = sorted(set(settings) - known)
    if unknown:
        raise UsageError(
            f"expected settings among {', '.join(sorted(known))}, and got {', '.join(unknown)}."
        )
    return replace(sampling, **settings)
