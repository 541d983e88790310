"""Stop strings: what is shown, what the turn holds, and what the context holds agree."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmagic.checkpoint.payload import Payloads
from llmagic.events import Delta, Event
from llmagic.prompt.parts import TextPart
from llmagic.session import Session, Turn
from llmagic.settings import Loading
from tests import oracle
from tests.faults.injecting import injected, raises
from tests.session.cells import Cold, Notebook, prose
from tests.session.script import say
from tests.toys import Toy
from tests.toys.text import WINDOW

PROMPT = "Say something long."
LONG = prose(WINDOW)
"""A window has slid when the reply begins."""


def piece(session: Session, token: int) -> bytes:
    return session.engine.model.vocabulary.piece(token)


def text_of(session: Session, tokens: Sequence[int]) -> str:
    return b"".join(piece(session, token) for token in tokens).decode("utf-8", "replace")


def check(notebook: Notebook, turn: Turn, full: str, stop: str) -> None:
    """A turn that ended with `stop`, where the same draw without it says `full`."""
    assert stop in full
    assert turn.stop == turn.usage["generated"]["stop"] == "stop"
    assert turn.text == full[: full.index(stop)]
    assert turn.usage["generated"]["tokens"] == len(turn.tokens)
    assert text_of(notebook.session, turn.tokens) == turn.text
    go_on(notebook, turn)


def go_on(notebook: Notebook, turn: Turn) -> None:
    """What follows a turn is what would follow it in a session that never heard of its stop."""
    following = notebook.ask(turn, "Go on.", stop=(), max_tokens=1)
    notebook.assert_exact_before(following)
    assert following.usage["exact"] is True
    if turn.tokens:
        restored = oracle.sequence_of(notebook.session, turn).n_tokens
        assert following.usage["restored"]["tokens"] >= restored


@pytest.mark.parametrize("length", [24, WINDOW + 60])
def test_a_stop_text_from_the_middle_of_a_reply(session: Session, cold: Cold, length: int) -> None:
    notebook = Notebook(session, cold=cold, temperature=0, max_tokens=length)
    whole = notebook.run(0, PROMPT)
    assert len(whole.tokens) == length
    tried = 0
    for index in range(length // 2, length - 3, max(1, length // 9)):
        first, second = (piece(session, token) for token in whole.tokens[index : index + 2])
        for stop in (first, first[len(first) // 2 :], (first + second)[1:-1], second[:1]):
            try:
                text = stop.decode()
            except UnicodeDecodeError:
                continue
            if text.strip():
                check(notebook, notebook.ask(None, PROMPT, stop=text), whole.text, text)
                tried += 1
    assert tried > 8


def test_a_window_that_is_cut_goes_on_where_it_was(toy_named: Callable[[str], Toy]) -> None:
    """Over 512 cells the threads share a window by its cells, so they must stay where they are."""
    with Session(toy_named("gemma3").model, loading=Loading(n_threads=2)) as session:
        tokenize = session.tokenize
        words = tokenize(prose(150, 3))
        with pytest.MonkeyPatch.context() as patch:
            say(patch, [*words, *tokenize("ing!")])
            turn = session.ask(LONG, after=None, stop="g!", max_tokens=400, temperature=0)
        assert turn.stop == "stop"
        assert turn.tokens == (*words, *tokenize("in"))
        go_on(Notebook(session), turn)


@pytest.mark.parametrize("toy", ["qwen35", "mamba2"], indirect=True)
def test_without_the_memory_to_go_back(session: Session, cold: Cold) -> None:
    """The reply stands; the next turn evaluates it again."""
    notebook = Notebook(session, cold=cold, temperature=0, max_tokens=24)
    whole = notebook.run(0, PROMPT)
    pairs = (whole.tokens[index : index + 2] for index in range(8, 20))
    stop = next(text for pair in pairs if (text := text_of(session, pair)).isascii())
    with injected(Payloads, "take_end", raises(MemoryError())) as seen:
        turn = notebook.ask(None, PROMPT, stop=stop)
    assert seen.failed
    assert turn.text == whole.text[: whole.text.index(stop)]
    assert session.last is turn
    following = notebook.ask(turn, "Go on.", stop=(), max_tokens=3)
    assert following.usage["restored"]["tokens"] > 0
    assert following.usage["exact"] is False
    assert notebook.ask(None, PROMPT, stop=stop) == turn


def test_what_is_left_of_a_token_may_not_fit(toy_named: Callable[[str], Toy]) -> None:
    """A token of many letters ends a full context, and all but its last letter are more tokens."""
    with Session(toy_named("llama").model, n_ctx=512) as session:
        vocabulary = session.engine.model.vocabulary
        left = {
            token: vocabulary.tokenize(piece(session, token).decode()[:-1], special=False)
            for token in range(256, 400)
            if not vocabulary.is_markup(token)
        }
        last = max(left, key=lambda token: len(left[token]))
        assert len(left[last]) > 1, "the test no longer hits the case"
        a = session.tokenize("a")
        asked = "word " * 300
        before = session.chat.sequence(None, None, (TextPart(asked),)).n_tokens
        with pytest.MonkeyPatch.context() as patch:
            say(patch, [*a * (511 - before), last])
            stop = piece(session, last).decode()[-1]
            turn = session.ask(asked, stop=stop, max_tokens=1000)
        assert before + len(turn.tokens) > 512
        assert (turn.tokens[-len(left[last]) :], turn.stop) == ((*left[last],), "stop")
        go_on(Notebook(session), session.ask("And?", after=None, max_tokens=3))


# Drawn by hand --------------------------------------------------------------------------------

# Noise says what it says; these replies are chosen, so that stop texts begin, nearly come true and
# end in every place of a token and of a character. llama.cpp evaluates them as any others.

PIECES = ("t", "h", "e", "th", "the", " the", "a", " a", "in", "ing", "é", "中", "😀")


def alphabet(session: Session) -> list[int]:
    """The tokens of `PIECES`: whole words, letters, and bytes of characters."""
    vocabulary = session.engine.model.vocabulary
    tokens = {token for text in PIECES for token in vocabulary.tokenize(text, special=False)}
    assert {len(vocabulary.piece(token)) for token in tokens} >= {1, 2, 3, 4}
    return sorted(tokens)


def expected(pieces: Sequence[bytes], stops: Sequence[str]) -> tuple[str, bool]:
    """The text shown, and whether a stop text ended it: everything decoded anew at each token."""
    for n in range(len(pieces) + 1):
        data = b"".join(pieces[:n])
        # Up to three bytes may yet become a character.
        text = codecs.getincrementaldecoder("utf-8")("replace").decode(data)
        found = [text.index(stop) for stop in stops if stop in text]
        if found:
            return text[: min(found)], True
    return b"".join(pieces).decode("utf-8", "replace"), False


stop_texts = st.text("theain é中😀", min_size=1, max_size=5)


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    max_examples=40,
)
@given(st.data())
def test_any_stop_text_in_any_reply(session: Session, cold: Cold, data: st.DataObject) -> None:
    tokens = data.draw(st.lists(st.sampled_from(alphabet(session)), min_size=1, max_size=14))
    pieces = [piece(session, token) for token in tokens]
    whole = b"".join(pieces).decode("utf-8", "replace")
    start = data.draw(st.integers(0, len(whole) - 1))
    inside = st.integers(start + 1, min(len(whole), start + 8)).map(lambda at: whole[start:at])
    # One that comes true, and others that may nearly do.
    stops = [data.draw(inside), *data.draw(st.lists(stop_texts, max_size=1))]
    stops = data.draw(st.permutations([*stops, data.draw(inside) + "!"]))
    notebook = Notebook(session, cold=cold)
    text, stopped = expected(pieces, stops)
    shown: list[str] = []

    def hear(event: Event) -> None:
        if isinstance(event, Delta):
            shown.append(event.text)

    with pytest.MonkeyPatch.context() as patch:
        say(patch, tokens)
        turn = session.ask(
            LONG, after=None, stop=stops, max_tokens=len(tokens), on_event=hear, temperature=0
        )
    assert (turn.text, turn.stop) == (text, "stop" if stopped else "length")
    assert "".join(shown) == text
    assert text_of(session, turn.tokens) == text
    go_on(notebook, turn)
