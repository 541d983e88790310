"""Where a text written in Markdown shows an image, as CommonMark reads it.

Inline images only, ``![alt](target "title")``; not inside code spans and fenced code blocks, and
not across a blank line. A fence may stand behind any indentation or quote marks, because prompts
are pasted from anywhere. Every pass is linear in the text.
"""

from __future__ import annotations

import html
import re
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

_FENCE = re.compile(r"^[ \t>]*(?:(?:[-*+]|\d{1,9}[.)])[ \t]+)?(`{3,}|~{3,})([^\n]*)$", re.MULTILINE)
_BLANK = re.compile(r"\n[ \t\r]*(?=\n)")
_TICKS = re.compile(r"`+")
_INLINE = re.compile(r"\\[!-/:-@\[-`{-~]|[\[\]]|\n[ \t\r]*(?=\n)")

# Possessive, so that what does not match is not tried in every other division.
_SPACE = re.compile(r"[ \t]*+(?:\r?\n[ \t]*+)?+")
_ANGLED = re.compile(r"<((?:[^<>\\\n]++|\\.)*+)>")
_BARE = re.compile(r"[^ \x00-\x1f\x7f()\\]+|\\[^ \x00-\x1f\x7f]?|[()]")
_TITLE = re.compile(
    r""" "(?:[^"\\]++|\\.)*+" | '(?:[^'\\]++|\\.)*+' | \((?:[^()\\]++|\\.)*+\) """,
    re.DOTALL | re.VERBOSE,
)
_ESCAPE = re.compile(r"\\([!-/:-@\[-`{-~])")
_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
_MAX_NESTING = 16


@dataclass(frozen=True)
class ImageMark:
    """``![alt](target)`` from `start` to `stop` (characters); `target` as it was typed.

    Where a space in the target keeps CommonMark from seeing an image, `target` is None and only
    the ``![`` is covered.
    """

    start: int
    stop: int
    target: str | None


def image_marks(text: str) -> Mapping[int, ImageMark]:
    """The images of a text by where they start, in order; none inside another."""
    if "![" not in text:
        return {}
    marks: dict[int, ImageMark] = {}
    stop = 0
    for opened, closed in sorted(_brackets(text, code_ranges(text))):
        bang = opened - 1
        if bang < stop or text[bang] != "!" or text[closed + 1 : closed + 2] != "(":
            continue
        mark = None if _escaped(text, bang, stop) else _mark(text, bang, closed + 2)
        if mark is not None:
            marks[bang] = mark
            stop = mark.stop
    return marks


def plain_target(target: str) -> str:
    """A target without its backslash escapes and entities."""
    return _ESCAPE.sub(r"\1", _ENTITY.sub(lambda entity: html.unescape(entity[0]), target))


def _mark(text: str, start: int, at: int) -> ImageMark | None:
    at = _skip(text, at)
    angled = _ANGLED.match(text, at)
    if angled:
        target, at = angled[1], angled.end()
    else:
        stop = _bare_end(text, at)
        target, at = text[at:stop], stop
    after = _skip(text, at)
    if text[after : after + 1] != ")" and after > at:
        title = _TITLE.match(text, after)
        after = _skip(text, title.end()) if title else after
    if text[after : after + 1] == ")":
        return ImageMark(start, after + 1, target) if target else None
    spaced = target and after > at and ")" in text[after : after + 300].partition("\n")[0]
    return ImageMark(start, start + 2, None) if spaced else None


def _skip(text: str, at: int) -> int:
    space = _SPACE.match(text, at)
    return space.end() if space else at


def _bare_end(text: str, at: int) -> int:
    """The end of a target without angle brackets: no spaces, parentheses in pairs."""
    if text[at : at + 1] == "<":
        return at
    depth = 0
    while piece := _BARE.match(text, at):
        if piece[0] == "(":
            depth += 1
            if depth > _MAX_NESTING:
                break
        elif piece[0] == ")":
            if not depth:
                break
            depth -= 1
        at = piece.end()
    return at


def _brackets(text: str, code: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Matching ``[`` and ``]`` outside code, not across a blank line."""
    stack: list[int] = []
    at = 0
    for start, stop in [*code, (len(text), len(text))]:
        for token in _INLINE.finditer(text, at, start):
            if token[0] == "[":
                stack.append(token.start())
            elif token[0] == "]":
                if stack:
                    yield stack.pop(), token.start()
            elif token[0][0] == "\n":
                stack.clear()
        at = stop


def code_ranges(text: str) -> list[tuple[int, int]]:
    """Fenced blocks and code spans, in order, without overlap."""
    code: list[tuple[int, int]] = []
    at = 0
    for start, stop in [*fences(text), (len(text), len(text))]:
        code.extend(_spans(text, at, start))
        if stop > start:
            code.append((start, stop))
        at = stop
    return code


def fences(text: str) -> Iterator[tuple[int, int]]:
    """Fenced code blocks, in order."""
    start, fence = 0, ""
    for line in _FENCE.finditer(text):
        marker, info = line[1], line[2]
        if not fence:
            if marker[0] == "~" or "`" not in info:
                start, fence = line.start(), marker
        elif marker.startswith(fence) and not info.strip():
            yield start, line.end()
            fence = ""
    if fence:
        yield start, len(text)


def _spans(text: str, start: int, stop: int) -> Iterator[tuple[int, int]]:
    """Code spans: from a run of backticks to the next one as long, within a paragraph."""
    edges = [start, *(blank.start() for blank in _BLANK.finditer(text, start, stop)), stop]
    for i in range(len(edges) - 1):
        runs = [(run.start(), run.end()) for run in _TICKS.finditer(text, edges[i], edges[i + 1])]
        by_length: dict[int, list[int]] = defaultdict(list)
        for begin, end in runs:
            by_length[end - begin].append(begin)
        at = edges[i]
        for begin, end in runs:
            if begin < at:
                continue
            if _escaped(text, begin, at):
                begin += 1
            same = by_length[end - begin]
            closing = bisect_left(same, end)
            if begin < end and closing < len(same):
                at = same[closing] + (end - begin)
                yield begin, at


def _escaped(text: str, at: int, start: int) -> bool:
    """Whether an odd number of backslashes stands before `at`."""
    first = at
    while first > start and text[first - 1] == "\\":
        first -= 1
    return (at - first) % 2 == 1
