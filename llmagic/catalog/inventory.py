"""The models on this machine: the one that comes along, the user's folder, the hub's cache."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmagic.catalog.choosing import (
    choose_model,
    choose_named,
    choose_projector,
    core,
    is_gguf,
    is_model,
    parts,
    quant,
)
from llmagic.catalog.fit import Machine, memory_of, needed
from llmagic.catalog.hub import Hub, Revision, holder
from llmagic.catalog.local import models_folder, projector_beside
from llmagic.catalog.names import DEMO, resolve
from llmagic.errors import ModelFileError
from llmagic.model.gguf import Header, read_header

BUNDLED = "package"


@dataclass(frozen=True)
class Entry:
    """One model on disk.

    Attributes
    ----------
    name : str
        What `%llm load` takes.
    source : str
        "package" (the demo model), "folder" or "hub".
    path : Path
        GGUF; the first part of a split model.
    projector : Path or None
    header, projector_header : Header or None
        None where the file cannot be used; `problem` says why then.
    problem : str
        Why it cannot be loaded; "" for a model that can.
    """

    name: str
    source: str
    path: Path
    projector: Path | None
    header: Header | None
    projector_header: Header | None
    problem: str = ""

    @property
    def n_bytes(self) -> int:
        """Size on disk with all parts and the projector."""
        headers = (self.header, self.projector_header)
        return sum(header.total_bytes for header in headers if header is not None)

    def described(self, machine: Machine) -> dict[str, Any]:
        """All about it as JSON takes it; sizes in bytes, `context` in tokens."""
        about: dict[str, Any] = {
            "name": self.name,
            "source": self.source,
            "path": str(self.path),
            "projector": str(self.projector) if self.projector is not None else None,
            "bytes": self.n_bytes,
            "problem": self.problem or None,
        }
        if self.header is None:
            return about
        need = needed(self.header, self.projector_header)
        return about | {
            "quantization": quant(self.path.name) or None,
            "architecture": self.header.architecture,
            "memory": memory_of(self.header).value,
            "images": self.projector_header is not None,
            "context": self.header.number("context_length"),
            "needs": need,
            "fits": machine.fits(need),
        }


def inventory(hub: Hub | None = None) -> list[Entry]:
    """All models there are: the demo model, those of the user's folder, of the hub; by name."""
    demo = resolve(DEMO)
    return [
        _entry(DEMO, BUNDLED, demo.model, demo.projector),
        *sorted(_in_folder(), key=_by_name),
        *sorted(_in_cache(hub or Hub()), key=_by_name),
    ]


def _by_name(entry: Entry) -> str:
    return entry.name.lower()


def _in_folder() -> Iterator[Entry]:
    folder = models_folder()
    files = [path for path in _walk(folder) if is_model(path.name)]
    names = [path.relative_to(folder).as_posix() for path in files]
    own = [name for name in names if "/" not in name]
    for path, name in zip(files, names, strict=True):
        if "/" not in name:
            label = quant(name)
            short = (core(name) or "model") + (f":{label}" if label else "")
            name = short if choose_named(own, short) == name and short != DEMO else name
        yield _entry(name, "folder", path, projector_beside(path))


def _walk(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.rglob("*") if is_gguf(path.name) and path.is_file())
    except OSError:
        return []


def _in_cache(hub: Hub) -> Iterator[Entry]:
    repos: dict[str, list[Revision]] = {}
    for each in hub.cached():
        repos.setdefault(each.repo, []).append(each)
    for revisions in repos.values():
        for each in revisions:
            yield from _in_revision(each, revisions)


def _in_revision(own: Revision, revisions: list[Revision]) -> Iterator[Entry]:
    """The models of a revision that a name finds; no name finds what a newer one has, too."""
    for name in filter(is_model, own.names):
        for label in (quant(name), name):
            if holder(revisions, label) is own and choose_model(own.names, label) == name:
                projector = choose_projector(name, own.names)
                yield _entry(
                    f"{own.repo}:{label}" if label else own.repo,
                    "hub",
                    own.folder / name,
                    None if projector is None else own.folder / projector,
                )
                break


def _entry(name: str, source: str, path: Path, projector: Path | None) -> Entry:
    missing = _missing(path)
    if missing:
        problem = f"not complete: {', '.join(missing)} is missing"
        return Entry(name, source, path, projector, None, None, problem)
    try:
        header = read_header(path)
        other = read_header(projector) if projector is not None else None
    except ModelFileError as error:
        return Entry(name, source, path, projector, None, None, str(error))
    return Entry(name, source, path, projector, header, other)


def _missing(path: Path) -> list[str]:
    wanted: Iterable[Path] = (path.with_name(name) for name in parts(path.name))
    return [each.name for each in wanted if not each.exists()]
