"""The options that JupyterLab completes are those of the kernel."""

from __future__ import annotations

import re
from pathlib import Path

from IPython.core.interactiveshell import InteractiveShell

from llmagic.notebook.magics import LLMagic

SOURCE = Path(__file__).resolve().parents[2] / "labextension" / "src" / "completion.ts"


def test_completion_knows_every_option() -> None:
    parser = LLMagic(InteractiveShell.instance()).llm_cell.parser
    known = {text for action in parser._actions for text in action.option_strings}
    completed = set(re.findall(r"^  '(--[\w-]+)':", SOURCE.read_text(), flags=re.MULTILINE))
    assert completed == {text for text in known if text.startswith("--")}
    InteractiveShell.clear_instance()
