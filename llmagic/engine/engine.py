"""A loaded model: its context, its checkpoints, and one call that answers a sequence."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import psutil

from llmagic.checkpoint.checkpoints import Checkpoints, Resumed
from llmagic.checkpoint.disk import DiskTier, waiting
from llmagic.checkpoint.fingerprint import fingerprint
from llmagic.checkpoint.payload import Layout, has_state
from llmagic.checkpoint.probe import Verdict
from llmagic.checkpoint.verdicts import Record, recall
from llmagic.engine.decode import Decoder, Generated
from llmagic.engine.lengths import lengths
from llmagic.engine.prefill import prefill
from llmagic.engine.work import Listener, Work
from llmagic.errors import (
    CheckpointError,
    ContextFullError,
    EvaluationError,
    Interrupted,
    ModelError,
    ProjectorError,
    PromptError,
)
from llmagic.events import Loading as LoadingEvent
from llmagic.events import Notice
from llmagic.model.context import Context, Shape, physical_cores
from llmagic.model.grammar import Grammar, Grammars
from llmagic.model.interrupt import InterruptFlag
from llmagic.model.loading import NOT_LOADED, Model
from llmagic.model.vision import Projector
from llmagic.prompt.calls import Syntax
from llmagic.prompt.images import Picture
from llmagic.prompt.thought import Thoughts
from llmagic.sequence import Media, Sequence
from llmagic.settings import Loading, Sampling
from llmagic.store import Store

N_BATCH = 512
"""Tokens evaluated at once, unless an image needs more."""

SPARE_MEMORY = 256 << 20
"""Bytes of main memory a growing context leaves free."""

FIRST_ROOM = 2048
"""Tokens of a reply that the context holds at first; it grows for those that get longer."""

NOT_EXACT = (
    "restoring the state of this model is not exact, so no checkpoints are kept: a cell that does "
    "not go on where the last one stopped evaluates the whole conversation again. "
    "`llmagic check MODEL` says more."
)


NO_MEMORY = (
    "memory ran out while it was tried how to restore this model's state, so no checkpoints are "
    "kept. Close something, and load the model again."
)


@dataclass
class Outcome:
    """What one call of `Engine.answer` did; complete also when it raised."""

    resumed: Resumed | None = None
    work: Work | None = None
    generated: Generated | None = None
    exact: bool = True


class Engine:
    """A model in this process.

    Parameters
    ----------
    path : Path
        GGUF of the model.
    projector : Path or None
        GGUF of its vision projector.
    template : str
        Chat template in use (Jinja source): part of the fingerprint.
    loading : Loading
    tell : callable
        Hears about the progress of loading.
    store : Store, optional
        Where checkpoints and image embeddings outlive the process.

    Raises
    ------
    ModelError
        One of the files cannot be used, or the context does not fit this machine.
    """

    def __init__(
        self,
        path: Path,
        projector: Path | None,
        *,
        template: str | None,
        loading: Loading,
        tell: Listener,
        store: Store | None = None,
    ) -> None:
        self.loading = loading
        self.interrupt = InterruptFlag()
        self.projector: Projector | None = None
        self.context: Context | None = None
        with ExitStack() as failed:
            try:
                # llama.cpp writes to its log meanwhile, and what a handler raises in there is lost.
                with self.interrupt:
                    self.model = Model(
                        path,
                        n_gpu_layers=loading.n_gpu_layers,
                        lora=loading.lora,
                        on_progress=lambda fraction: tell(LoadingEvent("model", fraction)),
                        interrupt=self.interrupt,
                    )
                    failed.callback(self.close)
                    context = self._prepare(projector, template, tell, store)
                    self._equip(context, store)
            except KeyboardInterrupt as error:
                raise Interrupted(NOT_LOADED) from error
            failed.pop_all()

    def _equip(self, context: Context, store: Store | None) -> None:
        """Make what is needed to answer, of what was loaded."""
        self._warned = False
        self.syntax = Syntax(self.template or "")
        self._thoughts = Thoughts(self.template or "")
        self._grammars = Grammars(self.model.vocabulary)
        layout, budget = self.verdict.layout, self.loading.memory_budget
        if store is not None:
            budget -= waiting(budget)  # what is not written yet is in memory, too
        self.checkpoints = Checkpoints(
            context,
            self.model.memory,
            layout,
            budget=budget,
            n_sequences=self.n_branches,
            exact=self.loading.exact,
            disk=self._disk(store, layout),
        )

    @property
    def n_ctx(self) -> int:
        """Tokens the context holds now; 0 while there is none, after it could not be made."""
        return 0 if self.context is None else self.context.n_ctx

    def _largest_size(self) -> int:
        """Tokens the context may hold in the end."""
        trained = self.model.n_ctx_train
        wanted = self.loading.n_ctx or trained or 1 << 30
        if self.model.header.learned_positions and wanted > trained:
            raise ModelError(
                f"expected a context of at most {trained:,} tokens, the positions "
                f"{self.model.name!r} has learned, and got {wanted:,}. Use a smaller --ctx."
            )
        return wanted

    def _check_size(self, tell: Listener) -> None:
        """Refuse a context that was asked for and that this machine can never hold."""
        asked, trained = self.loading.n_ctx, self.model.n_ctx_train
        needed = int(self.verdict.bytes_per_token * asked)
        memory = psutil.virtual_memory().total
        if needed > memory:
            raise ModelError(
                f"expected a context that fits this machine ({memory / 2**30:,.1f} GiB of memory), "
                f"and {asked:,} tokens of {self.model.name!r} take {needed / 2**30:,.1f} GiB. Use "
                "a smaller --ctx (n_ctx), or a smaller cache type (--kv q8_0)."
            )
        if asked > trained > 0:
            tell(
                Notice(
                    f"a context of {asked:,} tokens was asked for, and {self.model.name!r} was "
                    f"trained for {trained:,}: what it says beyond them may make no sense."
                )
            )

    def _first_size(self) -> int:
        """Tokens the context holds at first."""
        first, threshold = self.loading.n_ctx_start, self.model.header.rope_threshold
        if threshold < self.n_ctx_limit:
            # A context that grew over the threshold would change what its own states mean.
            first = max(first, threshold + 1)
        return min(self.n_ctx_limit, first)

    def _prepare(
        self, projector: Path | None, template: str | None, tell: Listener, store: Store | None
    ) -> Context:
        """Load the projector, make the first context, find the layout."""
        loading = self.loading
        # Once: the cores that a process may use can change, and what it has saved would not.
        n_threads = loading.n_threads or physical_cores()
        n_threads_batch = loading.n_threads_batch or n_threads
        n_batch = N_BATCH
        if projector is not None:
            tell(LoadingEvent("projector", 0.0))
            self.projector = Projector(
                self.model,
                projector,
                n_threads=n_threads_batch,
                image_tokens=loading.image_tokens,
                budget=loading.image_budget,
                store=store,
            )
            n_batch = max(n_batch, self.projector.largest_indivisible())
            tell(LoadingEvent("projector", 1.0))
        self._stop_if_interrupted()
        # Other branches' cells between its own would move the last bits of a sum over them.
        self.n_branches = 1 if loading.exact else max(loading.n_sequences, 1)
        self.n_ctx_limit = self._largest_size()
        self._shape = Shape(
            n_ctx=self._first_size(),
            # One more for a branch in the making, one for loading.
            n_sequences=self.n_branches + 2,
            n_batch=n_batch,
            kv_type=loading.kv_type,
            n_threads=n_threads,
            n_threads_batch=n_threads_batch,
        )
        self.context = context = Context(self.model, self._shape, self.interrupt)
        self._stop_if_interrupted()
        self.template = template if template is not None else self.model.template
        self.fingerprint = fingerprint(
            self.model, self.projector, self._shape, loading, self.template or ""
        )
        self.record = Record(self.fingerprint)
        self.verdict: Verdict = recall(
            self.record, context, self.model.memory, scratch=self.n_branches + 1
        )
        self._check_size(tell)
        self._stop_if_interrupted()
        return context

    def _stop_if_interrupted(self) -> None:
        if self.interrupt.is_set():
            raise Interrupted(NOT_LOADED)

    def _disk(self, store: Store | None, layout: Layout) -> DiskTier | None:
        # A layout taken for lack of memory is not what the next process finds, which could not use
        # its files, and would not write others in their place.
        if store is None or self.verdict.lacked_memory:
            return None
        needs_state = has_state(self.model.memory, layout)
        return DiskTier(store, layout, self.model.name, needs_state=needs_state)

    def close(self) -> None:
        """Free the context, the projector and the weights, in this order."""
        for part in (self.context, self.projector, self.model):
            if part is not None:
                part.close()

    def encode(self, picture: Picture) -> int:
        """Encode a picture unless it is; returns the tokens it takes.

        Raises
        ------
        ProjectorError
            There is no projector.
        ImageError, EvaluationError
            The projector cannot take it.
        """
        if self.projector is None:
            raise ProjectorError("this model was loaded without a projector and takes no images.")
        spans = self.projector.place(picture)
        for span in spans:
            if isinstance(span, Media):
                self.projector.encode(span)
        return sum(span.n_tokens for span in spans)

    def answer(
        self,
        sequence: Sequence,
        sampling: Sampling,
        tell: Listener,
        outcome: Outcome,
        *,
        with_calls: bool = False,
        checkpoint: bool = True,
    ) -> Outcome:
        """Restore what is known of a sequence, evaluate the rest, draw a reply.

        `outcome` is filled in as the work goes on, so that a caller knows what was done when an
        exception comes. `with_calls`: the model may call tools. `checkpoint`: what is evaluated
        and drawn is saved.

        Raises
        ------
        PromptError
            The sequence is empty.
        ContextFullError
            It leaves no room for a reply.
        UsageError
            No reply can be held to the schema.
        Interrupted
            By the user. The live branch is back where it was whole.
        EvaluationError
            llama.cpp failed; the same holds.
        """
        if not sequence.n_tokens:
            raise PromptError(
                "expected a prompt of at least one token, and what the chat template writes is "
                "none in this model's vocabulary. Ask in other words, or load the model with "
                "another template."
            )
        room = self.n_ctx_limit - sequence.n_tokens
        if room < 1:
            raise ContextFullError(
                f"the prompt is {sequence.n_tokens:,} tokens long ({lengths(sequence)}), and the "
                f"context holds {self.n_ctx_limit:,}. Shorten what is longest, or load the model "
                "with a larger --ctx (n_ctx)."
            )
        if not self.verdict.exact and not self._warned:
            self._warned = True
            tell(Notice(NO_MEMORY if self.verdict.lacked_memory else NOT_EXACT))
        with self.interrupt:
            try:
                grammar = self._grammar(sampling, tell)
                room = self._make_room(sequence.n_tokens, sampling.max_tokens, tell)
                resumed = outcome.resumed = self.checkpoints.resume(sequence)
                for notice in resumed.notices:
                    tell(Notice(notice))
                work = outcome.work = Work(self.checkpoints, resumed.branch, tell, keep=checkpoint)
                work.stop_if_interrupted()
                outcome.exact = prefill(work, self.projector, sequence)
                decoder = Decoder(
                    work,
                    self.model.vocabulary,
                    sequence,
                    sampling,
                    self._thoughts,
                    grammar,
                    self.syntax if with_calls else None,
                )
                outcome.generated = decoder.generated
                decoder.run(
                    self._seed(sequence, sampling),
                    room,
                    lambda n: self._grow_live(
                        work, sequence.n_tokens + n, sequence.n_positions + n, tell
                    ),
                )
            except BaseException as error:
                if outcome.work is not None:
                    self.checkpoints.undo(outcome.work.branch)
                if isinstance(error, KeyboardInterrupt) and not isinstance(error, Interrupted):
                    raise Interrupted("the turn is not part of the conversation.") from error
                raise
        return outcome

    def _grammar(self, sampling: Sampling, tell: Listener) -> Grammar | None:
        """What the reply is held to; before anything is evaluated, as it may be refused."""
        if sampling.schema is None:
            return None
        grammar = self._grammars.of(sampling.schema)
        if grammar.ignored:
            tell(Notice(f"the reply is not held to all of the schema: {grammar.ignored}."))
        return grammar

    @staticmethod
    def _seed(sequence: Sequence, sampling: Sampling) -> int:
        """Seed of the draw; by default of the content, so that the same cell says the same."""
        if sampling.seed is not None:
            return sampling.seed & 0x7FFFFFFF
        # Not all 32 bits: llama.cpp takes 0xFFFFFFFF for "draw a seed".
        return int.from_bytes(sequence.digest[:4], "little") & 0x7FFFFFFF

    def _make_room(self, n_tokens: int, n_reply: int, tell: Listener) -> int:
        """Let the context hold a prompt and the beginning of its reply.

        Returns the room for the reply: what the context may yet grow to counts, too.
        """
        if self.context is None:
            self._use(self._shape)
        assert self.context is not None
        room = self.n_ctx_limit - n_tokens
        n_first = max(min(n_reply, room), 1)
        if self._grows_live:
            n_first = min(n_first, FIRST_ROOM)
        if n_tokens + n_first <= self.context.n_ctx:
            return room
        held = self.context.n_ctx
        lacking = self._grow(n_tokens + 1, n_tokens + n_first)
        if self.context.n_ctx > held:
            tell(Notice(f"the context grew to {self.context.n_ctx:,} tokens.", lasting=False))
        if lacking is None:
            return room
        room = self.context.n_ctx - n_tokens
        tell(Notice(f"the reply has {room:,} tokens of room: {lacking}"))
        return room

    @property
    def _grows_live(self) -> bool:
        """Whether the context can grow while a reply is drawn.

        A window that is put back lies in other cells (`Payloads.settle`), and what follows would
        not be exact.
        """
        return self.verdict.exact and not self.model.n_swa

    def _grow_live(self, work: Work, n_tokens: int, position: int, tell: Listener) -> bool:
        """Let the context grow under a reply that fills it; False, and a notice, where it cannot.

        Parameters
        ----------
        work : Work
            Goes on in the new context, which may be as large as the old one.
        n_tokens, position : int
            Where the reply is by now.

        Raises
        ------
        ModelError, EvaluationError
            The reply is lost.
        """
        lacking = None
        try:
            taken = self.checkpoints.payloads.take(work.branch.sequence, 0, position)
            self._grow(n_tokens + 1, n_tokens + 1)
        except (MemoryError, EvaluationError, ContextFullError) as error:
            lacking = str(error) or "memory ran out."
        if self.context is not work.context:
            try:
                work.move(self.checkpoints.put_back(work.branch, taken))
            except (MemoryError, CheckpointError) as error:
                raise EvaluationError(
                    f"the reply could not go on in a larger context: {error} The conversation is "
                    "unchanged; run the cell again."
                ) from error
        if lacking is not None:
            tell(Notice(f"the reply ends where the context is full: {lacking}"))
        return lacking is None

    def _grow(self, least: int, wanted: int) -> ContextFullError | None:
        """Double the context until it holds `wanted` tokens, or as often as memory allows.

        What it held is in the checkpoints. Returns what keeps it from holding `wanted`, if anything
        does.

        Raises
        ------
        ContextFullError
            There is no memory for `least` tokens; the context is as large as before.
        ModelError
            There is not even memory for that, and no context.
        """
        held = self.n_ctx
        assert 0 < held < wanted <= self.n_ctx_limit
        sizes = [held]
        while sizes[-1] < wanted:
            sizes.append(min(2 * sizes[-1], self.n_ctx_limit))
        lacking: ContextFullError | None = None
        while sizes[-1] > held and sizes[-1] >= least:
            try:
                self._enlarge(held, sizes[-1])
                return lacking
            except ContextFullError as error:
                lacking = error
                sizes.pop()
        if self.context is None:
            self._use(self._shape)
        if lacking is not None and held < least:
            raise lacking
        return lacking

    def _enlarge(self, held: int, n_ctx: int) -> None:
        """Go on in a context of `n_ctx` tokens.

        Raises
        ------
        ContextFullError
            There is no memory for it; the context is as it was, or there is none.
        """
        needed = int(self.verdict.bytes_per_token * (n_ctx - self.n_ctx)) + SPARE_MEMORY
        available = psutil.virtual_memory().available
        if needed > available:
            raise ContextFullError(
                f"the context must grow from {held:,} to {n_ctx:,} tokens, which takes "
                f"{needed / 2**20:,.0f} MiB more, and {available / 2**20:,.0f} MiB are free. "
                "Close something, shorten the conversation, or load the model with a smaller "
                "cache type (--kv q8_0)."
            )
        shape = replace(self._shape, n_ctx=n_ctx)
        try:
            self._use(shape)
        except ModelError as error:
            raise ContextFullError(
                f"the context could not grow from {held:,} to {n_ctx:,} tokens: {error}"
            ) from error
        self._shape = shape

    def _use(self, shape: Shape) -> None:
        """Go on in a new context; what was live in the old one must be stored.

        Raises
        ------
        ModelError
            It cannot be made, and there is no context then: the next turn tries again.
        """
        # The old one goes first: both together may not fit. With it what is live in it, also for
        # those who look before there is another.
        if self.context is not None:
            self.checkpoints.branches.drop_all()
            self.context.close()
            self.context = None
        self.context = Context(self.model, shape, self.interrupt)
        self.checkpoints.use(self.context)
