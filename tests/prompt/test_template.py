"""Chat templates: the small ones in tests/templates, one of every kind met in real models."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmagic.errors import TemplateError
from llmagic.prompt.environment import Program
from llmagic.prompt.images import Picture
from llmagic.prompt.parts import ImagePart, Message, ReplyPart, TextPart
from llmagic.prompt.template import ChatTemplate, Content, Mark, Markup, Piece
from llmagic.sequence import Boundary
from tests.prompt.messages import (
    HOSTILE,
    NAMES,
    ONE,
    TEMPLATES,
    TURN,
    USER,
    VERBATIM,
    contents,
    load,
    of,
    reply,
    shown,
    system,
    user,
)

RENDERED = {
    "chatml": (
        "<|im_start|>system\n{S}<|im_end|>\n<|im_start|>user\n|SYSTEM|{U1}<|im_end|>\n|USER|"
        "<|im_start|>assistant\n[R1]<|im_end|>\n<|im_start|>user\n{U2}<|im_end|>\n|USER|"
        "<|im_start|>assistant\n"
    ),
    "llama3": (
        "<bos><|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December 2023"
        "\n\n{S}<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n|SYSTEM|{U1}<|eot_id|>|USER|"
        "<|start_header_id|>assistant<|end_header_id|>\n\n[R1]<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\n{U2}<|eot_id|>|USER|"
        "<|start_header_id|>assistant<|end_header_id|>\n\n"
    ),
    "gemma": (
        "<bos><start_of_turn>user\n{S\n\n}|SYSTEM|{U1}<end_of_turn>\n|USER|<start_of_turn>model\n"
        "[R1]<end_of_turn>\n<start_of_turn>user\n{U2}<end_of_turn>\n|USER|<start_of_turn>model\n"
    ),
    "mistral": "<bos>[INST]{S}\n\n|SYSTEM|{U1}|USER|[/INST][R1]</s>[INST]{U2}|USER|[/INST]",
    "thinking": (
        "<|im_start|>system\n{S}<|im_end|>\n<|im_start|>user\n|SYSTEM|{U1}<|im_end|>\n|USER|"
        "<|im_start|>assistant\n[R1]<|im_end|>\n<|im_start|>user\n{U2}<|im_end|>\n|USER|"
        "<|im_start|>assistant\n"
    ),
    "empty_think": (
        "<|im_start|>system\n{S}<|im_end|>\n<|im_start|>user\n|SYSTEM|{U1}<|im_end|>\n|USER|"
        "<|im_start|>assistant\n<think>\n\n</think>\n\n~[R1]<|im_end|>\n<|im_start|>user\n"
        "{U2}<|im_end|>\n|USER|<|im_start|>assistant\n<think>\n"
    ),
    "reasoning": (
        "<|im_start|>system\n{S}<|im_end|>\n<|im_start|>user\n|SYSTEM|{U1}<|im_end|>\n|USER|"
        "<|im_start|>assistant\n[R1]<|im_end|>\n<|im_start|>user\n{U2}<|im_end|>\n|USER|"
        "<|im_start|>assistant\n"
    ),
    "date": (
        "<|im_start|>system\nToday is 26 July 2024, 00:00.\n{S}<|im_end|>\n"
        "<|im_start|>user\n|SYSTEM|{U1}<|im_end|>\n|USER|"
        "<|im_start|>assistant\n[R1]<|im_end|>\n<|im_start|>user\n{U2}<|im_end|>\n|USER|"
        "<|im_start|>assistant\n"
    ),
    "generation": (
        "<|im_start|>system\n{S}<|im_end|>\n<|im_start|>user\n|SYSTEM|{U1}<|im_end|>\n|USER|"
        "<|im_start|>assistant\n[R1]<|im_end|>\n<|im_start|>user\n{U2}<|im_end|>\n|USER|"
        "<|im_start|>assistant\n"
    ),
    "colon": (
        "<bos>System:{ S}<end>\nUser:|SYSTEM|{ U1}<end>\n|USER|Assistant: ~[R1]<end>\n"
        "User:{ U2}<end>\n|USER|Assistant:"
    ),
    "system_last": "<bos>[INST]{U1}|USER|[/INST][R1]</s>[INST]{S}\n\n{U2}|USER|[/INST]",
}
RENDERED["hermes"] = RENDERED["chatml"]  # but for tools


def test_every_template_has_an_expectation() -> None:
    assert set(RENDERED) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_pieces(name: str) -> None:
    assert shown(load(name).render(TURN)) == RENDERED[name]


@pytest.mark.parametrize("name", VERBATIM)
def test_without_system_prompt_there_is_no_mark_for_it(name: str) -> None:
    pieces = load(name).render(TURN[1:])
    assert Mark(Boundary.SYSTEM) not in pieces
    assert contents(pieces) == [part for message in TURN[1:] for part in message.parts]


@pytest.mark.parametrize("name", VERBATIM)
def test_without_generation_prompt(name: str) -> None:
    template = load(name)
    silent = template.render(TURN, generation_prompt=False)
    asking = template.render(TURN)
    if silent == asking:
        # Nothing asks for a reply: the boundary leaves the end of the message to evaluate.
        assert silent[-2:] == (USER, Markup("[/INST]"))
    else:
        assert silent[-1] == USER
        assert asking[: len(silent)] == silent
    # Ending with a reply: nothing is asked for.
    assert contents(template.render(TURN[1:3], generation_prompt=False)) == [
        TextPart("U1"),
        ReplyPart("R1", (1, 2, 3)),
    ]


PREFIX_KEPT = sorted(set(NAMES) - {"colon", "empty_think", "system_last"})


@pytest.mark.parametrize("with_system", [True, False])
@pytest.mark.parametrize("name", PREFIX_KEPT)
def test_a_conversation_begins_with_every_shorter_one(name: str, with_system: bool) -> None:
    messages = [system("S")] if with_system else []
    earlier: tuple[Piece, ...] = ()
    for turn in range(4):
        messages.append(user(f"U{turn}"))
        pieces = load(name).render(messages)
        assert pieces[: len(earlier)] == earlier
        messages.append(reply(f"R{turn}"))
        earlier = (*pieces, Content(messages[-1].parts[0]))


def test_where_history_is_rewritten_the_prefix_ends_with_the_user_message() -> None:
    template = load("empty_think")
    short = template.render(TURN[:2])
    long = template.render(TURN)
    end = short.index(USER) + 1
    assert long[:end] == short[:end]
    assert long[end] != short[end]


def test_a_system_prompt_that_moves_leaves_no_prefix() -> None:
    template = load("system_last")
    assert shown(template.render(TURN[:2])) == "<bos>[INST]{S}\n\n|SYSTEM|{U1}|USER|[/INST]"
    # Without one the template is as stable as any.
    short, long = template.render(TURN[1:2]), template.render(TURN[1:])
    assert long[: len(short)] == short


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("name", VERBATIM)
def test_hostile_text_stays_one_part(name: str, text: str) -> None:
    plain = load(name).render(TURN)
    messages = [system(text), user(text), reply("R1"), user(text)]
    hostile = load(name).render(messages)
    assert [type(piece) for piece in hostile] == [type(piece) for piece in plain]
    for before, after in zip(plain, hostile, strict=True):
        if isinstance(before, Content) and isinstance(before.part, TextPart):
            assert isinstance(after, Content)
            assert isinstance(after.part, TextPart)
            folded = before.part.text == "S\n\n"
            assert after.part.text == text + ("\n\n" if folded else "")
        else:
            assert after == before


@pytest.mark.parametrize("name", VERBATIM)
@given(texts=st.lists(st.text(st.characters(exclude_categories=())), min_size=3, max_size=3))
def test_any_text_comes_back_verbatim(name: str, texts: list[str]) -> None:
    messages = [user(texts[0]), Message("assistant", (TextPart(texts[1]),)), user(texts[2])]
    assert contents(load(name).render(messages)) == [TextPart(text) for text in texts]


def test_images_stand_where_they_were_put_and_texts_are_joined() -> None:
    picture = ImagePart(Picture(1, 1, b"\0\0\0"))
    pieces = load("chatml").render([user(picture, "a", "b", picture, picture, "c")])
    assert contents(pieces) == [picture, TextPart("ab"), picture, picture, TextPart("c")]
    assert shown(load("gemma").render([system("S"), user(picture, "a")])).startswith(
        "<bos><start_of_turn>user\n{S\n\n}|SYSTEM|{image}{a}<end_of_turn>\n|USER|"
    )


def test_a_message_without_parts_is_an_empty_one() -> None:
    assert contents(load("chatml").render([user()])) == [TextPart("")]


def test_equal_messages_give_equal_pieces() -> None:
    assert load("thinking").render(TURN) == load("thinking").render(list(TURN))


def test_a_template_that_does_not_compile() -> None:
    with pytest.raises(TemplateError, match=r"line 2.*another template"):
        of("\n{% for %}")


@pytest.mark.parametrize(
    ("source", "what"),
    [
        ("{{ messages[0].content }}", "leaves out the content of message 2"),
        (f"{ONE}{ONE}", "repeats the content of message 1"),
        ("{{ messages[1].content }}{{ messages[0].content }}", "reorders the content of message"),
        ("{{ messages[0].content | length }}", "leaves out"),
        ("{{ raise_exception('no such role') }}", "no such role"),
        ("{{ messages.missing.deeper }}", "missing"),
        ("{{ 1 / 0 }}", "division"),
        ("{{ ''.__class__.__mro__ }}", "unsafe"),
        ("{{ messages.append(1) }}", "unsafe"),
    ],
)
def test_a_template_that_cannot_be_trusted_with_messages(source: str, what: str) -> None:
    with pytest.raises(TemplateError, match=what):
        of(source).render([user("U1"), reply("R1")])


@pytest.mark.parametrize("whole", [True, False])
def test_the_date_is_the_one_that_is_given(whole: bool) -> None:
    name = "date" if whole else "chatml"
    body = (TEMPLATES / f"{name}.jinja").read_text()
    template = ChatTemplate("{{ strftime_now('%d %H:%M:%S.%f') }}" + body)
    assert (template._program._divided is None) is whole
    assert template.tells_date
    assert not load("chatml").tells_date
    one, two = (datetime(2026, 11, day, 1, 2, 3, 4) for day in (27, 28))
    for now in (one, two, one):
        text = shown(template.render(TURN, now=now))
        assert text.startswith(now.strftime("%d %H:%M:%S.%f"))


@pytest.mark.parametrize("turns", [1, 100])
def test_rendering_does_not_grow_with_the_square(
    turns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    passed = 0
    run = Program.run

    def counting(self: Program, context: dict[str, object], now: datetime) -> str:
        nonlocal passed
        messages = context["messages"]
        assert isinstance(messages, Sequence)
        passed += len(messages)
        return run(self, context, now)

    monkeypatch.setattr(Program, "run", counting)
    messages = [message for _ in range(turns) for message in (user("U"), reply("R"))]
    load("chatml").render([*messages, user("U")])
    assert passed <= len(messages) + 10


def test_json_is_not_escaped_for_html() -> None:
    assert Program("{{ {'a': '<é&>'} | tojson }}").run({}) == '{"a": "<é&>"}'
    assert Program("{{ [1, 2] | tojson(indent=1) }}").run({}) == "[\n 1,\n 2\n]"


def test_blocks_are_trimmed_and_loops_can_break() -> None:
    source = (
        "{% for x in [1, 2, 3] %}\n  {% if x == 2 %}\n{% break %}{% endif %}\n{{ x }}\n{% endfor %}"
    )
    assert Program(source).run({}) == "1\n"


def test_the_generation_tag_only_keeps_its_body() -> None:
    source = "{% generation %}{% set a = 1 %}x{% endgeneration %}{{ a }}"
    assert Program(source).run({}) == "x1"


PLAIN = ["chatml", "colon", "generation", "reasoning"]


@pytest.mark.parametrize("path", sorted(TEMPLATES.glob("*.jinja")), ids=lambda path: path.stem)
def test_only_templates_that_look_at_one_message_are_rendered_in_parts(path: Path) -> None:
    program = Program(path.read_text())
    assert (program._divided is not None) is (path.stem in PLAIN)


@pytest.mark.parametrize("name", PLAIN)
def test_parts_make_up_the_whole(name: str) -> None:
    program = Program((TEMPLATES / f"{name}.jinja").read_text())
    messages = [{"role": "system", "content": "S"}]
    for end in [1, 3, 2, 8, 4, 9, 0]:
        while len(messages) < end:
            role = "user" if len(messages) % 2 else "assistant"
            messages.append({"role": role, "content": f"{len(messages)}"})
        for asks in (True, False):
            context = {"messages": messages[:end], "add_generation_prompt": asks, "bos_token": "B"}
            assert program.run(context) == program._template.render(context)
    ended = [{"role": "user", "content": "a\U000ffffeb"}]
    context = {"messages": ended, "add_generation_prompt": False, "bos_token": ""}
    assert program.run(context) == program._template.render(context)


@pytest.mark.parametrize(
    "source",
    [
        "{% for m in messages %}{{ loop.index }}{{ m.content }}{% endfor %}",
        "{% for m in messages %}{{ messages[-1].role }}{{ m.content }}{% endfor %}",
        "{% set x = 1 %}{% for m in messages %}{{ m.content }}{{ x }}{% endfor %}",
        "{% for m in messages if m.role == 'user' %}{{ m.content }}{% endfor %}",
        "{% for m in messages %}{{ m.content }}{% break %}{% endfor %}",
        "{% for m in messages|reverse %}{{ m.content }}{% endfor %}",
        "{% macro f() %}x{% endmacro %}{% for m in messages %}{{ f() }}{% endfor %}",
        "{% for m in messages %}{{ m.content }}{% else %}none{% endfor %}",
    ],
)
def test_a_message_that_depends_on_others_is_never_rendered_alone(source: str) -> None:
    assert Program(source)._divided is None
