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
    name = "llmagic"
    try:
        terminal = _Terminal()
        parsed = _parser(terminal.tell).parse_args(arguments)
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
    except BrokenPipeError:
        # `… | head`: whoever read has enough. Nothing is left to flush at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return NOT_WELL


def _parser(tell: Tell) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="llmagic", description="Tools around %%llm cells.")
    version = importlib.metadata.version("llmagic")
    parser.add_argument("--version", action="version", version=f"%(prog)s {version}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_check(commands, tell)
    _add_cache(commands)
    _add_models(commands, tell)
    _add_doctor(commands)
    return parser


def _add_check(commands: argparse._SubParsersAction[argparse.ArgumentParser], tell: Tell) -> None:
    parser = commands.add_parser(
        "check",
        help="is restoring exact for a model?",
        description="Save and restore random tokens (and pictures) in every way a notebook does, "
        "compare the logits bit for bit, and print the verdict as JSON. Status 0: exact; "
        "1: not exact; 2: the model cannot be loaded.",
    )
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


def _add_cache(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    from llmagic.store.commands import add

    summary = "what is kept on disk: list it, verify it, make it less"
    add(commands.add_parser("cache", help=summary, description=summary))


def _add_models(commands: argparse._SubParsersAction[argparse.ArgumentParser], tell: Tell) -> None:
    from llmagic.catalog.commands import add

    summary = "the models on disk, and whether they fit; get models, name them"
    add(commands.add_parser("models", help=summary, description=summary), tell)


def _add_doctor(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    from llmagic.doctor.report import add

    summary = "what works on this machine, and the command that mends what does not"
    description = f"{summary}. Status 0: no problem; 1: at least one."
    add(commands.add_parser("doctor", help=summary, description=description))


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected at least 1, and got {value}")
    return value


if __name__ == "__main__":
    sys.exit(main())
