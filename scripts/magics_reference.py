"""Write docs/magics.md: every option, subcommand and setting, from the code that has them.

    python scripts/magics_reference.py [FILE]

A test compares the file with what this gives.
"""

from __future__ import annotations

import sys
from argparse import Action
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from llmagic.notebook.commands import COMMANDS
from llmagic.notebook.magics import LLMagic

PROJECT = Path(__file__).resolve().parent.parent
REFERENCE = PROJECT / "docs" / "magics.md"


def reference() -> str:
    """The whole page."""
    return "\n".join([*_head(), *_options(), *_commands(), *_settings()]) + "\n"


def _head() -> Iterator[str]:
    yield from (
        "# Reference of the magics",
        "",
        "Written by `scripts/magics_reference.py`; what they are for is in [README](../README.md) "
        "and [conversation.md](conversation.md).",
        "",
    )


def _options() -> Iterator[str]:
    yield from ("## Options of `%%llm`", "", "| option | meaning |", "| --- | --- |")
    for action in LLMagic.llm_cell.parser._actions:
        if action.option_strings != ["-h", "--help"]:
            yield f"| {_spelled(action)} | {_text(action.help)} |"
    yield ""


def _commands() -> Iterator[str]:
    yield from ("## Subcommands of `%llm`", "")
    for command in COMMANDS:
        yield f"### `{command.usage}`"
        text = _text(command.help)
        yield from ("", f"{text[0].upper()}{text[1:]}.", "")
        if command.arguments:
            yield from ("| argument | meaning |", "| --- | --- |")
            for argument in command.arguments:
                name = " ".join(
                    [argument.names[-1], str(argument.settings.get("metavar", ""))]
                    if argument.is_option
                    else [str(argument.settings.get("metavar", argument.names[0]))]
                ).strip()
                yield f"| `{name}` | {_text(argument.settings.get('help'))} |"
            yield ""
    yield from (
        "`%llm TEXT` asks a question of one line, which is all of it: it takes no options.",
        "",
        "On the line of a subcommand `{name}` and `$name` are replaced by the values of variables, "
        "as IPython does it; on the first line of `%%llm` in `-m` only.",
        "",
    )


def _settings() -> Iterator[str]:
    yield from (
        "## Settings",
        "",
        "`%config LLMagic` shows them, `%config LLMagic.temperature = 0.2` sets one, "
        "`c.LLMagic.temperature = 0.2` in `ipython_config.py` sets it for good.",
        "",
        "| setting | default | meaning |",
        "| --- | --- | --- |",
    )
    for name, trait in sorted(LLMagic.class_traits(config=True).items()):
        yield f"| `LLMagic.{name}` | {_default(trait)} | {_text(trait.help)} |"


def _default(trait: Any) -> str:
    """A setting's default, where it is the same on every machine."""
    if trait.name in ("store", "store_budget"):
        return ""
    value = trait.default_value
    return f"`{value!r}`" if isinstance(value, bool | int | float | str | None) else "`[]`"


def _spelled(action: Action) -> str:
    words = ", ".join(f"`{text}`" for text in action.option_strings)
    return f"{words} {action.metavar}" if action.metavar else words


def _text(help_: object) -> str:
    return " ".join(str(help_ or "").split()).replace("%%", "%").replace("|", "\\|")


def main() -> None:
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else REFERENCE
    path.write_text(reference(), encoding="utf-8")


if __name__ == "__main__":
    main()
