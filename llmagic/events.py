"""What happens during a turn, for whoever shows it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Loading:
    """A file is being loaded; `stage` is "model" or "projector", `fraction` goes from 0 to 1."""

    stage: str
    fraction: float


@dataclass(frozen=True)
class Downloading:
    """A file is being downloaded: bytes so far and in all (0: not known)."""

    file: str
    done: int
    total: int


@dataclass(frozen=True)
class Encoding:
    """Images run through the vision encoder, so far and in all."""

    done: int
    total: int


@dataclass(frozen=True)
class Prefill:
    """Prompt tokens evaluated, so far and in all."""

    done: int
    total: int


@dataclass(frozen=True)
class Delta:
    """More text of the reply."""

    text: str


@dataclass(frozen=True)
class Notice:
    """One line the user should read, such as a checkpoint that could not be used.

    One that is not `lasting` is progress: of interest now, and not tomorrow.
    """

    text: str
    lasting: bool = True


Event = Downloading | Loading | Encoding | Prefill | Delta | Notice
