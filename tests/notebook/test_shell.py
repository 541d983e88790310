"""The magics in a real shell of this process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import RichOutput, capture_output

from llmagic.errors import LLMagicError, NoModelError, UsageError
from llmagic.notebook.markdown import harmless
from llmagic.notebook.reply import Reply
from tests.notebook.conftest import write_picture
from tests.toys import Toy


class Cells:
    """Runs cells and gives what they display."""

    def __init__(self, shell: InteractiveShell) -> None:
        self.shell = shell

    def run(self, code: str) -> list[RichOutput]:
        with capture_output() as captured:
            result = self.shell.run_cell(code)
        result.raise_error()
        return list(captured.outputs)

    def text(self, code: str) -> str:
        (output,) = self.run(code)
        return str(output.data["text/plain"])

    def ask(self, text: str, options: str = "") -> dict[str, Any]:
        """The usage of a %%llm cell."""
        (output,) = self.run(f"%%llm --max-tokens 6 {options}\n{text}")
        return dict(output.metadata["llmagic"])

    def turn(self) -> Any:
        return self.shell.magics_manager.registry["LLMagic"].conversation.last


@pytest.fixture
def cells(shell: InteractiveShell) -> Cells:
    return Cells(shell)


@pytest.fixture
def loaded(cells: Cells, llama: Toy) -> Cells:
    cells.run(f"%llm load {llama.model}")
    return cells


@pytest.fixture
def seeing(cells: Cells, qwen35: Toy) -> Cells:
    cells.run(f"%llm load {qwen35.model} --projector {qwen35.projector}")
    return cells


def texts(turn: Any) -> list[str]:
    return [getattr(part, "text", "<image>") for part in turn.parts]


def test_loading_the_extension_loads_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from IPython.core.interactiveshell import InteractiveShell\n"
        "shell = InteractiveShell.instance()\n"
        "before = set(sys.modules)\n"
        "shell.run_line_magic('load_ext', 'llmagic')\n"
        "shell.run_cell('%llm help')\n"
        "heavy = {'llama_cpp', 'numpy', 'PIL', 'jinja2', 'ipywidgets'}\n"
        "print('loaded:', sorted(heavy & (set(sys.modules) - before)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "loaded: []"


def test_help(shell: InteractiveShell, capsys: pytest.CaptureFixture[str]) -> None:
    shell.run_cell("%%llm?")
    documentation = capsys.readouterr().out
    for option in (
        *("-m MODEL", "-s TEXT", "-a X", "-o NAME", "-t T", "--top-p", "--top-k", "--min-p"),
        *("--seed", "--max-tokens", "--stop", "--no-stream", "--resample", "--no-interpolate"),
    ):
        assert option in documentation
    shell.run_cell("%llm?")
    documentation = capsys.readouterr().out
    for command in ("load", "status", "history", "last", "reset", "unload", "help"):
        assert f"%llm {command}" in documentation


def test_help_command(cells: Cells) -> None:
    assert cells.text("%llm help") == cells.text("%llm")


def test_help_about_a_subcommand_asks_nothing(cells: Cells) -> None:
    for line in ("load?", "load -h", "load --help"):
        text = cells.text(f"%llm {line}")
        assert "%llm load" in text
        assert "its vision projector" in text
    assert cells.turn() is None


def test_help_in_a_text_is_text(loaded: Cells) -> None:
    loaded.ask("Hello", "-s 'Explain -h and --help.'")
    assert loaded.turn().system == "Explain -h and --help."


def test_without_a_model_nothing_is_forgotten(loaded: Cells) -> None:
    loaded.ask("Hello")
    loaded.run("%llm unload")
    with pytest.raises(NoModelError):
        loaded.run("%llm forget 1")
    assert texts(loaded.turn()) == ["Hello"]


def test_turns_that_the_model_cannot_take(seeing: Cells, qwen35: Toy, tmp_path: Path) -> None:
    """What looks at turns goes on, and forgetting them is possible."""
    write_picture(tmp_path / "a.png")
    seeing.ask("![](a.png) What is this?")
    seeing.run(f"%llm load {qwen35.model} --no-projector")
    assert "What is this?" in seeing.text("%llm tree")
    assert "not for this model" in seeing.text("%llm checkpoints")
    assert "1 turn is forgotten" in seeing.text("%llm forget 1")
    assert seeing.turn() is None
    assert "no turns yet" in seeing.text("%llm checkpoints")


def test_a_list_of_images_is_an_option(seeing: Cells) -> None:
    seeing.shell.user_ns["shots"] = [np.full((40, 40, 3), grey, np.uint8) for grey in (0, 9)]
    assert seeing.ask("What are these?", "-a shots")["prompt"]["images"] == 2
    # Asked again in other words, they are the same pictures in memory.
    first = seeing.turn()
    seeing.ask("And these?", "-a shots")
    for one, two in zip(first.parts[:2], seeing.turn().parts[:2], strict=True):
        assert one.picture is two.picture


def test_load_says_what_was_loaded(cells: Cells, qwen35: Toy) -> None:
    line = cells.text(f"%llm load {qwen35.model} --projector {qwen35.projector} --ctx 2048")
    assert line == (
        "llmagic toy qwen35 is loaded: qwen35, hybrid memory, projector llmagic toy mmproj-qwen35, "
        "context of up to 2048 tokens"
    )


def test_load_takes_variables(cells: Cells, llama: Toy, tmp_path: Path) -> None:
    folder = tmp_path / "with space"
    folder.mkdir()
    (folder / "m.gguf").symlink_to(llama.model)
    cells.shell.user_ns["folder"] = folder
    assert "is loaded" in cells.text("%llm load {folder}/m.gguf")
    assert "is loaded" in cells.text("%llm load '{folder}/m.gguf'".replace("{folder}", str(folder)))
    cells.shell.user_ns["model"] = str(llama.model)
    assert "llama is loaded: llama, attention memory, context" in cells.text("%llm load $model")
    # Quotes around a field, or around a part of a path, are those of a shell.
    cells.shell.user_ns["path"] = str(folder / "m.gguf")
    for line in ('"{path}"', "'{folder}/m.gguf'", '"$path" --no-projector'):
        assert "is loaded" in cells.text(f"%llm load {line}")


def test_a_question_and_its_reply(loaded: Cells) -> None:
    (output,) = loaded.run("%%llm -t 0 --max-tokens 6 -o answer\nWhat is this?")
    reply = loaded.shell.user_ns["answer"]
    assert isinstance(reply, Reply)
    assert output.data["text/plain"] == reply
    assert output.data["text/markdown"].startswith(harmless(reply))
    assert reply == loaded.turn().text
    assert reply.turn is loaded.turn()
    assert reply.usage == reply.turn.usage
    place = {"thread": "main", "stale": [], "after": None, "source": None}
    assert output.metadata == {"llmagic": {**reply.usage, **place}}
    assert reply.data is None
    assert reply.usage["generated"]["tokens"] <= 6


def test_a_failing_cell_leaves_the_variable_alone(loaded: Cells) -> None:
    loaded.shell.user_ns["answer"] = 7
    with pytest.raises(LLMagicError):
        loaded.run("%%llm -o answer -a nothing.png\nWhat?")
    assert loaded.shell.user_ns["answer"] == 7


def test_bare_line_asks(loaded: Cells) -> None:
    loaded.run("%config LLMagic.max_tokens = 4")
    loaded.run("%llm What is this?")
    assert texts(loaded.turn()) == ["What is this?"]
    loaded.shell.user_ns["name"] = "Ada"
    loaded.run("%llm Who is {name}?")
    assert texts(loaded.turn()) == ["Who is Ada?"]
    loaded.run("%llm Hello")
    assert texts(loaded.turn()) == ["Hello"]


def test_a_question_mark_is_no_call_for_help(loaded: Cells) -> None:
    loaded.run("%config LLMagic.max_tokens = 2")
    for text in ("What's (this?", "Is it #3?", "Why?", '"Is it?"  ?'):
        loaded.run(f"if True:\n    %llm {text}\nafter = 1")
        assert texts(loaded.turn()) == [text]
    loaded.run('text = """\n%llm no question?\n"""')
    assert loaded.shell.user_ns["text"] == "\n%llm no question?\n"
    loaded.run("%%writefile saved.txt\n%llm no question?\n")
    assert Path("saved.txt").read_text() == "%llm no question?\n"


def test_text_is_taken_as_it_is_typed(loaded: Cells) -> None:
    loaded.shell.user_ns.update(name="Ada", number=3)
    loaded.ask("\n  Who is {name}, {number + 1:03d}?\n$name $$ {{name}}  \n\n")
    assert texts(loaded.turn()) == ["  Who is Ada, 004?\n$name $$ {name}"]
    loaded.ask("Who is {name}?", "--no-interpolate")
    assert texts(loaded.turn()) == ["Who is {name}?"]


def test_the_option_line_is_not_expanded(loaded: Cells) -> None:
    loaded.shell.user_ns["name"] = "Ada"
    loaded.ask("Hello", '-s "You are {name} and $name."')
    assert loaded.turn().system == "You are {name} and $name."


def test_an_undefined_name_is_one_line_of_warning(
    loaded: Cells, capsys: pytest.CaptureFixture[str]
) -> None:
    loaded.shell.run_cell("%%llm --max-tokens 2\nWhat is {nothing}?")
    error = capsys.readouterr().err
    assert error.startswith("llmagic: ")
    assert "{nothing}" in error
    assert error.count("\n") == 1


def test_images_come_from_everywhere(seeing: Cells, tmp_path: Path) -> None:
    write_picture(tmp_path / "a.png", shade=0)
    write_picture(tmp_path / "b c.png", shade=90)
    seeing.shell.user_ns["array"] = np.zeros((40, 40, 3), np.uint8)
    seeing.shell.user_ns["path"] = "a.png"
    usage = seeing.ask("One {array} two ![](a.png) three.", "-a array -a 'b c.png' -a path")
    assert texts(seeing.turn()) == [
        *["<image>"] * 3,
        *("One ", "<image>", " two ", "<image>", " three."),
    ]
    assert usage["prompt"]["images"] == 5
    assert usage["encoded"]["images"] == 3, "the same picture twice is encoded once"


@pytest.mark.parametrize("body", ["", "\n", "  \n \n"])
def test_an_image_alone_is_a_prompt(seeing: Cells, tmp_path: Path, body: str) -> None:
    write_picture(tmp_path / "a.png")
    seeing.run(f"%%llm -a a.png --max-tokens 2\n{body}")
    assert texts(seeing.turn()) == ["<image>"]
    assert seeing.text("%llm history").splitlines()[1].split()[:3] == ["1", "▢", "1"]


def test_an_empty_cell_is_an_error(loaded: Cells) -> None:
    loaded.shell.user_ns["nothing"] = ""
    for cell in ("%%llm", "%%llm\n", "%%llm -t 0\n \t\n", "%%llm\n{nothing}"):
        with pytest.raises(UsageError, match="question"):
            loaded.run(cell)


def test_other_magics_keep_their_empty_cells(cells: Cells) -> None:
    result = cells.shell.run_cell("%%llmother")
    assert result.error_before_exec or result.error_in_exec
    assert cells.shell.check_complete("%%llm -a x.png")[0] == "incomplete"


def test_the_system_prompt_holds_from_its_cell_on(loaded: Cells) -> None:
    loaded.ask("one")
    loaded.ask("two", "-s 'Be brief.'")
    loaded.ask("three")
    assert loaded.turn().system == "Be brief."
    assert [turn.system for turn in loaded.turn().path()] == [None, "Be brief.", "Be brief."]
    with_system = loaded.ask("four")["prompt"]["tokens"]
    without = loaded.ask("five", '-s ""')["prompt"]["tokens"]
    assert loaded.turn().system == ""
    assert without < with_system + len("five") + 40


def test_sampling_options(loaded: Cells) -> None:
    options = "-t 0.3 --top-p 0.5 --top-k 7 --min-p 0.1 --seed 11"
    loaded.ask("Hello", rf'{options} --stop END --stop "\n\n"')
    sampling = loaded.turn().sampling
    assert (sampling.temperature, sampling.top_p, sampling.top_k) == (0.3, 0.5, 7)
    assert (sampling.min_p, sampling.seed, sampling.max_tokens) == (0.1, 11, 6)
    assert sampling.stop == ("END", "\n\n")


def test_config(loaded: Cells) -> None:
    for line in ("temperature = 0", "top_k = 3", "stop = ['x']", "seed = 5", "max_tokens = 3"):
        loaded.run(f"%config LLMagic.{line}")
    loaded.run("%%llm\nHello")
    sampling = loaded.turn().sampling
    assert (sampling.temperature, sampling.top_k, sampling.stop) == (0.0, 3, ("x",))
    assert (sampling.seed, sampling.max_tokens) == (5, 3)
    loaded.run("%%llm -t 0.5 --seed 6\nHello")
    assert (loaded.turn().sampling.temperature, loaded.turn().sampling.seed) == (0.5, 6)
    magics = loaded.shell.magics_manager.registry["LLMagic"]
    for line in ("temperature = -1", "top_k = 'x'"):
        loaded.shell.run_cell(f"%config LLMagic.{line}")
    loaded.run("%config LLMagic.top_k = 4")
    assert (magics.temperature, magics.top_k) == (0.0, 4)


def test_a_store_that_cannot_be_is_one_line_of_warning(
    cells: Cells, llama: Toy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("no folder")
    cells.run("%config LLMagic.store = 'file/store'")
    cells.run(f"%llm load {llama.model}")
    for _ in range(2):
        cells.shell.run_cell("%%llm --max-tokens 2\nHello")
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "LLMAGIC_STORE" in error
    assert "%config LLMagic.store = " in error
    assert "%llm load" in error
    assert "files 0" in cells.text("%llm status")


def test_the_store_can_be_switched_off(cells: Cells, llama: Toy, store: Path) -> None:
    cells.run("%config LLMagic.store = ''")
    cells.run(f"%llm load {llama.model}")
    cells.ask("Hello")
    status = dict(line.split(maxsplit=1) for line in cells.text("%llm status").splitlines())
    assert status["store"] == "none"
    assert not list(store.rglob("turns/*"))


def test_ipython_config(llama: Toy) -> None:
    code = (
        "from traitlets.config import Config\n"
        "from IPython.core.interactiveshell import InteractiveShell\n"
        "config = Config()\n"
        "config.LLMagic.temperature = 0.2\n"
        "config.InteractiveShellApp.extensions = ['llmagic']\n"
        "shell = InteractiveShell.instance(config=config)\n"
        "shell.run_line_magic('load_ext', 'llmagic')\n"
        "print(shell.magics_manager.registry['LLMagic'].temperature)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0.2"


def test_an_unchanged_prompt_draws_the_same_reply(loaded: Cells) -> None:
    loaded.ask("Hello", "-t 1.2")
    first = loaded.turn()
    loaded.run("%llm reset")
    loaded.ask("Hello", "-t 1.2")
    assert loaded.turn().text == first.text
    loaded.run("%llm reset")
    loaded.ask("Hello", "-t 1.2 --resample")
    resampled = loaded.turn()
    assert resampled.text != first.text
    loaded.run("%llm reset")
    loaded.ask("Hello", "-t 1.2 --resample")
    assert loaded.turn().text == resampled.text
    loaded.run("%llm reset")
    loaded.ask("Hello", "-t 1.2 --resample --seed 4")
    assert loaded.turn().sampling.seed not in (4, resampled.sampling.seed)


def test_history_and_reset(loaded: Cells) -> None:
    assert loaded.text("%llm history") == "no turns yet; ask something in a %%llm cell"
    loaded.ask("What is one?")
    loaded.ask("And | two?\nYes?")
    _, one, two = loaded.text("%llm history").splitlines()
    assert one.startswith("1     What is one?")
    assert two.startswith("2     And | two? Yes?")
    (output,) = loaded.run("%llm history")
    assert "And \\| two? Yes?" in output.data["text/markdown"]
    before = loaded.ask("Three?")["prompt"]["tokens"]
    assert loaded.text("%llm reset") == "the conversation is empty"
    assert loaded.text("%llm history").startswith("no turns yet")
    assert loaded.ask("Three?")["prompt"]["tokens"] < before


def cells_of(text: str) -> list[str]:
    return [" ".join(line.split()) for line in text.splitlines()]


def test_status(cells: Cells, qwen35: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "none; the first %%llm cell loads demo; %llm load MODEL" in cells.text("%llm status")
    cells.run("%config LLMagic.model = 'none'")
    assert "none; %llm load MODEL" in cells.text("%llm status")
    cells.run(f"%llm load {qwen35.model} --projector {qwen35.projector}")
    cells.ask("Hello")
    status = dict(line.split(maxsplit=1) for line in cells.text("%llm status").splitlines())
    assert status["turns"] == "1"
    assert status["model"] == "llmagic toy qwen35"
    assert status["memory"] == "hybrid"
    home = qwen35.model.parent.parent
    monkeypatch.setenv("HOME", str(home))
    shown = cells.text("%llm status")
    assert f"~/{qwen35.model.relative_to(home)}" in shown
    assert {"context", "live", "checkpoints", "images", "projector", "layout"} <= set(status)


def test_last(loaded: Cells) -> None:
    with pytest.raises(UsageError, match="no turn"):
        loaded.run("%llm last")
    usage = loaded.ask("Hello")
    rows = {line.split()[0]: line for line in loaded.text("%llm last").splitlines()}
    assert rows["prompt"].split()[1] == str(usage["prompt"]["tokens"])
    assert rows["evaluated"].split()[1] == str(usage["evaluated"]["tokens"])
    assert usage["generated"]["stop"] in rows["generated"]


def test_unload_closes(loaded: Cells) -> None:
    magics = loaded.shell.magics_manager.registry["LLMagic"]
    loaded.run("%unload_ext llmagic")
    assert magics.session is None
    assert magics not in loaded.shell.configurables
    assert loaded.shell.find_cell_magic("llm") is None
    assert loaded.shell.find_line_magic("llm") is None
    loaded.run("%load_ext llmagic")
    assert loaded.text("%llm status").splitlines()[1].split() == ["turns", "0"]


def test_a_bad_setting_in_the_profile_is_one_line(shell: InteractiveShell) -> None:
    shell.run_line_magic("unload_ext", "llmagic")
    shell.config.LLMagic.top_p = 7
    with pytest.raises(UsageError, match="top_p"):
        shell.run_line_magic("load_ext", "llmagic")
    del shell.config.LLMagic.top_p
    shell.run_line_magic("load_ext", "llmagic")


def test_unloading_a_model_is_said(loaded: Cells, capsys: pytest.CaptureFixture[str]) -> None:
    loaded.ask("Hello")
    capsys.readouterr()
    loaded.shell.run_line_magic("reload_ext", "llmagic")
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert "1 turn" in line
    loaded.shell.run_line_magic("reload_ext", "llmagic")
    assert capsys.readouterr().err == "", "there was nothing to lose"


def test_an_image_that_is_nothing(loaded: Cells) -> None:
    with pytest.raises(UsageError, match="-a nothing: there is no variable"):
        loaded.run("%%llm -a nothing\nWhat?")


def test_capture_magic(loaded: Cells) -> None:
    loaded.run("%%capture captured\n%llm Hello there, you?")
    captured = loaded.shell.user_ns["captured"]
    (output,) = captured.outputs
    assert output.data["text/plain"] == loaded.turn().text
    assert captured.stdout == ""
