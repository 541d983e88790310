"""SIGINT to a real kernel while images are encoded, the prompt is read, a reply is generated."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from IPython.core.interactiveshell import InteractiveShell

from llmagic.errors import Interrupted
from llmagic.notebook.display import INTERRUPTED
from llmagic.notebook.interrupts import held
from llmagic.session import Session
from tests.notebook.conftest import write_picture
from tests.notebook.kernel import Kernel, Message, Outcome
from tests.toys import Toy

ENCODE, PREFILL, DECODE = "looking at image", "reading the prompt", ""
LONG = 6000
"""Tokens of a prompt that takes a while to read."""


class Interrupt:
    """Says yes at the first display of a phase, and remembers when."""

    def __init__(self, phase: str) -> None:
        self.phase = phase
        self.at = 0.0
        self.seen = ""

    def __call__(self, message: Message) -> bool:
        if message.type not in ("display_data", "update_display_data"):
            return False
        progress = message.text.startswith((ENCODE, PREFILL, "loading"))
        if progress != bool(self.phase) or not message.text.startswith(self.phase):
            return False
        self.at, self.seen = time.monotonic(), message.text
        return True


def interrupt(kernel: Kernel, phase: str, code: str) -> Outcome:
    """Run a cell, interrupt it in a phase, check what it leaves behind."""
    interrupt = Interrupt(phase)
    outcome = kernel.run(code, "interrupted", interrupt=interrupt)
    took = time.monotonic() - interrupt.at
    assert interrupt.at, f"the cell never came to {phase or 'its reply'!r}"
    assert outcome.error == "Interrupted"
    assert outcome.message.startswith("Interrupted: ")
    assert "\n" not in outcome.message.strip()
    assert took < 60
    assert outcome.text.endswith(INTERRUPTED)
    assert outcome.shown["text/markdown"].endswith(f"*{INTERRUPTED}*")
    assert outcome.usage["generated"]["stop"] == "interrupt"
    assert outcome.usage["thread"] == "main"
    assert outcome.usage["turn"] is None, "nothing can stand on it"
    if phase == DECODE:
        assert outcome.text.startswith(interrupt.seen)
    else:
        assert outcome.text == INTERRUPTED
    return outcome


def conversation(kernel: Kernel) -> str:
    return kernel.run("%llm history").text


@pytest.mark.parametrize(("name", "count", "size"), [("qwen35", 40, 512), ("gemma3", 200, 96)])
def test_while_images_are_encoded(
    kernel: Kernel,
    toy_named: Callable[[str], Toy],
    tmp_path: Path,
    name: str,
    count: int,
    size: int,
) -> None:
    toy = toy_named(name)
    kernel.load(toy.model, toy.projector)
    before = kernel.ask("Hello", "above", "-t 0")
    history = conversation(kernel)
    for index in range(count):
        write_picture(tmp_path / f"{index}.png", size=size, shade=index)
    images = "".join(f"![]({index}.png)" for index in range(count))
    outcome = interrupt(kernel, ENCODE, f"%%llm\n{images}Compare.")
    assert outcome.usage["encoded"]["images"] < count
    assert outcome.usage["evaluated"]["tokens"] == 0
    assert conversation(kernel) == history
    assert kernel.ask("Hello", "above", "-t 0").text == before.text
    again = kernel.ask("![](0.png)Hm?", "interrupted")
    assert again.usage["encoded"]["images"] == 0, "the first image was encoded before the interrupt"


@pytest.mark.parametrize("name", ["llama", "gemma3", "qwen35", "mamba2"])
def test_while_the_prompt_is_read_and_while_the_reply_comes(
    kernel: Kernel, toy_named: Callable[[str], Toy], name: str
) -> None:
    toy = toy_named(name)
    kernel.load(toy.model, toy.projector)
    before = kernel.ask("Hello", "above", "-t 0")
    history = conversation(kernel)

    outcome = interrupt(kernel, PREFILL, f"%%llm\n{'x' * LONG}")
    assert outcome.usage["generated"]["tokens"] == 0
    assert conversation(kernel) == history

    outcome = interrupt(kernel, DECODE, "%%llm --max-tokens 3000 -t 1.5 --min-p 0\nA story.")
    assert 0 < outcome.usage["generated"]["tokens"] < 3000
    assert conversation(kernel) == history

    above = kernel.ask("Hello", "above", "-t 0")
    assert above.text == before.text
    # What was interrupted is not part of the context, and the same cell can be run.
    after = kernel.ask("Short now.", "interrupted", "-t 0")
    tokens = after.usage["prompt"]["tokens"] - before.usage["prompt"]["tokens"]
    assert tokens < 60
    fresh = kernel.ask("Short now.", "another", "-t 0")
    assert fresh.usage["prompt"]["tokens"] > after.usage["prompt"]["tokens"]


def test_the_reply_after_an_interrupt_is_the_one_without(
    kernel: Kernel, qwen35: Toy, tmp_path: Path
) -> None:
    write_picture(tmp_path / "a.png")
    text = "%%llm --max-tokens 40 -t 1.2\n![](a.png)Say more."

    def without(kernel: Kernel) -> tuple[object, ...]:
        kernel.load(qwen35.model, qwen35.projector)
        kernel.ask("Hello", "above", "-t 0")
        outcome = kernel.run(text, "below")
        return outcome.text, outcome.usage["turn"]

    other = Kernel(tmp_path)
    try:
        expected = without(other)
    finally:
        other.stop()
    kernel.load(qwen35.model, qwen35.projector)
    kernel.ask("Hello", "above", "-t 0")
    interrupt(kernel, DECODE, text.replace("40", "3000").replace("-t 1.2", "-t 1.5 --min-p 0"))
    outcome = kernel.run(text, "below")
    assert (outcome.text, outcome.usage["turn"]) == expected


BETWEEN = """
import os, signal, sys
from IPython.core.interactiveshell import InteractiveShell

class Now:  # Ctrl-C in the middle of an import
    def __init__(self, name):
        self.name = name

    def find_spec(self, name, path=None, target=None):
        if name == self.name:
            sys.meta_path.remove(self)
            os.kill(os.getpid(), signal.SIGINT)

class Slow:
    def __str__(self):
        os.kill(os.getpid(), signal.SIGINT)

def run(code):
    print(code.splitlines()[0], type(shell.run_cell(code).error_in_exec).__name__, flush=True)

shell = InteractiveShell.instance()
shell.user_ns["slow"] = Slow()
run("%load_ext llmagic")
sys.meta_path[:0] = [Now("numpy.linalg"), Now("jsonschema")]
run("%%llm -t 0 --max-tokens 2\\nHello")
run("%%llm -t 0 --max-tokens 80 --schema bool\\nHello")
run("%%llm -t 0 --max-tokens 80 --schema bool\\nHello")
run("%%llm -t 0 --max-tokens 2\\n{slow}")
run("%%llm -t 0 --max-tokens 2\\nHello")

from llmagic.session import Session

def pressed(session, turn, earlier, replaces=Session.replaces):
    os.kill(os.getpid(), signal.SIGINT)
    replaces(session, turn, earlier)

Session.replaces = pressed
run("%%llm -t 0 --max-tokens 2 --as cell\\nHello")
run("%%llm -t 0 --max-tokens 2 --as cell\\nHello again")
"""


def test_before_and_after_the_models_work(tmp_path: Path) -> None:
    """In the middle of an import in a new kernel, in a value's own code, and after the reply."""
    done = subprocess.run(
        [sys.executable, "-c", BETWEEN],
        cwd=tmp_path,
        env=os.environ | {"IPYTHONDIR": str(tmp_path), "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    ran = [line.rsplit(None, 1)[1] for line in done.stdout.splitlines() if line.startswith("%")]
    assert ran == [
        "NoneType",
        *["Interrupted"] * 2,
        "NoneType",
        "Interrupted",
        "NoneType",
        "NoneType",
        "Interrupted",
    ]
    assert "Traceback" not in done.stdout + done.stderr
    assert done.stdout.count("Interrupted: the turn is not part of the conversation.") == 3
    assert done.stdout.count("Interrupted: the reply was complete, and the turn is part") == 1


def test_while_one_model_takes_the_place_of_another(
    shell: InteractiveShell, llama: Toy, qwen35: Toy, monkeypatch: pytest.MonkeyPatch
) -> None:
    shell.run_line_magic("llm", f"load {llama.model}")

    def close(session: Session, real: Callable[[Session], None] = Session.close) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        real(session)

    with monkeypatch.context() as patch:
        patch.setattr(Session, "close", close)
        with pytest.raises(Interrupted, match="the model was loaded"):
            shell.run_line_magic("llm", f"load {qwen35.model} --no-projector")
    assert shell.run_cell("%%llm --max-tokens 3\nHello.").success
    assert shell.run_cell(f"%llm load {llama.model}").success
    assert shell.run_cell("%%llm --max-tokens 3\nHello.").success


def test_a_reply_with_a_form(kernel: Kernel, llama: Toy) -> None:
    kernel.load(llama.model)
    code = "%%llm --max-tokens 3000 -t 1.5 --seed 1 --schema list[str]\nA story."
    outcome = interrupt(kernel, DECODE, code)
    assert "conversation. The reply so far: [" in outcome.message


def test_run_all_stops(kernel: Kernel, llama: Toy) -> None:
    kernel.load(llama.model)
    outcome = interrupt(kernel, DECODE, "%%llm --max-tokens 3000 -t 1.5 --min-p 0\nA story.")
    assert outcome.reply["status"] == "error"


def test_what_is_held_inside_of_another_waits_for_both() -> None:
    done = []

    @held()
    def inner() -> None:
        signal.raise_signal(signal.SIGINT)
        done.append("inner")

    @held()
    def outer() -> None:
        inner()
        done.append("outer")

    with pytest.raises(KeyboardInterrupt):
        outer()
    assert done == ["inner", "outer"]


def test_what_is_ignored_between_two_cells_is_ignored_while_it_is_held() -> None:
    """ipykernel would end: nothing catches it there."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with held():
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)
