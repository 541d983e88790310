"""Python, the packages llmagic needs, and Jupyter with its extensions."""

from __future__ import annotations

import json
import platform
import shlex
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from llmagic.doctor.finding import Finding, Status

OLDEST = (3, 11)
PYTHON = shlex.quote(sys.executable)
PIP = f"{PYTHON} -m pip install"

FRONT_ENDS = ("jupyterlab", "notebook")

EXTENSIONS = {
    "llmagic": ("llmagic", "badges, panel and images in cells; without it cells work as they are"),
    "@jupyter-widgets/jupyterlab-manager": ("jupyterlab_widgets", "ImageUpload is not shown"),
    "anywidget": ("anywidget", "ImageUpload is not shown"),
}
"""JupyterLab's names of extensions: the package that brings each, and what is amiss without it."""


def python() -> Finding:
    """The interpreter."""
    text = f"{platform.python_version()} ({sys.executable})"
    if sys.version_info < OLDEST:
        wanted = ".".join(map(str, OLDEST))
        return Finding(
            "python", Status.PROBLEM, f"{text}; {wanted} is needed", "python3.12 -m venv .venv"
        )
    return Finding("python", Status.OK, text)


def packages() -> Iterator[Finding]:
    """What llmagic needs and does not have; one line when all is there."""
    try:
        from packaging.requirements import Requirement
    except ImportError as error:
        # It reads what is needed, and is needed itself.
        yield Finding("packages", Status.PROBLEM, f"packaging: {error}", f"{PIP} packaging")
        return
    try:
        needed = [Requirement(each) for each in metadata.requires("llmagic") or ()]
    except metadata.PackageNotFoundError:
        text = "llmagic itself is not installed here"
        yield Finding("packages", Status.PROBLEM, text, f"{PIP} llmagic")
        return
    needed = [each for each in needed if each.marker is None or each.marker.evaluate({"extra": ""})]
    bad = False
    for each in needed:
        found = _version(each.name)
        if found is None or not each.specifier.contains(found, prereleases=True):
            bad = True
            text = f"{each} is needed, and {'none' if found is None else found} is installed"
            yield Finding("packages", Status.PROBLEM, text, f"{PIP} {shlex.quote(str(each))}")
    if not bad:
        text = f"llmagic {_version('llmagic')} and the {len(needed)} packages it needs"
        yield Finding("packages", Status.OK, text)


def jupyter() -> Finding:
    """The front ends in this environment; the kernel may well be in another one than theirs."""
    found = {name: _version(name) for name in ("ipykernel", *FRONT_ENDS)}
    text = ", ".join(f"{name} {version}" for name, version in found.items() if version)
    if not any(found[name] for name in FRONT_ENDS):
        text += "; neither JupyterLab nor Notebook in this environment"
        return Finding("jupyter", Status.NOTE, text, f"{PIP} jupyterlab")
    return Finding("jupyter", Status.OK, text)


def extensions() -> Iterator[Finding]:
    """JupyterLab's extensions: installed, enabled, of this version."""
    if not any(_version(name) for name in FRONT_ENDS):
        return
    from jupyter_core.paths import jupyter_config_path, jupyter_path

    disabled = _disabled([Path(each) for each in jupyter_config_path()])
    for name, (package, without) in EXTENSIONS.items():
        about = _installed(name, [Path(each) for each in jupyter_path("labextensions")])
        label = f"extension {name}"
        if about is None:
            checkout = _source(package)[1]
            why = "not built in the checkout that runs" if checkout else "not installed"
            yield Finding(label, Status.PROBLEM, f"{why}: {without}", _install(package))
        elif name in disabled:
            command = f"{PYTHON} -m jupyter labextension enable {name}"
            yield Finding(label, Status.PROBLEM, f"disabled: {without}", command)
        elif name == "llmagic" and about.get("version") != (wanted := _version(package)):
            text = f"{about.get('version')}, enabled, and {package} itself {wanted}"
            yield Finding(label, Status.NOTE, text, _install(package))
        else:
            yield Finding(label, Status.OK, f"{about.get('version', 'no version')}, enabled")


def _install(package: str) -> str:
    """The command that puts a package's extension where JupyterLab looks for it."""
    folder, is_editable = _source(package)
    if folder is None:
        return f"{PIP} --force-reinstall --no-deps {package}"
    if not is_editable:
        return f"{PIP} --force-reinstall --no-deps {shlex.quote(str(folder))}"
    # pip leaves it alone then; make builds it, and links it into the checkout's own environment.
    command = f"make -C {shlex.quote(str(folder))} labextension"
    if Path(sys.prefix) == folder / ".venv":
        return command
    built = folder / package / "labextension"
    place = Path(sys.prefix) / "share" / "jupyter" / "labextensions"
    quoted = [shlex.quote(str(each)) for each in (place, built, place / package)]
    return "{} && mkdir -p {} && ln -sfn {} {}".format(command, *quoted)


def _source(package: str) -> tuple[Path | None, bool]:
    """The folder a package was installed from, and whether it runs from there (PEP 610)."""
    try:
        about = json.loads(metadata.distribution(package).read_text("direct_url.json") or "{}")
    except (metadata.PackageNotFoundError, ValueError):
        return None, False
    if "dir_info" not in about:
        return None, False
    folder = Path(url2pathname(urlsplit(about["url"]).path))
    return folder, bool(about["dir_info"].get("editable"))


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _installed(name: str, folders: list[Path]) -> dict[str, object] | None:
    for folder in folders:
        found = _json(folder / name / "package.json")
        if found is not None:
            return found
    return None


def _disabled(folders: list[Path]) -> set[str]:
    """Names of disabled extensions; what a folder says goes before those after it."""
    state: dict[str, bool] = {}
    for folder in folders:
        said = (_json(folder / "labconfig" / "page_config.json") or {}).get(
            "disabledExtensions", {}
        )
        # JupyterLab 3 wrote a list.
        listed = dict.fromkeys(said, True) if isinstance(said, list) else said
        if isinstance(listed, dict):
            state = {str(key): bool(each) for key, each in listed.items()} | state
    return {name for name, off in state.items() if off}


def _json(path: Path) -> dict[str, object] | None:
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None
