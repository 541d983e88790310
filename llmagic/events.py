"""What happens during a turn, for whoever shows it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


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
    """More text of the reply; `thought` is what a model says to itself before it answers.

    `n_tokens` were drawn since the last one.
    """

    text: str
    thought: bool = False
    n_tokens: int = field(default=1, compare=False)


@dataclass(frozen=True)
class Called:
    """The model calls a tool, which runs now."""

    name: str
    arguments: dict[str, Any]


@dataclass(frozen=True)
class Returned:
    """The tool called last is done; `text` is what the model is told, an error if it `failed`."""

    text: str
    failed: bool = False


@dataclass(frozen=True)
class Notice:
    """One line the user should read, such as a checkpoint that could not be used.

    One that is not `lasting` is progress: of interest now, and not tomorrow. One that does not warn
    only says what was done.
    """

    text: str
    lasting: bool = True
    warns: bool = True


Event = Downloading | Loading | Encoding | Prefill | Delta | Called | Returned | Notice

BAR = 20
"""Characters of a progress bar."""


def progress(event: Event) -> str | None:
    """One line about what is being done, with a bar; None if there is nothing to wait for."""
    match event:
        case Downloading(file, done, total) if not total:
            return f"downloading {_short(file)}: {_mebibytes(done)} MiB"
        case Downloading(file, done, total) if done < total:
            amount = f"{_mebibytes(done)} of {_mebibytes(total)} MiB"
            return f"downloading {_short(file)}: {_bar(done / total)} {amount}"
        case Loading(stage, fraction) if fraction < 1:
            return f"loading the {stage}: {_bar(fraction)} {fraction:.0%}"
        case Encoding(done, total) if done < total:
            return f"looking at image {done + 1} of {total}: {_bar(done / total)}"
        case Prefill(done, total) if done < total:
            return f"reading the prompt: {_bar(done / total)} {done:,} of {total:,} tokens"
    return None


def stage(event: Event) -> dict[str, object] | None:
    """What is being done, for a front end that draws it itself; None if an event does not say.

    Returns
    -------
    dict
        `stage` is "download", "model", "image" or "prompt"; `done` of `total` (None: not known)
        are bytes, percent, images or tokens.
    """
    match event:
        case Downloading(_, done, total):
            return {"stage": "download", "done": done, "total": total or None}
        case Loading(_, fraction):
            return {"stage": "model", "done": round(fraction * 100), "total": 100}
        case Encoding(done, total):
            return {"stage": "image", "done": done, "total": total}
        case Prefill(done, total):
            return {"stage": "prompt", "done": done, "total": total}
    return None


def _bar(fraction: float) -> str:
    full = int(BAR * max(0.0, min(fraction, 1.0)))
    return "█" * full + "░" * (BAR - full)


def _mebibytes(number: int) -> str:
    return f"{number / 2**20:,.1f}"


def _short(file: str) -> str:
    # A line longer than the terminal could not be taken away again.
    name = file.rpartition("/")[2]
    return name if len(name) <= 30 else f"…{name[-29:]}"
