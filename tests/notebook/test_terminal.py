"""Plain IPython in a terminal, and fed from a pipe."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest

from llmagic.notebook.display import INTERRUPTED
from tests.notebook.conftest import write_picture
from tests.toys import Toy

IPYTHON = [
    *("-m", "IPython", "--no-banner", "--simple-prompt", "--no-confirm-exit", "--no-tip"),
    *("--colors=nocolor", "--HistoryManager.enabled=False", "--ext=llmagic"),
]


class Terminal:
    """IPython behind a pseudo terminal."""

    def __init__(self, folder: Path) -> None:
        self.child = pexpect.spawn(
            sys.executable,
            IPYTHON,
            cwd=str(folder),
            env={**os.environ, "TERM": "xterm"},
            encoding="utf-8",
            codec_errors="replace",
            dimensions=(50, 500),
            timeout=300,
            echo=False,
        )
        self.child.expect(r"In \[1\]: ")

    def run(self, *lines: str) -> str:
        """Type lines and give what is printed before the next prompt."""
        self.type(*lines)
        return self.wait()

    def type(self, *lines: str) -> None:
        for line in lines:
            self.child.sendline(line)
        if len(lines) > 1:  # a cell magic ends with two empty lines
            self.child.sendline("")
            self.child.sendline("")

    def wait(self) -> str:
        self.child.expect(r"In \[\d+\]: $")
        text = re.sub(r" +\.\.\.: ", "", self.child.before)
        return text.replace("\r\n", "\n")


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    terminal = Terminal(tmp_path)
    yield terminal
    terminal.child.close(force=True)


def test_a_reply_streams_and_ends_with_a_newline(
    terminal: Terminal, qwen35: Toy, tmp_path: Path
) -> None:
    write_picture(tmp_path / "a.png")
    loaded = terminal.run(f"%llm load {qwen35.model} --projector {qwen35.projector}")
    assert "llmagic toy qwen35 is loaded" in loaded
    printed = terminal.run("%%llm -t 0 --max-tokens 12 -o reply", "![](a.png)What?")
    # What is being done is shown in a line that is taken away before the reply comes.
    assert re.search(r"looking at image 1 of 1: ░+\r\x1b\[K", printed)
    assert re.search(r"reading the prompt: ░+ 0 of \d+ tokens\r\x1b\[K", printed)
    shown = re.split(r"\r\x1b\[K", printed)[-1]
    ascii_only = (
        "print(ascii(''.join(c if c.isprintable() or c in '\\n\\t' else '?' for c in reply)))"
    )
    reply = terminal.run(ascii_only).strip()
    assert shown.endswith("\n\n"), "the reply's own newline, and the one before the next prompt"
    shown = shown.replace("[cut after 12 tokens (--max-tokens)]", "")
    letters = re.sub(r"[^a-zA-Z0-9]", "", re.sub(r"\\[xuU][0-9a-f]+|\\[nt]", "", reply))
    assert letters == re.sub(r"[^a-zA-Z0-9]", "", shown.encode("ascii", "ignore").decode())
    status = terminal.run("%llm history")
    assert "1     ▢What?" in status


def test_control_c_in_a_terminal(terminal: Terminal, llama: Toy) -> None:
    terminal.run(f"%llm load {llama.model}")
    terminal.type("%%llm --max-tokens 5000 -t 1.5 --min-p 0", "Tell me a story.")
    terminal.child.expect(r"reading the prompt")
    terminal.child.expect(r"\x1b\[K.{20}", timeout=300)
    terminal.child.sendintr()
    printed = terminal.wait()
    assert f"[{INTERRUPTED}]" in printed
    assert printed.rstrip().splitlines()[-1].startswith("Interrupted: ")
    assert re.search(r"^turns +0$", terminal.run("%llm status"), flags=re.MULTILINE)
    assert "Error" not in terminal.run("%llm Hello there")


def test_errors_in_a_terminal(terminal: Terminal) -> None:
    terminal.run("%config LLMagic.model = 'none'")
    printed = terminal.run("%%llm -a x.png", "What?")
    assert printed.strip().splitlines()[-1].startswith("NoModelError: ")
    assert "Traceback" not in printed


def test_an_unfinished_cell_waits_for_its_text(terminal: Terminal) -> None:
    terminal.child.sendline("%%llm -t 0")
    terminal.child.expect(r" +\.\.\.: $")


def test_piped_input(llama: Toy, tmp_path: Path) -> None:
    """A script without a terminal: the reply alone is on stdout, no progress on stderr."""
    script = (
        f"%llm load {llama.model}\n"
        "print('BEGIN')\n"
        "get_ipython().run_cell_magic('llm', '-t 0 --max-tokens 8 -o reply', 'Hello')\n"
        "print('END')\n"
        "print(ascii(str(reply)))\n"
    )
    (tmp_path / "script.ipy").write_text(script)
    done = subprocess.run(
        [sys.executable, *IPYTHON, "script.ipy"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        errors="replace",
        check=True,
    )
    assert done.stderr == ""
    before, rest = done.stdout.split("BEGIN\n")
    assert before.startswith("llmagic toy llama is loaded")
    shown, reply = rest.split("\nEND\n")
    text = eval(reply)
    visible = "".join(c for c in text if c.isprintable())
    assert visible.replace("�", "") in shown.replace("�", "").replace("\n", "") or not visible
