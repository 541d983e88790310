"""A turn's earlier versions stay restorable, in this kernel and in the next."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.notebook.book import Book
from tests.notebook.kernel import Kernel
from tests.notebook.test_panel import Panel
from tests.toys import Toy


def question(name: str) -> str:
    return f"%%llm --max-tokens 3 -t 0\nQuestion {name}?"


@pytest.fixture
def kernels(tmp_path: Path) -> Iterator[list[Kernel]]:
    kernels: list[Kernel] = []
    yield kernels
    for kernel in kernels:
        kernel.stop()


def test_after_a_restart(kernels: list[Kernel], llama: Toy, tmp_path: Path, store: Path) -> None:
    def start() -> Kernel:
        kernels.append(Kernel(tmp_path, replay=True))
        return kernels[-1]

    def command(line: str) -> str:
        return kernels[-1].run(line, "s", metadata={"llmagic": book.message()}).text

    def earlier() -> set[str]:
        lines = [line for line in command("%llm tree").splitlines() if "earlier" in line]
        return {re.search(r"Question (\w+)", line)[1] for line in lines}  # type: ignore[index]

    book = Book({name: question(name) for name in "abc"})
    kernel = start()
    kernel.load(llama.model)
    book.run_all(kernel)
    first = book["b"].turn
    second = book.run(kernel, "c").usage["turn"]
    for name in ("secret", "b3", "b", "b4"):  # the third undoes the edits
        book["b"].source = question(name)
        book.run(kernel, "b")
    assert earlier() == {"b", "secret", "b3"}
    kernel.stop(gently=True)

    kernel = start()
    assert "load the model" in command("%llm history")
    assert "load the model" in command("%llm tree")
    kernel.load(llama.model)
    shown = kernel.run("%llm history", "s", metadata={"llmagic": book.message()})
    assert [line.split()[2] for line in shown.text.splitlines()[1:]] == ["a?", "b4?", "c?"]
    assert shown.stderr == "llmagic: 3 turns above were taken over from the store.\n"
    assert earlier() == {"b", "secret", "b3"}
    assert "not kept" not in command("%llm tree")
    panel = Panel(kernel)
    versions = panel.ask("versions", cell="b")["versions"]
    assert [version["source"] for version in versions][-1] == question("b4")
    (old,) = [version for version in versions if version["turn"] == first]
    assert old["source"] == question("b")
    about = old["output"]["metadata"]["llmagic"]
    assert about["after"] == book["a"].turn
    assert about["restored"]["tokens"] == about["prompt"]["tokens"] > 0
    assert panel.ask("restore", cell="b", turn=first)["turn"] == first
    book["b"].source, book["b"].turn = old["source"], first
    assert book.run(kernel, "c").usage["turn"] == second, "it stands on that version again"

    # An edit right after a restart, when the outputs of the running cell are gone already.
    kernel.stop(gently=True)
    kernel = start()
    kernel.load(llama.model)
    book["b"].source = question("b5")
    book.run(kernel, "b")
    assert earlier() == {"b", "secret", "b3", "b4"}
    (secret,) = [line for line in command("%llm tree").splitlines() if "secret" in line]
    identity = re.search(r"([0-9a-f]{8})  \[", secret)[1]  # type: ignore[index]
    assert "secret" in command(f"%llm restore {identity}")
    assert "is forgotten" in command(f"%llm forget {identity}")
    assert "secret" not in command("%llm tree")
    kernel.stop(gently=True)
    files = [path for path in store.rglob("*") if path.is_file()]
    assert any(b"Question b3" in path.read_bytes() for path in files)
    assert not any(b"secret" in path.read_bytes() for path in files)
