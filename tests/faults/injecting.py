"""Faults, made one at a time in the calls that can fail; llama.cpp itself is the real one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

from llmagic.events import Event, Notice

Fault = Callable[..., Any]


@dataclass
class Injected:
    """How often the call came, and which of them failed."""

    calls: int = 0
    failed: int = 0


@contextmanager
def injected(
    owner: object,
    name: str,
    fault: Fault,
    *,
    at: int | None = None,
    when: Callable[..., bool] = lambda *_, **__: True,
    after: bool = False,
) -> Iterator[Injected]:
    """Let a call fail: the `at`-th one (from 1) of those that `when` is true of, or all of them.

    `fault` gets the arguments and returns, or raises, what the caller sees; with `after` the real
    call is made before, so that what it did stays done.
    """
    real, seen = getattr(owner, name), Injected()

    def call(*args: Any, **more: Any) -> Any:
        if not when(*args, **more):
            return real(*args, **more)
        seen.calls += 1
        if at is not None and seen.calls != at:
            return real(*args, **more)
        seen.failed += 1
        if after:
            real(*args, **more)
        return fault(*args, **more)

    with patch.object(owner, name, call):
        yield seen


def gives(value: object) -> Fault:
    return lambda *_, **__: value


def raises(error: BaseException) -> Fault:
    def fault(*_: Any, **__: Any) -> None:
        raise error

    return fault


@dataclass
class Ear:
    """A listener that remembers what the user was told."""

    notices: list[str] = field(default_factory=list)

    def __call__(self, event: Event) -> None:
        if isinstance(event, Notice):
            self.notices.append(event.text)
