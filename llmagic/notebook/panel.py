"""What a front end's panel shows and does: the tree of turns, over a comm.

The front end opens a comm with the target `llmagic.panel` and sends requests; each is answered
once, on the same comm, with its `id` (DESIGN C6). Nothing is pushed: ipykernel takes the messages
of a comm in the thread that published on it last, and that must not become the thread of cells.

Comms may be handled in another thread than cells (subshells). The model and the conversation are
touched in the thread of cells alone, between two of them; while one runs, `state` gives what was
known before it, `forget` and `pin` are done after it, and all else is to be asked again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, wait
from typing import Any

from llmagic.errors import LLMagicError
from llmagic.notebook import display
from llmagic.notebook.blocks import blocks_of
from llmagic.notebook.conversation import Conversation
from llmagic.notebook.entries import Entry
from llmagic.notebook.forgetting import forget, pin
from llmagic.notebook.question import question
from llmagic.notebook.runtime import Runtime
from llmagic.notebook.table import short
from llmagic.notebook.tree import Branch, tree

TARGET = "llmagic.panel"
VERSION = 1

PATIENCE = 0.3
"""Seconds that a request waits for a cell that runs."""

LONGEST = 30.0
"""Seconds that a request waits while no cell runs: the machine may be busy with other things."""

Answer = dict[str, Any]

NOTHING: Answer = {
    "type": "state",
    "version": VERSION,
    "model": None,
    "context": None,
    "memory": None,
    "disk": None,
    "threads": [],
    "turns": [],
}
"""The state of a notebook that nothing is known of."""


class Panel:
    """Answers requests of a panel.

    Parameters
    ----------
    runtime : Runtime
        What they are about.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._thread = threading.get_ident()
        # What each notebook was told last; without a name, the one that ran last.
        self._known: dict[str | None, Answer] = {}
        self._comms: list[Any] = []
        # The extension is loaded in a cell, whose beginning nobody told.
        self._is_running = True

    def cell_begins(self) -> None:
        """A cell runs: requests that need its thread are put off."""
        self._is_running = True

    def cell_ended(self) -> None:
        """The thread of cells is free."""
        self._is_running = False

    def opened(self, comm: Any, message: Mapping[str, Any]) -> None:
        """Hear the requests of a comm that a front end opened."""
        comm.on_msg(lambda received: comm.send(self.answer(_data(received))))
        comm.on_close(lambda _: self._comms.remove(comm))
        self._comms.append(comm)

    def close(self) -> None:
        """Let front ends know that nobody answers any more."""
        for comm in self._comms:
            comm.close()
        self._comms.clear()

    def answer(self, request: Mapping[str, Any]) -> Answer:
        """The answer to one request; nonsense is answered by `error`, never raised."""
        kind = request.get("type")
        action = _ACTIONS.get(kind) if isinstance(kind, str) else None
        answer: Answer
        try:
            if action is None:
                raise LLMagicError(
                    f"expected a request of type {', '.join(_ACTIONS)}, and got {kind!r}"
                )
            later = kind in ("forget", "pin")
            answer = self._in_the_thread_of_cells(lambda: action(self, request), later=later)
        except TimeoutError:
            known = self._known.get(_name(request), NOTHING)
            answer = {**known, "busy": True} if kind == "state" else {"type": "later"}
        except Exception as error:
            answer = {"type": "error", "message": str(error)}
        return {**answer, "id": request.get("id")}

    def _in_the_thread_of_cells(self, action: Callable[[], Answer], *, later: bool) -> Answer:
        """Do something where cells run; `TimeoutError` when one is running.

        With `later` it is then done after that cell, and else not at all: a panel that is open
        through a long cell asks a thousand times. The thread may take long to wake up even when no
        cell runs, on a machine that is busy.
        """
        loop = getattr(getattr(self._runtime.shell, "kernel", None), "io_loop", None)
        if loop is None or threading.get_ident() == self._thread:
            return action()
        done: Future[Answer] = Future()

        def run() -> None:
            if not done.set_running_or_notify_cancel():
                return
            try:
                done.set_result(action())
            except Exception as error:
                done.set_exception(error)

        loop.add_callback(run)
        end = time.monotonic() + LONGEST
        while not wait([done], PATIENCE).done:
            if self._is_running or time.monotonic() > end:
                if not later:
                    done.cancel()
                raise TimeoutError
        return done.result()

    # --- requests ------------------------------------------------------------------------------

    def _state(self, request: Mapping[str, Any]) -> Answer:
        runtime = self._runtime
        sources = {str(k): str(v) for k, v in _mapping(request.get("sources")).items()}
        is_known = self._find(request, lambda known: any(cell in known for cell in sources))
        conversation = runtime.conversation if is_known else Conversation()
        session = runtime.loaded.session
        branches = tree(conversation, sources, session)
        status = session.status() if session is not None else None
        state: Answer = {
            "type": "state",
            "version": VERSION,
            "busy": False,
            "model": status and status["model"],
            "context": status and {k: status["context"][k] for k in ("used", "limit")},
            "memory": status and _budget(status["checkpoints"]),
            "disk": status and status["store"] and _budget(status["store"]),
            "threads": conversation.threads(),
            "turns": [_row(branch) for branch in branches],
        }
        self._known[_name(request)] = state
        return state

    def _find(self, request: Mapping[str, Any], knows: Callable[[Conversation], bool]) -> bool:
        """Let the notebook that a request names be the current one: another may have run last.

        False where this kernel knows nothing of it: none of its cells ran here.
        """
        name = _name(request)
        return name is None or self._runtime.notebooks.find(name, knows)

    def _find_cell(self, request: Mapping[str, Any]) -> str:
        """The cell a request is about, in its notebook."""
        cell = str(request.get("cell"))
        if not self._find(request, lambda known: cell in known):
            raise LLMagicError(f"no cell of {_name(request)} has run in this kernel; run one first")
        return cell

    def _forget(self, request: Mapping[str, Any]) -> Answer:
        turn = self._entry(request).turn.id
        forget(self._runtime, self._runtime.conversation.all_of(turn))
        return {"type": "done"}

    def _pin(self, request: Mapping[str, Any]) -> Answer:
        pin(self._runtime, self._entry(request), request.get("pinned") is not False)
        return {"type": "done"}

    def _versions(self, request: Mapping[str, Any]) -> Answer:
        cell = self._find_cell(request)
        self._runtime.recall_versions()
        entries = [*self._runtime.conversation.versions.of(cell).values()]
        return {"type": "versions", "cell": cell, "versions": [*map(self._version, entries)]}

    def _restore(self, request: Mapping[str, Any]) -> Answer:
        cell, turn = self._find_cell(request), str(request.get("turn"))
        self._runtime.recall_versions()
        entry = self._runtime.restore(cell, turn)
        if entry is None:
            raise LLMagicError(
                f"cell {cell} has no version {turn[:8]} in this kernel; undo the edit and run it"
            )
        return {"type": "restored", "cell": cell, **self._version(entry)}

    def _version(self, entry: Entry) -> Answer:
        """A turn as its cell showed it: source, and one `display_data`."""
        turn, session = entry.turn, self._runtime.loaded.session
        mark = display.cut(turn.stop, len(turn.tokens), turn.sampling.max_tokens)
        usage = turn.usage if session is None else session.usage(turn)
        about: Answer = {
            "turn": turn.id,
            "thread": entry.scope.thread,
            "after": turn.after or None,
            "source": entry.request.digest,
            "stale": [],
        }
        if not entry.scope.joins:
            about["joins"] = False
        return {
            "turn": turn.id,
            "source": entry.request.source,
            "output": {
                "data": display.formats(blocks_of(turn), mark, whole=True),
                "metadata": {"llmagic": {**usage, **about}},
            },
        }

    def _entry(self, request: Mapping[str, Any]) -> Entry:
        turn = request.get("turn")
        self._find(request, lambda known: known.has(str(turn)))
        conversation = self._runtime.conversation
        for entry in [*conversation.entries, *conversation.versions]:
            if entry.turn.id == turn:
                return entry
        raise LLMagicError(f"there is no turn {turn!r} in this kernel; run the cell again")


_ACTIONS: Mapping[str, Callable[[Panel, Mapping[str, Any]], Answer]] = {
    "state": Panel._state,
    "forget": Panel._forget,
    "pin": Panel._pin,
    "versions": Panel._versions,
    "restore": Panel._restore,
}


def _row(branch: Branch) -> Answer:
    turn, scope = branch.entry.turn, branch.entry.scope
    return {
        "turn": turn.id,
        "parent": branch.parent,
        "cell": branch.entry.request.cell,
        "thread": scope.thread,
        "joins": scope.joins,
        "number": branch.number,
        "current": branch.number is not None,
        "stale": branch.stale,
        "question": short(question(turn), 200),
        "reply": short(turn.text, 200),
        "images": turn.n_images,
        "tokens": branch.kept.get("tokens", 0),
        "bytes": {tier: branch.kept.get(tier, 0) for tier in ("memory", "disk")},
        "tiers": branch.tiers,
        "pinned": branch.pinned,
    }


def _budget(status: Mapping[str, Any]) -> Answer:
    return {"used": status["bytes"], "budget": status["budget"]}


def _name(request: Mapping[str, Any]) -> str | None:
    """The notebook that a request is about."""
    name = request.get("notebook")
    return name if isinstance(name, str) else None


def _data(message: Any) -> Mapping[str, Any]:
    content = _mapping(_mapping(message).get("content"))
    return _mapping(content.get("data"))


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def install(shell: Any, panel: Panel) -> None:
    """Let front ends open the comm; a shell without a kernel has none."""
    shell.events.register("pre_execute", panel.cell_begins)
    shell.events.register("post_execute", panel.cell_ended)
    manager = getattr(getattr(shell, "kernel", None), "comm_manager", None)
    if manager is not None:
        manager.register_target(TARGET, panel.opened)


def remove(shell: Any, panel: Panel) -> None:
    """Undo `install`."""
    panel.close()
    shell.events.unregister("pre_execute", panel.cell_begins)
    shell.events.unregister("post_execute", panel.cell_ended)
    manager = getattr(getattr(shell, "kernel", None), "comm_manager", None)
    if manager is not None:
        manager.unregister_target(TARGET, panel.opened)
