"""`llmagic models` and `%llm models`: what is on disk, by the names that load it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from shutil import copy
from typing import Any

import pytest

from llmagic import Session
from llmagic.catalog import resolve
from llmagic.catalog.aliases import set_alias
from llmagic.catalog.fit import Machine, cache_bytes, memory_of, needed
from llmagic.catalog.hub import Hub
from llmagic.catalog.inventory import inventory
from llmagic.catalog.local import models_folder
from llmagic.cli import main
from llmagic.model.gguf import read_header
from tests.models.hub import LocalHub, Repo
from tests.models.splitting import split
from tests.notebook.kernel import Kernel
from tests.toys import Toy

Named = Callable[[str], Toy]
GIB = 1 << 30
POSITION = 32
"""Bytes of a saved cell besides its rows, at most."""


def listed(capsys: pytest.CaptureFixture[str]) -> dict[str, dict[str, Any]]:
    assert main(["models", "--json"]) == 0
    about = json.loads(capsys.readouterr().out)
    return {each["name"]: each for each in about["models"]}


@pytest.fixture
def folder(toy_named: Named) -> Path:
    folder = models_folder()
    folder.mkdir()
    toy = toy_named("qwen2vl")
    assert toy.projector is not None
    copy(toy.model, folder / "Seeing-Q8_0.gguf")
    copy(toy.projector, folder / "mmproj-seeing.gguf")
    copy(toy_named("mamba2").model, folder / "reading.gguf")
    return folder


def test_models_in_the_folder(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = listed(capsys)
    assert list(found) == ["demo", "reading", "seeing:Q8_0"]
    assert (found["demo"]["source"], found["demo"]["images"]) == ("package", True)
    seeing, reading = found["seeing:Q8_0"], found["reading"]
    files = [folder / "Seeing-Q8_0.gguf", folder / "mmproj-seeing.gguf"]
    assert (seeing["images"], reading["images"]) == (True, False)
    assert (seeing["memory"], reading["memory"]) == ("attention", "recurrent")
    assert seeing["bytes"] == sum(file.stat().st_size for file in files)
    assert seeing["needs"] > seeing["bytes"]
    assert (seeing["fits"], seeing["architecture"]) == ("yes", "qwen2vl")
    for name, each in found.items():
        assert str(resolve(name).model) == each["path"]


def test_each_listed_name_loads_what_it_lists(
    toy_named: Named, local_hub: LocalHub, tmp_path: Path, folder: Path
) -> None:
    toy = toy_named("qwen2vl")
    assert toy.projector is not None
    data = toy.model.read_bytes()
    local_hub.repos["u/odd"] = Repo({"one.gguf": data, "two.gguf": data, "UD-Q4_K_XL/x.gguf": data})
    local_hub.repos["u/good"] = Repo(
        {f"x-{quant}.gguf": data for quant in ("Q8_0", "Q4_K_M", "UD-Q4_K_M")}
        | {"mmproj-F16.gguf": toy.projector.read_bytes()}
    )
    (folder / "deep").mkdir()
    copy(toy.model, folder / "deep" / "other-F16.gguf")
    hub = Hub(endpoint=local_hub.address, cache=tmp_path / "cache")
    for repo, each in local_hub.repos.items():
        for name in each.files:
            if "mmproj" not in name:
                resolve(f"{repo}:{name}", hub=hub)
    entries = inventory(hub)
    assert len(entries) == 10
    assert len({entry.name for entry in entries}) == 10
    local_hub.status = 503
    for entry in entries:
        assert resolve(entry.name, hub=hub).model == entry.path, entry
    good = [entry for entry in entries if entry.name.startswith("u/good")]
    assert all(entry.projector is not None for entry in good)


def test_models_of_older_revisions_are_listed(local_hub: LocalHub, tmp_path: Path) -> None:
    hub = Hub(endpoint=local_hub.address, cache=tmp_path / "cache")
    for old in ("x-Q8_0.gguf", "x-Q4_K_M.gguf", "y-Q4_K_M.gguf"):
        local_hub.repos["u/x"] = Repo({old: b"old", "z.gguf": b"old"})
        resolve(f"u/x:{old}", hub=hub)
        resolve("u/x:z.gguf", hub=hub)
    local_hub.repos["u/x"] = Repo({"x-Q4_K_M.gguf": b"new", "my cats.gguf": b"new"})
    for new in local_hub.repos["u/x"].files:
        resolve(f"u/x:{new}", hub=hub)
    entries = [entry for entry in inventory(hub) if entry.source == "hub"]
    assert [entry.name for entry in entries] == [
        "u/x:my cats.gguf",
        "u/x:Q4_K_M",
        "u/x:Q8_0",
        "u/x:y-Q4_K_M.gguf",
        "u/x:z.gguf",
    ]
    local_hub.status = 503
    for entry in entries:
        assert resolve(entry.name, hub=hub).model == entry.path, entry


def test_the_names_in_the_folder_are_told_apart(toy_named: Named) -> None:
    folder = models_folder()
    names = ["model.gguf", "model-Q8_0.gguf", "кот.gguf", "пёс.gguf", "demo.gguf", "Q4_0.gguf"]
    for name in (*names, "Cats.gguf", "cats.gguf", "cats-Q8_0.gguf", "deep/cats-Q4_K_M.gguf"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        copy(toy_named("mamba2").model, folder / name)
    entries = [entry for entry in inventory() if entry.source == "folder"]
    assert len({entry.name for entry in entries}) == len(entries) == 10
    for entry in entries:
        assert resolve(entry.name).model == entry.path, entry


@pytest.mark.parametrize("name", ["llama", "gemma3", "qwen2vl", "qwen35", "mamba2"])
def test_what_the_header_says_is_what_a_session_finds(toy_named: Named, name: str) -> None:
    toy = toy_named(name)
    header = read_header(toy.model)
    assert memory_of(header).value == toy.memory
    with Session(toy.model, projector=False) as session:
        per_token = session.engine.verdict.bytes_per_token
    # A saved cell has its position beside its rows; a window's rows are counted as if they stayed.
    rows = cache_bytes(header, 1)
    if toy.memory == "swa":
        assert per_token - POSITION <= rows <= 8 * per_token
    else:
        assert per_token - POSITION <= rows <= per_token


def test_whether_it_fits() -> None:
    machine = Machine(total=16 * GIB, available=4 * GIB, gpu=0)
    assert [machine.fits(n * GIB) for n in (3, 5, 17)] == ["yes", "tight", "no"]
    with_gpu = replace(machine, gpu=24 * GIB)
    assert [with_gpu.fits(n * GIB) for n in (20, 25)] == ["gpu", "no"]


def test_a_larger_model_needs_more(toy_named: Named) -> None:
    header = read_header(toy_named("llama").model)
    long = replace(header, metadata={**header.metadata, "llama.context_length": 64})
    assert needed(long, None) < needed(header, None) < needed(header, header)


def test_files_that_cannot_be_loaded_say_why(
    folder: Path, toy_named: Named, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "broken.gguf").write_bytes(b"GGUF and no more")
    parts = split(toy_named("llama").model, folder, tensors=8)
    parts[1].unlink()
    found = listed(capsys)
    assert "cannot be read" in found["broken"]["problem"]
    assert f"{parts[1].name} is missing" in found["llama"]["problem"]
    assert found["reading"]["problem"] is None
    assert main(["models"]) == 0
    assert "is missing" in capsys.readouterr().out


def test_the_table_shows_aliases(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "alias", "eyes", "seeing:Q8_0"]) == 0
    assert main(["models", "alias", "far", "user/repo"]) == 0
    assert main(["models"]) == 0
    out = capsys.readouterr().out
    assert "seeing:Q8_0 (eyes)" in out
    assert "stands for user/repo" in out
    assert main(["models", "unalias", "far"]) == 0
    assert main(["models", "unalias", "far"]) == 2
    assert "expected an alias to remove" in capsys.readouterr().err
    # An alias may stand for a name in the folder, too.
    assert resolve("eyes").model == folder / "Seeing-Q8_0.gguf"


def test_an_alias_of_a_path_holds_in_every_folder(
    toy_named: Named,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    copy(toy_named("mamba2").model, tmp_path / "cats.gguf")
    monkeypatch.chdir(tmp_path)
    assert main(["models", "alias", "kitten", "cats.gguf"]) == 0
    assert f"kitten stands for {tmp_path / 'cats.gguf'}" in capsys.readouterr().out
    monkeypatch.chdir("/")
    assert resolve("kitten").model == tmp_path / "cats.gguf"
    for nothing in ("cats.gguf", "./cats", "cats", " "):
        assert main(["models", "alias", "other", nothing]) == 2
        assert f"got {nothing!r}" in capsys.readouterr().err
    assert main(["models", "alias", "other", "user/repo:Q8_0"]) == 0


def test_nothing_there_says_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[1].startswith("demo ")
    assert "No other model is there yet: `llmagic models get user/repo`" in out
    assert str(models_folder()) in out


def test_get_prints_the_files(
    toy_named: Named,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    toy = toy_named("llama")
    assert main(["models", "get", str(toy.model)]) == 0
    assert capsys.readouterr().out == f"{toy.model}\n"
    assert main(["models", "get", "no-such-model"]) == 2
    assert "llmagic models: expected a model" in capsys.readouterr().err
    text = tmp_path / "README.md"
    text.write_text("# cats")
    for name, said in (
        (tmp_path / "missing.gguf", "there is none"),
        (f"{'x' * 300}.gguf", "there is none"),
        (text, "expected a GGUF file"),
        ("", "expected a model"),
    ):
        assert main(["models", "get", str(name)]) == 2
        told = capsys.readouterr()
        assert said in told.err
        assert told.out == ""


def test_in_a_kernel(folder: Path, tmp_path: Path) -> None:
    set_alias("eyes", "seeing:Q8_0")
    kernel = Kernel(tmp_path)
    try:
        shown = kernel.run("%llm models")
        assert "seeing:Q8_0 (eyes)" in shown.text
        assert "| reading |" in shown.shown["text/markdown"]
    finally:
        kernel.stop()
