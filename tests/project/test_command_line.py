"""How the commands end when they are interrupted."""

from __future__ import annotations

import subprocess
import sys

import pytest

from llmagic import cli

# A Ctrl-C as soon as llama.cpp has the signal, and one while Python has it.
IN_THE_MODEL = """
from llmagic.model.interrupt import InterruptFlag
entered = InterruptFlag.__enter__
def enter(flag):
    entered(flag)
    signal.raise_signal(signal.SIGINT)
InterruptFlag.__enter__ = enter
"""
BEFORE_THE_MODEL = """
from llmagic.catalog import names
def resolved(*_, **__):
    signal.raise_signal(signal.SIGINT)
names._resolve = resolved
"""
CHECK = "from llmagic.cli import main; sys.exit(main(['check', 'demo', '--rounds', '1']))"
EVALUATE = "from llmagic.demo.evaluate import main; sys.exit(main(['--turns', '1']))"


@pytest.mark.parametrize("when", [BEFORE_THE_MODEL, IN_THE_MODEL], ids=["before", "in the model"])
@pytest.mark.parametrize(
    ("command", "name"),
    [(CHECK, "llmagic check"), (EVALUATE, "python -m llmagic.demo.evaluate")],
    ids=["check", "evaluate"],
)
def test_interrupt_is_one_line_and_a_status(when: str, command: str, name: str) -> None:
    # A shell starts what runs in the background with the signal ignored.
    python = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)"
    program = f"{python}\n{when}\n{command}"
    done = subprocess.run(
        [sys.executable, "-c", program], check=False, capture_output=True, text=True, timeout=600
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", f"{name}: interrupted\n")


def test_interrupt_while_the_options_are_read(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_parser", interrupted)
    assert cli.main(["doctor"]) == 130
    assert capsys.readouterr().err == "llmagic: interrupted\n"
