"""Option lines: split, parsed, and refused with a hint at what may have been meant."""

from __future__ import annotations

import argparse
import difflib
import re
import shlex
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

from IPython.core.error import UsageError as ShellUsageError
from IPython.core.magic_arguments import argument, magic_arguments
from IPython.utils.text import DollarFormatter

from llmagic.errors import UsageError
from llmagic.notebook.entries import MAIN, Scope

_Magic = TypeVar("_Magic", bound=Callable[..., None])

MAX_SEED = 2**31 - 1
"""llama.cpp takes the largest 32-bit number for "random"; one bit less keeps away from it."""


def parse(parser: argparse.ArgumentParser, magic: str, line: str) -> argparse.Namespace:
    """The options on a line.

    Parameters
    ----------
    parser : argparse.ArgumentParser
        What may stand there.
    magic : str
        What stands before it, for messages; its first word followed by ? shows help.
    line : str
        Split as a shell does: quotes keep words together.

    Raises
    ------
    UsageError
        For everything that cannot be understood. IPython's own `UsageError` is not used: it prints
        to stderr and "Run All" goes on.
    """
    try:
        known, rest = parser.parse_known_args(shlex.split(line))
    except ValueError as error:
        message = f"{magic} {line}: {error}. Quote texts with spaces or quotes in them."
        raise UsageError(message) from None
    except ShellUsageError as error:
        help_ = f"{magic.split(maxsplit=1)[0]}?"
        raise UsageError(f"{magic}: {error}. `{help_}` shows what is expected.") from None
    if rest:
        raise UsageError(f"{magic}: {_unknown(parser, rest[0])}")
    return known


def asks_for_help(line: str) -> bool:
    """Whether -h or --help stands on a line, and not in a text."""
    try:
        words = shlex.split(line)
    except ValueError:
        words = line.split()
    return not {"-h", "--help"}.isdisjoint(words)


def _unknown(parser: argparse.ArgumentParser, word: str) -> str:
    if not word.startswith("-"):
        return f"{word!r} is not expected here; a text with spaces needs quotes."
    name = word.partition("=")[0]
    return f"there is no option {name}{hint(name, option_strings(parser))}"


def option_strings(parser: argparse.ArgumentParser) -> list[str]:
    """Every option of a parser, as it is written."""
    return [text for action in parser._actions for text in action.option_strings]


def hint(word: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown word: the nearest known one, or all of them."""
    known = list(known)
    if not known:
        return "; there are none."
    found = difflib.get_close_matches(word, known, n=1, cutoff=0.7)
    return f"; did you mean {found[0]}?" if found else f"; there are: {', '.join(known)}."


def near(word: str, known: Iterable[str]) -> bool:
    """Whether `word` looks like one of `known`, mistyped."""
    return bool(difflib.get_close_matches(word, list(known), n=1, cutoff=0.75))


class _Marking(DollarFormatter):
    """Puts a mark where a value belongs, and keeps the value."""

    def __init__(self) -> None:
        super().__init__()
        self.values: list[str] = []

    def format_field(self, value: object, format_spec: str) -> str:
        self.values.append(super().format_field(value, format_spec))
        return f"\0{len(self.values) - 1}\0"


def expand(text: str, namespace: dict[str, Any]) -> str:
    """`text` with `{name}` and `$name` replaced, as IPython does for its own magics."""
    try:
        return DollarFormatter().vformat(text, args=[], kwargs=namespace)
    except Exception:  # braces that mean something else stay as they are, as in IPython
        return text


def expand_words(line: str, namespace: dict[str, Any]) -> str:
    """The same for a line that is split as a shell does it: what is in a value is never split.

    A path with spaces or quotes stays one word, with quotes around its field or without.
    """
    marking = _Marking()
    try:
        words = shlex.split(marking.vformat(line, args=[], kwargs=namespace))
    except Exception:  # as above; quotes that do not match are told where the line is parsed
        return line
    if not marking.values:
        return line
    values = marking.values
    return shlex.join(re.sub("\0(\\d+)\0", lambda at: values[int(at[1])], each) for each in words)


def number(
    kind: type[int] | type[float], low: float, high: float = float("inf")
) -> Callable[[str], int | float]:
    """An argparse type: a number from `low` to `high`, both included."""

    def convert(text: str) -> int | float:
        value = kind(text)
        if not low <= value <= high:
            upper = "" if high == float("inf") else f" and at most {high}"
            raise argparse.ArgumentTypeError(f"{text} is not at least {low}{upper}")
        return value

    convert.__name__ = kind.__name__
    return convert


def stop_text(text: str) -> str:
    r"""A stop string from an option line, where `\n` and `\t` are line end and tab."""
    if not text:
        raise argparse.ArgumentTypeError("an empty text would stop every reply at once")
    return text.replace("\\n", "\n").replace("\\t", "\t")


def name(text: str) -> str:
    """An argparse type: a name of one line."""
    if not text.strip() or not text.isprintable() or len(text) > 100:
        raise argparse.ArgumentTypeError(f"{text!r} is no name of one line")
    return text.strip()


class _Either(argparse.BooleanOptionalAction):
    """A switch and its opposite, of which only one may be given."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: object,
        option_string: str | None = None,
    ) -> None:
        before = getattr(namespace, self.dest)
        super().__call__(parser, namespace, cast("Any", values), option_string)
        if before is not None and before != getattr(namespace, self.dest):
            both = " and ".join(self.option_strings)
            raise UsageError(f"{both} together mean nothing; leave one out.")


_CELL = (
    argument(
        "-m",
        "--model",
        metavar="MODEL",
        help="model for this cell and those run after it: path, user/repo[:quant], alias or demo",
    ),
    argument("-s", "--system", metavar="TEXT", help="system prompt from this cell on"),
    argument(
        "-a",
        "--image",
        metavar="X",
        action="append",
        default=[],
        help="image before the text: a path, a URL or a variable; repeatable",
    ),
    argument("-o", "--out", metavar="NAME", help="put the reply into a variable"),
    argument(
        "-t",
        "--temperature",
        type=number(float, 0),
        metavar="T",
        help="0 takes the most likely token always",
    ),
    argument(
        "--top-p",
        type=number(float, 0, 1),
        metavar="P",
        help="draw from the most likely tokens that have this probability together",
    ),
    argument(
        "--top-k",
        type=number(int, 0),
        metavar="K",
        help="draw from the K most likely tokens; 0: from all",
    ),
    argument(
        "--min-p",
        type=number(float, 0, 1),
        metavar="P",
        help="drop tokens less likely than this, relative to the most likely one",
    ),
    argument(
        "--seed",
        type=number(int, 0, MAX_SEED),
        metavar="N",
        help="of the draw; by default it comes from the prompt",
    ),
    argument(
        "--max-tokens",
        type=number(int, 1),
        metavar="N",
        help="most tokens in the reply",
    ),
    argument(
        "--stop",
        type=stop_text,
        action="append",
        metavar="TEXT",
        help="ends the reply where it appears; repeatable",
    ),
    argument(
        "--schema",
        metavar="X",
        help="form of the reply, its data is in .data: a variable (pydantic model, dataclass, "
        "TypedDict, dict), a file, or JSON text in quotes",
    ),
    argument(
        "--tool",
        metavar="NAME",
        action="append",
        default=None,
        help="function the model may call, from this cell on; repeatable",
    ),
    argument("--no-tools", action="store_true", help="no tools, from this cell on"),
    argument(
        "--think",
        action=_Either,
        default=None,
        help="whether the model thinks before it answers, where its template has a switch",
    ),
    argument(
        "--thread",
        type=name,
        metavar="NAME",
        help="take part in the conversation of this name instead of the notebook's main one",
    ),
    argument("--side", action="store_true", help="see the turns above, but do not join them"),
    argument("--fresh", action="store_true", help="see no turn at all, and do not join them"),
    argument(
        "--as",
        dest="name",
        type=name,
        metavar="NAME",
        help="name of the turn where the front end names no cell: the same name again replaces it",
    ),
    argument("--resample", action="store_true", help="draw another reply (another seed)"),
    argument("--no-stream", action="store_true", help="show the reply when it is complete"),
    argument("--no-interpolate", action="store_true", help="leave {braces} as they are"),
    argument(
        "--no-checkpoint",
        action="store_true",
        help="save no state of this cell, in memory or on disk",
    ),
)


def cell_options(magic: _Magic) -> _Magic:
    """Give a cell magic the options of `%%llm`, its parser and its documentation."""
    for option in reversed(_CELL):
        magic = option(magic)
    return magic_arguments("%llm")(magic)


def options_of(source: str) -> argparse.Namespace:
    """The options of a `%%llm` cell by its source; the defaults where they cannot be read."""
    line = re.match(r"\s*%%llm[ \t]+(.*)", source)
    try:
        return parse(_cell_parser(), "%%llm", line[1] if line else "")
    except UsageError:
        return parse(_cell_parser(), "%%llm", "")


def scope_of(given: argparse.Namespace) -> Scope:
    """Which turns a cell with these options sees, and whether it joins them."""
    return Scope(given.thread or MAIN, side=given.side, fresh=given.fresh)


@cache
def _cell_parser() -> argparse.ArgumentParser:
    def llm() -> None:
        pass

    return cast("argparse.ArgumentParser", cell_options(llm).parser)  # type: ignore[attr-defined]


def path(text: str) -> Path:
    """An argparse type: a path, where ~ is the home folder."""
    return Path(text).expanduser()


def scaled_path(text: str) -> tuple[str, float]:
    """An argparse type: a path that a colon and a number may follow (1 by default)."""
    name, _, scale = text.rpartition(":")
    try:
        return str(path(name)), float(scale)
    except ValueError:
        return str(path(text)), 1.0
