"""A model file in several parts, as `llama-gguf-split` writes them."""

from __future__ import annotations

from pathlib import Path

from gguf import GGUFReader, GGUFValueType, GGUFWriter, Keys


def split(model: Path, folder: Path, *, tensors: int, small_first: bool = False) -> list[Path]:
    """Write a copy of a model in parts of so many tensors each; its parts, in order.

    `small_first`: the first part has the metadata and no tensor at all.
    """
    reader = GGUFReader(model)
    architecture = reader.fields[Keys.General.ARCHITECTURE].contents()
    writer = GGUFWriter(
        folder / model.name, architecture, split_max_tensors=tensors, small_first_shard=small_first
    )
    for field in reader.fields.values():
        if field.name == Keys.General.ARCHITECTURE or field.name.startswith("GGUF."):
            continue
        kind = field.types[0]
        items = field.types[-1] if kind == GGUFValueType.ARRAY else None
        writer.add_key_value(field.name, field.contents(), kind, sub_type=items)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return sorted(folder.glob(f"{model.stem}-*.gguf"))
