"""Models in the file system: which file a path means, and which projector goes with it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import platformdirs

from llmagic.catalog.choosing import (
    belongs,
    choose_model,
    choose_projector,
    core,
    is_gguf,
    is_model,
    is_projector,
    parts,
)
from llmagic.errors import ModelFileError


def models_folder() -> Path:
    """The user's folder of models: LLMAGIC_MODELS, or `models` in the platform's data folder."""
    if named := os.environ.get("LLMAGIC_MODELS"):
        return Path(os.path.expanduser(named))  # the home of nobody stays as it is written
    return platformdirs.user_data_path("llmagic", appauthor=False) / "models"


def model_at(path: Path) -> Path:
    """The model that a path means: itself, its first part, or the only model of a folder.

    Raises
    ------
    ModelFileError
        The folder has no model, or several; or a part of a split model is missing. A path that
        does not exist is returned: whoever reads it says so.
    """
    if os.path.isdir(path):
        path = _only_model(path)
    wanted = [path.with_name(name) for name in parts(path.name)]
    if os.path.exists(path) and (missing := [each.name for each in wanted if not each.exists()]):
        raise ModelFileError(
            f"expected all {len(wanted)} parts of {path.name!r} in {str(path.parent)!r}, and "
            f"{', '.join(missing)} is missing. Get the rest of the model."
        )
    return wanted[0]


def _only_model(folder: Path) -> Path:
    names = ggufs(folder)
    if len({core(name) for name in names if is_model(name)}) > 1:
        listed = ", ".join(name for name in names if is_model(name))
        raise ModelFileError(
            f"expected one model in the folder {str(folder)!r}, and it has several: {listed}. Give "
            "the path of one."
        )
    chosen = choose_model(names)
    if chosen is None:
        raise ModelFileError(
            f"expected a model in the folder {str(folder)!r}, and it has no .gguf file that is one."
        )
    return folder / chosen


def projector_beside(model: Path) -> Path | None:
    """The projector in a model's folder.

    Where the folder has other models, too, it must be named after this one: any projector whose
    embeddings have the right length loads, and answers nonsense.
    """
    names = ggufs(model.parent)
    projectors = [name for name in names if is_projector(name)]
    if len({core(name) for name in names if is_model(name)}) > 1:
        projectors = [name for name in projectors if belongs(model.name, name)]
    chosen = choose_projector(model.name, projectors)
    return None if chosen is None else model.with_name(chosen)


def ggufs(folder: Path) -> list[str]:
    """Names of the GGUF files of a folder, sorted; none where it cannot be read."""
    try:
        return sorted(_names(os.scandir(folder)))
    except OSError:
        return []


def _names(entries: Iterable[os.DirEntry[str]]) -> Iterable[str]:
    return (entry.name for entry in entries if is_gguf(entry.name) and entry.is_file())
