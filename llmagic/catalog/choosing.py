"""Which of several GGUF files is meant. Only their names are looked at, never their bytes."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

PREFERRED = (
    "Q4_K_M",
    "Q8_0",
    "Q4_K_XL",
    "Q4_K_S",
    "Q4_0",
    "IQ4_XS",
    "MXFP4",
    "Q5_K_M",
    "Q6_K",
    "F16",
    "BF16",
)
"""Quantizations in the order in which one is taken when none is asked for; after them the first
file by name. The first two are what `llama-server -hf` takes (llama.cpp, common/download.cpp)."""

PREFERRED_PROJECTOR = ("F16", "BF16", "F32", "Q8_0")
"""A projector is small and its precision shows in every image, so it is taken as it was made."""

_COMPANIONS = ("mmproj", "imatrix", "mtp-", "eagle3-", "dflash-", "dspark-")
"""Parts of names of files that go with a model and are none (llama.cpp, common/download.cpp)."""

_QUANT = re.compile(
    r"(?<![a-z0-9])(?:UD-)?((?:I?Q\d+(?:_[0-9A-Z]+)*|TQ\d+_\d|MXFP4(?:_MOE)?|NVFP4|B?F16|F32))"
    r"(?![a-z0-9])",
    re.IGNORECASE,
)
_PART = re.compile(r"-(\d{5})-of-(\d{5})(?=\.gguf$)", re.IGNORECASE)


def is_gguf(name: str) -> bool:
    """Whether a file is a GGUF, by its name."""
    return name.lower().endswith(".gguf")


def is_projector(name: str) -> bool:
    """Whether a GGUF is a projector, by its name."""
    return is_gguf(name) and "mmproj" in PurePosixPath(name).name.lower()


def is_model(name: str) -> bool:
    """Whether a GGUF is a model or its first part, by its name."""
    file = PurePosixPath(name).name.lower()
    return is_gguf(file) and not any(part in file for part in _COMPANIONS) and part_of(file)[0] == 1


def part_of(name: str) -> tuple[int, int]:
    """Number of a part, from 1, and how many there are; (1, 1) for a file that is not split."""
    found = _PART.search(name)
    return (int(found[1]), int(found[2])) if found else (1, 1)


def parts(name: str) -> list[str]:
    """The names of all parts of the model that a file is (a part of), in order."""
    _, count = part_of(name)
    if count <= 1:
        return [name]
    return [_PART.sub(f"-{number:05d}-of-{count:05d}", name) for number in range(1, count + 1)]


def quant(name: str) -> str:
    """The quantization a file's name, else its folder's, speaks of; "" where there is none."""
    path = PurePosixPath(name)
    for text in (_PART.sub("", path.name), path.parent.name):
        if found := _QUANT.findall(text):
            return str(found[-1]).upper()
    return ""


def core(name: str) -> str:
    """What a file's name says of the model itself: without quantization, part and "mmproj"."""
    stem = _QUANT.sub("", _stem(name)).replace("mmproj", "").replace("model", "")
    # All beyond ASCII stays: letters of every script, and the marks that belong to them.
    return re.sub(r"[^a-z0-9\x80-\U0010ffff]+", "-", stem).strip("-")


def _stem(name: str) -> str:
    """A file's name without folder, part and suffix; whatever its case and its Unicode form."""
    file = PurePosixPath(_PART.sub("", name)).name.lower().removesuffix(".gguf")
    return unicodedata.normalize("NFC", file)


def choose_model(names: Iterable[str], wanted: str = "") -> str | None:
    """The model among files.

    Parameters
    ----------
    names : iterable of str
        Paths inside one repository or folder, with forward slashes.
    wanted : str
        A quantization, whatever its case, or a file's name; "": the first of `PREFERRED`.

    Returns
    -------
    str or None
        The first part of a split model. None: there is no model, or not the wanted one.
    """
    models = sorted(name for name in names if is_model(name))
    if not wanted:
        found = (_named(models, each) for each in PREFERRED)
        return next((name for name in found if name is not None), models[0] if models else None)
    for name in models:
        if wanted.lower() in (name.lower(), PurePosixPath(name).name.lower()):
            return name
    return _named(models, wanted)


def choose_named(names: Iterable[str], name: str) -> str | None:
    """The model that a name means among the files of one folder.

    Parameters
    ----------
    names : iterable of str
        Names of files.
    name : str
        A file's name, with or without suffix; else what `core` finds in one, with its quantization
        in it, behind a colon, or without: the usual one then.

    Returns
    -------
    str or None
        The first part of a split model. None: there is no such model, or not in that quantization.
    """
    models = sorted(filter(is_model, names))
    file = name if is_gguf(name) else f"{name}.gguf"
    if exact := [each for each in models if _stem(each) == _stem(file)]:
        return file if file in exact else exact[0]
    stem, _, wanted = name.partition(":")
    # `model.gguf` has an empty core, and "???" is no name of it.
    if not any(map(str.isalnum, stem)):
        return None
    alike = [each for each in models if core(each) == core(stem)]
    return choose_model(alike, wanted or quant(stem))


def _named(models: Sequence[str], wanted: str) -> str | None:
    exact = [name for name in models if quant(name) == wanted.upper()]
    # Quantizations with names of their own (`UD-Q4_K_XL`) and whatever else tells files apart.
    pattern = re.compile(rf"(?<![a-z0-9]){re.escape(wanted)}(?![a-z0-9_])", re.IGNORECASE)
    loose = [name for name in models if pattern.search(name)]
    return next(iter([*exact, *loose]), None)


def choose_projector(model: str, names: Iterable[str]) -> str | None:
    """The projector of a model: the one in the nearest folder above it, then `F16` before others.

    Parameters
    ----------
    model : str
        The model's path, among the same files.
    names : iterable of str
        Paths with forward slashes.
    """
    found = [
        name
        for name in names
        if is_projector(name)
        and PurePosixPath(model).parent.is_relative_to(PurePosixPath(name).parent)
    ]

    def rank(name: str) -> tuple[int, int, int, str]:
        kind = quant(name)
        order = PREFERRED_PROJECTOR.index(kind) if kind in PREFERRED_PROJECTOR else 99
        # A file that names the model goes before one that could be anybody's.
        return -len(PurePosixPath(name).parts), -_alike(model, name), order, name

    return min(found, key=rank, default=None)


def belongs(model: str, projector: str) -> bool:
    """Whether a projector's name says that it is this model's."""
    return _alike(model, projector) > 0


def _alike(model: str, projector: str) -> int:
    """Characters by which two names agree; 0 where one is not the beginning of the other."""
    one, other = core(model), core(projector)
    if not one or not other or not (one.startswith(other) or other.startswith(one)):
        return 0
    return min(len(one), len(other))
