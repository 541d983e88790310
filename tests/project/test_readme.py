"""What README shows runs, and its table lists the options there are."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
README = (PROJECT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    found = re.findall(rf"^```{language}\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)
    assert found, language
    return found


def run(program: str, folder: Path) -> str:
    environment = os.environ | {"LLMAGIC_STORE": str(folder / "store")}
    result = subprocess.run(
        [sys.executable, "-c", program],
        cwd=folder,
        env=environment,
        check=False,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_python_example(tmp_path):
    (example,) = blocks("python")
    output = run(example, tmp_path)
    restored = re.search(r"'tokens': (\d+)", output.splitlines()[-1])
    assert restored, output
    assert int(restored[1]) > 0


def test_cells(tmp_path):
    program = f"""
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
for cell in {blocks("ipython")!r}:
    shell.run_cell(cell, store_history=True).raise_error()
usage = shell.user_ns["answer"].usage
assert usage["prompt"]["images"] == usage["restored"]["images"] == 1, usage
assert usage["encoded"]["images"] == 0, usage
print("answer:", shell.user_ns["answer"])
"""
    shutil.copytree(PROJECT / "notebooks" / "pictures", tmp_path / "pictures")
    assert run(program, tmp_path).splitlines()[-1] == "answer: Blue."


def test_options_in_the_table_are_the_options_there_are():
    from llmagic.notebook import magics

    rows = [line for line in README.splitlines() if line.startswith("| `-")]
    listed = {option for row in rows for option in re.findall(r"`(--?[a-z-]+)`", row)}
    parser = magics.LLMagic.llm_cell.parser
    there = {option for action in parser._actions for option in action.option_strings}
    assert listed == there


def test_settings_in_the_table_are_the_settings_there_are():
    from llmagic.notebook.defaults import Defaults

    rows = [line.split("|")[1] for line in README.splitlines() if line.startswith("| `LLMagic.")]
    listed = {
        name.removeprefix("LLMagic.") for row in rows for name in re.findall(r"`([^`]+)`", row)
    }
    assert listed == set(Defaults.class_trait_names(config=True))
