"""Completion of subcommands and options, in every front end that asks the kernel."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable
from typing import Any

from IPython.core.completer import (
    CompletionContext,
    SimpleCompletion,
    SimpleMatcherResult,
    context_matcher,
)

from llmagic.notebook.commands import COMMANDS
from llmagic.notebook.options import option_strings

_CELL = re.compile(r"\s*%%llm\s(?:.*\s)?(-\S*)")
_SUBCOMMAND = re.compile(r"\s*%llm\s+(\w*)")
_ITS_OPTION = re.compile(r"\s*%llm\s+(\w+)\s(?:.*\s)?(-\S*)")


def complete(line: str, cell_options: Iterable[str]) -> tuple[str, list[str]]:
    """What is typed of a word behind a magic, and what it may become.

    Parameters
    ----------
    line : str
        The line up to the cursor.
    cell_options : iterable of str
        Those of `%%llm`.
    """
    if found := _CELL.fullmatch(line):
        typed, known = found[1], [*cell_options]
    elif found := _SUBCOMMAND.fullmatch(line):
        typed, known = found[1], [command.name for command in COMMANDS]
    elif found := _ITS_OPTION.fullmatch(line):
        word, typed = found.groups()
        mine = [command for command in COMMANDS if command.name == word]
        known = [name for each in mine for every in each.arguments for name in every.names]
    else:
        return "", []
    # Short options are as quickly written as completed.
    return typed, [text for text in known if text.startswith(typed) and _is_long(text)]


def _is_long(text: str) -> bool:
    return text.startswith("--") or not text.startswith("-")


def install(shell: Any, parser: argparse.ArgumentParser) -> None:
    """Let `shell` complete the options that `parser` knows, and subcommands."""
    options = option_strings(parser)

    # Before Python's names, which are not looked for then.
    @context_matcher(identifier="llmagic", priority=1000)
    def llmagic(context: CompletionContext) -> SimpleMatcherResult:
        above = context.full_text.split("\n")[: context.cursor_line]
        # What stands below `%%llm` is a question, whatever it looks like.
        asks = any(line.lstrip().startswith("%%llm") for line in above)
        typed, found = ("", []) if asks else complete(context.text_until_cursor, options)
        return {
            "completions": [SimpleCompletion(text, type="magic") for text in found],
            "matched_fragment": typed,
            "suppress": bool(found),
            "ordered": True,
        }

    remove(shell)
    shell.Completer.custom_matchers.append(llmagic)


def remove(shell: Any) -> None:
    """Undo `install`."""
    matchers = shell.Completer.custom_matchers
    matchers[:] = [m for m in matchers if getattr(m, "matcher_identifier", "") != "llmagic"]
