"""What a model's name means. This is the one place where names become files."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from llmagic.catalog.aliases import aliases
from llmagic.catalog.choosing import choose_named, is_gguf, is_projector
from llmagic.catalog.hub import Hub
from llmagic.catalog.local import ggufs, model_at, models_folder, projector_beside
from llmagic.errors import ModelFileError, UsageError
from llmagic.events import Event

DEMO = "demo"
"""The model that comes with the package; a folder of that name is written ./demo."""

DEMO_FOLDER = Path(__file__).resolve().parents[1] / "demo"

# A file's name, which may stand for the quantization, may have spaces and letters of any script.
_HUB_NAME = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+?)(?::(?P<quant>[^:]+))?", re.ASCII)


@dataclass(frozen=True)
class Files:
    """What a name means.

    Attributes
    ----------
    model : Path
        GGUF of the model; of a split one the first part, the others lie beside it.
    projector : Path or None
        GGUF of its vision projector.
    is_from_hub : bool
        Whether a hub was asked for them.
    """

    model: Path
    projector: Path | None
    is_from_hub: bool = False


def _quiet(_: Event) -> None:
    pass


def resolve(
    name: str | os.PathLike[str],
    *,
    projector: str | os.PathLike[str] | bool | None = None,
    tell: Callable[[Event], None] = _quiet,
    hub: Hub | None = None,
) -> Files:
    """The files of a model, downloaded where they have to be.

    In this order a name is: "demo", the model that comes with this package; a path that exists
    (a file, or a folder with one model), an alias, a model in the user's folder of models, a
    hub's `user/repo[:quant]`. A `PathLike` is a path.

    Parameters
    ----------
    name : str or path-like
    projector : path-like or bool, optional
        Its projector; None (or True) finds one beside the model or in its repository, False
        takes none.
    tell : callable
        Hears about downloads.
    hub : Hub, optional
        Where hub names are looked up.

    Raises
    ------
    UsageError
        The name is none of these.
    ModelFileError
        A folder without a model or with several, or a split model that is not complete.
    HubError
        The repository cannot be used or downloaded from.
    Interrupted
        By Ctrl-C while something was downloaded.
    """
    given = projector if isinstance(projector, str | os.PathLike) else None
    wants = projector is not False and given is None
    found = _resolve(name, wants, tell, hub or Hub())
    if given is not None:
        return replace(found, projector=_path(given))
    return found


def _path(name: str | os.PathLike[str]) -> Path:
    try:
        return Path(name).expanduser()
    except RuntimeError as error:
        raise UsageError(
            f"expected a path, and {str(name)!r} begins with the home of a user who is not known "
            "here. Write the folder out, or ./~ for a file of that name."
        ) from error


def _resolve(
    name: str | os.PathLike[str], wants_projector: bool, tell: Callable[[Event], None], hub: Hub
) -> Files:
    if name == DEMO:
        return _local(DEMO_FOLDER / "demo.gguf", wants_projector)
    path = _path(name)
    if not isinstance(name, str) or (name.strip() and os.path.exists(path)):
        return _local(path, wants_projector)
    known = aliases()
    if (target := known.get(name)) is not None:
        if not target.strip() or target in known:
            raise UsageError(
                f"expected the alias {name!r} to stand for a path or a hub's user/repo, and it "
                f"stands for {target!r}. {_another(name)}"
            )
        return _of_alias(name, target, wants_projector, tell, hub)
    if (kept := _kept(name)) is not None:
        return _local(kept, wants_projector)
    if _is_path(name):
        return _local(path, wants_projector)  # whoever reads it says that it is missing
    if (found := _HUB_NAME.fullmatch(name)) is not None:
        files = hub.get(found["repo"], found["quant"] or "", wants_projector, tell)
        return Files(*files, is_from_hub=True)
    raise _unknown(name)


def _of_alias(
    name: str, target: str, wants_projector: bool, tell: Callable[[Event], None], hub: Hub
) -> Files:
    try:
        files = _resolve(target, wants_projector, tell, hub)
    except UsageError as error:
        raise UsageError(
            f"the alias {name!r} stands for {target!r}: {error} {_another(name)}"
        ) from error
    if not os.path.exists(files.model):
        raise ModelFileError(
            f"expected a GGUF file at {str(files.model)!r}, which the alias {name!r} stands for, "
            f"and there is none. {_another(name)}"
        )
    return files


def _another(alias: str) -> str:
    return f"`llmagic models alias {alias} MODEL` lets it stand for another."


def _unknown(name: str) -> UsageError:
    known = ", ".join(sorted(aliases())) or "none"
    return UsageError(
        f"expected a model: demo, the path of a GGUF file, a hub's user/repo[:quant], an alias "
        f"(there are: {known}) or a file in {str(models_folder())!r}, and got {name!r}. "
        "`llmagic models` lists what is on disk."
    )


def lasting(name: str) -> str:
    """A model's name as an alias keeps it: a path in full, which holds in every folder.

    Raises
    ------
    UsageError
        It is no name of a model. Whether a hub has it is not asked.
    """
    if name == DEMO:
        return name
    path = _path(name)
    if name.strip() and os.path.exists(path):
        return os.path.abspath(path)
    if name in aliases():
        return name
    if _kept(name) is None and (_is_path(name) or _HUB_NAME.fullmatch(name) is None):
        raise _unknown(name)
    return name


def _is_path(name: str) -> bool:
    """Whether a name can only be a path: `user/file.gguf`; `user/repo:file.gguf` is of a hub."""
    return name.startswith(("/", ".", "~")) or (is_gguf(name) and ":" not in name)


def _local(path: Path, wants_projector: bool) -> Files:
    model = model_at(path)
    is_one = is_projector(model.name)
    return Files(model, projector_beside(model) if wants_projector and not is_one else None)


def _kept(name: str) -> Path | None:
    """A file or folder of this name, with or without suffix, in the user's folder of models."""
    folder = models_folder()
    if name.strip() and os.path.exists(folder / name) and not Path(name).is_absolute():
        return folder / name
    if "/" in name:
        return None
    chosen = choose_named(ggufs(folder), name)
    return None if chosen is None else folder / chosen
