"""What a turn shows, in order: thoughts, calls of tools, the answer; as Markdown and as text."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from llmagic.events import Delta, Event
from llmagic.notebook.markdown import harmless

if TYPE_CHECKING:
    from llmagic.turns import Turn


@dataclass(frozen=True)
class Answer:
    """What the model says; `data` says that it is JSON."""

    text: str
    data: bool = False


Block = Answer


class Transcript:
    """The blocks of a turn under way, from its events.

    Parameters
    ----------
    data : bool
        Whether the answer is JSON.
    """

    def __init__(self, *, data: bool = False) -> None:
        self._data = data
        self.blocks: list[Block] = []

    def add(self, event: Event) -> bool:
        """Take in an event; False for one that says nothing about what the turn shows."""
        if isinstance(event, Delta):
            self._say(Answer(event.text, self._data))
            return True
        return False

    def _say(self, more: Answer) -> None:
        last = self.blocks[-1] if self.blocks else None
        if isinstance(last, type(more)):
            self.blocks[-1] = replace(last, text=last.text + more.text)
        else:
            self.blocks.append(more)


def blocks_of(turn: Turn) -> list[Block]:
    """The blocks of a turn that is complete."""
    return [Answer(turn.text, data=turn.sampling.schema is not None)]


def plain(blocks: Iterable[Block]) -> str:
    """As text: the answer as the model wrote it."""
    return "\n\n".join(block.text for block in blocks)


def markdown(blocks: Sequence[Block]) -> str:
    """As Markdown that shows all of it and does nothing else."""
    return "\n\n".join(
        _fenced(block.text) if block.data else harmless(block.text) for block in blocks
    )


def closed(text: str) -> str:
    """Markdown with an end for a code block that has none, which would swallow what follows."""
    fences = re.findall(r"^ {0,3}(```+|~~~+)", text, flags=re.MULTILINE)
    return f"{text}\n{fences[-1]}" if len(fences) % 2 else text


def _fenced(text: str) -> str:
    """JSON as a code block; laid out where it is whole."""
    try:
        text = json.dumps(json.loads(text), ensure_ascii=False, indent=2)
    except ValueError:
        # Under way or cut: on one line, so no fence of its own.
        text = text.replace("\n", " ")
    return f"```json\n{text}\n```" if text else ""
