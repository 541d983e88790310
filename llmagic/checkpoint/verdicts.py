"""What probes found, remembered between processes: one small JSON file for each fingerprint.

A layout may end the process: llama.cpp's assertions cannot be caught. So the file says which
layout is being tried before it is, and who finds it there for the second time, the process gone,
does not try that layout again.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import platformdirs
import psutil

from llmagic.checkpoint.payload import Layout
from llmagic.checkpoint.probe import Story, Verdict, probe
from llmagic.model.context import Context
from llmagic.model.loading import Memory
from llmagic.model.vision import Projector
from llmagic.store import located

FORMAT = 1
STORE = "LLMAGIC_STORE"
"""Environment variable: the folder for everything that outlives a process."""

ENDED = "the process ended twice while it was tried"
ATTEMPTS = 2
"""Processes that may end while a layout is tried; one may have been killed by its user."""


def store_folder() -> Path:
    """Where files that outlive a process go: `LLMAGIC_STORE`, or the user's cache folder."""
    if chosen := os.environ.get(STORE):
        return located(chosen)
    return located(platformdirs.user_cache_dir("llmagic", appauthor=False))


class Record:
    """What is remembered of one fingerprint. Never fails: what cannot be read is not known.

    Parameters
    ----------
    fingerprint : bytes
    folder : Path, optional
        By default `probes` in `store_folder()`.
    """

    def __init__(self, fingerprint: bytes, folder: Path | None = None) -> None:
        folder = store_folder() / "probes" if folder is None else folder
        self.path = folder / f"{fingerprint.hex()}.json"
        self._fatal: dict[str, str] = {}
        self._ended: dict[str, int] = {}

    def verdict(self) -> Verdict | None:
        """The verdict, if there is one."""
        try:
            found = self._read()
            return Verdict(
                Layout(found["layout"]),
                float(found["bytes_per_token"]),
                int(found["state_bytes"]),
                float(found["seconds"]),
                tuple((str(layout), str(reason)) for layout, reason in found["refused"]),
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def fatal(self) -> dict[Layout, str]:
        """Layouts that ended a process, and what to say of them; unless a verdict came later."""
        try:
            found = self._read()
            fatal = {Layout(name): str(reason) for name, reason in found["fatal"].items()}
            trying = found.get("trying")
            if trying is not None and _is_gone(trying):
                self._ended = {trying["layout"]: int(trying["times"])}
                if trying["times"] >= ATTEMPTS:
                    fatal[Layout(trying["layout"])] = ENDED
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            fatal = {}
        self._fatal = {layout.value: reason for layout, reason in fatal.items()}
        return fatal

    def trying(self, layout: Layout) -> None:
        """Note that this process tries a layout now."""
        me = psutil.Process()
        self._write(
            {
                "trying": {
                    "layout": layout.value,
                    "times": self._ended.get(layout.value, 0) + 1,
                    "host": platform.node(),
                    "process": me.pid,
                    "since": me.create_time(),
                }
            }
        )

    def keep(self, verdict: Verdict) -> None:
        """Remember a verdict."""
        self._fatal = {}
        self._write(
            {
                "layout": verdict.layout.value,
                "bytes_per_token": verdict.bytes_per_token,
                "state_bytes": verdict.state_bytes,
                "seconds": verdict.seconds,
                "refused": [list(each) for each in verdict.refused],
            }
        )

    def give_up(self) -> None:
        """Nothing was found out after all."""
        if self._fatal:
            self._write({})
        else:
            with suppress(OSError):
                self.path.unlink(missing_ok=True)

    def _read(self) -> dict[str, Any]:
        found = json.loads(self.path.read_text("utf-8"))
        if not isinstance(found, dict) or found.get("format") != FORMAT:
            raise ValueError("not written by this version")
        return found

    def _write(self, facts: dict[str, Any]) -> None:
        facts = {"format": FORMAT, "fatal": self._fatal, **facts}
        temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        try:
            folder = self.path.parent
            folder.parent.parent.mkdir(parents=True, exist_ok=True)
            # The store's folder may be the one above, and is as private.
            for each in (folder.parent, folder):
                each.mkdir(exist_ok=True, mode=0o700)
            temporary.write_text(json.dumps(facts), "utf-8")
            temporary.replace(self.path)
        except OSError:
            # A store that cannot be written to costs the next load some milliseconds.
            with suppress(OSError):
                temporary.unlink(missing_ok=True)


def _is_gone(trying: dict[str, Any]) -> bool:
    """Whether the process that tried a layout ended without saying what it found."""
    if trying["host"] != platform.node():
        return False  # nobody here can tell
    try:
        # Another process may have got its number; a clock that was set moves both by a little.
        return bool(abs(psutil.Process(trying["process"]).create_time() - trying["since"]) > 5)
    except psutil.NoSuchProcess:
        return True
    except psutil.Error:
        return False


def probed(
    record: Record,
    context: Context,
    memory: Memory,
    *,
    scratch: int,
    stories: Iterable[Story] = (),
    projector: Projector | None = None,
    daring: bool = False,
) -> Verdict:
    """Probe a model (see `probe`) and remember what came out, unless memory ran out meanwhile.

    `daring` also tries layouts during which a process ended: someone may have killed it.

    Raises
    ------
    KeyboardInterrupt, NoRoomError
        Nothing is remembered then.
    """
    fatal = record.fatal()
    try:
        verdict = probe(
            context,
            memory,
            scratch=scratch,
            stories=stories,
            projector=projector,
            known={} if daring else fatal,
            before=record.trying,
        )
    except BaseException:
        record.give_up()
        raise
    if verdict.lacked_memory:
        record.give_up()
    else:
        record.keep(verdict)
    return verdict


def recall(record: Record, context: Context, memory: Memory, *, scratch: int) -> Verdict:
    """The remembered verdict of a model, or that of a short probe."""
    verdict = record.verdict()
    return probed(record, context, memory, scratch=scratch) if verdict is None else verdict
