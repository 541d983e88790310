"""Conversations through every kind of chat template: what the next turn costs, and its truth.

A template that renders history in another way than it was generated makes a prefix unstable. The
cost must be what that makes of it and no more: resume at the last boundary both share.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

from llmagic.sequence import common_prefix
from llmagic.session import Session, Turn
from tests.oracle import assert_exact, sequence_of
from tests.toys import Toy, parrot

TEMPLATES = sorted((Path(__file__).parents[1] / "templates").glob("*.jinja"))
KEEPS_REPLIES = {"chatml", "date", "gemma", "generation", "llama3", "mistral"}
"""Templates that write an earlier reply just as it was generated, after the same markup."""


def shared_boundary(session: Session, before: Turn, turn: Turn) -> int:
    """Tokens up to the last boundary that a turn shares with the one before and its reply."""
    held = sequence_of(session, before)
    wanted = sequence_of(session, turn, with_reply=False)
    shared = common_prefix(held, wanted)
    ends = [step.stop for step in held.steps if step.boundary is not None and step.stop <= shared]
    places = {step.stop for step in wanted.steps[:-1]}
    return max((end for end in ends if end in places), default=0)


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
@pytest.mark.parametrize("name", ["llama", "qwen35"])
def test_next_turns(toy_named: Callable[[str], Toy], name: str, path: Path):
    toy = toy_named(name)
    with Session(toy.model, template=path.read_text()) as session:
        turns: list[Turn] = []
        for index in range(4):
            turn = session.ask(
                f"Question {index}: " + "what about this? " * 20,
                system="You answer in few words.",
                temperature=0,
                max_tokens=6,
            )
            # A system prompt that moved leaves no reply's checkpoint to go on from.
            assert turn.usage["exact"] is (path.stem != "system_last" or len(turns) < 1)
            if turn.usage["exact"]:
                assert_exact(session, turn)
            if turns:
                floor = shared_boundary(session, turns[-1], turn)
                assert turn.usage["restored"]["tokens"] >= floor
                if path.stem in KEEPS_REPLIES:
                    assert floor > turns[-1].usage["prompt"]["tokens"]
                if path.stem == "system_last":
                    # The system prompt moves with every question: nothing after it can stay.
                    assert floor < turns[-1].usage["prompt"]["tokens"]
            turns.append(turn)
        # Asking the same again costs the generation prompt only, whatever the template.
        again = session.ask(turns[-1].parts, after=turns[-2], temperature=0, max_tokens=6)
        assert again.id == turns[-1].id
        steps = sequence_of(session, again, with_reply=False).steps
        last = max(step.stop for step in steps[:-1] if step.boundary is not None)
        assert again.usage["evaluated"]["tokens"] == steps[-1].stop - last < 40
        if again.usage["exact"]:
            assert_exact(session, again)


def test_a_conversation_keeps_the_date_it_began_on(
    toy_named: Callable[[str], Toy], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    days = [datetime(2026, 11, 27, 23, 50, 1, 2), datetime(2026, 11, 28, 9)]

    class Clock(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:
            return days[0]

    monkeypatch.setattr("llmagic.chat.datetime", Clock)
    template = next(path for path in TEMPLATES if path.stem == "date").read_text()
    settings = {"temperature": 0, "max_tokens": 6}

    def opened() -> Session:
        return Session(toy_named("llama").model, template=template, store=tmp_path)

    with opened() as session:
        first = session.ask("Hello?", after=None, **settings)
        second = session.ask("And then?", **settings)
        # A day later, in the same kernel.
        days.append(days.pop(0))
        assert session.ask("And then?", after=first, **settings).id == second.id
        assert session.ask("Hello?", after=None, **settings).id != first.id
        days.append(days.pop(0))
        assert session.store.flush(120)
    days.pop(0)
    with opened() as session:
        above = session.recall(first.id, after=None)
        assert above.began == first.began
        again = session.ask("And then?", after=above, **settings)
        assert again.id == second.id
        assert again.usage["restored"]["tier"] == "disk"
        assert again.usage["evaluated"]["tokens"] < 20
        began = session.ask("Hello?", after=None, began=above.began, replay=True, **settings)
        assert (began.id, began.usage["generated"]["stop"]) == (first.id, "replayed")
        assert session.ask("Hello?", after=None, replay=True, **settings).id != first.id


def test_a_blank_before_words_is_tokenised_with_them(tmp_path: Path):
    template = next(path for path in TEMPLATES if path.stem == "colon").read_text()
    script = {"cat": [" It sits."], "dog": [" It runs."]}
    model = parrot.write(tmp_path, script, template)
    with Session(model) as session:
        first = session.ask("the cat?", temperature=0, max_tokens=4)
        text = "User: the cat?<end>\nAssistant:"
        vocabulary = session.engine.model.vocabulary
        tokens = vocabulary.tokenize(text, special=True)
        assert first.usage["prompt"]["tokens"] == len(tokens) + 1, vocabulary.spell(tokens)
        assert first.text == " It sits."
        second = session.ask("the dog?", temperature=0, max_tokens=4)
        # The reply was not evaluated again, and its blank is there once.
        held = first.usage["prompt"]["tokens"] + len(first.tokens)
        assert second.usage["restored"]["tokens"] == held
        whole = sequence_of(session, second, with_reply=False)
        ids = [token for span in whole.spans for token in span.tokens]
        assert vocabulary.spell(ids).endswith(
            "Assistant: It sits.<end>\nUser: the dog?<end>\nAssistant:"
        )
        assert second.text == " It runs."
        assert_exact(session, second)
