"""Toy models: random weights, real architectures, one of each kind of memory llama.cpp has.

Their answers are noise. What counts is that the noise depends on every token, every image and all
of the state, so that a wrong restore shows in the logits. Seeds are fixed: the same sources write
the same bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gguf import GGUFWriter

from tests.toys import projectors, text, tokenizer, weights

Memory = Literal["attention", "swa", "hybrid", "recurrent"]

MEMORY: dict[str, Memory] = {
    "llama": "attention",
    "gemma3": "swa",
    "qwen2vl": "attention",
    "qwen35": "hybrid",
    "mamba2": "recurrent",
}
TOYS = tuple(MEMORY)


@dataclass(frozen=True)
class Toy:
    """A toy's files, and the kind of memory its contexts have."""

    name: str
    model: Path
    projector: Path | None
    memory: Memory


def write(name: str, folder: Path) -> Toy:
    """Write a toy's files into `folder` unless they are there, from these sources, already.

    Parameters
    ----------
    name
        One of `TOYS`.
    folder
        Made if it is missing. The files are ``NAME.gguf`` and ``mmproj-NAME.gguf``.

    Raises
    ------
    ValueError
        If there is no toy of that name.
    """
    if name not in MEMORY:
        raise ValueError(f"no toy is called {name!r}: expected one of {', '.join(TOYS)}")
    folder.mkdir(parents=True, exist_ok=True)
    model = folder / f"{name}.gguf"
    _write(model, name, lambda writer, tensors: _text(name, writer, tensors))
    projector = None
    if name in projectors.PROJECTORS:
        projector = folder / f"mmproj-{name}.gguf"
        _write(projector, "clip", projectors.PROJECTORS[name])
    return Toy(name, model, projector, MEMORY[name])


def _text(name: str, writer: GGUFWriter, tensors: weights.Tensors) -> None:
    text.MODELS[name](writer, tensors)
    # As the real ones do: Gemma's prompts begin with a BOS token, the others' do not.
    tokenizer.add_tokenizer(writer, add_bos=name == "gemma3")


def _write(
    path: Path, architecture: str, fill: Callable[[GGUFWriter, weights.Tensors], None]
) -> None:
    stamp = f"llmagic toy {_sources()}"
    if path.exists():
        with path.open("rb") as file:
            if stamp.encode() in file.read(1024):
                return
    writer = GGUFWriter(None, architecture)
    writer.add_description(stamp)  # among the first keys, where a later run looks for it
    writer.add_name(f"llmagic toy {path.stem}")
    fill(writer, weights.Tensors(writer, path.stem))
    weights.finish(writer, path)


def _sources() -> str:
    """Digest of the modules that write: files that other sources wrote are written anew."""
    digest = hashlib.sha256()
    for name in ("__init__", "projectors", "text", "tokenizer", "weights"):
        digest.update((Path(__file__).parent / f"{name}.py").read_bytes())
    return digest.hexdigest()[:16]
