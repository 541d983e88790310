"""What a session promises: turns as values, branches, seeds, events, usage."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import FrozenInstanceError, replace
from pathlib import Path

import pytest

from llmagic.engine import decode
from llmagic.events import Delta, Encoding, Event, Loading, Prefill
from llmagic.prompt.parts import ImagePart, TextPart
from llmagic.session import Session, Turn
from llmagic.settings import Loading as Opening
from llmagic.settings import Sampling
from tests import oracle
from tests.session.cells import image, prose
from tests.session.conftest import Opens
from tests.session.script import say
from tests.toys import Toy
from tests.toys.tokenizer import END_OF_TEXT, IM_END, vocabulary

ROOT = Path(__file__).parents[2]
ASK = "Tell me something."

only_llama = pytest.mark.parametrize("toy", ["llama"], indirect=True)


def ask(session: Session, prompt: str = ASK, **settings: object) -> Turn:
    return session.ask(prompt, **{"after": None, "max_tokens": 12, **settings})  # type: ignore[arg-type]


@only_llama
def test_a_turn_that_was_moved_is_forgotten_where_it_was_drawn(session: Session) -> None:
    above, other = ask(session, "One."), ask(session, "Another.")
    turn = session.ask("Two.", after=above, max_tokens=12)
    session.forget(turn.standing_on(other, turn.system))
    again = session.ask("Two.", after=above, max_tokens=12, replay=True)
    assert again.usage["generated"]["stop"] != "replayed"


# Seeds ------------------------------------------------------------------------------------------


def test_a_seed_draws_its_own_reply_and_the_same_one_again(session: Session) -> None:
    turns = [ask(session, temperature=1.0, seed=seed) for seed in range(8)]
    assert len({turn.tokens for turn in turns}) > 4
    for seed, turn in reversed(list(enumerate(turns))):
        assert ask(session, temperature=1.0, seed=seed) == turn


def test_the_default_seed_comes_from_the_content(toy: Toy, open_session: Opens) -> None:
    session, other = open_session(toy), open_session(toy, n_ctx_start=512)
    turn = ask(session, temperature=1.0)
    ask(other, "Something else first.")
    assert ask(other, temperature=1.0) == turn
    # It is another one for another question, not one for all: random noise would agree by
    # chance only. What follows the question is the same text in both conversations.
    seeds = {
        session.engine._seed(session.chat.sequence(None, None, (TextPart(text),)), Sampling())
        for text in ("a", "b", "c")
    }
    assert len(seeds) == 3
    assert ask(session, temperature=1.0, seed=None) == turn


@only_llama
def test_temperature_zero_needs_no_seed(session: Session) -> None:
    tokens = {ask(session, temperature=0, seed=seed).tokens for seed in range(3)}
    assert len(tokens) == 1
    greedy = tokens.pop()
    assert ask(session, temperature=1.0, top_k=1).tokens == greedy
    assert ask(session, temperature=1.0, min_p=1.0).tokens == greedy
    assert ask(session, temperature=1.0, top_p=0.0).tokens == greedy
    assert ask(session, temperature=1e-5, seed=1).tokens == greedy


@only_llama
def test_the_penalty_keeps_tokens_from_coming_back(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = ask(session, temperature=0, max_tokens=200)
    held = ask(session, temperature=0, max_tokens=200, repeat_penalty=50.0, repeat_last_n=200)
    assert len(set(held.tokens)) > len(set(free.tokens))
    # At 50 a token comes back only when every other positive logit has been penalised too.
    assert len(set(held.tokens[:50])) == 50
    off = ask(session, temperature=0, max_tokens=200, repeat_penalty=50.0, repeat_last_n=0)
    assert off.tokens == free.tokens


# Identity ---------------------------------------------------------------------------------------


def conversation(session: Session, toy: Toy) -> list[Turn]:
    images = [image(0)] if toy.projector else []
    first = ask(session, "What is it?", images=images, system="Be brief.", temperature=1.0)
    second = session.ask("And?", max_tokens=5)
    return [first, second, session.ask("Or so.", after=first, max_tokens=5, temperature=0)]


CHILD = """
import sys
from pathlib import Path
from llmagic.session import Session
from llmagic.settings import Loading
from tests.session.test_session_api import conversation
from tests.toys import write

toy = write(sys.argv[1], Path(sys.argv[2]))
with Session(toy.model, projector=toy.projector, loading=Loading(n_threads=1)) as session:
    print([turn.id for turn in conversation(session, toy)])
"""


@pytest.mark.parametrize("toy", ["llama", "qwen35"], indirect=True)
def test_ids_are_the_same_in_another_process(toy: Toy, session: Session) -> None:
    command = [sys.executable, "-c", CHILD, toy.name, str(toy.model.parent)]
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=True, env=environment
    )
    ids = [turn.id for turn in conversation(session, toy)]
    assert done.stdout.strip() == str(ids)
    assert len(set(ids)) == 3


@only_llama
def test_an_id_depends_on_everything_that_made_the_turn(session: Session) -> None:
    base = ask(session)
    others = [
        ask(session, ASK + " "),
        ask(session, system="Be brief."),
        ask(session, seed=1),
        ask(session, temperature=0.5),
        ask(session, top_k=39),
        ask(session, top_p=0.9),
        ask(session, min_p=0.1),
        ask(session, repeat_penalty=1.1),
        ask(session, max_tokens=11),
        ask(session, stop="never said"),
        session.ask(ASK, after=base, max_tokens=12),
    ]
    assert len({turn.id for turn in (base, *others)}) == 1 + len(others)
    assert ask(session).id == base.id
    # One number has one spelling.
    assert ask(session, temperature=1).id == ask(session, temperature=1.0).id
    assert ask(session, stop="x").id == ask(session, stop=["x"]).id == ask(session, stop=("x",)).id


# Conversations ----------------------------------------------------------------------------------


def test_turns_are_values_and_name_their_parents(session: Session) -> None:
    first = session.ask("One.", max_tokens=3)
    second = session.ask("Two.", max_tokens=3)
    third = session.ask("Three.", max_tokens=3, after=first)
    alone = session.ask("Four.", max_tokens=3, after=None)
    last = session.ask("Five.", max_tokens=3)
    assert (first.parent, second.parent, third.parent) == (None, first, first)
    assert (alone.parent, last.parent) == (None, alone)
    assert third.path() == [first, third]
    assert session.last is last
    assert first.parts == (TextPart("One."),)
    with pytest.raises(FrozenInstanceError):
        first.text = "other"  # type: ignore[misc]
    n_tokens = oracle.sequence_of(session, first).n_tokens
    assert third.usage["restored"]["tokens"] >= n_tokens


@only_llama
def test_a_long_conversation_can_be_compared_and_hashed(session: Session) -> None:
    first = session.ask("One.", max_tokens=2)
    one = other = first
    for index in range(3000):
        one = replace(first, id=str(index), parent=one)
        other = replace(first, id=str(index), parent=other)
    assert one == other
    assert hash(one) == hash(other)
    assert len(one.path()) == 3001


@only_llama
def test_another_models_turn_is_read_as_text(
    toy: Toy, toy_named: Callable[[str], Toy], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its tokens are other words here, or none at all."""
    with (
        Session(toy.model, store=tmp_path) as writer,
        Session(toy_named("qwen35").model, projector=False) as reader,
        Session(toy.model, loading=Opening(kv_type="q8_0")) as same,
    ):
        with monkeypatch.context() as patch:
            # Not what their text is tokenised to.
            say(patch, [token for letter in "the" for token in writer.tokenize(letter)])
            turns = [writer.ask("One.", max_tokens=9), writer.ask("Two.", max_tokens=9)]
        last = reader.ask("Three.", after=turns[1], max_tokens=3)
        read = last.path()[:2]
        assert [turn.id for turn in read] == [turn.id for turn in turns]
        for turn, here in zip(turns, read, strict=True):
            tokens = tuple(reader.tokenize(turn.text))
            assert here.tokens == tokens != turn.tokens
            assert here.text == here.reply.text == turn.text
        oracle.assert_close(reader, last, tolerance=1e-2)
        # What a model wrote itself is what it wrote, from the store as well.
        assert reader.ask("Four.", max_tokens=3).parent is last
        assert same.ask("Three.", after=turns[1], max_tokens=3).parent is turns[1]
        back = writer.ask("Four.", after=last, max_tokens=3)
        assert back.parent.tokens == tuple(writer.tokenize(last.text))
        oracle.assert_close(writer, back, tolerance=1e-2)
    with Session(toy.model, store=tmp_path) as writer:
        recalled = writer.recall(turns[0].id, after=None)
        assert recalled.tokens_of == turns[0].tokens_of != ""
        assert writer.ask("Five.", after=recalled, max_tokens=3).parent is recalled


def test_the_system_prompt_goes_on_until_it_is_replaced(session: Session) -> None:
    first = session.ask("One.", max_tokens=3, system="Be brief.")
    second = session.ask("Two.", max_tokens=3)
    assert second.system == "Be brief."
    other = session.ask("Two.", max_tokens=3, after=first, system="Be long.")
    assert other.system == "Be long."
    assert other.usage["restored"]["tokens"] < 5
    none = session.ask("Two.", max_tokens=3, after=first, system="")
    plain = session.chat.sequence("", first, (TextPart("Two."),))
    assert none.usage["prompt"]["tokens"] == plain.n_tokens
    assert plain.n_tokens < session.chat.sequence("Be brief.", first, (TextPart("Two."),)).n_tokens


@only_llama
def test_a_prompt_may_be_an_iterator_of_parts(session: Session) -> None:
    turn = session.ask((TextPart(text) for text in ("Tell me ", "something.")), max_tokens=3)
    assert [part.text for part in turn.parts if not isinstance(part, ImagePart)] == [
        "Tell me ",
        "something.",
    ]
    oracle.assert_exact(session, turn)


def test_settings_come_from_a_sampling_and_from_names(session: Session) -> None:
    sampling = Sampling(temperature=0.5, seed=3, max_tokens=4)
    turn = session.ask(ASK, sampling=sampling, max_tokens=6)
    assert turn.sampling == replace(sampling, max_tokens=6)
    assert len(turn.tokens) == 6


# Replies ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", [IM_END, END_OF_TEXT])
def test_a_reply_ends_at_an_end_token(
    session: Session, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    words = session.tokenize("That is all.")
    with monkeypatch.context() as patch:
        say(patch, [*words, vocabulary().id(end), *words])
        turn = session.ask(ASK, max_tokens=50)
    assert (turn.text, turn.tokens, turn.stop) == ("That is all.", tuple(words), "end")
    oracle.assert_exact(session, turn)
    turn = session.ask("And?", max_tokens=3)
    oracle.assert_exact(session, turn)


def test_an_empty_reply_is_a_turn(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        say(patch, [vocabulary().id(IM_END)])
        turn = session.ask(ASK, max_tokens=50)
    assert (turn.text, turn.tokens, turn.stop) == ("", (), "end")
    assert turn.usage["generated"]["tokens"] == 0
    following = session.ask("And?", max_tokens=3)
    oracle.assert_exact(session, following)
    again = session.ask("And?", max_tokens=3, after=turn, seed=1)
    oracle.assert_exact(session, again)
    assert again.usage["evaluated"]["tokens"] == len(session.tokenize("assistant\n")) + 1


@pytest.mark.parametrize("seconds", [0.0, 60.0])
def test_characters_are_whole_when_they_are_shown(
    session: Session, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decode, "READ_EVERY", seconds)
    text = "é中😀 e\u0301"
    tokens = session.tokenize(text)
    assert len(tokens) > len(text)
    shown: list[Event] = []
    with monkeypatch.context() as patch:
        say(patch, tokens)
        turn = session.ask(ASK, max_tokens=len(tokens), on_event=shown.append)
        cut = session.ask(ASK, max_tokens=3, after=None)
    pieces = [event.text for event in shown if isinstance(event, Delta)]
    assert "".join(pieces) == turn.text == text
    assert all("\ufffd" not in piece for piece in pieces)
    assert cut.text == "é\ufffd"  # its first byte is part of the turn all the same
    assert cut.tokens == tuple(tokens[:3])


# Telling ----------------------------------------------------------------------------------------


def test_events_tell_what_happens_in_order(toy: Toy, session: Session) -> None:
    heard: list[Event] = []
    images = [image(0), image(1)] if toy.projector else []
    turn = session.ask(prose(300), images=images, max_tokens=9, on_event=heard.append)
    order = [Encoding, Prefill, Delta]
    kinds = [order.index(type(event)) for event in heard]
    assert kinds == sorted(kinds)
    encodings = [event for event in heard if isinstance(event, Encoding)]
    assert [event.done for event in encodings] == ([0, 1, 2] if images else [])
    prefills = [event for event in heard if isinstance(event, Prefill)]
    done = [event.done for event in prefills]
    assert done[0] == 0
    assert done == sorted(set(done))
    assert {event.total for event in prefills} == {done[-1]} == {turn.usage["prompt"]["tokens"]}
    assert "".join(event.text for event in heard if isinstance(event, Delta)) == turn.text


def test_text_is_told_at_once_and_then_now_and_again(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: dict[float, list[str]] = {}
    with monkeypatch.context() as patch:
        say(patch, session.tokenize("One two three four five."))
        for seconds in (0.0, 60.0):
            patch.setattr(decode, "READ_EVERY", seconds)
            heard: list[Event] = []
            session.ask(ASK, after=None, max_tokens=6, on_event=heard.append)
            pieces = [event for event in heard if isinstance(event, Delta)]
            told[seconds] = [event.text for event in pieces]
            assert sum(event.n_tokens for event in pieces) == 6
    each, few = told.values()
    assert len(each) > 3
    assert few == [each[0], "".join(each[1:])]


def test_loading_tells_its_progress(toy: Toy) -> None:
    heard: list[Event] = []
    with Session(toy.model, projector=toy.projector, on_event=heard.append):
        pass
    stages = ["model", "projector"] if toy.projector else ["model"]
    found = [event for event in heard if isinstance(event, Loading)]
    assert found == heard
    assert list(dict.fromkeys(event.stage for event in found)) == stages
    for stage in stages:
        fractions = [event.fraction for event in found if event.stage == stage]
        assert fractions == sorted(fractions)
        assert fractions[-1] == 1.0


def test_usage_has_the_shape_of_the_contract(toy: Toy, session: Session) -> None:
    turn = session.ask(ASK, max_tokens=3)
    shape = {
        key: set(value) if isinstance(value, dict) else type(value)
        for key, value in turn.usage.items()
    }
    assert shape == {
        "version": int,
        "turn": str,
        "model": str,
        "prompt": {"tokens", "images"},
        "restored": {"tokens", "images", "tier", "ms", "bytes"},
        "evaluated": {"tokens", "images", "ms"},
        "encoded": {"images", "ms"},
        "generated": {"tokens", "ms", "stop"},
        "saved": {"bytes", "ms"},
        "exact": bool,
    }
    assert turn.usage["turn"] == turn.id
    assert turn.usage["model"] == f"llmagic toy {toy.name}"
    tree = session.engine.checkpoints.tree
    assert turn.usage["saved"]["bytes"] == tree.n_bytes > 0


def test_status_counts_what_is_kept(toy: Toy, session: Session) -> None:
    images = [image(0)] if toy.projector else []
    turn = session.ask(ASK, images=images, max_tokens=3)
    status = session.status()
    assert status["path"] == str(toy.model)
    assert status["memory"] == toy.memory
    # The smallest layout that is exact.
    assert status["layout"] == ("delta" if toy.memory == "attention" else "split")
    assert status["context"]["used"] == oracle.sequence_of(session, turn).n_tokens
    assert status["live"]["branches"] == 1
    assert status["checkpoints"]["count"] == len(session.engine.checkpoints.tree)
    assert status["checkpoints"]["bytes"] == turn.usage["saved"]["bytes"]
    assert status["images"]["count"] == len(images)
    assert (status["images"]["bytes"] > 0) == bool(images)
