from __future__ import annotations

import json
import subprocess
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest

from llmagic.catalog import Files, resolve
from llmagic.catalog.aliases import aliases, aliases_file, remove_alias, set_alias
from llmagic.catalog.choosing import core
from llmagic.catalog.local import models_folder
from llmagic.errors import ModelFileError, UsageError


def put(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"GGUF")
    return folder


def test_a_path_finds_the_projector_beside_it(tmp_path: Path) -> None:
    folder = put(tmp_path / "m", "cats-Q8_0.gguf", "cats-Q4_0.gguf", "mmproj-BF16.gguf")
    model = folder / "cats-Q8_0.gguf"
    assert resolve(str(model)) == Files(model, folder / "mmproj-BF16.gguf")
    assert resolve(model) == resolve(str(model))
    assert resolve(model, projector=False) == Files(model, None)
    assert resolve(model, projector="/other/p.gguf") == Files(model, Path("/other/p.gguf"))


def test_among_several_models_only_a_projector_of_that_name_is_taken(tmp_path: Path) -> None:
    folder = put(tmp_path / "m", "cats.gguf", "dogs.gguf", "mmproj-dogs.gguf", "mmproj-F16.gguf")
    assert resolve(folder / "dogs.gguf").projector == folder / "mmproj-dogs.gguf"
    assert resolve(folder / "cats.gguf").projector is None


def test_a_folder_is_its_only_model(tmp_path: Path) -> None:
    folder = put(tmp_path / "m", "cats-Q8_0.gguf", "cats-Q4_K_M.gguf", "mmproj.gguf")
    assert resolve(str(folder)) == Files(folder / "cats-Q4_K_M.gguf", folder / "mmproj.gguf")
    put(folder, "dogs.gguf")
    with pytest.raises(ModelFileError, match="several: cats-Q4_K_M.gguf, .*Give the path of one"):
        resolve(str(folder))
    with pytest.raises(ModelFileError, match="no .gguf file"):
        resolve(str(put(tmp_path / "empty", "mmproj.gguf")))


def test_any_part_of_a_split_model_means_all_of_it(tmp_path: Path) -> None:
    names = [f"big-0000{n}-of-00003.gguf" for n in (1, 2, 3)]
    folder = put(tmp_path / "m", *names)
    for name in names:
        assert resolve(folder / name).model == folder / names[0]
    (folder / names[1]).unlink()
    with pytest.raises(ModelFileError, match=f"all 3 parts .*{names[1]} is missing"):
        resolve(folder / names[0])


def test_a_missing_path_is_left_to_who_reads_it(tmp_path: Path) -> None:
    missing = tmp_path / "no.gguf"
    assert resolve(str(missing)).model == missing
    assert resolve("user/no.gguf").model == Path("user/no.gguf")
    assert resolve("~/no.gguf").model == Path("~/no.gguf").expanduser()


def test_the_home_of_nobody_is_an_error_with_a_remedy() -> None:
    for name, projector in (("~nobody-here/a.gguf", None), ("demo", "~nobody-here/p.gguf")):
        with pytest.raises(UsageError, match=r"~nobody-here/.*Write the folder out"):
            resolve(name, projector=projector)


def test_folders_in_the_home_of_nobody_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMAGIC_MODELS", "~nobody-here/models")
    with pytest.raises(UsageError, match="expected a model: .*nobody-here"):
        resolve("cats")
    monkeypatch.setenv("LLMAGIC_ALIASES", "~nobody-here/aliases.json")
    with pytest.raises(UsageError, match="LLMAGIC_ALIASES, and '~nobody-here.*Write the folder"):
        resolve("cats")


def test_an_alias_stands_for_a_path(tmp_path: Path) -> None:
    folder = put(tmp_path / "m", "cats.gguf")
    set_alias("kitten", str(folder / "cats.gguf"))
    assert resolve("kitten").model == folder / "cats.gguf"
    assert json.loads(aliases_file().read_text()) == aliases()
    set_alias("kitten", "user/repo:Q8_0")
    assert aliases() == {"kitten": "user/repo:Q8_0"}
    remove_alias("kitten")
    assert aliases() == {}
    with pytest.raises(UsageError, match="expected an alias to remove"):
        remove_alias("kitten")


def test_aliases_go_one_step(tmp_path: Path) -> None:
    set_alias("b", "user/repo")
    for target in ("b", "a", "", " "):
        with pytest.raises(UsageError, match="alias 'a' to stand for"):
            set_alias("a", target)
    known = {"a": "b", "b": "a", "self": "self", "nothing": ""}
    aliases_file().write_text(json.dumps(known))
    for name in known:
        with pytest.raises(UsageError, match=f"alias '{name}' to stand for.*models alias {name}"):
            resolve(name)


def test_an_alias_that_leads_nowhere_is_named(tmp_path: Path) -> None:
    set_alias("gone", str(tmp_path / "gone.gguf"))
    with pytest.raises(ModelFileError, match=r"gone\.gguf.* the alias 'gone' .*models alias gone"):
        resolve("gone")
    set_alias("odd", "no such thing")
    with pytest.raises(UsageError, match="alias 'odd' stands for 'no such thing'.*alias odd MODEL"):
        resolve("odd")


def test_aliases_are_written_in_any_script(tmp_path: Path) -> None:
    folder = put(tmp_path / "m", "cats.gguf")
    for name in ("котик", "小猫", "किट्टी", "chaton-é", "7b_q8.v2"):
        set_alias(name, str(folder / "cats.gguf"))
        assert resolve(name).model == folder / "cats.gguf"


def test_processes_change_aliases_at_the_same_time() -> None:
    code = (
        "import sys; from llmagic.catalog.aliases import set_alias\n"
        "for n in range(20): set_alias(f'{sys.argv[1]}-{n}', 'user/repo')"
    )
    processes = [subprocess.Popen([sys.executable, "-c", code, name]) for name in "abc"]
    assert [process.wait(timeout=300) for process in processes] == [0, 0, 0]
    assert len(aliases()) == 60
    assert [path.name for path in aliases_file().parent.iterdir()] == ["aliases.json"]


def test_a_link_to_the_aliases_stays(tmp_path: Path) -> None:
    kept = tmp_path / "dotfiles.json"
    aliases_file().parent.mkdir(parents=True)
    aliases_file().symlink_to(kept)
    set_alias("kitten", "user/repo")
    assert aliases_file().is_symlink()
    assert json.loads(kept.read_text()) == {"kitten": "user/repo"}


def test_aliases_that_cannot_be_written_say_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LLMAGIC_ALIASES", str(tmp_path / "file" / "aliases.json"))
    with pytest.raises(UsageError, match="cannot be written to .*Set LLMAGIC_ALIASES"):
        set_alias("kitten", "user/repo")


@pytest.mark.parametrize("name", ["demo", "user/repo", "", "-x", "a b", "~a", ".a", "a:b", "a\n"])
def test_what_means_something_else_is_no_alias(name: str) -> None:
    with pytest.raises(UsageError, match="as an alias"):
        set_alias(name, "user/repo")


@pytest.mark.parametrize("text", ["{", "[]", '{"a": 1}'])
def test_a_damaged_file_of_aliases_says_so(text: str) -> None:
    aliases_file().parent.mkdir(parents=True)
    aliases_file().write_text(text)
    with pytest.raises(UsageError, match="Mend it or remove it"):
        resolve("kitten")


def test_models_in_the_users_folder_go_by_name(tmp_path: Path) -> None:
    folder = put(models_folder(), "Cats-4B-Q8_0.gguf", "Cats-4B-Q4_K_M.gguf", "cats-4b-mini.gguf")
    put(folder, "mmproj-cats-4b.gguf")
    projector = folder / "mmproj-cats-4b.gguf"
    assert resolve("cats-4b") == Files(folder / "Cats-4B-Q4_K_M.gguf", projector)
    assert resolve("cats-4b:q8_0") == Files(folder / "Cats-4B-Q8_0.gguf", projector)
    assert resolve("Cats-4B-Q8_0.gguf").model == folder / "Cats-4B-Q8_0.gguf"


def test_a_files_own_name_goes_before_the_usual_quantization() -> None:
    names = ["Cats-4B-Q8_0.gguf", "Cats-4B-Q4_K_M.gguf", "Cats-4B-UD-Q4_K_M.gguf", "cats-4b.gguf"]
    folder = put(models_folder(), *names, "dogs-Q8_0.gguf", "Dogs-Q8_0.gguf")
    for name in (*names, "dogs-Q8_0.gguf", "Dogs-Q8_0.gguf"):
        assert resolve(name.removesuffix(".gguf")).model == folder / name
        assert resolve(name).model == folder / name
    assert resolve("cats-4b-ud-q4_k_m").model == folder / "Cats-4B-UD-Q4_K_M.gguf"
    assert resolve("cats_4b_Q8_0").model == folder / "Cats-4B-Q8_0.gguf"
    assert resolve("cats-4b:Q8_0").model == folder / "Cats-4B-Q8_0.gguf"
    with pytest.raises(UsageError, match="got 'Cats-4B-Q5_K_M'"):
        resolve("Cats-4B-Q5_K_M")


def test_a_split_model_goes_by_the_name_of_any_part() -> None:
    folder = put(models_folder(), *(f"big-Q8_0-0000{n}-of-00002.gguf" for n in (1, 2)))
    for name in ("big", "big-Q8_0", "big-q8_0-00001-of-00002", "big-Q8_0-00002-of-00002"):
        assert resolve(name).model == folder / "big-Q8_0-00001-of-00002.gguf"


def test_names_in_every_script_are_names_of_their_own() -> None:
    stems = ("кот-Q8_0", "пёс-Q8_0", "模型", "猫Q4_0", "कि", "का", "é")
    names = [f"{stem}.gguf" for stem in stems]
    folder = put(models_folder(), *names, "model.gguf", "mmproj-пёс.gguf")
    for stem, name in zip(stems, names, strict=True):
        assert resolve(stem).model == folder / name
        assert resolve(core(name)).model == folder / name
        # macOS writes the letters of a file's name in pieces.
        assert resolve(unicodedata.normalize("NFD", stem)).model == folder / name
    assert resolve("кот").projector is None
    assert resolve("ПЁС").projector == folder / "mmproj-пёс.gguf"
    for name in ("狗", "???"):
        with pytest.raises(UsageError, match="expected a model"):
            resolve(name)


def test_an_unknown_name_says_what_there_is() -> None:
    set_alias("kitten", "user/repo")
    with pytest.raises(UsageError, match="expected a model: .*there are: kitten.* got 'cat'"):
        resolve("cat")


def test_a_session_takes_a_name(toy_named: Callable[..., object], tmp_path: Path) -> None:
    from llmagic import Session

    toy = toy_named("qwen2vl")
    set_alias("toy", str(toy.model))
    with Session("toy") as session:
        assert session.engine.projector is not None
    with Session("toy", projector=False) as session:
        assert session.engine.projector is None
