"""A real kernel, driven as a front end drives it."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty
from typing import Any

from nbclient import NotebookClient
from traitlets.config import Config

from tests.notebook.zygote import ENDING, Forked

LIMIT = 300.0
"""Seconds any cell may take: the machine may be busy with other things."""


@dataclass
class Message:
    """One iopub message, and when the kernel sent it (s)."""

    type: str
    content: dict[str, Any]
    at: float

    @property
    def text(self) -> str:
        return str(self.content.get("data", {}).get("text/plain", self.content.get("text", "")))


@dataclass
class Outcome:
    """What one execution left behind."""

    reply: dict[str, Any]
    messages: list[Message] = field(default_factory=list)

    def of(self, *types: str) -> list[Message]:
        return [message for message in self.messages if message.type in types]

    @property
    def shown(self) -> dict[str, Any]:
        """Data of the only display, after all updates."""
        return dict(self._last.content["data"])

    @property
    def text(self) -> str:
        return str(self.shown["text/plain"])

    @property
    def usage(self) -> dict[str, Any]:
        """The output metadata of DESIGN C2."""
        return dict(self._last.content["metadata"]["llmagic"])

    @property
    def stdout(self) -> str:
        return self._stream("stdout")

    @property
    def stderr(self) -> str:
        return self._stream("stderr")

    @property
    def error(self) -> str | None:
        """Name of the exception, None if there was none."""
        return self.reply.get("ename")

    @property
    def message(self) -> str:
        """The error as a front end shows it."""
        (error,) = self.of("error")
        return "\n".join(error.content["traceback"])

    def _stream(self, name: str) -> str:
        return "".join(m.text for m in self.of("stream") if m.content["name"] == name)

    @property
    def _last(self) -> Message:
        assert self.error in (None, "Interrupted"), self.message
        displays = self.of("display_data")
        assert len(displays) == 1, [m.type for m in self.messages]
        identity = displays[0].content["transient"].get("display_id")
        updates = self.of("update_display_data")
        assert all(m.content["transient"]["display_id"] == identity for m in updates)
        return (displays + updates)[-1]


class Kernel:
    """A kernel of this Python in a folder of its own.

    Replies are drawn unless `replay` says otherwise: most tests ask what a run costs.
    """

    def __init__(self, folder: Path, *, replay: bool = False) -> None:
        self.process = Forked(folder)
        self.client = self.process.connect(LIMIT)
        self.run(f"%load_ext llmagic\n%config LLMagic.replay = {replay}")

    def stop(self, *, gently: bool = False) -> None:
        """End the kernel: with SIGKILL, or as a front end ends it."""
        if gently and self.process.is_alive():
            self.client.shutdown()
            assert self.process.wait(ENDING), "the kernel does not end"
        self.client.stop_channels()
        self.process.end()

    def send(
        self, code: str, cell: str | None = None, *, metadata: dict[str, Any] | None = None
    ) -> str:
        """Have a cell run, and do not wait for it; returns the id that its messages name."""
        metadata = {**(metadata or {}), **({} if cell is None else {"cellId": cell})}
        content = {
            "code": code,
            "silent": False,
            "store_history": True,
            "user_expressions": {},
            "allow_stdin": False,
            "stop_on_error": True,
        }
        request = self.client.session.msg("execute_request", content, metadata=metadata)
        self.client.shell_channel.send(request)
        return str(request["header"]["msg_id"])

    def run(
        self,
        code: str,
        cell: str | None = None,
        *,
        metadata: dict[str, Any] | None = None,
        interrupt: Callable[[Message], bool] | None = None,
    ) -> Outcome:
        """Run a cell to its end.

        Parameters
        ----------
        code
            The source of the cell.
        cell
            Its id, as JupyterLab sends it.
        metadata
            Other metadata of the request.
        interrupt
            Asked for every message; the first yes sends SIGINT.
        """
        return self.outcome(self.send(code, cell, metadata=metadata), interrupt=interrupt)

    def outcome(
        self, identity: str, *, interrupt: Callable[[Message], bool] | None = None
    ) -> Outcome:
        """Wait for the end of a cell that was sent; of several, for the first one first."""
        messages: list[Message] = []
        end = time.monotonic() + LIMIT
        while True:
            try:
                got = self.client.get_iopub_msg(timeout=end - time.monotonic())
            except Empty:
                raise AssertionError(f"no idle after {LIMIT} s: {messages[-3:]}") from None
            if got["parent_header"].get("msg_id") != identity:
                continue
            sent = got["header"]["date"].timestamp()
            message = Message(got["msg_type"], got["content"], sent)
            if message.type == "status" and message.content["execution_state"] == "idle":
                break
            messages.append(message)
            if interrupt is not None and interrupt(message):
                self.process.interrupt()
                interrupt = None
        while True:
            reply = self.client.get_shell_msg(timeout=LIMIT)
            if reply["parent_header"].get("msg_id") == identity:
                return Outcome(reply["content"], messages)

    def load(self, model: Path, projector: Path | None = None, *options: str) -> Outcome:
        words = ["%llm load", str(model), *options]
        if projector is not None:
            words += ["--projector", str(projector)]
        outcome = self.run(" ".join(words))
        assert outcome.error is None, outcome.message
        return outcome

    def ask(self, text: str, cell: str | None = None, options: str = "", **more: Any) -> Outcome:
        return self.run(f"%%llm --max-tokens 8 {options}\n{text}", cell, **more)

    def value(self, expression: str) -> str:
        """`repr` of an expression in the kernel."""
        outcome = self.run(expression)
        assert outcome.error is None, outcome.message
        (result,) = outcome.of("execute_result")
        return result.text


def execute(notebook: Any, folder: Path, environment: Mapping[str, str] | None = None) -> None:
    """Run a notebook as nbclient does, its kernel on files for sockets: ports may be taken."""
    with tempfile.TemporaryDirectory(prefix="kernel-") as sockets:
        config = Config()
        config.KernelManager.transport = "ipc"
        config.KernelManager.ip = f"{sockets}/socket"
        client = NotebookClient(
            notebook,
            config=config,
            startup_timeout=int(LIMIT),
            iopub_timeout=int(LIMIT),
            timeout=int(LIMIT),
            resources={"metadata": {"path": str(folder)}},
        )
        client.execute(**({} if environment is None else {"env": dict(environment)}))
