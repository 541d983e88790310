"""What a turn shows, in order: thoughts, calls of tools, the answer; as Markdown and as text."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from llmagic.events import Called, Delta, Event, Returned
from llmagic.notebook.markdown import harmless

if TYPE_CHECKING:
    from llmagic.turns import Turn


LINE = 100
"""Characters of a call in the summary of a folded block."""


@dataclass(frozen=True)
class Answer:
    """What the model says; `data` says that it is JSON."""

    text: str
    data: bool = False


@dataclass(frozen=True)
class Thought:
    """What the model says to itself."""

    text: str


@dataclass(frozen=True)
class ToolUse:
    """A call of a tool; `result` is None while it runs."""

    name: str
    arguments: Mapping[str, object]
    result: str | None = None
    failed: bool = False

    @property
    def call(self) -> str:
        """The call as Python writes it."""
        values = (f"{name}={value!r}" for name, value in self.arguments.items())
        return f"{self.name}({', '.join(values)})"


Block = Answer | Thought | ToolUse


class Transcript:
    """The blocks of a turn under way, from its events.

    Parameters
    ----------
    data : bool
        Whether the answer is JSON.
    """

    def __init__(self, *, data: bool = False) -> None:
        self._data = data
        self._blocks: list[Block] = []
        # Text that the last block goes on with: joined when it is looked at, not at every token.
        self._more: list[str] = []

    @property
    def blocks(self) -> list[Block]:
        """The blocks so far."""
        if self._more:
            last = self._blocks[-1]
            assert not isinstance(last, ToolUse)
            self._blocks[-1] = replace(last, text=last.text + "".join(self._more))
            self._more.clear()
        return self._blocks

    def add(self, event: Event) -> bool:
        """Take in an event; False for one that says nothing about what the turn shows."""
        if isinstance(event, Delta):
            if self._blocks and type(self._blocks[-1]) is (Thought if event.thought else Answer):
                self._more.append(event.text)
            else:
                more = Thought(event.text) if event.thought else Answer(event.text, self._data)
                self.blocks.append(more)
            return True
        if isinstance(event, Called):
            self.blocks.append(ToolUse(event.name, event.arguments))
            return True
        if isinstance(event, Returned):
            last = self.blocks[-1]
            assert isinstance(last, ToolUse)
            self.blocks[-1] = replace(last, result=event.text, failed=event.failed)
            return True
        return False


def blocks_of(turn: Turn) -> list[Block]:
    """The blocks of a turn that is complete."""
    blocks: list[Block] = []
    for each in turn.rounds:
        blocks += [block for block in (Thought(each.thought), Answer(each.text)) if block.text]
        blocks += [ToolUse(use.name, use.arguments, use.result, use.failed) for use in each.uses]
    thought = [Thought(turn.thought)] if turn.thought else []
    # Also where it is empty: a thought that comes last is under way.
    return [*blocks, *thought, Answer(turn.text, data=turn.sampling.schema is not None)]


def plain(blocks: Iterable[Block]) -> str:
    """As text: the answer as the model wrote it, all else before it in lines that begin with >."""
    return "\n\n".join(filter(None, map(_plain, blocks)))


def _plain(block: Block) -> str:
    if isinstance(block, ToolUse):
        result = "" if block.result is None else f"\n{quoted(block.result)}"
        return quoted(block.call) + result
    return quoted(block.text) if isinstance(block, Thought) else block.text


def quoted(text: str) -> str:
    """Text of which every line begins with >."""
    return "\n".join(f"> {line}" if line else ">" for line in text.splitlines())


def markdown(blocks: Sequence[Block]) -> str:
    """As Markdown that shows all of it and does nothing else; thoughts are folded."""
    last = blocks[-1] if blocks else None
    return "\n\n".join(
        filter(None, (_markdown(block, under_way=block is last) for block in blocks))
    )


def _markdown(block: Block, *, under_way: bool) -> str:
    if isinstance(block, ToolUse):
        summary = block.call if len(block.call) <= LINE else f"{block.call[:LINE]} …"
        state = " …" if block.result is None else " failed" if block.failed else ""
        # The whole call, where the summary does not hold it.
        more = f"{block.call}\n\n" if summary != block.call else ""
        return folded(f"{summary}{state}", code(f"{more}{block.result or ''}"))
    if isinstance(block, Thought):
        return folded("thinking …" if under_way else "thought", closed(harmless(block.text)))
    return _fenced(block.text) if block.data else harmless(block.text)


def folded(summary: str, body: str) -> str:
    """Markdown that front ends show as its summary, to be unfolded; both are Markdown."""
    return (
        f"<details><summary>{html.escape(summary, quote=False)}</summary>\n\n{body}\n\n</details>"
    )


def closed(text: str) -> str:
    """Markdown with an end for a code block that has none, which would swallow what follows."""
    fences = re.findall(r"^ {0,3}(```+|~~~+)", text, flags=re.MULTILINE)
    return f"{text}\n{fences[-1]}" if len(fences) % 2 else text


def code(text: str) -> str:
    """Any text as a code block: its fence is longer than those inside."""
    longest = max(map(len, re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{text}\n{fence}"


def _fenced(text: str) -> str:
    """JSON as a code block; laid out where it is whole."""
    try:
        text = json.dumps(json.loads(text), ensure_ascii=False, indent=2)
    except ValueError:
        # Under way or cut: on one line, so no fence of its own.
        text = text.replace("\n", " ")
    return f"```json\n{text}\n```" if text else ""
