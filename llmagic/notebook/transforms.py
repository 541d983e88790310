"""Two habits of IPython's input that would keep prompts from the magics."""

from __future__ import annotations

import re
import tokenize
from typing import Any

from IPython.core.inputtransformer2 import EscapedCommand, HelpEnd

_QUESTION = re.compile(r"\s*%llm\s+\S.*\?\s*")


class QuestionLine(EscapedCommand):
    """`%llm What is this?` asks the model; IPython would look for help about `this`."""

    priority = HelpEnd.priority - 1

    @classmethod
    def find(cls, tokens_by_line: list[list[tokenize.TokenInfo]]) -> QuestionLine | None:
        """The first such line, among tokens, so that no string is taken for one."""
        for line in tokens_by_line:
            rest = [t for t in line if t.type not in (tokenize.INDENT, tokenize.DEDENT)]
            if rest and rest[0].string == "%" and _QUESTION.fullmatch(rest[0].line):
                return cls(rest[0].start)
        return None


def keep_empty_cell(lines: list[str]) -> list[str]:
    """Give a `%%llm` cell without text an empty line.

    IPython refuses a cell magic without a body before the magic runs, and only prints it: "Run
    All" would go on. And `%%llm -a picture.png` alone is a prompt.
    """
    if lines and re.match(r"%%llm(\s|$)", lines[0]) and not "".join(lines[1:]):
        return [lines[0], "\n"]
    return lines


# A terminal asks whether a cell is complete; with the empty line it always would be.
keep_empty_cell.has_side_effects = True  # type: ignore[attr-defined]


def install(shell: Any) -> None:
    """Let prompts through to the magics of `shell`."""
    shell.input_transformer_manager.token_transformers.append(QuestionLine)
    shell.input_transformers_cleanup.append(keep_empty_cell)


def remove(shell: Any) -> None:
    """Undo `install`."""
    shell.input_transformer_manager.token_transformers.remove(QuestionLine)
    shell.input_transformers_cleanup.remove(keep_empty_cell)
