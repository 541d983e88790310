"""After any fault: the conversation is unchanged, what was lost is told, the next cell is right.

"Right" is bit for bit what a cold evaluation gives, for the cell and for every checkpoint that
was stored in a cell with a fault (`faults.notebook`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from llmagic.checkpoint.checkpoints import Checkpoints, Resumed
from llmagic.checkpoint.payload import Payloads
from llmagic.engine import decode
from llmagic.errors import EvaluationError, Interrupted, LLMagicError
from llmagic.events import Delta, Encoding, Notice, Prefill
from llmagic.model.context import Context
from llmagic.model.interrupt import InterruptFlag
from llmagic.model.library import llama, mtmd
from llmagic.sequence import Boundary
from llmagic.session import Session
from tests.faults.injecting import Ear, gives, injected, raises
from tests.faults.notebook import PLACES, Notebook
from tests.regressions.checks import (
    NO_CUTTING,
    SEES,
    Opens,
    ask,
    assert_nearly_right,
    assert_right,
    assert_stored_right,
    end,
    forget_live,
    images,
    noise,
    restored,
    stops,
)
from tests.toys import Toy

seeing = pytest.mark.parametrize("toy", SEES, indirect=True)
states_only = pytest.mark.parametrize("toy", NO_CUTTING, indirect=True)


@pytest.fixture
def from_memory(session: Session) -> Notebook:
    """Every cell is restored from memory."""
    return Notebook(session, stored=True)


@pytest.fixture
def from_live(session: Session) -> Notebook:
    """Every cell goes on from a branch that is still in the context."""
    return Notebook(session, stored=False)


class Watch:
    """Whether a restore is under way."""

    def __init__(self) -> None:
        self.restoring = False

    def __call__(self, *_: Any, **__: Any) -> bool:
        return self.restoring

    @contextmanager
    def on(self) -> Iterator[None]:
        resume = Checkpoints.resume

        def watched(checkpoints: Checkpoints, *args: Any) -> Resumed:
            self.restoring = True
            try:
                return resume(checkpoints, *args)
            finally:
                self.restoring = False

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Checkpoints, "resume", watched)
            yield


@pytest.fixture
def watch() -> Iterator[Watch]:
    watch = Watch()
    with watch.on():
        yield watch


# Restoring ------------------------------------------------------------------------------------


@pytest.mark.parametrize("done", [False, True], ids=["refused", "done"])
def test_a_restore_call_returns_0(from_memory: Notebook, done: bool) -> None:
    for cell in from_memory.sweep(
        lambda at: injected(llama, "llama_state_seq_set_data_ext", gives(0), at=at, after=done)
    ):
        if cell.error is not None:  # a window could not be put back
            assert from_memory.has_window
            assert isinstance(cell.error, EvaluationError)
            assert "run the cell again" in str(cell.error)
        else:
            assert restored(cell.given) < end(cell.parent)
            assert len(cell.ear.notices) == 1
            assert "could not be restored" in cell.ear.notices[0]


@states_only
def test_a_split_state_is_refused_when_going_back(from_live: Notebook, watch: Watch) -> None:
    """The rows are live, the small state is not: nothing may go on from the rows alone."""
    for cell in from_live.sweep(
        lambda at: injected(Context, "write", gives(False), at=at, when=watch),
        after=from_live.first,
    ):
        assert cell.error is None
        assert restored(cell.given) < end(cell.parent)
        assert len(cell.ear.notices) == 1


def test_falls_back_to_the_next_nearest_checkpoint(from_memory: Notebook) -> None:
    session, parent = from_memory.session, from_memory.last
    cell = from_memory.attempt(injected(Context, "write", gives(False), at=1))
    assert restored(cell.given) == stops(session, parent, Boundary.USER)[-1]
    (notice,) = cell.ear.notices
    assert notice.startswith(f"a checkpoint of {end(parent):,} tokens")
    assert not cell.given.usage["exact"], "the reply above was evaluated again, like a prompt"
    from_memory.check(cell)


def test_falls_back_to_nothing(from_memory: Notebook, watch: Watch) -> None:
    n = len(from_memory.session.engine.checkpoints.tree)
    cell = from_memory.attempt(injected(Context, "write", gives(False), when=watch))
    assert cell.given.usage["restored"]["tier"] == "none"
    assert restored(cell.given) == 0
    assert len(cell.ear.notices) == cell.fault.failed > 1
    assert cell.fault.failed <= n
    from_memory.check(cell)


@pytest.mark.parametrize("name", ["write", "copy"])
def test_an_interrupt_while_restoring(from_memory: Notebook, watch: Watch, name: str) -> None:
    """The handler sets a flag; the call goes on, and the cell ends behind the restore."""
    flag = from_memory.session.engine.interrupt
    real = getattr(Context, name)

    def interrupted(*args: Any, **more: Any) -> Any:
        flag.set()
        return real(*args, **more)

    if not watched_calls(from_memory, name, watch):
        pytest.skip("this memory is restored without")
    for cell in from_memory.sweep(
        lambda at: injected(Context, name, interrupted, at=at, when=watch)
    ):
        assert isinstance(cell.error, Interrupted)
        assert cell.error.usage is not None
        assert cell.error.usage["generated"]["stop"] == "interrupt"
        assert cell.error.usage["restored"]["tokens"] == end(cell.parent)
        assert cell.error.usage["evaluated"]["tokens"] == 0
        assert cell.error.usage["encoded"]["images"] == 0
        assert not cell.ear.notices


@pytest.mark.parametrize(
    ("name", "done"), [("write", False), ("write", True), ("copy", True), ("clear", False)]
)
def test_an_exception_while_restoring(
    from_memory: Notebook, watch: Watch, name: str, done: bool
) -> None:
    """As another thread may raise one between any two calls."""
    if not watched_calls(from_memory, name, watch):
        pytest.skip("this memory is restored without")
    gone = raises(KeyboardInterrupt())
    for cell in from_memory.sweep(
        lambda at: injected(Context, name, gone, at=at, when=watch, after=done)
    ):
        assert isinstance(cell.error, KeyboardInterrupt)


@pytest.mark.parametrize("name", ["cut", "write"])
def test_an_exception_while_going_back(from_live: Notebook, watch: Watch, name: str) -> None:
    """In the only branch there may be: it is cut, or its state is put back."""
    if name == "write" and from_live.can_cut:
        pytest.skip("this memory is cut without")
    gone = raises(KeyboardInterrupt())
    for cell in from_live.sweep(
        lambda at: injected(Context, name, gone, at=at, when=watch), after=from_live.first
    ):
        assert isinstance(cell.error, KeyboardInterrupt)


def watched_calls(notebook: Notebook, name: str, watch: Watch) -> int:
    """How often a call is made to restore a cell."""
    counting = injected(Context, name, gives(None), at=0, when=watch)
    return notebook.attempt(counting).fault.calls


# Saving ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error", [MemoryError(), EvaluationError("expected 9 bytes, and llama.cpp wrote 0.")]
)
def test_a_snapshot_cannot_be_taken(from_memory: Notebook, error: Exception) -> None:
    for cell in from_memory.sweep(lambda at: injected(Context, "read", raises(error), at=at)):
        if cell.error is not None:  # the snapshot was to put a window back into place
            assert from_memory.has_window
            assert isinstance(cell.error, EvaluationError)
        else:
            assert len(cell.ear.notices) == 1
            assert "no checkpoint after" in cell.ear.notices[0]
            assert cell.given.usage["exact"]


def test_no_snapshot_can_be_taken(from_memory: Notebook) -> None:
    """As when memory is full: cells go on without checkpoints, and say so."""
    n = len(from_memory.session.engine.checkpoints.tree)
    cell = from_memory.attempt(injected(Context, "read", raises(MemoryError())))
    if from_memory.has_window:
        assert isinstance(cell.error, EvaluationError)
    else:
        assert len(cell.ear.notices) == cell.fault.failed > 1
    assert len(from_memory.session.engine.checkpoints.tree) == n
    from_memory.check(cell)


@states_only
def test_a_missing_state_cannot_be_added(from_memory: Notebook) -> None:
    """What came from disk below another checkpoint has only rows until a cell ends there."""
    tree = from_memory.session.engine.checkpoints.tree
    before = from_memory.last
    errors, failed = [], 0
    for at in PLACES:
        for node in tree:
            node.payload = replace(node.payload, state=None)
        fault = injected(Context, "read", raises(MemoryError()), at=at)
        with fault as seen:
            try:
                ask(from_memory.session, "So?", after=before)
            except BaseException as error:
                errors.append(error)
        failed += seen.failed
        assert_right(from_memory.session, ask(from_memory.session, "Now?", after=before))
    assert all(isinstance(error, EvaluationError) for error in errors)
    assert from_memory.has_window or not errors
    assert failed > 1


def test_a_snapshot_before_a_stop_text_fails(from_memory: Notebook) -> None:
    """Where a stop text may begin, a state is kept to go back to: also that may fail."""
    for at in range(1, 5):
        fault = injected(Context, "read", raises(MemoryError()), at=at)
        cell = from_memory.attempt(fault, stop=("the", "an", "e", "a", "t", "o"))
        assert cell.error is None or isinstance(cell.error, LLMagicError)
        from_memory.check(cell)


@pytest.mark.parametrize("toy", ["gemma3"], indirect=True)
@pytest.mark.parametrize("name", ["take_end", "put_end"])
@pytest.mark.parametrize("error", [MemoryError(), EvaluationError("short")])
def test_a_window_cannot_be_settled(from_live: Notebook, name: str, error: Exception) -> None:
    fault = raises(error)
    for cell in from_live.sweep(lambda at: injected(Payloads, name, fault, at=at)):
        assert isinstance(cell.error, EvaluationError)


# Evaluating -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "done"), [(-3, True), (-3, False), (-1, False), (1, False), (2, True)]
)
def test_decoding_fails(from_memory: Notebook, code: int, done: bool) -> None:
    """At a batch of the prompt, or a token of the reply, that llama.cpp did or did not do."""
    for cell in from_memory.sweep(
        lambda at: injected(llama, "llama_decode", gives(code), at=at, after=done)
    ):
        assert isinstance(cell.error, Interrupted if code == 2 else EvaluationError)
        assert not cell.ear.notices


@seeing
@pytest.mark.parametrize(("code", "done"), [(-3, True), (1, False), (2, True)])
def test_decoding_an_image_fails(from_live: Notebook, code: int, done: bool) -> None:
    for cell in from_live.sweep(
        lambda at: injected(mtmd, "mtmd_helper_decode_image_chunk", gives(code), at=at, after=done)
    ):
        assert isinstance(cell.error, Interrupted if code == 2 else EvaluationError)


@seeing
def test_encoding_an_image_fails(from_live: Notebook) -> None:
    for cell in from_live.sweep(lambda at: injected(mtmd, "mtmd_encode_chunk", gives(1), at=at)):
        assert isinstance(cell.error, EvaluationError)
        assert "could not encode" in str(cell.error)


@seeing
@pytest.mark.parametrize("shape", [(3, 7), (0, 128), (4096, 128)])
def test_a_cached_embedding_of_the_wrong_shape(session: Session, shape: tuple[int, int]) -> None:
    first = ask(session, "See ", noise(1), "now.", after=None)
    projector = session.engine.projector
    assert projector is not None
    for digest in projector._embeddings:
        projector._embeddings[digest] = np.zeros(shape, np.float32)
    other = ask(session, "Look at ", noise(1), "now.", after=None)
    assert images(other) == (1, 1)
    assert_right(session, other)
    assert images(ask(session, "Look here: ", noise(1), after=None)) == (1, 0)
    forget_live(session)
    assert_right(session, ask(session, "So?", after=first))
    assert_stored_right(session)


@pytest.mark.parametrize("at", [7, 60, 300, 700])
def test_interrupted_between_two_nodes(from_memory: Notebook, at: int) -> None:
    """Where llama.cpp asks for it, and between two steps: a few of some thousand places."""
    cell = from_memory.attempt(injected(InterruptFlag, "is_set", gives(True), at=at))
    assert not cell.fault.failed or isinstance(cell.error, Interrupted)
    from_memory.check(cell)


@pytest.mark.parametrize(("kind", "at"), [(Encoding, 1), (Prefill, 1), (Prefill, 2), (Delta, 3)])
def test_interrupted_between_two_steps(
    from_memory: Notebook, kind: type, at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While images are encoded, between pieces of the prompt, between tokens of the reply."""
    monkeypatch.setattr(decode, "READ_EVERY", 0.0)
    session, parent = from_memory.session, from_memory.last
    if kind is Encoding and session.engine.projector is None:
        pytest.skip("no images")
    seen = []

    def listen(event: object) -> None:
        seen.extend([event] if isinstance(event, kind) else [])
        if len(seen) == at:
            session.engine.interrupt.set()

    items = from_memory.question()
    with pytest.raises(Interrupted) as raised:
        ask(session, *items, n=8, on_event=listen)
    assert session.last is parent
    if kind is Delta:
        assert len(seen) <= at + 1, "what was held back may follow, no other token"
        assert raised.value.text == "".join(event.text for event in seen)
    else:
        assert raised.value.text == ""
    assert_right(session, ask(session, *items, n=8))
    assert_stored_right(session)


# Telling --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Prefill, Delta, Encoding, Notice])
def test_the_listener_fails(from_memory: Notebook, kind: type) -> None:
    """A front end that is gone: its error comes through, and the conversation is whole."""
    session, parent = from_memory.session, from_memory.last
    if kind is Encoding and session.engine.projector is None:
        pytest.skip("no images")

    def gone(event: object) -> None:
        if isinstance(event, kind):
            raise BrokenPipeError

    forget_live(session)
    refuse = injected(Context, "write", gives(False), at=1 if kind is Notice else 0)
    with refuse, pytest.raises(BrokenPipeError):
        ask(session, *from_memory.question(), after=parent, on_event=gone)
    assert session.last is parent
    assert_stored_right(session)
    assert_right(session, ask(session, "Then?", after=parent))


# Several branches -----------------------------------------------------------------------------


def test_a_refusal_for_want_of_room_drops_branches(toy: Toy, open_session: Opens) -> None:
    """With other branches in the context a refusal may mean only that they fill it."""
    session = open_session(toy, exact=False)
    first = ask(session, "Remember the word blue.", after=None)
    forget_live(session)
    for letter in "ABC":
        ask(session, f"Word {letter}.", after=None)
    ear = Ear()
    with injected(Context, "write", gives(False), at=1) as fault:
        turn = ask(session, "Which word?", after=first, on_event=ear)
    assert fault.failed == 1
    assert restored(turn) == end(first)
    assert ear.notices == []
    assert len(session.engine.checkpoints.branches) == 1
    assert_nearly_right(session, turn)
