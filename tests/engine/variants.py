"""Variants of a toy: the same weights with other metadata or more tensors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from gguf import GGUFReader, GGUFValueType, GGUFWriter


def variant(
    source: Path,
    target: Path,
    *,
    architecture: str | None = None,
    metadata: dict[str, tuple[Any, GGUFValueType]] | None = None,
    tensors: dict[str, npt.NDArray[np.float32]] | None = None,
    without: tuple[str, ...] = (),
) -> Path:
    """Copy a GGUF (F32 and F16 tensors) with other metadata, more tensors, or fewer."""
    reader = GGUFReader(source)
    old = str(reader.fields["general.architecture"].contents())
    new = architecture or old
    writer = GGUFWriter(target, new)
    given = metadata or {}
    for name, field in reader.fields.items():
        name = name.replace(f"{old}.", f"{new}.", 1) if name.startswith(f"{old}.") else name
        if name.startswith("GGUF.") or name == "general.architecture" or name in given:
            continue
        if field.types[0] == GGUFValueType.ARRAY:
            writer.add_array(name, field.contents())
        else:
            writer.add_key_value(name, field.contents(), field.types[0])
    for name, (value, kind) in given.items():
        writer.add_key_value(name, value, kind)
    for tensor in reader.tensors:
        if any(part in tensor.name for part in without):
            continue
        writer.add_tensor(tensor.name, np.array(tensor.data))
    for name, array in (tensors or {}).items():
        writer.add_tensor(name, array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return target
