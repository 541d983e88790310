"""Stopping anywhere: nothing is lost, nothing half done stays, and the next turn is exact."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from llmagic.engine import decode
from llmagic.errors import Interrupted
from llmagic.events import Delta, Encoding, Event, Prefill
from llmagic.model.context import Context
from llmagic.model.sampling import Sampler
from llmagic.prompt.images import picture
from llmagic.prompt.parts import ImagePart, Part, TextPart
from llmagic.session import Session, Turn
from tests import oracle
from tests.session.cells import Cold, Notebook, image, prose
from tests.session.conftest import Opens, in_both_tiers, only_seeing
from tests.toys import Toy

ROOT = Path(__file__).parents[2]


class Asked:
    """Counts how often the flag is asked, and sets it from the n-th time on."""

    def __init__(self, session: Session, n: int) -> None:
        self._session, self._n = session, n
        self.count = 0

    def __call__(self) -> bool:
        self.count += 1
        return self.count >= self._n


@contextmanager
def stopping(session: Session, n: int) -> Iterator[Asked]:
    """Within it the user interrupts when llama.cpp or the session asks for the n-th time."""
    asked = Asked(session, n)
    flag = session.engine.interrupt
    flag.is_set = asked  # type: ignore[method-assign]
    try:
        yield asked
    finally:
        del flag.is_set


def question(toy: Toy, index: int) -> tuple[Part, ...]:
    """A new question each time: several chunks of text, and a picture on toys that see."""
    text = TextPart(f"Question {index}: {prose(200, index)}")
    more = TextPart(prose(200, index + 1))
    if toy.projector is None:
        return (text, more)
    return (text, ImagePart(picture(image(100 + index))), more)


def check_untouched(session: Session, first: Turn, error: Interrupted) -> None:
    assert session.last is first
    assert error.usage is not None
    assert error.usage["generated"]["stop"] == "interrupt"
    assert error.usage["generated"]["tokens"] <= 6


def last_place(session: Session, first: Turn, parts: tuple[Part, ...], done: int) -> int:
    """Tokens up to the last place within `done` at which the session's memory can resume."""
    everywhere = session.engine.checkpoints.can_cut
    steps = session.chat.sequence(None, first, parts).steps[:-1]
    places = [step.stop for step in steps if everywhere or step.boundary is not None]
    return max(place for place in places if place <= done)


@in_both_tiers
def test_at_any_time(toy: Toy, session: Session, cold: Cold, stored: bool) -> None:
    notebook = Notebook(session, cold=cold)
    first = notebook.run(0, "Hello.")
    with stopping(session, 1 << 30) as asked:
        session.ask(question(toy, 0), after=first, max_tokens=6)
    session.last = first
    # Once after each of the tokens, many times in every batch.
    assert asked.count > 6 + 20
    moments = [1, 2, 3, *range(7, asked.count - 6, asked.count // 7)]
    moments += range(asked.count - 6, asked.count + 1)
    seen: set[tuple[bool, bool]] = set()
    for index, n in enumerate(moments, 1):
        parts = question(toy, index)
        with stopping(session, n), pytest.raises(Interrupted) as caught:
            session.ask(parts, after=first, max_tokens=6)
        check_untouched(session, first, caught.value)
        usage = caught.value.usage
        assert usage is not None
        evaluated, total = usage["evaluated"]["tokens"], usage["prompt"]["tokens"]
        seen.add((evaluated > 0, usage["restored"]["tokens"] + evaluated == total))
        before = oracle.sequence_of(session, first).n_tokens
        if index % 2:
            before = last_place(session, first, parts, usage["restored"]["tokens"] + evaluated)
        if stored and not session.engine.checkpoints.can_cut:
            session.engine.checkpoints.branches.drop_all()
        # Half of the time the same again, half of the time something else.
        follows = parts if index % 2 else (TextPart(f"Else {index}"),)
        turn = session.ask(follows, after=first, on_event=notebook._hear, max_tokens=3)
        assert turn.usage["restored"]["tokens"] >= before
        notebook.assert_exact(turn)
        session.last = first
    # Before, in and after the evaluation of the prompt.
    assert seen == {(False, False), (True, False), (True, True)}


def test_in_a_reply(session: Session, cold: Cold, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode, "READ_EVERY", 0.0)
    notebook = Notebook(session, cold=cold, temperature=0, max_tokens=12)
    first = notebook.run(0, "Hello.")
    whole = notebook.ask(first, "Say something.")
    session.last = first
    for n in range(1, 12):
        shown: list[str] = []

        def hear(event: Event, shown: list[str] = shown, n: int = n) -> None:
            if isinstance(event, Delta):
                shown.append(event.text)
                if len(shown) == n:
                    session.engine.interrupt.set()

        try:
            session.ask("Say something.", after=first, temperature=0, max_tokens=12, on_event=hear)
        except Interrupted as error:
            check = error
        else:
            break  # the reply has fewer pieces: some tokens are parts of characters
        assert check.text == "".join(shown)
        assert whole.text.startswith(check.text.rstrip("\ufffd"))
        assert check.usage is not None
        assert check.usage["generated"]["tokens"] < len(whole.tokens)
        assert session.last is first
        assert notebook.ask(first, "Say something.") == whole
        notebook.assert_exact(whole)
        session.last = first
    assert n > 3


@pytest.mark.parametrize("fails", [False, True])
def test_what_was_drawn_is_told(
    session: Session, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    """Also where the listener fails meanwhile, which is no reason to lose the interrupt."""
    whole = session.ask("Say something.", after=None, temperature=0, max_tokens=12)
    monkeypatch.setattr(decode, "READ_EVERY", 60.0)
    sample, drawn = Sampler.sample, []

    def stops(sampler: Sampler, context: Context, **more: Any) -> int:
        drawn.append(sample(sampler, context, **more))
        if len(drawn) == 7:
            session.engine.interrupt.set()
        return drawn[-1]

    monkeypatch.setattr(Sampler, "sample", stops)
    heard: list[Event] = []

    def hear(event: Event) -> None:
        heard.append(event)
        if fails and len(drawn) == 7:
            raise ZeroDivisionError("a listener's own mistake")

    with pytest.raises(Interrupted) as caught:
        session.ask("Say something.", after=None, temperature=0, max_tokens=12, on_event=hear)
    assert caught.value.usage is not None
    assert caught.value.usage["generated"]["tokens"] == 7
    assert tuple(drawn) == whole.tokens[:7]
    piece = session.engine.model.vocabulary.piece
    text = b"".join(map(piece, drawn)).decode(errors="replace")
    assert caught.value.text == text
    assert "".join(event.text for event in heard if isinstance(event, Delta)) == text


@only_seeing
def test_while_pictures_are_encoded(toy: Toy, session: Session) -> None:
    first = session.ask("Hello.", max_tokens=3)
    parts = (
        ImagePart(picture(image(0))),
        ImagePart(picture(image(1))),
        ImagePart(picture(image(2))),
        TextPart("Which?"),
    )

    def hear(event: Event) -> None:
        if event == Encoding(1, 3):
            session.engine.interrupt.set()

    with pytest.raises(Interrupted) as caught:
        session.ask(parts, on_event=hear)
    check_untouched(session, first, caught.value)
    assert caught.value.usage is not None
    # The second one is finished, since the encoder cannot stop; the third is not begun.
    assert caught.value.usage["encoded"]["images"] == 2
    assert caught.value.usage["evaluated"] == {"tokens": 0, "images": 0, "ms": 0.0}
    assert caught.value.text == ""
    turn = session.ask(parts, max_tokens=3)
    assert turn.usage["encoded"]["images"] == 1
    oracle.assert_exact(session, turn)


def test_a_flag_set_before_a_turn_does_not_stop_it(session: Session) -> None:
    session.engine.interrupt.set()
    assert session.ask("Hello.", max_tokens=3).text


# With signals -----------------------------------------------------------------------------------


def kill() -> None:
    os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("at", [Prefill, Delta])
@pytest.mark.parametrize("toy", ["llama", "qwen35"], indirect=True)
def test_a_signal_to_this_process(session: Session, at: type[Event]) -> None:
    handler = signal.getsignal(signal.SIGINT)
    first = session.ask("Hello.", max_tokens=3)

    def hear(event: Event) -> None:
        if isinstance(event, at):
            kill()

    with pytest.raises(Interrupted):
        session.ask("And?", on_event=hear, max_tokens=20)
    assert signal.getsignal(signal.SIGINT) is handler
    assert session.last is first
    turn = session.ask("And?", max_tokens=3)
    oracle.assert_exact(session, turn)
    with pytest.raises(KeyboardInterrupt):  # Python's own again
        kill()


@pytest.mark.parametrize("toy", ["llama"], indirect=True)
def test_in_another_thread_the_flag_works_without_signals(session: Session) -> None:
    handler = signal.getsignal(signal.SIGINT)
    caught: list[BaseException] = []

    def hear(event: Event) -> None:
        assert signal.getsignal(signal.SIGINT) is handler
        if isinstance(event, Delta):
            session.engine.interrupt.set()

    def work() -> None:
        try:
            session.ask("Hello.", max_tokens=20, on_event=hear)
        except BaseException as error:
            caught.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert [type(error) for error in caught] == [Interrupted]
    oracle.assert_exact(session, session.ask("Hello.", max_tokens=3))


CHILD = """
import json, sys
from llmagic.errors import Interrupted
from llmagic.events import Prefill
from llmagic.session import Session
from llmagic.settings import Loading

session = Session(sys.argv[1], loading=Loading(n_threads=1))
first = session.ask("Hello.", max_tokens=3)

def hear(event):
    if isinstance(event, Prefill) and 0 < event.done < 200:
        print("evaluating", flush=True)

try:
    session.ask("word " * 28_000, on_event=hear)
except Interrupted as error:
    usage = error.usage
turn = session.ask("And now?", max_tokens=3)
print(json.dumps({"usage": usage, "turn": turn.id, "kept": turn.parent is first}), flush=True)
"""


@pytest.mark.parametrize("toy", ["gemma3", "mamba2"], indirect=True)
def test_a_signal_to_a_process_that_evaluates_a_long_prompt(
    toy: Toy, open_session: Opens, cleanup: Callable[[subprocess.Popen[str]], None]
) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(toy.model)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    cleanup(child)
    assert child.stdout is not None
    assert child.stdout.readline() == "evaluating\n"
    child.send_signal(signal.SIGINT)
    output, _ = child.communicate(timeout=300)
    said = json.loads(output)
    usage = said["usage"]
    assert usage["generated"] == {"tokens": 0, "ms": 0.0, "stop": "interrupt"}
    assert usage["prompt"]["tokens"] > 28_000
    # Of some seconds of work a few batches were done.
    assert usage["evaluated"]["tokens"] < usage["prompt"]["tokens"] / 4
    assert said["kept"]
    session = open_session(toy)
    session.ask("Hello.", max_tokens=3)
    assert said["turn"] == session.ask("And now?", max_tokens=3).id


@pytest.fixture
def cleanup() -> Iterator[Callable[[subprocess.Popen[str]], None]]:
    """Ends a process when the test is over, however that is."""
    children: list[subprocess.Popen[str]] = []
    yield children.append
    for child in children:
        child.kill()
        child.wait()
        if child.stdout is not None:
            child.stdout.close()
