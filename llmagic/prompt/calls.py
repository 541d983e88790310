"""Calls of tools in a reply, by the syntaxes that chat templates teach models.

Only the marks that a template knows count. Where several calls stand in a reply, they are taken in
their order; what follows the last one is dropped, as the model cannot have seen a result yet.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

MARKS = (
    "<tool_call>",  # Hermes, Qwen, GLM, Granite 4, Nemotron 3, and many more
    "<tool_calls>",  # Apriel, MiniMax M1
    "<|tool_call|>",  # Granite 3
    "<TOOLCALL>",  # Nemotron Nano 2
    "[TOOL_CALLS]",  # Mistral
    "<|python_tag|>",  # Llama 3.1
    "<function=",  # Functionary 3.1; Qwen3-Coder, which forgets the mark before it
)
_JSON = json.JSONDecoder(strict=False)
"""Models write line ends and tabs into strings as they are, above all in code."""
_CLOSING = re.compile(r"\s*(?:</tool_call>|</tool_calls>|</TOOLCALL>|[;,])?\s*")
_NAME = r"(?P<name>[\w.-]+)"
_FUNCTION = re.compile(rf"<function={_NAME}>(?P<body>.*?)</function>", re.DOTALL)
_PARAMETER = re.compile(r"<parameter=([^>]+)>\n?(.*?)\n?</parameter>", re.DOTALL)
_PAIR = re.compile(r"\s*<arg_key>(.*?)</arg_key>\s*<arg_value>(.*?)</arg_value>", re.DOTALL)
_NAMED = re.compile(rf"{_NAME}\s*(?:\[ARGS\])?\s*(?={{)")
_PAIRED = re.compile(rf"{_NAME}\s*(?=<arg_key>|</tool_call>)")


@dataclass(frozen=True)
class Call:
    """A tool the model wants to be called.

    `quoted` says that its arguments came as text and not as JSON: a 2 may mean "2".
    """

    name: str
    arguments: dict[str, Any]
    quoted: bool = False


class Syntax:
    """How a model writes calls, as far as its chat template tells.

    Parameters
    ----------
    template : str
        Source of the chat template.
    """

    def __init__(self, template: str) -> None:
        self._marks = tuple(mark for mark in MARKS if mark in template)
        # Llama 3: the whole reply is the call.
        self._bare = "ipython" in template and '"parameters"' in template

    @property
    def known(self) -> bool:
        """Whether the template teaches a syntax that can be read here."""
        return bool(self._marks) or self._bare

    def spells(self, token: str) -> bool:
        """Whether a control token, given its text, is such a mark and must be seen."""
        return bool(token) and any(token in mark for mark in (*self._marks, "[ARGS]"))

    def held_from(self, text: str) -> int:
        """Index of the first character that may belong to a call; the length if none may."""
        if self._bare and text.lstrip().startswith("{"):
            return 0
        found = [at for mark in self._marks if (at := text.find(mark)) >= 0]
        if found:
            return min(found)
        longest = max(map(len, self._marks), default=0)
        for start in range(max(0, len(text) - longest + 1), len(text)):
            if any(mark.startswith(text[start:]) for mark in self._marks):
                return start
        return len(text)

    def parse(self, text: str) -> tuple[str, tuple[Call, ...]]:
        """The text before the calls, and the calls; all of it and none where there is no call.

        A call that cannot be read is text.
        """
        start = self.held_from(text)
        try:
            calls = tuple(self._calls(text, start))
        except (ValueError, KeyError, TypeError, AttributeError):
            return text, ()
        return (text[:start].rstrip(), calls) if calls else (text, ())

    def _calls(self, text: str, at: int) -> Iterator[Call]:
        first = True
        while at < len(text):
            mark = next((each for each in self._marks if text.startswith(each, at)), "")
            if not mark and not first and text[at] != "{":
                return
            # A function's mark is the beginning of the call itself.
            at = _skip(text, at + (0 if mark == "<function=" else len(mark)))
            calls, at = _read(text, at)
            yield from calls
            closing = _CLOSING.match(text, at)
            at = closing.end() if closing else at
            first = False


def _skip(text: str, at: int) -> int:
    return at + len(text[at:]) - len(text[at:].lstrip())


def _read(text: str, at: int) -> tuple[list[Call], int]:
    """The calls at an index, and the index behind them.

    Raises
    ------
    ValueError, KeyError, TypeError, AttributeError
        There is none.
    """
    if text[at : at + 1] in ("{", "["):
        value, end = _JSON.raw_decode(text, at)
        return [_call(each) for each in (value if isinstance(value, list) else [value])], end
    if function := _FUNCTION.match(text, at):
        body = function["body"].strip()
        if body.startswith("{"):
            return [Call(function["name"], dict(_JSON.decode(body)))], function.end()
        pairs = dict(_PARAMETER.findall(body))
        return [Call(function["name"], pairs, quoted=True)], function.end()
    if named := _NAMED.match(text, at):
        arguments, end = _JSON.raw_decode(text, named.end())
        return [Call(named["name"], dict(arguments))], end
    if paired := _PAIRED.match(text, at):
        pairs, end = {}, paired.end()
        while pair := _PAIR.match(text, end):
            pairs[pair[1].strip()] = pair[2]
            end = pair.end()
        return [Call(paired["name"], pairs, quoted=True)], end
    raise ValueError("no call")


def _call(value: dict[str, Any]) -> Call:
    value = value.get("function", value) if isinstance(value.get("function"), dict) else value
    arguments = value["arguments"] if "arguments" in value else value.get("parameters", {})
    if isinstance(arguments, str):
        arguments = _JSON.decode(arguments)
    return Call(str(value["name"]), dict(arguments or {}))


class Holder:
    """Lets text through up to the first that may be a call.

    Parameters
    ----------
    syntax : Syntax
    """

    def __init__(self, syntax: Syntax) -> None:
        self._syntax = syntax
        self._text = ""
        self._shown = 0

    def push(self, text: str) -> str:
        """Add text; returns what is certainly none."""
        self._text += text
        end = max(self._shown, self._syntax.held_from(self._text))
        new, self._shown = self._text[self._shown : end], end
        return new

    def finish(self) -> str:
        """What is left, if there is no call after all."""
        calls = self._syntax.parse(self._text)[1]
        return "" if calls else self._text[self._shown :]
