"""Where the thought of a reply ends and its answer begins.

Many templates keep the answers of earlier turns and drop the thoughts before them. To do so they
must see where the one ends, so the marks between them, and the white space around those, are the
only bytes of a reply that a template ever sees.

A reply's text must hold its special tokens as text: in several models the marks are such tokens.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

# How a thought opens and closes; whole openings and closings as they are most often written.
_MARKS = tuple(
    (re.compile(opening), re.compile(closing), openings, closings)
    for opening, closing, openings, closings in (
        # Qwen, DeepSeek, GLM, Nemotron; Apriel 1.5; Seed-OSS; MiniMax M3
        (
            r"<(?:\w+:)?think(?:ing)?>",
            r"(?P<key></(?:\w+:)?think(?:ing)?>)",
            ("<think>", "<thinking>", "<seed:think>", "<mm:think>"),
            ("</think>", "</thinking>", "</seed:think>", "</mm:think>"),
        ),
        # Ministral and Magistral
        (r"\[THINK\]", r"(?P<key>\[/THINK\])", ("[THINK]",), ("[/THINK]",)),
        # Gemma 4
        (
            r"<\|channel>thought",
            r"(?P<key><channel\|>)",
            ("<|channel>thought",),
            ("<channel|>",),
        ),
        # gpt-oss; a reply without any thought opens the final channel itself
        (
            r"<\|channel\|>analysis<\|message\|>",
            r"(?:<\|end\|><\|start\|>assistant)?(?P<key><\|channel\|>final<\|message\|>)",
            ("<|channel|>analysis<|message|>",),
            ("<|end|><|start|>assistant<|channel|>final<|message|>",),
        ),
        # Solar Open; the same
        (
            r"<\|think\|>",
            r"(?:<\|end\|><\|begin\|>assistant)?(?P<key><\|content\|>)",
            ("<|think|>",),
            ("<|end|><|begin|>assistant<|content|>",),
        ),
        # Command R7B and A, which close their answers, too
        (
            r"<\|START_THINKING\|>",
            r"(?:<\|END_THINKING\|>)?\s*(?P<key><\|START_(?:RESPONSE|TEXT)\|>)",
            ("<|START_THINKING|>",),
            ("<|END_THINKING|><|START_RESPONSE|>", "<|END_THINKING|><|START_TEXT|>"),
        ),
        # Muse
        (
            r"to=self<\|message\|>",
            r"(?:<\|eom\|><\|start\|>assistant)? ?to=user(?P<key><\|message\|>)",
            ("to=self<|message|>",),
            ("<|eom|><|start|>assistant to=user<|message|>",),
        ),
        # Apriel 1.6
        (
            r"Here are my reasoning steps:",
            r"(?P<key>\[BEGIN FINAL RESPONSE\])",
            ("Here are my reasoning steps:",),
            ("[BEGIN FINAL RESPONSE]",),
        ),
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
        for opening, closing, *_ in _MARKS
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


class Thoughts:
    """How the replies of a model are written, as far as its chat template tells.

    Parameters
    ----------
    template : str
        Source of the chat template.
    """

    def __init__(self, template: str) -> None:
        self._template = template
        known = [
            (opening, closing, openings, closings)
            for opening, closing, openings, closings in _MARKS
            if any(_key(closing, text) in template for text in closings)
        ]
        self._opening = [opening for opening, *_ in known]
        self._closing = [closing for _, closing, *_ in known]
        self._openings = tuple(text for _, _, texts, _ in known for text in texts)
        self._closings = tuple(text for *_, texts in known for text in texts)

    def spells(self, token: str) -> bool:
        """Whether a control token, given its text, is part of such a mark and must be seen."""
        return any(token in text for text in (*self._openings, *self._closings))

    def opened(self, prompt: str) -> bool:
        """Whether the end of a generation prompt opens a thought."""
        end = prompt.rstrip()
        return any(
            found.end() == len(end) for pattern in self._opening for found in pattern.finditer(end)
        )

    def divide(self, text: str, *, opened: bool) -> tuple[str, str]:
        """Thought and answer of a reply; one that was cut may be a thought alone.

        `opened`: its generation prompt opened a thought.
        """
        split = reasoned(text, self._template)
        if split is not None:
            return split.thought.lstrip(), split.answer
        start = self.start(text)
        if start:
            return text[start:], ""
        return (text.lstrip(), "") if opened else ("", text)

    def start(self, text: str) -> int:
        """Where the thought begins that a text opens with; 0 if it opens none."""
        begin = len(text) - len(text.lstrip())
        found = [match for each in self._opening if (match := each.match(text, begin))]
        if not found:
            return 0
        end = found[0].end()
        return end + len(text[end:]) - len(text[end:].lstrip())

    def may_open(self, text: str) -> bool:
        """Whether the beginning of a reply may be the beginning of an opening mark."""
        text = text.lstrip()
        return any(opening.startswith(text) for opening in self._openings)

    def close(self, text: str) -> re.Match[str] | None:
        """The first mark in a thought that closes it."""
        found = [match for each in self._closing if (match := each.search(text))]
        return min(found, key=lambda match: match.start(), default=None)

    def certain(self, text: str) -> int:
        """How much of a thought under way cannot be part of a mark that closes it."""
        end = len(text.rstrip())
        longest = max(map(len, self._closings), default=0)
        for start in range(max(0, end - longest + 1), end):
            if any(closing.startswith(text[start:end]) for closing in self._closings):
                return len(text[:start].rstrip())
        return end


def _key(closing: re.Pattern[str], text: str) -> str:
    """The part of a closing mark that templates show."""
    found = closing.search(text)
    assert found is not None
    return found["key"]


class Reader:
    """Tells thought from answer while a reply comes in.

    Parameters
    ----------
    thoughts : Thoughts
    opened : bool
        Whether the generation prompt opened a thought.
    """

    def __init__(self, thoughts: Thoughts, *, opened: bool) -> None:
        self._thoughts = thoughts
        self._opened = opened
        self._stage = _Stage.BEGIN
        self._held = ""
        self._begun = False

    @property
    def thinking(self) -> bool:
        """Whether what comes next belongs to a thought."""
        return self._stage is _Stage.THOUGHT or (self._opened and self._stage is _Stage.BEGIN)

    def push(self, text: str) -> list[tuple[bool, str]]:
        """Add text; returns what is now certain, each piece with whether it is of the thought."""
        if self._begun and self._stage is _Stage.ANSWER:
            return [(False, text)] if text else []
        self._held += text
        pieces: list[tuple[bool, str]] = []
        if self._stage is _Stage.BEGIN:
            self._begin()
        if self._stage is _Stage.THOUGHT:
            pieces += self._think(final=False)
        if self._stage is _Stage.ANSWER:
            pieces += self._answer()
        return pieces

    def finish(self) -> list[tuple[bool, str]]:
        """The rest."""
        if self._stage is _Stage.BEGIN:
            self._go()
        thinking = self._stage is _Stage.THOUGHT
        return self._think(final=True) if thinking else self._answer()

    def _begin(self) -> None:
        start = self._thoughts.start(self._held)
        if start:
            self._held = self._held[start:]
            self._stage = _Stage.THOUGHT
        elif not self._thoughts.may_open(self._held):
            self._go()

    def _go(self) -> None:
        """Begin without a mark."""
        self._stage = _Stage.THOUGHT if self._opened else _Stage.ANSWER
        # White space that no mark stands beside belongs to the answer.
        self._begun = not self._opened

    def _think(self, *, final: bool) -> list[tuple[bool, str]]:
        if not self._begun:
            self._held = self._held.lstrip()
        closing = self._thoughts.close(self._held)
        if closing is not None:
            thought, self._held = (
                self._held[: closing.start()].rstrip(),
                self._held[closing.end() :],
            )
            self._stage, self._begun = _Stage.ANSWER, False
        else:
            end = len(self._held) if final else self._thoughts.certain(self._held)
            thought, self._held = self._held[:end], self._held[end:]
        self._begun = self._stage is _Stage.THOUGHT and (self._begun or bool(thought))
        return [(True, thought)] if thought else []

    def _answer(self) -> list[tuple[bool, str]]:
        # White space beside a mark belongs to the mark.
        answer = self._held if self._begun else self._held.lstrip()
        self._held = ""
        self._begun = self._begun or bool(answer)
        return [(False, answer)] if answer else []


class _Stage(Enum):
    BEGIN = "the reply has not shown what it is"
    THOUGHT = "in a thought"
    ANSWER = "in the answer"


def thought_field(template: str) -> str | None:
    """The field of a message in which a template, given its source, takes a thought.

    None: it takes it out of the content, or does not know of thoughts.
    """
    if "reasoning_content" in template:
        return "reasoning_content"
    field = _FIELD.search(template)
    return None if field is None else field[1]
