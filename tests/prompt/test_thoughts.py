"""A reply's thought and its answer, in every way that templates write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmagic.prompt.parts import Message, ReplyPart, TextPart
from llmagic.prompt.template import Content
from llmagic.prompt.thought import reasoned, thought_field
from tests.prompt.messages import (
    contents,
    load,
    of,
    reply,
    shown,
    user,
)

THOUGHT = "<think>\nplan\n</think>\n\nanswer"
HEAD = "<|im_start|>user\n{U1}<|im_end|>\n|USER|<|im_start|>assistant\n"
TAIL = "<|im_end|>\n<|im_start|>user\n{U2}<|im_end|>\n|USER|<|im_start|>assistant\n"


def turn(text: str) -> list[Message]:
    return [user("U1"), reply(text), user("U2")]


def test_a_stripped_thought_leaves_the_answer_as_text() -> None:
    assert shown(load("thinking").render(turn(THOUGHT))) == f"{HEAD}{{answer}}|REPLY|{TAIL}"


def test_a_thought_the_generation_prompt_opened() -> None:
    assert shown(load("empty_think").render(turn("plan\n</think>\n\nanswer"))) == (
        f"{HEAD}<think>\n\n</think>\n\n{{answer}}|REPLY|{TAIL}<think>\n"
    )


def test_a_kept_thought_is_the_reply_as_generated() -> None:
    assert shown(load("reasoning").render(turn(THOUGHT))) == f"{HEAD}[{THOUGHT}]{TAIL}"
    # Kept in another form it is text: these are not the tokens that were generated.
    assert shown(load("reasoning").render(turn("<think>plan</think>answer"))) == (
        f"{HEAD}<think>\n{{plan}}\n</think>\n\n{{answer}}|REPLY|{TAIL}"
    )


@pytest.mark.parametrize("text", ["<think>\n\n</think>\n\nanswer", "</think>answer"])
def test_an_empty_thought(text: str) -> None:
    assert shown(load("thinking").render(turn(text))) == f"{HEAD}{{answer}}|REPLY|{TAIL}"


def test_a_thought_without_answer() -> None:
    pieces = load("thinking").render(turn("<think>\nplan\n</think>"))
    assert shown(pieces) == f"{HEAD}{{}}|REPLY|{TAIL}"


def test_an_unfinished_thought_is_a_reply() -> None:
    assert shown(load("thinking").render(turn("<think>\npl"))) == f"{HEAD}[<think>\npl]{TAIL}"


def test_templates_that_know_no_thoughts_keep_them() -> None:
    assert shown(load("chatml").render(turn(THOUGHT))) == f"{HEAD}[{THOUGHT}]{TAIL}"


def test_marks_of_a_thought_in_user_text_mean_nothing() -> None:
    assert contents(load("thinking").render([user(THOUGHT)])) == [TextPart(THOUGHT)]


def test_variables_reach_the_template() -> None:
    pieces = load("thinking").render([user("U1")], variables={"enable_thinking": False})
    assert shown(pieces) == f"{HEAD}<think>\n\n</think>\n\n"


def test_a_reply_that_repeats_the_header_of_its_channel() -> None:
    # As gpt-oss: the model writes the channel itself, and the template writes it for history.
    template = of(
        "{% for m in messages %}{{ '<|start|>' + m.role }}"
        "{% if m.role == 'assistant' %}{{ '<|channel|>final' }}{% endif %}"
        "{{ '<|message|>' + m.content + '<|end|>' }}{% endfor %}"
        "{# <|channel|>final<|message|> message.thinking #}"
        "{% if add_generation_prompt %}<|start|>assistant{% endif %}"
    )
    short = "<|channel|>final<|message|>answer"
    pieces = template.render([user("U1"), reply(short), user("U2")])
    assert Content(ReplyPart(short, (1, 2, 3))) in pieces
    long = f"<|channel|>analysis<|message|>plan<|end|><|start|>assistant{short}"
    pieces = template.render([user("U1"), reply(long), user("U2")])
    assert "<|start|>assistant<|channel|>final<|message|>{answer}|REPLY|<|end|>" in shown(pieces)


MARKS = [
    "<think>",
    "</think>",
    "[THINK]",
    "[/THINK]",
    "<|START_RESPONSE|>",
    "<|END_RESPONSE|>",
    "<channel|>",
]


@given(st.lists(st.one_of(st.sampled_from([*MARKS, " ", "\n", "x"]), st.text()), max_size=8))
def test_a_split_reply_is_the_reply(pieces: list[str]) -> None:
    text = "".join(pieces)
    split = reasoned(text, "".join(MARKS))
    if split is None:
        assert not any(mark in text for mark in ("</think>", "[/THINK]", "<channel|>"))
    else:
        assert str(split) == text
        assert split.thought == split.thought.strip() or not split.opening
        assert split.answer == split.answer.lstrip()


def test_only_marks_the_template_knows_split_a_reply() -> None:
    assert reasoned(THOUGHT, "{{ messages }}") is None
    assert reasoned("a [/THINK] b </think> c", "'</think>' in content") is not None
    split = reasoned("a [/THINK] b </think> c", "</think>")
    assert split is not None
    assert split.thought == "a [/THINK] b"


def test_the_field_of_a_thought() -> None:
    assert thought_field("{{ message.reasoning_content }}") == "reasoning_content"
    assert thought_field("{{ message['thinking'] }}") == "thinking"
    assert thought_field("{{ m.get('reasoning') }}") == "reasoning"
    assert thought_field("{% if thinking %}reasoning{% endif %}") is None
