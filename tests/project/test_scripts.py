"""The scripts behind `make`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]

USAGE = {
    "version": 1,
    "turn": "00ff",
    "model": "toy",
    "thread": "main",
    "prompt": {"tokens": 40, "images": 1},
    "restored": {"tokens": 30, "images": 1, "tier": "memory", "ms": 3.1, "bytes": 12345},
    "evaluated": {"tokens": 10, "images": 0, "ms": 4.0},
    "encoded": {"images": 0, "ms": 0.0},
    "generated": {"tokens": 5, "ms": 8.0, "stop": "length"},
    "saved": {"bytes": 1, "ms": 2.2},
    "exact": True,
    "stale": [],
}


def run(script: str, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(PROJECT / "scripts" / script), *map(str, arguments)]
    return subprocess.run(
        command,
        check=False,
        capture_output=True,
        text=True,
        encoding="utf-8",
        env=os.environ | environment,
    )


def code(source: str, *outputs: dict[str, object]) -> dict[str, object]:
    return {"cell_type": "code", "source": source.splitlines(True), "outputs": list(outputs)}


def answer(text: str, usage: dict[str, object]) -> dict[str, object]:
    data = {"text/plain": [text], "text/markdown": [text]}
    return {"output_type": "display_data", "data": data, "metadata": {"llmagic": usage}}


def write(path: Path, *cells: dict[str, object]) -> Path:
    path.write_text(json.dumps({"cells": cells}), encoding="utf-8")
    return path


def test_show_conversation(tmp_path):
    first = USAGE | {
        "prompt": {"tokens": 20, "images": 0},
        "restored": {"tokens": 0, "images": 0, "tier": "none", "ms": 0.0, "bytes": 0},
    }
    notebook = write(
        tmp_path / "n.ipynb",
        {"cell_type": "markdown", "source": "# Title"},
        code("1 + 1", {"output_type": "execute_result", "data": {"text/plain": "2"}}),
        code("%%llm\nWhat?", answer("A thing.", first)),
        code("%%llm -t 0\nAnd\nnow?", answer("bell\x07 \x1b[31m", USAGE)),
    )
    result = run("show_conversation.py", notebook)
    assert result.returncode == 0, result.stderr
    assert "    > What?\n    < A thing.\n" in result.stdout
    assert "    > %%llm -t 0\n    > And\n    > now?\n" in result.stdout
    assert "restored: 30 tokens, 1 image, from memory (12,345 bytes, 3.1 ms)" in result.stdout
    assert "generated: 5 tokens (8.0 ms, stop: length)" in result.stdout
    assert "2 turns: 30 of 60 prompt tokens were restored" in result.stdout
    assert "Title" not in result.stdout
    assert "\x07" not in result.stdout
    assert "\x1b" not in result.stdout


def test_show_conversation_of_a_notebook_that_was_not_run(tmp_path):
    result = run("show_conversation.py", write(tmp_path / "n.ipynb", code("%%llm\nWhat?")))
    assert result.returncode == 1
    assert "was it run?" in result.stderr


def test_wheel_is_kept_apart_by_what_goes_into_it(tmp_path):
    def where(**environment: str) -> str:
        result = run("llama_wheel.py", "--where", LLMAGIC_WHEELS=str(tmp_path), **environment)
        assert result.returncode == 0, result.stderr
        return result.stdout

    assert where() == where()
    assert where().startswith(str(tmp_path))
    assert where(CMAKE_ARGS="-DGGML_CUDA=on") != where(CMAKE_ARGS="")
    assert list(tmp_path.iterdir()) == []


def test_kept_wheel_is_used(tmp_path):
    environment = {"LLMAGIC_WHEELS": str(tmp_path), "PIP_NO_INDEX": "1"}
    folder = Path(run("llama_wheel.py", "--where", **environment).stdout.strip())
    folder.mkdir(parents=True)
    wheel = folder / "llama_cpp_python-0-py3-none-any.whl"
    wheel.write_bytes(b"")
    result = run("llama_wheel.py", **environment)
    assert result.stdout == f"{wheel}\n"
    assert result.returncode == 0


def test_failed_build_leaves_no_wheel(tmp_path):
    environment = {
        "LLMAGIC_WHEELS": str(tmp_path),
        "PIP_NO_INDEX": "1",
        "PIP_CONFIG_FILE": "/dev/null",
    }
    environment["PIP_FIND_LINKS"] = str(tmp_path)
    result = run("llama_wheel.py", **environment)
    assert result.returncode != 0
    assert result.stdout == ""
    (folder,) = tmp_path.iterdir()
    assert [path.name for path in folder.iterdir()] == ["lock"]


def test_with_toy_writes_the_quickstart_model(tmp_path):
    show = "import os; print(os.environ['LLMAGIC_QUICKSTART_MODEL'])"
    mine = {"LLMAGIC_QUICKSTART_MODEL": ""}
    result = run("with_toy.py", tmp_path, sys.executable, "-c", show, **mine)
    assert result.returncode == 0, result.stderr
    model = Path(result.stdout.splitlines()[-1])
    for path in (model, model.with_name(f"mmproj-{model.name}")):
        assert path.is_relative_to(tmp_path)
        assert path.read_bytes()[:4] == b"GGUF"


def test_with_toy_leaves_a_chosen_model_alone(tmp_path):
    show = "import os; print(os.environ['LLMAGIC_QUICKSTART_MODEL'])"
    chosen = {"LLMAGIC_QUICKSTART_MODEL": "mine.gguf"}
    result = run("with_toy.py", tmp_path, sys.executable, "-c", show, **chosen)
    assert result.stdout == "mine.gguf\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("status", [0, 3])
def test_with_toy_passes_the_exit_status_on(tmp_path, status):
    chosen = {"LLMAGIC_QUICKSTART_MODEL": "mine.gguf"}
    result = run("with_toy.py", tmp_path, sys.executable, "-c", f"exit({status})", **chosen)
    assert result.returncode == status
