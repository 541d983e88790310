"""The command `llmagic`; its subcommands share one rule: status 0 only when all is well."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from llmagic.errors import LLMagicError

NOT_WELL = 1
CANNOT = 2
INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line; returns the exit status.

    Parameters
    ----------
    arguments : sequence of str, optional
        What follows the program's name; by default that of this process.
    """
    parsed = _parser().parse_args(arguments)
    run: Callable[[argparse.Namespace], int] = parsed.run
    try:
        return run(parsed)
    except LLMagicError as error:
        print(f"llmagic {parsed.command}: {error}", file=sys.stderr)
        return CANNOT
    except KeyboardInterrupt:
        print(f"llmagic {parsed.command}: interrupted", file=sys.stderr)
        return INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="llmagic", description="Tools around %%llm cells.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_check(commands)
    _add_cache(commands)
    return parser


def _add_check(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "check",
        help="is restoring exact for a model?",
        description="Save and restore random tokens (and pictures) in every way a notebook does, "
        "compare the logits bit for bit, and print the verdict as JSON. Status 0: exact; "
        "1: not exact; 2: the model cannot be loaded.",
    )
    parser.add_argument("model", type=Path, help="GGUF file of the model")
    parser.add_argument("--projector", type=Path, help="GGUF file of its vision projector")
    parser.add_argument("--kv", default="f16", help="cache type: f16, q8_0 or q4_0")
    parser.add_argument("--rounds", type=_positive, default=2, help="random stories (2)")
    parser.add_argument("--tokens", type=_positive, default=256, help="tokens of each (256)")
    parser.add_argument("--image-tokens", type=_positive, default=0, help="most for one image")
    parser.add_argument("--threads", type=_positive, default=0, help="all physical cores")
    parser.set_defaults(run=_check)


def _check(parsed: argparse.Namespace) -> int:
    # llama.cpp loads only for those who need it.
    from llmagic.engine.check import Effort, check
    from llmagic.settings import Loading

    loading = Loading(kv_type=parsed.kv, image_tokens=parsed.image_tokens, n_threads=parsed.threads)
    effort = Effort(parsed.rounds, parsed.tokens)
    projector: Path | None = parsed.projector
    report = check(
        parsed.model.expanduser(),
        projector.expanduser() if projector is not None else None,
        loading,
        effort,
    )
    print(json.dumps(report, indent=2))
    return 0 if report["exact"] else NOT_WELL


def _add_cache(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    from llmagic.store.commands import add

    summary = "what is kept on disk: list it, verify it, make it less"
    add(commands.add_parser("cache", help=summary, description=summary))


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected at least 1, and got {value}")
    return value


if __name__ == "__main__":
    sys.exit(main())
