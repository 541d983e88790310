"""Templates that want messages in some way of their own."""

from __future__ import annotations

import pytest

from llmagic.prompt.images import Picture
from llmagic.prompt.parts import ImagePart
from tests.prompt.messages import ONE, TURN, load, of, reply, shown, user


@pytest.mark.parametrize(
    "guard",
    [
        "{% for tool in tools %}{{ tool }}{% endfor %}",
        "{% if tools is not none %}{{ raise_exception('tools!') }}{% endif %}",
        "{% if tools is defined %}{{ raise_exception('tools!') }}{% endif %}",
        "{{ (tools | length) and '' }}",
    ],
)
def test_every_notion_of_no_tools(guard: str) -> None:
    assert shown(of(ONE + guard.replace("}}", "or '' }}")).render([user("U")]))[:9] == "<user>{U}"


def test_a_template_for_typed_parts_only() -> None:
    template = of(
        "{% for m in messages %}<{{ m.role }}>{% for item in m.content %}"
        "{% if item.type == 'text' %}{{ item.text | trim }}{% elif item.type == 'image' %}<img>"
        "{% endif %}{% endfor %}{% endfor %}"
    )
    picture = ImagePart(Picture(1, 1, b"\0\0\0"))
    assert shown(template.render([user("a", picture, "b")])) == "<user>{a}{image}{b}|USER|"


def test_a_blank_before_words_belongs_to_them() -> None:
    # Mistral 7B, Llama 2, Vicuna, SmolVLM: "[INST] What" is "[INST]" and " What" to any tokenizer.
    # A model begins its reply with that blank itself, and the next prompt must not have it twice.
    template, picture = load("colon"), ImagePart(Picture(1, 1, b"\0\0\0"))
    turns = [user("U1"), reply(" R1"), user("\nU2"), reply("R3"), user(picture, "U4")]
    assert shown(template.render(turns)) == (
        "<bos>User:{ U1}<end>\n|USER|Assistant:[ R1]<end>\nUser:{ \nU2}<end>\n|USER|"
        "Assistant: ~[R3]<end>\nUser: {image}{U4}<end>\n|USER|Assistant:"
    )


def test_a_template_that_drops_the_system_prompt() -> None:
    template = of(
        "{% for m in messages if m.role != 'system' %}<{{ m.role }}>{{ m.content }}{% endfor %}"
    )
    assert shown(template.render(TURN)) == (
        "<user>{S\n\n}|SYSTEM|{U1}|USER|<assistant>~[R1]<user>{U2}|USER|"
    )


def test_a_template_that_always_asks_for_a_reply() -> None:
    template = of(
        "{% for m in messages %}<{{ m.role }}>{{ m.content }}</{{ m.role }}>{% endfor %}"
        "{% if messages[-1].role == 'user' %}<ask>{% endif %}"
    )
    # What follows the last message does not follow earlier ones: only its words are stable.
    assert shown(template.render(TURN[1:])) == (
        "<user>{U1}|USER|</user><assistant>~[R1]</assistant><user>{U2}|USER|</user><ask>"
    )


def test_a_template_that_leaves_the_last_message_open() -> None:
    template = of(
        "{% for m in messages %}<{{ m.role }}>{{ m.content }}"
        "{% if not (loop.last and add_generation_prompt) %}</{{ m.role }}>{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}<ask>{% endif %}"
    )
    assert shown(template.render(TURN[1:])) == (
        "<user>{U1}|USER|</user><assistant>~[R1]</assistant><user>{U2}|USER|<ask>"
    )


def test_sentinels_that_the_template_uses_itself_are_not_used() -> None:
    # More of them than any conversation here has parts, at the beginning of the range.
    own = "".join(chr(0xF0000 + number) for number in range(10))
    assert shown(of(own + ONE).render([user("U")])) == own + "<user>{U}|USER|"
    pieces = of(ONE + "{{ x }}").render([user("U")], variables={"x": own})
    assert shown(pieces) == f"<user>{{U}}|USER|{own}"
