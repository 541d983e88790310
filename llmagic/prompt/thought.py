"""Where the thought of a reply ends and its answer begins.

Many templates keep the answers of earlier turns and drop the thoughts before them. To do so they
must see where the one ends, so the marks between them, and the white space around those, are the
only bytes of a reply that a template ever sees.

A reply's text must hold its special tokens as text: in several models the marks are such tokens.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_MARKS = tuple(
    (re.compile(opening), re.compile(closing))
    for opening, closing in (
        # Qwen, DeepSeek, GLM, Nemotron; Apriel 1.5; Seed-OSS; MiniMax M3
        (r"<(?:\w+:)?think(?:ing)?>", r"(?P<key></(?:\w+:)?think(?:ing)?>)"),
        # Ministral and Magistral
        (r"\[THINK\]", r"(?P<key>\[/THINK\])"),
        # Gemma 4
        (r"<\|channel>thought", r"(?P<key><channel\|>)"),
        # gpt-oss; a reply without any thought opens the final channel itself
        (
            r"<\|channel\|>analysis<\|message\|>",
            r"(?:<\|end\|><\|start\|>assistant)?(?P<key><\|channel\|>final<\|message\|>)",
        ),
        # Solar Open; the same
        (r"<\|think\|>", r"(?:<\|end\|><\|begin\|>assistant)?(?P<key><\|content\|>)"),
        # Command R7B and A, which close their answers, too
        (
            r"<\|START_THINKING\|>",
            r"(?:<\|END_THINKING\|>)?\s*(?P<key><\|START_(?:RESPONSE|TEXT)\|>)",
        ),
        # Muse
        (
            r"to=self<\|message\|>",
            r"(?:<\|eom\|><\|start\|>assistant)? ?to=user(?P<key><\|message\|>)",
        ),
        # Apriel 1.6
        (r"Here are my reasoning steps:", r"(?P<key>\[BEGIN FINAL RESPONSE\])"),
    )
)
_ENDING = re.compile(r"<\|END_(?:RESPONSE|TEXT)\|>\s*\Z")

_FIELD = re.compile(r"\b(?:message|msg|m)(?:\.|\[['\"]|\.get\(['\"])(reasoning|thinking)\b")


@dataclass(frozen=True)
class Reasoned:
    """A reply's text in parts; joined, they are the text again.

    `opening` is empty when the generation prompt already opened the thought.
    """

    opening: str
    thought: str
    closing: str
    answer: str
    ending: str = ""

    def __str__(self) -> str:
        return self.opening + self.thought + self.closing + self.answer + self.ending


def reasoned(text: str, template: str) -> Reasoned | None:
    """Split a reply at the first mark that closes a thought; None where there is none.

    White space beside a mark belongs to the mark. Only marks that `template`, the source of the
    chat template, knows count: any other stands in the reply by chance.
    """
    closings = [
        (match, opening)
        for opening, closing in _MARKS
        if (match := closing.search(text)) is not None and match["key"] in template
    ]
    if not closings:
        return None
    closing, opening = min(closings, key=lambda found: found[0].start())
    end = len(text[: closing.start()].rstrip())
    answer = text[closing.end() :].lstrip()
    opened = opening.match(text, end - len(text[:end].lstrip()), end)
    begin = end - len(text[opened.end() : end].lstrip()) if opened else 0
    ending = _ENDING.search(answer)
    stop = ending.start() if ending else len(answer)
    return Reasoned(
        opening=text[:begin],
        thought=text[begin:end],
        closing=text[end : len(text) - len(answer)],
        answer=answer[:stop],
        ending=answer[stop:],
    )


def thought_field(template: str) -> str | None:
    """The field of a message in which a template, given its source, takes a thought.

    None: it takes it out of the content, or does not know of thoughts.
    """
    if "reasoning_content" in template:
        return "reasoning_content"
    field = _FIELD.search(template)
    return None if field is None else field[1]
