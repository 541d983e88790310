"""Plain JupyterLab, Notebook 7 and VS Code: the order of the notebook as it was saved."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.notebook.conftest import write_picture
from tests.notebook.kernel import Kernel, Outcome
from tests.toys import Toy


class Lab:
    """A notebook on disk, and a kernel that was told where it is."""

    def __init__(self, path: Path, *, code: bool = False) -> None:
        self.path = path
        self.cells: list[dict[str, Any]] = []
        self.code = code
        self.kernel: Kernel

    def start(self, toy: Toy) -> None:
        with pytest.MonkeyPatch.context() as patch:
            if not self.code:
                patch.setenv("JPY_SESSION_NAME", str(self.path))
            self.kernel = Kernel(self.path.parent)
        if self.code:
            self.kernel.run(f"__vsc_ipynb_file__ = {str(self.path)!r}")
        self.kernel.load(toy.model, toy.projector)

    def name(self, cell: str) -> str:
        """The cell's name in requests: VS Code has another than the file."""
        if not self.code:
            return cell
        # The kernel's own may be on another machine: then its path says nothing here.
        path = "/book.ipynb" if self.path.name == "book.ipynb" else self.path
        return f"vscode-notebook-cell:{path}#{cell}"

    def add(self, name: str, source: str | None = None, at: int | None = None, **more: Any) -> None:
        source = f"%%llm --max-tokens 3\nQuestion {name}?" if source is None else source
        cell = {"id": name, "cell_type": "code", "source": source.splitlines(keepends=True)}
        cell |= {"metadata": {}, "outputs": [], "execution_count": None, **more}
        self.cells.insert(len(self.cells) if at is None else at, cell)

    def save(self) -> None:
        document = {"cells": self.cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
        self.path.write_text(json.dumps(document))

    def run(self, name: str) -> Outcome:
        cell = next(cell for cell in self.cells if cell["id"] == name)
        outcome = self.kernel.run("".join(cell["source"]), self.name(name))
        assert outcome.error is None, outcome.message
        metadata = {"llmagic": outcome.usage}
        cell["outputs"] = [
            {"output_type": "display_data", "data": outcome.shown, "metadata": metadata}
        ]
        return outcome

    def context(self, name: str) -> str:
        """The letters of the questions that the model saw."""
        self.run(name)
        turn = "get_ipython().magics_manager.registry['LLMagic'].session.last"
        return str(eval(self.kernel.value(f"''.join(t.parts[0].text[-2] for t in {turn}.path())")))


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Callable[..., Lab]]:
    made: list[Lab] = []

    def make(toy: Toy, *, code: bool = False, cells: str = "abc") -> Lab:
        lab = Lab(tmp_path / "book.ipynb", code=code)
        made.append(lab)
        for name in cells:
            lab.add(name)
        lab.save()
        lab.start(toy)
        return lab

    yield make
    for lab in made:
        lab.kernel.stop()


def status(book: Lab) -> dict[str, str]:
    lines = book.kernel.run("%llm status", book.name("s")).text.splitlines()
    return dict(re.split(r"  +", line, maxsplit=1) for line in lines)


@pytest.mark.parametrize("code", [False, True], ids=["JupyterLab", "VS Code"])
def test_the_order_is_that_of_the_saved_notebook(
    lab: Callable[..., Lab], llama: Toy, code: bool
) -> None:
    book = lab(llama, code=code)
    assert [book.context(name) for name in "cab"] == ["c", "a", "ab"]
    assert book.context("c") == "abc"
    book.save()
    book.add("x", at=1)
    assert book.context("x") == "abcx", "it is not saved yet: it comes last"
    book.save()
    assert book.context("x") == "ax"
    assert book.context("c") == "axbc"
    book.cells.append(book.cells.pop(0))
    book.save()
    assert book.context("c") == "xbc"
    assert status(book)["order"] == "saved notebook"
    assert "edited since" not in book.kernel.run("%llm history", book.name("s")).text


def test_a_deleted_cell_leaves_the_context(lab: Callable[..., Lab], llama: Toy) -> None:
    book = lab(llama)
    for name in "abc":
        book.run(name)
    kept = book.cells.pop(1)
    assert book.context("c") == "abc", "not saved yet"
    book.save()
    assert book.context("c") == "ac"
    book.cells.insert(1, kept)
    book.save()
    assert book.context("c") == "abc"


def test_a_line_that_asks_is_in_the_order(lab: Callable[..., Lab], llama: Toy) -> None:
    book = lab(llama)
    book.cells[1]["source"] = ["n = 1\n", "%llm Question b?"]
    for name in "abc":
        book.run(name)
    book.save()
    assert book.context("c") == "abc"
    del book.cells[1]
    book.save()
    assert book.context("c") == "ac"


def test_turns_are_taken_over_after_a_restart(lab: Callable[..., Lab], llama: Toy) -> None:
    book = lab(llama)
    before = [book.run(name) for name in "abc"]
    book.save()
    book.kernel.stop(gently=True)
    book.start(llama)
    book.kernel.run("%llm unload")
    waits = "0; the 3 that the notebook shows are taken over once a model is loaded"
    assert status(book)["turns"] == waits
    book.kernel.load(llama.model)
    after = book.run("c")
    assert after.usage["turn"] == before[-1].usage["turn"]
    assert after.usage["restored"]["tier"] == "disk"
    assert after.stderr == "llmagic: 2 turns above were taken over from the store.\n"
    book.kernel.stop(gently=True)
    book.save()
    book.start(llama)
    assert status(book)["turns"] == "3", "as %llm history counts them"


def test_a_console_and_a_file_that_is_no_notebook(lab: Callable[..., Lab], llama: Toy) -> None:
    book = lab(llama)
    book.run("b")
    book.run("a")
    outcome = book.kernel.ask("And z?")
    assert outcome.error is None
    turn = "get_ipython().magics_manager.registry['LLMagic'].session.last"
    assert book.kernel.value(f"len({turn}.path())") == "3", "a console sees it all"
    assert book.context("b") == "ab", "and is not part of the notebook"
    for text in ("no json", "[]", '{"cells": 3}', '{"cells": [3, {"source": 4, "outputs": 5}]}'):
        book.path.write_text(text)
        assert book.run("b").stderr == ""
    book.path.unlink()
    assert book.run("b").stderr == ""


def test_images_of_the_notebook(lab: Callable[..., Lab], qwen35: Toy, tmp_path: Path) -> None:
    book = lab(qwen35, cells="a")
    (tmp_path / "pictures").mkdir()
    write_picture(tmp_path / "pictures" / "p.png")
    data = base64.b64encode(write_picture(tmp_path / "x.png", shade=90).read_bytes()).decode()
    (tmp_path / "x.png").unlink()
    markdown = {"cell_type": "markdown", "attachments": {"x.png": {"image/png": data}}}
    book.add("m", "![](attachment:x.png)", **markdown)
    book.add("q", "%%llm --max-tokens 2\n![](attachment:x.png) and ![](pictures/p.png)?")
    book.save()
    book.kernel.run("import os; os.makedirs('elsewhere'); os.chdir('elsewhere')")
    assert book.run("q").usage["prompt"]["images"] == 2
    write_picture(tmp_path / "elsewhere" / "here.png")
    assert book.kernel.ask("![](here.png)?", "q").error is None, "the working directory, too"
    missing = book.kernel.ask("![](attachment:y.png)?", "q")
    assert missing.error == "ImageError"
    assert "x.png" in missing.message, "says what there is"


@pytest.mark.parametrize("code", [False, True], ids=["JupyterLab", "VS Code"])
def test_two_notebooks_on_one_kernel(
    lab: Callable[..., Lab], llama: Toy, tmp_path: Path, code: bool
) -> None:
    """Each has a conversation of its own once its cells are saved; in VS Code at once."""
    book = lab(llama, code=code, cells="ab")
    # What is no notebook, whatever its name, hides none beside it.
    (tmp_path / "dangling.ipynb").symlink_to(tmp_path / "nowhere.ipynb")
    (tmp_path / "folder.ipynb").mkdir()
    other = Lab(tmp_path / "other.ipynb", code=code)
    other.kernel = book.kernel
    for name in "xy":
        other.add(name)
    other.save()
    assert [book.context("a"), other.context("x")] == ["a", "x"]
    assert [book.context("b"), other.context("y")] == ["ab", "xy"]
    other.cells.reverse()
    other.save()
    assert [other.context("x"), book.context("b")] == ["yx", "ab"]
    # A cell that nobody has saved: of the notebook that ran last, or that it names.
    book.add("c")
    other.add("z")
    assert other.context("y") == "y"
    assert book.context("c") == ("abc" if code else "yxc")
    assert other.context("z") == ("yxz" if code else "yxcz")
    book.save()
    other.save()
    assert [book.context("c"), other.context("z")] == ["abc", "yxz"]
    assert [book.context("b"), other.context("x")] == ["ab", "yx"]
    if not code:
        # Nobody tells the kernel that its notebook has another name.
        book.path = book.path.rename(tmp_path / "renamed.ipynb")
        book.cells.reverse()
        book.save()
        assert [book.context("a"), other.context("z"), book.context("b")] == ["cba", "yxz", "cb"]
