"""docs/magics.md has every option, subcommand and setting, as the code says them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from llmagic.errors import UsageError
from llmagic.notebook import options
from llmagic.notebook.commands import COMMANDS, HELP_TEXT
from llmagic.notebook.magics import LLMagic

PROJECT = Path(__file__).resolve().parents[2]


def test_the_reference_is_what_the_code_says(tmp_path: Path) -> None:
    written = tmp_path / "magics.md"
    script = PROJECT / "scripts" / "magics_reference.py"
    subprocess.run([sys.executable, str(script), str(written)], cwd=PROJECT, check=True)
    kept = (PROJECT / "docs" / "magics.md").read_text(encoding="utf-8")
    assert kept == written.read_text(encoding="utf-8"), "run scripts/magics_reference.py"


def test_everything_has_help() -> None:
    for action in LLMagic.llm_cell.parser._actions:
        assert action.help, action.option_strings
    for command in COMMANDS:
        assert command.usage in HELP_TEXT
        assert command.help
        for argument in command.arguments:
            assert argument.settings.get("help"), (command.name, argument.names)
    for name, trait in LLMagic.class_traits(config=True).items():
        assert trait.help, name


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_unknown_options_suggest_the_nearest(command) -> None:
    first = "" if all(each.is_option for each in command.arguments) else "x"
    for argument in command.arguments:
        word = argument.names[-1]
        if argument.is_option:
            with pytest.raises(UsageError, match=f"did you mean {word}"):
                options.parse(command._parser(), f"%llm {command.name}", f"{first} {word[:-1]}z 1")


def test_unknown_options_of_a_cell_suggest_the_nearest() -> None:
    for action in LLMagic.llm_cell.parser._actions:
        word = action.option_strings[-1]
        if len(word) > 5:
            with pytest.raises(UsageError, match="did you mean --"):
                options.parse(LLMagic.llm_cell.parser, "%%llm", f"{word[:-1]}z")
