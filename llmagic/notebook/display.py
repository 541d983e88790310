"""How a cell shows its answer: live in a notebook, once when headless, as text in a terminal.

Without an interactive front end exactly one `display_data` is sent: nbval ignores updates, and
papermill and nbclient keep the last state only. What a notebook stores is the same either way:
the last update is that one message.
"""

from __future__ import annotations

import re
import sys
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TextIO

from IPython.core.displaypub import CapturingDisplayPublisher

from llmagic.events import Called, Delta, Event, Notice, progress, stage
from llmagic.notebook.blocks import Answer, Block, Transcript, closed, markdown, plain
from llmagic.notebook.request import Request

INTERVAL = 0.1
"""Least time between two updates of a display, in seconds."""

INTERRUPTED = "interrupted; not part of the conversation"
FAILED = "stopped by an error; not part of the conversation"


def cut(stop: str, n_tokens: int, max_tokens: int) -> str | None:
    """One line for a reply that did not end by itself; None for one that did."""
    if stop != "length":
        return None
    why = "--max-tokens" if n_tokens >= max_tokens else "the context is full"
    return f"cut after {n_tokens} tokens ({why})"


Metadata = Mapping[str, object]
Content = str | Sequence[Block]


class Screen:
    """Where one turn, or one loading of a model, is shown; `finish` or `stop` ends it."""

    def __init__(self, *, data: bool = False) -> None:
        self._transcript = Transcript(data=data)

    @property
    def _blocks(self) -> list[Block]:
        """What there is to show so far."""
        return self._transcript.blocks

    def event(self, event: Event) -> None:
        """Show progress, or more of the reply."""
        if isinstance(event, Notice):
            if event.lasting:
                self._notice(event)
            else:
                self._progress(event.text)
        elif self._transcript.add(event):
            self._reply(event)
        elif (line := progress(event)) is not None:
            self._progress(line)

    def finish(self, content: Content, metadata: Metadata, mark: str | None = None) -> None:
        """Show all of it; `metadata` goes to the output, `mark` says why it ends there."""
        self._end(_blocks(content), metadata, mark, whole=True)

    def stop(
        self, mark: str, content: Content | None = None, metadata: Metadata | None = None
    ) -> None:
        """Show what there is, marked as such; the error itself is shown by IPython.

        Parameters
        ----------
        mark : str
            `INTERRUPTED` or `FAILED`.
        content, metadata : optional
            What is known of the turn; by default the content is what the events said.
        """
        blocks = self._blocks if content is None else _blocks(content)
        # An error before the first token says everything itself; an interrupt is always shown.
        if blocks or metadata is not None:
            self._end(blocks, metadata or {}, mark, whole=False)
        else:
            self._clear()

    def _notice(self, event: Notice) -> None:
        """Show one line that stays; front ends show what is on stderr as an error."""
        notice(event.text, sys.stderr if event.warns else sys.stdout)

    def _progress(self, line: str) -> None:
        """Show one line about what is being done."""

    def _reply(self, event: Event) -> None:
        """Show more of the reply: this event, which is in the transcript."""

    def _clear(self) -> None:
        """Take a line of progress away."""

    def _end(
        self, blocks: Sequence[Block], metadata: Metadata, mark: str | None, *, whole: bool
    ) -> None:
        """Show all of it as it will stay; `whole` says that it is a turn's reply."""
        raise NotImplementedError


def screen_for(shell: Any, request: Request, *, stream: bool, data: bool = False) -> Screen:
    """The screen for a cell.

    Parameters
    ----------
    shell : IPython.core.interactiveshell.InteractiveShell
        Decides with `request`: front ends that draw updates name the cell they run.
    request : Request
        The running cell.
    stream : bool
        Show the reply while it is generated, where that is possible.
    data : bool
        Whether the reply is JSON.
    """
    capturing = isinstance(shell.display_pub, CapturingDisplayPublisher)
    if getattr(shell, "kernel", None) is None and not capturing:
        return Terminal(stream=stream, data=data)
    live = stream and request.cell is not None and not capturing
    screen = Live if live else Final
    return screen(shell.display_pub.publish, data=data)


def notice(text: str, file: TextIO | None = None) -> None:
    """One line for the user; as a stream in every front end, so that notebooks compare equal."""
    print(f"llmagic: {text}", file=file or sys.stderr, flush=True)


def bundle(content: Content) -> dict[str, str]:
    """The formats of a reply; the plain one is the text as it is."""
    blocks = _blocks(content)
    return {"text/plain": plain(blocks), "text/markdown": markdown(blocks)}


def marked(content: Content, mark: str) -> dict[str, str]:
    """The formats of a text that did not come to its end; `mark` is one line that says why."""
    found = bundle(content)
    if not found["text/plain"].strip():
        return {"text/plain": mark, "text/markdown": f"*{mark}*"}
    # An open code block would swallow the mark.
    return {
        "text/plain": f"{found['text/plain']}\n\n{mark}",
        "text/markdown": f"{closed(found['text/markdown'])}\n\n*{mark}*",
    }


def formats(content: Content, mark: str | None, *, whole: bool) -> dict[str, str]:
    """The formats of a text with its mark, if any; of a whole reply the plain one is the reply."""
    found = bundle(content)
    if mark is None:
        return found
    both = marked(content, mark)
    return {**both, "text/plain": found["text/plain"]} if whole else both


def _blocks(content: Content) -> Sequence[Block]:
    return [Answer(content)] if isinstance(content, str) else content


class Final(Screen):
    """One message when all is done."""

    def __init__(self, publish: Callable[..., Any], *, data: bool = False) -> None:
        super().__init__(data=data)
        self._publish = publish

    def _end(
        self, blocks: Sequence[Block], metadata: Metadata, mark: str | None, *, whole: bool
    ) -> None:
        self._publish(formats(blocks, mark, whole=whole), dict(metadata))


class Live(Screen):
    """A display that starts with a line of progress and is then updated."""

    def __init__(
        self,
        publish: Callable[..., Any],
        clock: Callable[[], float] = time.monotonic,
        *,
        data: bool = False,
    ) -> None:
        super().__init__(data=data)
        self._publish = publish
        self._clock = clock
        self._id = uuid.uuid4().hex
        self._shown: float | None = None
        self._stage: dict[str, object] | None = {}
        self._began: float | None = None
        # In all, and in the piece with which the clock began.
        self._n_tokens = self._n_first = 0

    def event(self, event: Event) -> None:
        """Show progress, or more of the reply; the metadata says the same in numbers."""
        if isinstance(event, Delta):
            if self._began is None:
                self._began, self._n_first = self._clock(), event.n_tokens
            self._n_tokens += event.n_tokens
            self._stage = None  # told when it is shown
        else:
            self._stage = stage(event) or self._stage
        super().event(event)

    def _replying(self) -> dict[str, object]:
        """The stage of a reply."""
        assert self._began is not None
        seconds = self._clock() - self._began
        rate = round((self._n_tokens - self._n_first) / seconds, 1) if seconds else None
        return {"stage": "reply", "done": self._n_tokens, "total": None, "per_second": rate}

    def _progress(self, line: str) -> None:
        if self._is_due():
            self._show({"text/plain": line, "text/markdown": f"*{line}*"})

    def _reply(self, event: Event) -> None:
        # Most tokens come between two updates: for them nothing is made that is not shown. Nothing
        # else comes while a tool runs, which may take long. Some front ends never update a display
        # that began empty.
        due = self._is_due() or isinstance(event, Called)
        if due and plain(self._blocks).strip():
            self._show(bundle(self._blocks))

    def _clear(self) -> None:
        if self._shown is not None and not self._blocks:
            self._send(bundle(""), {})

    def _end(
        self, blocks: Sequence[Block], metadata: Metadata, mark: str | None, *, whole: bool
    ) -> None:
        self._send(formats(blocks, mark, whole=whole), metadata)

    def _show(self, formats: dict[str, str]) -> None:
        told = self._replying() if self._stage is None else self._stage
        self._send(formats, {"llmagic": {"version": 1, "running": told}} if told else {})
        self._shown = self._clock()

    def _is_due(self) -> bool:
        return self._shown is None or self._clock() - self._shown >= INTERVAL

    def _send(self, formats: dict[str, str], metadata: Metadata) -> None:
        transient = {"display_id": self._id}
        update = self._shown is not None
        self._publish(formats, dict(metadata), transient=transient, update=update)


class Terminal(Screen):
    """Text as it comes, on stdout; progress on stderr when somebody is there to see it."""

    def __init__(self, *, stream: bool, data: bool = False) -> None:
        super().__init__(data=data)
        self._stream = stream
        self._waiting = False
        self._kind, self._last = "", 0.0
        self._printed = ""

    def _notice(self, event: Notice) -> None:
        self._clear()
        notice(event.text)  # what is on stdout is the reply

    def _progress(self, line: str) -> None:
        kind, now = line.partition(":")[0], time.monotonic()
        # Each line of another kind, and some of those that only count up.
        if sys.stderr.isatty() and (kind != self._kind or now - self._last >= INTERVAL):
            self._kind, self._last = kind, now
            self._clear()
            print(line, end="", file=sys.stderr, flush=True)
            self._waiting = True

    def _reply(self, event: Event) -> None:
        if self._stream:
            self._clear()
            text = plain(self._blocks)
            print(printable(text[len(self._printed) :]), end="", flush=True)
            self._printed = text

    def _clear(self) -> None:
        if self._waiting:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
            self._waiting = False

    def _end(
        self, blocks: Sequence[Block], metadata: Metadata, mark: str | None, *, whole: bool
    ) -> None:
        self._clear()
        # What is on the screen already is not printed again; the last line ends in any case.
        rest = "" if self._printed else plain(blocks)
        if (self._printed or rest) and not (self._printed or rest).endswith("\n"):
            rest += "\n"
        if mark is not None:
            rest += f"[{mark}]\n"
        print(printable(rest), end="", flush=True)


def printable(text: str) -> str:
    """The text without what would steer a terminal; line ends and tabs stay."""
    return re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", "\N{REPLACEMENT CHARACTER}", text)
