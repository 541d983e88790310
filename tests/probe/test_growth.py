"""The context grows on demand (DESIGN D11): refilled from checkpoints, exact, and never half."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest

from llmagic.engine import engine as engine_module
from llmagic.errors import ContextFullError, EvaluationError, Interrupted, ModelError
from llmagic.events import Event, Notice
from llmagic.model.context import Context, Shape
from llmagic.session import Session, Turn
from llmagic.settings import Loading
from tests.oracle import assert_exact
from tests.probe.conftest import Opens
from tests.session.script import say
from tests.toys import Toy
from tests.toys.tokenizer import IM_END, vocabulary

START = 512
ASK: dict[str, Any] = {"max_tokens": 8, "temperature": 0}


def _words(n: int, seed: int = 0) -> str:
    words = ["red", "blue", "circle", "square", "image", "cell", "answer", "the", "is"]
    return " ".join(words[i] for i in np.random.default_rng(seed).integers(0, len(words), n))


def _ask(session: Session, text: str, *, heard: list[Event] | None = None, **how: Any) -> Turn:
    images = []
    if session.engine.projector is not None:
        images = [np.random.default_rng(len(text)).integers(0, 256, (96, 96, 3), np.uint8)]
    hear = heard.append if heard is not None else None
    return session.ask(text, images=images, on_event=hear, **{**ASK, **how})


def _size(session: Session) -> int:
    return int(session.status()["context"]["tokens"])


def _notices(heard: list[Event]) -> list[str]:
    return [event.text for event in heard if isinstance(event, Notice)]


def _lack_memory(monkeypatch: pytest.MonkeyPatch, n_bytes: int = 100 << 20) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=n_bytes))


def test_the_defaults_start_small() -> None:
    assert Loading().n_ctx_start == 4096


def test_it_starts_small_and_doubles(toy: Toy, open_session: Opens) -> None:
    session = open_session(toy, n_ctx_start=START, n_ctx=4096)
    assert _size(session) == START
    first = _ask(session, _words(100, 1))
    assert _size(session) == START
    heard: list[Event] = []
    second = _ask(session, _words(500, 2), heard=heard)
    assert _size(session) == 2 * START
    assert _notices(heard) == ["the context grew to 1,024 tokens."]
    # Everything up to the reply came back from its checkpoint.
    n_before = first.usage["prompt"]["tokens"] + len(first.tokens)
    assert second.usage["restored"]["tokens"] == n_before
    assert second.usage["restored"]["tier"] == "memory"
    assert second.usage["encoded"]["images"] == (toy.projector is not None)
    assert second.usage["exact"] is True
    assert_exact(session, second)
    heard = []
    third = _ask(session, _words(1500, 3), heard=heard)
    assert _size(session) == 8 * START
    assert len(_notices(heard)) == 1
    assert_exact(session, third)
    # Nothing above was evaluated again, and earlier cells still resume.
    again = session.ask(second.parts, after=first, **ASK)
    assert again.id == second.id
    assert again.usage["evaluated"]["tokens"] < 8
    assert_exact(session, again)


def test_a_grown_context_answers_as_a_large_one(toy: Toy, open_session: Opens) -> None:
    texts = [_words(80, 1), _words(400, 2), _words(900, 3)]
    replies = []
    for start in (START, 4096):
        session = open_session(toy, n_ctx_start=start, n_ctx=4096)
        replies.append([_ask(session, text).tokens for text in texts])
    assert replies[0] == replies[1]


def test_room_for_the_reply_is_made_too(toy_named, open_session: Opens) -> None:
    session = open_session(toy_named("llama"), n_ctx_start=START)
    turn = _ask(session, _words(200, 1), max_tokens=600)
    assert _size(session) == 2 * START
    assert turn.usage["generated"]["stop"] in ("end", "length")
    assert_exact(session, turn)


def test_a_long_reply_takes_its_room_as_it_needs_it(
    toy: Toy, open_session: Opens, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "FIRST_ROOM", 64)
    heard: list[Event] = []
    turns = []
    for start in (START, 4096):
        session = open_session(toy, n_ctx_start=start, n_ctx=4096)
        first = _ask(session, _words(100, 1))
        turns.append(_ask(session, "And?", max_tokens=900, heard=heard))
        assert_exact(session, turns[-1])
        n_tokens = turns[-1].usage["prompt"]["tokens"] + len(turns[-1].tokens)
        assert n_tokens > 2 * START, "the test no longer hits the case"
        assert not _notices(heard) or toy.memory == "swa"
        # A window would lie in other cells after it, so its models have all the room at first.
        if start == START:
            assert _size(session) == 4 * START
        assert turns[-1].usage["exact"] is True
        following = _ask(session, "So?")
        assert following.usage["restored"] == {
            **following.usage["restored"],
            "tokens": n_tokens,
            "tier": "live",
        }
        assert_exact(session, following)
        assert session.ask("So?", after=first, **ASK).usage["restored"]["tokens"] > 100
    assert turns[0].tokens == turns[1].tokens


def test_a_short_reply_takes_no_room_for_a_long_one(
    toy_named, open_session: Opens, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = open_session(toy_named("llama"))
    say(monkeypatch, [*session.tokenize("That is all."), vocabulary().id(IM_END)])
    assert _ask(session, "hi", max_tokens=30_000).stop == "end"
    assert _size(session) == Loading().n_ctx_start


def test_never_beyond_the_limit(toy_named, open_session: Opens) -> None:
    session = open_session(toy_named("qwen35"), n_ctx_start=START, n_ctx=1280)
    first = _ask(session, _words(700, 1))
    assert _size(session) == 1024
    _ask(session, _words(150, 2))
    assert _size(session) == 1280
    with pytest.raises(ContextFullError, match=r"1,280.*--ctx"):
        _ask(session, _words(900, 3))
    assert_exact(session, _ask(session, "And?", after=first))


# No memory --------------------------------------------------------------------------------------


def test_without_memory_the_sizes_are_named(
    toy: Toy, open_session: Opens, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = open_session(toy, n_ctx_start=START, n_ctx=4096)
    first = _ask(session, _words(100, 1))
    with monkeypatch.context() as patched:
        _lack_memory(patched)
        with pytest.raises(ContextFullError) as raised:
            _ask(session, _words(600, 2))
    message = str(raised.value)
    assert "from 512 to 1,024 tokens" in message
    assert "100 MiB are free" in message
    assert "--kv q8_0" in message
    assert session.last is first
    assert _size(session) == START
    # The session goes on: small cells at once, larger ones once there is memory.
    second = _ask(session, "And this?")
    assert second.usage["restored"]["tokens"] > 100
    assert_exact(session, second)
    third = _ask(session, _words(600, 2), after=first)
    assert _size(session) == 2 * START
    assert_exact(session, third)


def test_the_bytes_are_those_of_the_cache(
    toy_named, open_session: Opens, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = open_session(toy_named("llama"), n_ctx_start=START)
    # 512 more tokens of 3 layers, keys and values of 64 in 2 bytes; 12 bytes each beside.
    needed = 512 * (3 * 2 * 64 * 2 + 12) + engine_module.SPARE_MEMORY
    _lack_memory(monkeypatch, needed - 1)
    with pytest.raises(ContextFullError):
        _ask(session, _words(600, 1))
    _lack_memory(monkeypatch, needed)
    _ask(session, _words(600, 1))
    assert _size(session) == 2 * START


def test_a_reply_without_room_to_grow_is_cut_and_says_so(
    toy_named, open_session: Opens, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = open_session(toy_named("llama"), n_ctx_start=START)
    _lack_memory(monkeypatch)
    heard: list[Event] = []
    turn = _ask(session, _words(300, 1), max_tokens=1000, heard=heard)
    assert _size(session) == START
    (notice,) = _notices(heard)
    assert "tokens of room" in notice
    n_tokens = turn.usage["prompt"]["tokens"] + len(turn.tokens)
    assert turn.usage["generated"]["stop"] == "end" or n_tokens == START
    assert_exact(session, turn)


def test_a_size_between_is_better_than_none(
    toy_named, open_session: Opens, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A prompt that fits is not refused for the sake of its reply."""
    session = open_session(toy_named("llama"), n_ctx_start=START)
    _lack_memory(monkeypatch, 512 * (3 * 2 * 64 * 2 + 12) + engine_module.SPARE_MEMORY)
    heard: list[Event] = []
    turn = _ask(session, _words(600, 1), max_tokens=2000, heard=heard)
    assert _size(session) == 2 * START
    grown, cut = _notices(heard)
    assert grown == "the context grew to 1,024 tokens."
    assert "tokens of room: the context must grow from 512 to 2,048 tokens" in cut
    assert turn.usage["prompt"]["tokens"] + len(turn.tokens) == 2 * START
    assert_exact(session, turn)


def test_llama_cpp_refuses_all_but_a_size_between(
    toy: Toy, open_session: Opens, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = open_session(toy, n_ctx_start=START, n_ctx=4096)
    first = _ask(session, _words(100, 1))
    with monkeypatch.context() as patched:
        patched.setattr(engine_module, "Context", _limited(2 * START))
        turn = _ask(session, _words(350, 1), max_tokens=2000)
    assert _size(session) == 2 * START
    n_before = first.usage["prompt"]["tokens"] + len(first.tokens)
    assert turn.usage["restored"]["tokens"] == n_before
    assert turn.usage["prompt"]["tokens"] + len(turn.tokens) == 2 * START
    assert_exact(session, turn)


@pytest.mark.parametrize("lacking", ["memory", "size", "context", "put back"])
@pytest.mark.parametrize("toy", ["llama", "qwen35"], indirect=True)
def test_a_reply_that_cannot_get_more_room(
    toy: Toy, open_session: Opens, monkeypatch: pytest.MonkeyPatch, lacking: str
) -> None:
    monkeypatch.setattr(engine_module, "FIRST_ROOM", 64)
    session = open_session(toy, n_ctx_start=START, n_ctx=4096)
    first = turn = _ask(session, _words(100, 1))
    heard: list[Event] = []
    with monkeypatch.context() as patched:
        if lacking == "memory":
            _lack_memory(patched)
        elif lacking == "put back":
            patched.setattr(Context, "write", lambda *_, **__: False)
        else:
            patched.setattr(engine_module, "Context", _limited(START if lacking == "size" else 0))
        if lacking in ("memory", "size"):
            turn = _ask(session, "And?", max_tokens=900, heard=heard)
            (notice,) = _notices(heard)
            assert "the reply ends where the context is full" in notice
            assert "from 512 to 1,024 tokens" in notice
            assert turn.stop == "length"
            assert turn.usage["prompt"]["tokens"] + len(turn.tokens) == START
        else:
            failed = ModelError if lacking == "context" else EvaluationError
            with pytest.raises(failed):
                _ask(session, "And?", max_tokens=900)
            assert session.last is first
    following = _ask(session, "So?", after=turn)
    n_before = turn.usage["prompt"]["tokens"] + len(turn.tokens)
    assert following.usage["restored"]["tokens"] == n_before
    assert_exact(session, following)


def test_an_interrupt_while_a_reply_gets_room(
    toy_named, open_session: Opens, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "FIRST_ROOM", 64)
    session = open_session(toy_named("qwen35"), n_ctx_start=START, n_ctx=4096)
    first = _ask(session, _words(100, 1))

    def interrupted(*_: object) -> Context:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(engine_module, "Context", interrupted)
        with pytest.raises(Interrupted) as caught:
            _ask(session, "And?", max_tokens=900)
    usage = caught.value.usage
    assert usage is not None
    assert usage["prompt"]["tokens"] + usage["generated"]["tokens"] == START
    assert len(caught.value.text) > 50
    turn = _ask(session, "And?", after=first, max_tokens=900)
    assert turn.text.startswith(caught.value.text.rstrip("\ufffd"))
    assert_exact(session, turn)


def test_llama_cpp_refuses_the_larger_context(
    toy: Toy, open_session: Opens, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = open_session(toy, n_ctx_start=START, n_ctx=4096)
    first = _ask(session, _words(100, 1))
    with monkeypatch.context() as patched:
        patched.setattr(engine_module, "Context", _limited(START))
        with pytest.raises(ContextFullError, match=r"from 512 to 1,024.*no context of 1,024"):
            _ask(session, _words(600, 2))
    assert _size(session) == START
    second = _ask(session, "And this?", after=first)
    # The context is a new one; what the old one held came back.
    assert second.usage["restored"]["tier"] == "memory"
    assert_exact(session, second)


def test_no_context_at_all_for_a_moment(
    toy: Toy, open_session: Opens, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = open_session(toy, n_ctx_start=START, n_ctx=4096)
    first = _ask(session, _words(100, 1))
    with monkeypatch.context() as patched:
        patched.setattr(engine_module, "Context", _limited(0))
        with pytest.raises(ModelError, match="no context"):
            _ask(session, _words(600, 2))
        # Nothing that was freed is touched.
        with pytest.raises(ModelError, match="no context"):
            _ask(session, "And this?", after=first)
        assert session.status()["context"]["tokens"] == 0
    second = _ask(session, "And this?", after=first)
    assert second.usage["restored"]["tokens"] > 100
    assert_exact(session, second)


def test_an_interrupt_while_it_grows(
    toy_named, open_session: Opens, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = open_session(toy_named("qwen35"), n_ctx_start=START)
    first = _ask(session, _words(100, 1))

    def interrupted(*_: object) -> Context:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(engine_module, "Context", interrupted)
        with pytest.raises(KeyboardInterrupt):
            _ask(session, _words(600, 2))
    second = _ask(session, _words(600, 2), after=first)
    assert second.usage["restored"]["tokens"] > 100
    assert_exact(session, second)


def test_the_images_of_a_cell_that_fails_to_grow_are_not_lost(
    toy_named, open_session: Opens, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = open_session(toy_named("qwen35"), n_ctx_start=START)
    _ask(session, _words(100, 1))
    with monkeypatch.context() as patched:
        _lack_memory(patched)
        with pytest.raises((ContextFullError, EvaluationError)):
            _ask(session, _words(600, 2))
    assert session.status()["images"]["count"] == 1
    assert_exact(session, _ask(session, _words(600, 2)))


def _limited(n_ctx: int) -> Any:
    """`Context`, on a machine that cannot hold more than `n_ctx` tokens."""

    def make(model: Any, shape: Shape, interrupt: Any = None) -> Context:
        if shape.n_ctx > n_ctx:
            raise ModelError(f"no context of {shape.n_ctx:,} tokens could be made.")
        return Context(model, shape, interrupt)

    return make
