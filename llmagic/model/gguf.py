"""What a GGUF file says of itself, read by llama.cpp's own parser without loading weights."""

from __future__ import annotations

import ctypes
import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from llmagic.errors import ModelFileError
from llmagic.model.library import LOG, libggml

SAMPLES = 64
SAMPLE_BYTES = 4096


class _InitParams(ctypes.Structure):
    _fields_ = (("no_alloc", ctypes.c_bool), ("ctx", ctypes.c_void_p))


def _function(name: str, result: Any, *arguments: Any) -> Callable[..., Any]:
    function: Any = getattr(libggml, name)
    function.restype, function.argtypes = result, list(arguments)
    return cast(Callable[..., Any], function)


_P, _I = ctypes.c_void_p, ctypes.c_int64
_init = _function("gguf_init_from_file", _P, ctypes.c_char_p, _InitParams)
_free = _function("gguf_free", None, _P)
_data_offset = _function("gguf_get_data_offset", ctypes.c_size_t, _P)
_n_kv = _function("gguf_get_n_kv", _I, _P)
_key = _function("gguf_get_key", ctypes.c_char_p, _P, _I)
_kv_type = _function("gguf_get_kv_type", ctypes.c_int, _P, _I)
_n_tensors = _function("gguf_get_n_tensors", _I, _P)
_tensor_offset = _function("gguf_get_tensor_offset", ctypes.c_size_t, _P, _I)
_find_key = _function("gguf_find_key", _I, _P, ctypes.c_char_p)
_array_type = _function("gguf_get_arr_type", ctypes.c_int, _P, _I)
_array_length = _function("gguf_get_arr_n", ctypes.c_size_t, _P, _I)
_array_text = _function("gguf_get_arr_str", ctypes.c_char_p, _P, _I, ctypes.c_size_t)
_find_tensor = _function("gguf_find_tensor", _I, _P, ctypes.c_char_p)
_tensor_size = _function("gguf_get_tensor_size", ctypes.c_size_t, _P, _I)

# enum gguf_type -> the getter of a scalar. A getter called with another type aborts the process.
_SCALARS = {
    0: _function("gguf_get_val_u8", ctypes.c_uint8, _P, _I),
    1: _function("gguf_get_val_i8", ctypes.c_int8, _P, _I),
    2: _function("gguf_get_val_u16", ctypes.c_uint16, _P, _I),
    3: _function("gguf_get_val_i16", ctypes.c_int16, _P, _I),
    4: _function("gguf_get_val_u32", ctypes.c_uint32, _P, _I),
    5: _function("gguf_get_val_i32", ctypes.c_int32, _P, _I),
    6: _function("gguf_get_val_f32", ctypes.c_float, _P, _I),
    7: _function("gguf_get_val_bool", ctypes.c_bool, _P, _I),
    8: _function("gguf_get_val_str", ctypes.c_char_p, _P, _I),
    10: _function("gguf_get_val_u64", ctypes.c_uint64, _P, _I),
    11: _function("gguf_get_val_i64", ctypes.c_int64, _P, _I),
    12: _function("gguf_get_val_f64", ctypes.c_double, _P, _I),
}

_TEXT, _ARRAY = 8, 9
"""enum gguf_type."""

Scalar = int | float | bool | str


@dataclass(frozen=True)
class Header:
    """Header of a GGUF file: scalar metadata, where the tensors are, the file's size (bytes)."""

    path: Path
    metadata: dict[str, Scalar]
    data_offset: int
    n_bytes: int
    rest: tuple[Header, ...] = ()
    """Headers of the other parts of a split model, in order; `n_bytes` is of this part alone."""
    has_long_rope: bool = False
    learned_positions: bool = False
    """Whether each position has a row of weights: one beyond them ends the process (ggml-cpu's
    get_rows asserts it; GPT-2, MPT, StarCoder)."""

    @property
    def rope_threshold(self) -> int:
        """Size of context (tokens) above which a model takes its other rope factors; 0: never.

        llama.cpp chooses between `rope_factors_long` and `_short` by the size of the context, not
        by the position (llama-model.cpp, get_rope_factors), so a state means another thing there.
        """
        return self.number("rope.scaling.original_context_length") if self.has_long_rope else 0

    @property
    def total_bytes(self) -> int:
        """Size of all parts (bytes)."""
        return self.n_bytes + sum(part.n_bytes for part in self.rest)

    @property
    def architecture(self) -> str:
        return str(self.metadata.get("general.architecture", "unknown"))

    def number(self, key: str, default: int = 0) -> int:
        """A scalar under `{architecture}.{key}`; `default` where it is missing or no number."""
        value = self.metadata.get(f"{self.architecture}.{key}", default)
        return int(value) if isinstance(value, (int, float)) else default

    @cached_property
    def digest(self) -> bytes:
        """Digest (16 bytes) of the header, the tensor table, the size and sampled blocks.

        Reading 5 GB to name a file would cost more than most cells. Two files of one size with
        the same header differ in some sampled block unless someone made them to deceive.
        """
        hash_ = hashlib.blake2b(digest_size=16)
        hash_.update(str(self.n_bytes).encode())
        with self.path.open("rb") as file:
            left = self.data_offset
            while left > 0 and (block := file.read(min(left, 1 << 20))):
                hash_.update(block)
                left -= len(block)
            span = max(self.n_bytes - self.data_offset - SAMPLE_BYTES, 0)
            for index in range(SAMPLES):
                file.seek(self.data_offset + span * index // (SAMPLES - 1))
                hash_.update(file.read(SAMPLE_BYTES))
        for part in self.rest:
            hash_.update(part.digest)
        return hash_.digest()


def read_header(path: Path) -> Header:
    """Read the header of a GGUF file, and of the other parts where it is the first of several.

    Raises
    ------
    ModelFileError
        A file is missing, not a GGUF, or shorter than its tensor table says; or it is a part of a
        split model other than the first.
    """
    header = _read_header(path)
    number, count = (_whole(header.metadata.get(f"split.{key}")) for key in ("no", "count"))
    if count <= 1:
        return header
    name = f"-{number + 1:05d}-of-{count:05d}.gguf"
    if number or not path.name.endswith(name):
        raise ModelFileError(
            f"expected the first part of a split model, named …-00001-of-{count:05d}.gguf, and "
            f"{str(path)!r} is part {number + 1}. Give the first part; the others must lie beside "
            "it under their own names."
        )
    prefix = path.name.removesuffix(name)
    others = (path.with_name(f"{prefix}-{n:05d}-of-{count:05d}.gguf") for n in range(2, count + 1))
    return replace(header, rest=tuple(_read_header(other) for other in others))


def doubled_token(path: Path) -> str | None:
    """A token that stands twice in a GGUF's vocabulary; None where none does.

    llama.cpp ends the process at such a vocabulary (llama-vocab.cpp:2544). It is looked for apart
    from the header, as a list of models is no reason to read 250,000 tokens of each.
    """
    context = _init(str(path).encode(), _InitParams(True, None))
    if not context:
        return None
    try:
        key = _find_key(context, b"tokenizer.ggml.tokens")
        is_list = key >= 0 and _kv_type(context, key) == _ARRAY
        if not is_list or _array_type(context, key) != _TEXT:
            return None
        seen = set[bytes]()
        for index in range(_array_length(context, key)):
            token = _array_text(context, key, index)
            # llama.cpp gives empty ones names of their own.
            if token and token in seen:
                return str(token.decode("utf-8", "replace"))
            seen.add(token)
        return None
    finally:
        _free(context)


def _whole(value: Scalar | None) -> int:
    return int(value) if isinstance(value, (int, float)) else 0


def _read_header(path: Path) -> Header:
    if not os.path.exists(path):  # Path.exists raises where a name is too long to be one
        hint = "" if path.is_absolute() else f"; it is relative to {str(Path.cwd())!r}"
        raise ModelFileError(
            f"expected a GGUF file at {str(path)!r}, and there is none. Check the path{hint}."
        )
    if path.is_dir():
        raise ModelFileError(
            f"expected a GGUF file, and {str(path)!r} is a folder. Give the .gguf file inside it."
        )
    try:
        with path.open("rb") as file:
            magic = file.read(4)
    except OSError as error:
        raise ModelFileError(f"{str(path)!r} cannot be read: {error.strerror}.") from error
    n_bytes = path.stat().st_size
    if magic != b"GGUF":
        raise ModelFileError(
            f"expected a GGUF file (its first bytes are b'GGUF'), and {str(path)!r} "
            f"({n_bytes:,} bytes) begins with {magic!r}. Convert the model to GGUF first."
        )
    with LOG.section() as log:
        context = _init(str(path).encode(), _InitParams(True, None))
        if not context:
            raise ModelFileError(
                f"{str(path)!r} ({n_bytes:,} bytes) begins like a GGUF file and cannot be read as "
                f"one; it may be truncated. Get it again. llama.cpp: {log.errors()}"
            )
    try:
        offset = _data_offset(context)
        count = _n_tensors(context)
        end = max(
            (_tensor_offset(context, i) + _tensor_size(context, i) for i in range(count)), default=0
        )
        metadata = _metadata(context)
        long_rope = _find_tensor(context, b"rope_factors_long.weight") >= 0
        positions = _find_tensor(context, b"position_embd.weight") >= 0
    finally:
        _free(context)
    if offset + end > n_bytes:
        raise ModelFileError(
            f"{str(path)!r} is truncated: its tensor table needs {offset + end:,} bytes, the file "
            f"has {n_bytes:,}. Get it again."
        )
    return Header(
        path, metadata, offset, n_bytes, has_long_rope=long_rope, learned_positions=positions
    )


def _metadata(context: int) -> dict[str, Scalar]:
    found: dict[str, Scalar] = {}
    for index in range(_n_kv(context)):
        getter = _SCALARS.get(_kv_type(context, index))
        if getter is None:
            continue  # arrays: the vocabulary and the like, which nothing here needs
        value = getter(context, index)
        found[_key(context, index).decode("utf-8", "replace")] = (
            value.decode("utf-8", "replace") if isinstance(value, bytes) else value
        )
    return found
