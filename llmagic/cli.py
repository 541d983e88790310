"""The command `llmagic`: status 0 only when all is well, and always of what only lists."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from llmagic.errors import LLMagicError
from llmagic.events import Event, Notice, progress

Tell = Callable[[Event], None]

NOT_WELL = 1
CANNOT = 2
INTERRUPTED = 130

INTERVAL = 0.1
"""Least time between two lines of progress (s)."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line; returns the exit status.

    Parameters
    ----------
    arguments : sequence of str, optional
        What follows the program's name; by default that of this process.
    """
    name, given = "llmagic", sys.argv[1:] if arguments is None else arguments
    try:
        terminal = _Terminal()
        parsed = _parser(given, terminal.tell).parse_args(given)
        name = f"llmagic {parsed.command}"
        run: Callable[[argparse.Namespace], int] = parsed.run
        with terminal:
            return run(parsed)
    except KeyboardInterrupt:  # llmagic's own is an LLMagicError, too
        print(f"{name}: interrupted", file=sys.stderr)
        return INTERRUPTED
    except LLMagicError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return CANNOT
    except ImportError as error:
        print(f"{name}: {error}. `llmagic doctor` says what is missing.", file=sys.stderr)
        return CANNOT
    except BrokenPipeError:
        # `… | head`: whoever read has enough. Nothing is left to flush at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return NOT_WELL


def _parser(given: Sequence[str], tell: Tell) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="llmagic", description="Tools around %%llm cells.")
    parser.add_argument("--version", action="version", version=f"%(prog)s {_version()}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    # Only the one that is asked for has its options, which import what it needs: `doctor` has to
    # run where something of that is missing.
    asked = next((each for each in given if not each.startswith("-")), None)
    for name, (summary, more, add) in COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=more or summary)
        if name == asked:
            add(command, tell)
    return parser


def _version() -> str:
    try:
        return importlib.metadata.version("llmagic")
    except importlib.metadata.PackageNotFoundError:
        return "(not installed)"  # which is for `doctor` to say


def _add_check(parser: argparse.ArgumentParser, tell: Tell) -> None:
    parser.add_argument("model", help="GGUF file, user/repo[:quant] of a hub, or an alias")
    parser.add_argument("--projector", type=Path, help="its vision projector, if not beside it")
    parser.add_argument("--no-projector", action="store_true", help="without one")
    parser.add_argument("--kv", default="f16", help="cache type: f16, q8_0 or q4_0")
    parser.add_argument("--rounds", type=_positive, default=2, help="random stories (2)")
    parser.add_argument("--tokens", type=_positive, default=256, help="tokens of each (256)")
    parser.add_argument("--image-tokens", type=_positive, default=0, help="most for one image")
    parser.add_argument("--threads", type=_positive, default=0, help="all physical cores")
    parser.set_defaults(run=lambda parsed: _check(parsed, tell))


def _check(parsed: argparse.Namespace, tell: Tell) -> int:
    # llama.cpp loads only for those who need it.
    from llmagic.catalog import resolve
    from llmagic.engine.check import Effort, check
    from llmagic.settings import Loading

    loading = Loading(kv_type=parsed.kv, image_tokens=parsed.image_tokens, n_threads=parsed.threads)
    effort = Effort(parsed.rounds, parsed.tokens)
    projector = False if parsed.no_projector else parsed.projector
    files = resolve(parsed.model, projector=projector, tell=tell)
    report = check(files.model, files.projector, loading, effort)
    print(json.dumps(report, indent=2))
    return 0 if report["exact"] else NOT_WELL


class _Terminal:
    """Shows events on stderr: a line of progress where somebody looks, notices in any case."""

    def __init__(self) -> None:
        self._shown = ""
        self._at = 0.0

    def __enter__(self) -> _Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        self._write("")

    def tell(self, event: Event) -> None:
        if isinstance(event, Notice):
            self._write("")
            print(f"llmagic: {event.text}", file=sys.stderr, flush=True)
        elif sys.stderr.isatty():
            line, now = progress(event) or "", time.monotonic()
            if not line or now - self._at >= INTERVAL:
                self._at = now
                self._write(line)

    def _write(self, line: str) -> None:
        if line != self._shown:
            print(f"\r\x1b[K{line}", end="", file=sys.stderr, flush=True)
            self._shown = line


def _add_cache(parser: argparse.ArgumentParser, _: Tell) -> None:
    from llmagic.store.commands import add

    add(parser)


def _add_models(parser: argparse.ArgumentParser, tell: Tell) -> None:
    from llmagic.catalog.commands import add

    add(parser, tell)


def _add_doctor(parser: argparse.ArgumentParser, _: Tell) -> None:
    from llmagic.doctor.report import add

    add(parser)


COMMANDS: dict[str, tuple[str, str, Callable[[argparse.ArgumentParser, Tell], None]]] = {
    "check": (
        "is restoring exact for a model?",
        "Save and restore random tokens (and pictures) in every way a notebook does, compare the "
        "logits bit for bit, and print the verdict as JSON. Status 0: exact; 1: not exact; "
        "2: the model cannot be loaded.",
        _add_check,
    ),
    "cache": ("what is kept on disk: list it, verify it, make it less", "", _add_cache),
    "models": (
        "the models on disk, and whether they fit; get models, name them",
        "",
        _add_models,
    ),
    "doctor": (
        "what works on this machine, and the command that mends what does not",
        "What works on this machine, and the command that mends what does not. Status 0: no "
        "problem; 1: at least one.",
        _add_doctor,
    ),
}
"""Summary, description (where it says more) and options of each command."""


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected at least 1, and got {value}")
    return value


if __name__ == "__main__":
    sys.exit(main())
