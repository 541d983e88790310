from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import llmagic
from llmagic.cli import main
from llmagic.doctor import packages, report
from llmagic.doctor.finding import Finding, Status

CHECKED = {"python", "packages", "llama.cpp", "threads", "gpu", "memory", "jupyter", "store"}


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Settings, models, store and Jupyter's folders of this test alone."""
    monkeypatch.setenv("LLMAGIC_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("LLMAGIC_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    monkeypatch.setenv("JUPYTER_CONFIG_PATH", str(tmp_path / "config"))
    for name in packages.EXTENSIONS:
        install(tmp_path, name)
    return tmp_path


def install(folder: Path, extension: str, version: str = llmagic.__version__) -> None:
    about = folder / "jupyter" / "labextensions" / extension / "package.json"
    about.parent.mkdir(parents=True, exist_ok=True)
    about.write_text(json.dumps({"name": extension, "version": version}))


def findings(capsys: pytest.CaptureFixture[str], status: int) -> dict[str, Any]:
    assert main(["doctor", "--json"]) == status
    about = json.loads(capsys.readouterr().out)
    assert about["ok"] is (status == 0)
    return {each["name"]: each for each in about["checks"]}


def test_a_machine_on_which_all_works(capsys: pytest.CaptureFixture[str]) -> None:
    found = findings(capsys, 0)
    assert set(found) >= CHECKED | {"models"}
    assert found["python"]["text"].startswith("3.")
    assert "llama-cpp-python 0.3." in found["llama.cpp"]["text"]
    assert "ipykernel" in found["jupyter"]["text"]
    assert found["extension llmagic"]["text"] == f"{llmagic.__version__}, enabled"
    assert found["models"]["mend"] == "llmagic models get USER/REPO"
    assert all(each["mend"] for each in found.values() if each["status"] != "ok")


def test_the_same_for_people(folders: Path) -> None:
    command = [sys.executable, "-m", "llmagic.cli", "doctor"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "all is well"
    assert "mend it: llmagic models get USER/REPO" in done.stdout


def test_a_store_that_cannot_be_written(
    folders: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (folders / "file").write_text("no folder")
    monkeypatch.setenv("LLMAGIC_STORE", str(folders / "file" / "store"))
    store = findings(capsys, 1)["store"]
    assert store["status"] == "problem"
    assert str(folders / "file" / "store") in store["mend"]


def test_an_extension_that_is_disabled(folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = folders / "config" / "labconfig" / "page_config.json"
    config.parent.mkdir(parents=True)
    config.write_text(json.dumps({"disabledExtensions": {"llmagic": True, "anywidget": False}}))
    found = findings(capsys, 1)
    assert found["extension llmagic"]["mend"].endswith("-m jupyter labextension enable llmagic")
    assert found["extension anywidget"]["status"] == "ok"


def test_an_extension_that_is_not_installed(
    folders: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(packages.EXTENSIONS, "not-there", ("a-package", "nothing is shown"))
    found = findings(capsys, 1)["extension not-there"]
    assert found["text"] == "not installed: nothing is shown"
    assert found["mend"].endswith("pip install --force-reinstall --no-deps a-package")


def test_the_extension_of_a_checkout_is_built_by_make(
    folders: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`make setup` installs llmagic editable, and pip builds no extension then."""
    about = {"url": (folders / "a checkout").as_uri(), "dir_info": {"editable": True}}
    site = folders / "site"
    for name, said in (("METADATA", "Name: llmagic\nVersion: 2"), ("direct_url.json", about)):
        file = site / "llmagic-2.dist-info" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(said if isinstance(said, str) else json.dumps(said))
    monkeypatch.syspath_prepend(site)
    # This environment may have the extension.
    monkeypatch.setattr(
        "jupyter_core.paths.jupyter_path", lambda *sub: [str(folders.joinpath("jupyter", *sub))]
    )
    install(folders, "llmagic", "1")
    (old,) = (each for each in packages.extensions() if each.name == "extension llmagic")
    assert (old.status, old.text) == (
        Status.NOTE,
        "1, enabled, and llmagic itself 2",
    )
    shutil.rmtree(folders / "jupyter" / "labextensions" / "llmagic")
    monkeypatch.setattr(sys, "prefix", str(folders / "a checkout" / ".venv"))
    (found,) = (each for each in packages.extensions() if each.name == "extension llmagic")
    assert found.text.startswith("not built in the checkout that runs: ")
    assert found.mend == f"make -C '{folders / 'a checkout'}' labextension"
    # Another environment does not find what make links into the checkout's own.
    monkeypatch.setattr(sys, "prefix", str(folders / "env"))
    (found,) = (each for each in packages.extensions() if each.name == "extension llmagic")
    _, make_folder, link = found.mend.split(" && ")
    subprocess.run(f"{make_folder} && {link}", shell=True, check=True)
    linked = folders / "env" / "share" / "jupyter" / "labextensions" / "llmagic"
    assert linked.readlink() == folders / "a checkout" / "llmagic" / "labextension"


def test_a_package_that_is_missing_or_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    needed = ["numpy>=999", "no-such-package>=1", "pillow>=1", 'never; python_version < "3"']
    monkeypatch.setattr(packages.metadata, "requires", lambda _: needed)
    found = list(packages.packages())
    assert [each.status for each in found] == [Status.PROBLEM] * 2
    assert "numpy>=999 is needed" in found[0].text
    assert found[1].mend.endswith("pip install 'no-such-package>=1'")


def test_llama_cpp_that_does_not_load(folders: Path) -> None:
    broken = folders / "path" / "llama_cpp"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("raise OSError('libllama.so: no such file')")
    environment = {**os.environ, "PYTHONPATH": f"{broken.parent}{os.pathsep}{os.getcwd()}"}
    command = [sys.executable, "-m", "llmagic.cli", "doctor", "--json"]
    done = subprocess.run(
        command, env=environment, check=False, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 1, done.stderr
    found = {each["name"]: each for each in json.loads(done.stdout)["checks"]}
    assert "libllama.so: no such file" in found["llama.cpp"]["text"]
    assert "--no-binary llama-cpp-python" in found["llama.cpp"]["mend"]
    assert found["store"]["status"] == "ok"


NEEDED = ("llama_cpp", "numpy", "packaging", "platformdirs", "psutil", "xxhash")


@pytest.mark.parametrize("missing", [NEEDED, ("packaging",), ("psutil",), ("xxhash",)])
def test_packages_that_cannot_be_imported_are_reported(
    folders: Path, missing: tuple[str, ...]
) -> None:
    for name in missing:
        module = folders / "path" / name / "__init__.py"
        module.parent.mkdir(parents=True)
        module.write_text(f"raise ModuleNotFoundError('No module named {name}', name='{name}')")
    path = f"{folders / 'path'}{os.pathsep}{os.getcwd()}"
    environment = {**os.environ, "PYTHONPATH": path}
    command = [sys.executable, "-m", "llmagic", "doctor", "--json"]
    done = subprocess.run(
        command, env=environment, check=False, capture_output=True, text=True, timeout=600
    )
    assert (done.returncode, done.stderr) == (1, "")
    found = {each["name"]: each for each in json.loads(done.stdout)["checks"]}
    assert set(found) >= CHECKED
    told = [each["text"] for each in found.values() if each["status"] == "problem"]
    for name in missing:
        assert any(name in text for text in told) or len(missing) > 1, told
    if "packaging" in missing:
        assert found["packages"]["mend"].endswith("-m pip install packaging")
    # Whatever else needs it says so in one line.
    if "numpy" in missing:
        done = subprocess.run(
            [sys.executable, "-m", "llmagic", "cache", "ls"],
            env=environment, check=False, capture_output=True, text=True, timeout=600,
        )  # fmt: skip
        wanted = "llmagic: No module named numpy. `llmagic doctor` says what is missing.\n"
        assert (done.returncode, done.stderr) == (2, wanted)


def test_commands_are_quoted_for_the_shell(folders: Path) -> None:
    """A Python and a store in folders with spaces, as macOS and Windows' homes have them."""
    (folders / "a file").write_text("no folder")
    python = folders / "my env" / "python"
    python.parent.mkdir()
    python.symlink_to(sys.executable)
    program = """
import sys
sys.executable = sys.argv[1]
from llmagic.cli import main
from llmagic.doctor import machine, packages
print(machine.store().mend)
packages.metadata.requires = lambda _: ["no-such-package>=1"]
print(*(each.mend for each in packages.packages()))
packages._disabled = lambda _: {"anywidget"}
print(*(each.mend for each in packages.extensions() if "anywidget" in each.name))
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(python)],
        env={**os.environ, "LLMAGIC_STORE": str(folders / "a file" / "store")},
        check=True, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    store, pip, enable = (shlex.split(line) for line in done.stdout.splitlines())
    assert store[:3] == ["mkdir", "-p", str(folders / "a file" / "store")]
    assert store[-1] == store[2]
    assert pip == [str(python), "-m", "pip", "install", "no-such-package>=1"]
    assert enable == [str(python), "-m", "jupyter", "labextension", "enable", "anywidget"]


def test_a_check_that_fails_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> Finding:
        raise RuntimeError("out of order")

    monkeypatch.setattr(report, "CHECKS", (broken,))
    (found,) = report.examine()
    assert found.status is Status.PROBLEM
    assert "out of order" in found.text
