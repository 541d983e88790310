"""Thoughts: shown apart, no part of what follows; on a model that says what a script says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmagic.engine import decode
from llmagic.errors import ReplyError, UsageError
from llmagic.events import Delta, Event
from llmagic.prompt.thought import Reader, Thoughts
from llmagic.session import Session
from llmagic.settings import Loading
from tests.replies.test_cells import Cells
from tests.toys import parrot

TEMPLATES = Path(__file__).parents[1] / "templates"
SCRIPT = {
    "sum": ["<think>\n", "Two and ", "two.", "\n</think>\n\n", "It is **four**."],
    "hello": ["Hi there!"],
}
OPENED = {"sum": ["Well: ", "this one.", "\n</think>\n\n", "Yes."], "hello": ["Hi there!"]}
CONTROL = {"sum": ["<think>", "\nTwo and two.\n", "</think>", "\n\nFour."]}
GREEDY = {"temperature": 0, "max_tokens": 40}


def read(template: str) -> str:
    return (TEMPLATES / f"{template}.jinja").read_text()


Opens = Callable[..., Session]


@pytest.fixture
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Opens]:
    sessions: list[Session] = []

    def open_parrot(template: str, **more: Any) -> Session:
        script = more.pop("script", SCRIPT)
        path = parrot.write(tmp_path_factory.getbasetemp(), script, template, **more)
        sessions.append(Session(path, loading=Loading(n_threads=1)))
        return sessions[-1]

    yield open_parrot
    for session in sessions:
        session.close()


def deltas(events: list[Event]) -> tuple[str, str]:
    said = [event for event in events if isinstance(event, Delta)]
    thought = "".join(each.text for each in said if each.thought)
    return thought, "".join(each.text for each in said if not each.thought)


@pytest.mark.parametrize("seconds", [0.0, 60.0])
@pytest.mark.parametrize("template", ["thinking", "reasoning"])
def test_a_thought_is_apart_from_the_answer(
    opened: Opens, template: str, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decode, "READ_EVERY", seconds)
    heard: list[Event] = []
    turn = opened(read(template)).ask("what is the sum", on_event=heard.append, **GREEDY)
    assert (turn.thought, turn.text) == ("Two and two.", "It is **four**.")
    assert deltas(heard) == (turn.thought, turn.text)
    assert turn.stop == "end"


def test_a_thought_that_the_prompt_opened(opened: Opens) -> None:
    heard: list[Event] = []
    session = opened(read("empty_think"), script=OPENED)
    turn = session.ask("what is the sum", on_event=heard.append, **GREEDY)
    assert (turn.thought, turn.text) == ("Well: this one.", "Yes.")
    assert deltas(heard) == (turn.thought, turn.text)


def test_marks_that_are_control_tokens(opened: Opens) -> None:
    control = ("<think>", "</think>")
    session = opened(read("thinking"), script=CONTROL, control=control)
    turn = session.ask("what is the sum", **GREEDY)
    assert (turn.thought, turn.text) == ("Two and two.", "Four.")


def test_a_model_that_thinks_without_being_known_to(opened: Opens) -> None:
    turn = opened(read("chatml")).ask("what is the sum", **GREEDY)
    assert turn.thought == ""
    assert turn.text == "<think>\nTwo and two.\n</think>\n\nIt is **four**."


@pytest.mark.parametrize(("template", "script"), [("thinking", SCRIPT), ("empty_think", OPENED)])
def test_the_next_question_costs_the_answer_at_most(
    opened: Opens, template: str, script: dict[str, list[str]]
) -> None:
    session = opened(read(template), script=script)
    first = session.ask("sum", **GREEDY)
    second = session.ask("hello", **GREEDY)
    usage = second.usage
    assert usage["restored"]["tokens"] > 0
    # The answer, the question, and the template's marks around them; nothing of the thought.
    template_marks = 40
    least = len(session.tokenize(first.text + "hello"))
    assert usage["evaluated"]["tokens"] <= least + template_marks
    assert (
        usage["prompt"]["tokens"]
        == session.ask("hello", after=first, **GREEDY).usage["prompt"]["tokens"]
    )
    # Where the prompt opens a thought, what the parrot says is one.
    assert "Hi there!" in (second.text, second.thought)


def test_a_template_that_keeps_thoughts_keeps_them(opened: Opens) -> None:
    session = opened(read("reasoning"))
    first = session.ask("sum", **GREEDY)
    second = session.ask("hello", **GREEDY)
    whole = first.usage["prompt"]["tokens"] + len(first.tokens)
    assert second.usage["prompt"]["tokens"] > whole


def test_a_thought_that_was_cut(opened: Opens) -> None:
    turn = opened(read("thinking")).ask("what is the sum", temperature=0, max_tokens=2)
    assert (turn.thought, turn.text, turn.stop) == ("Two and ", "", "length")


def test_replay_shows_both(opened: Opens) -> None:
    session = opened(read("thinking"))
    first = session.ask("sum", **GREEDY)
    heard: list[Event] = []
    again = session.ask("sum", after=None, replay=True, on_event=heard.append, **GREEDY)
    assert again.usage["generated"]["stop"] == "replayed"
    assert (again.thought, again.text) == (first.thought, first.text)
    assert deltas(heard) == (first.thought, first.text)


def test_the_switch(opened: Opens) -> None:
    session = opened(read("thinking"))
    on = session.ask("hello", after=None, think=True, **GREEDY)
    off = session.ask("hello", after=None, think=False, **GREEDY)
    assert off.usage["prompt"]["tokens"] > on.usage["prompt"]["tokens"]
    assert session.can_switch_thinking
    kept = session.kept(off)
    assert kept["total"] == off.usage["prompt"]["tokens"] + len(off.tokens)


def test_no_switch_is_an_error(opened: Opens) -> None:
    session = opened(read("chatml"))
    assert not session.can_switch_thinking
    with pytest.raises(UsageError, match="--think"):
        session.ask("hello", think=False, **GREEDY)


def test_a_form_is_that_of_the_answer(opened: Opens) -> None:
    session = opened(read("empty_think"), script=OPENED)
    turn = session.ask("sum", schema={"enum": ["yes", "no"]}, **GREEDY)
    assert turn.thought == "Well: this one."
    assert turn.data in ("yes", "no")
    with pytest.raises(ReplyError, match="cut after 2 tokens"):
        session.ask("sum", schema={"enum": ["yes", "no"]}, temperature=0, max_tokens=2)


def test_a_form_without_thoughts(opened: Opens) -> None:
    """The template has a switch, and it is off unless somebody wants thoughts."""
    session = opened(read("thinking"))
    turn = session.ask("sum", schema={"enum": ["yes", "no"]}, **GREEDY)
    assert turn.sampling.think is False
    assert turn.data in ("yes", "no")
    assert turn.thought == ""


# --- in cells ---------------------------------------------------------------------------------


@pytest.fixture
def cells(shell: Any, tmp_path: Path) -> Cells:
    path = parrot.write(tmp_path, SCRIPT, read("thinking"))
    cells = Cells(shell)
    cells.run(f"%llm load {path}")
    return cells


def test_a_thought_is_folded(cells: Cells) -> None:
    output = cells.ask("what is the sum", "-t 0")
    assert output.data["text/plain"] == "> Two and two.\n\nIt is **four**."
    assert output.data["text/markdown"] == (
        "<details><summary>thought</summary>\n\nTwo and two.\n\n</details>\n\nIt is **four**."
    )
    assert str(cells.reply) == "It is **four**."
    assert cells.reply.thought == "Two and two."


def test_a_thought_that_was_cut_is_not_under_way(cells: Cells) -> None:
    output = cells.ask("what is the sum", "-t 0 --max-tokens 2")
    markdown = output.data["text/markdown"]
    assert "<summary>thought</summary>" in markdown
    assert "thinking …" not in markdown


def test_options_and_the_default(cells: Cells) -> None:
    on = cells.ask("hello", "-t 0 --think").metadata["llmagic"]["prompt"]["tokens"]
    cells.run("%llm reset")
    off = cells.ask("hello", "-t 0 --no-think").metadata["llmagic"]["prompt"]["tokens"]
    cells.run("%llm reset")
    cells.run("%config LLMagic.think = False")
    assert cells.ask("hello", "-t 0").metadata["llmagic"]["prompt"]["tokens"] == off > on


def test_the_default_leaves_models_without_a_switch_alone(cells: Cells, tmp_path: Path) -> None:
    path = parrot.write(tmp_path, SCRIPT, read("chatml"))
    cells.run(f"%llm load {path}\n%config LLMagic.think = False")
    assert cells.ask("hello", "-t 0").data["text/plain"] == "Hi there!"
    with pytest.raises(UsageError, match="no switch|none"):
        cells.ask("hello", "--think")


# --- reading ----------------------------------------------------------------------------------


THINKING = Thoughts(read("thinking"))


@given(
    st.lists(st.sampled_from(["<think>", "</think>", "<", "/th", "ink>", " ", "\n", "a", "B"])),
    st.booleans(),
    st.data(),
)
def test_pieces_add_up_whatever_comes(parts: list[str], opened: bool, data: st.DataObject) -> None:
    text = "".join(parts)
    reader = Reader(THINKING, opened=opened)
    pieces = []
    at = 0
    while at < len(text):
        size = data.draw(st.integers(1, 5))
        pieces += reader.push(text[at : at + size])
        at += size
    pieces += reader.finish()
    whole = Reader(THINKING, opened=opened)
    at_once = whole.push(text) + whole.finish()
    for kind in (True, False):
        assert "".join(t for thought, t in pieces if thought is kind) == "".join(
            t for thought, t in at_once if thought is kind
        )
    thought = "".join(t for is_thought, t in pieces if is_thought)
    if opened or text.lstrip().startswith("<think>"):
        assert thought == THINKING.divide(text, opened=opened)[0]
    else:
        assert thought == ""
