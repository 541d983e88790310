"""The bytes of one stored entry: a safetensors file in which every byte is under a checksum.

Two xxh3-128 checksums stand at fixed places at the beginning: one over the header (its own digits
taken as zeros), one over the data. So the header alone can be trusted without reading the data,
and no byte, the checksums' included, can change or go missing unnoticed. `docs/store.md` has the
table.
"""

from __future__ import annotations

import enum
import json
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xxhash

VERSION = 1
"""Of the format; it is in every header, and in the name of the folder that holds the files."""


TURN = "turn"
"""A label: the name (hexadecimal) of the turn without which an entry is of no use."""


class Kind(enum.StrEnum):
    """What an entry is; also the name of its folder."""

    CHECKPOINT = "checkpoints"
    STATE = "states"
    IMAGE = "images"
    EMBEDDING = "embeddings"
    TURN = "turns"
    ASKED = "asked"


@dataclass(frozen=True)
class Entry:
    """What was stored under a name.

    Attributes
    ----------
    meta : dict of str to str
        The caller's labels, and `parent` (hexadecimal) for an entry that stands on another.
    arrays : dict of str to ndarray
        C-contiguous; read-only when they come from a file.
    """

    meta: dict[str, str]
    arrays: dict[str, np.ndarray]


@dataclass(frozen=True)
class Header:
    """What a file says about itself before its data; `n_bytes` is the size of the whole file."""

    kind: Kind
    name: bytes
    parent: bytes | None
    meta: dict[str, str]
    arrays: dict[str, tuple[np.dtype[Any], tuple[int, ...], int]]
    data_checksum: bytes
    n_header: int
    n_data: int

    @property
    def n_bytes(self) -> int:
        return self.n_header + self.n_data


class DamagedError(Exception):
    """A file whose bytes are not those that were written; never leaves this package."""


_LENGTH = 8
_DIGITS = 32
_ZEROS = b"0" * _DIGITS
_BEFORE = b'{"__metadata__":{"llmagic.header":"'
_CHECKSUM = slice(_LENGTH + len(_BEFORE), _LENGTH + len(_BEFORE) + _DIGITS)
_ALIGNMENT = 64
_LARGEST_HEADER = 16 << 20
# Hashed while still in the processor's cache: a second pass over memory costs as much as reading.
_CHUNK = 1 << 18

_DTYPES = {
    name: np.dtype(code)
    for name, code in {
        "BOOL": "?",
        "U8": "u1",
        "I8": "i1",
        "U16": "<u2",
        "I16": "<i2",
        "F16": "<f2",
        "U32": "<u4",
        "I32": "<i4",
        "F32": "<f4",
        "U64": "<u8",
        "I64": "<i8",
        "F64": "<f8",
    }.items()
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}


def check(arrays: Mapping[str, np.ndarray], meta: Mapping[str, str]) -> None:
    """Raise where an entry cannot be stored at all, which is the caller's mistake.

    Raises
    ------
    TypeError
        An array of a type safetensors does not have, or a label that is not a text.
    ValueError
        A reserved name.
    """
    for name, array in arrays.items():
        if name == "__metadata__":
            raise ValueError("expected another name for an array than '__metadata__'.")
        if array.dtype not in _NAMES:
            raise TypeError(f"expected array {name!r} of one of {[*_DTYPES]}, got {array.dtype}.")
    for key, value in meta.items():
        if not isinstance(value, str):
            raise TypeError(f"expected a text as label {key!r}, got {type(value).__name__}.")
        if key == "parent" or key.startswith("llmagic."):
            raise ValueError(f"expected another label than {key!r}, which is the store's own.")


def pack(
    kind: Kind,
    name: bytes,
    arrays: Mapping[str, np.ndarray],
    meta: Mapping[str, str],
    parent: bytes | None = None,
) -> list[memoryview]:
    """The bytes of a file, in pieces that follow each other; the arrays are not copied."""
    # Larger items first, so every array is aligned without holes, which safetensors forbids.
    ordered = sorted(arrays.items(), key=lambda item: (-item[1].dtype.itemsize, item[0]))
    layout: dict[str, object] = {}
    pieces: list[memoryview] = []
    data = xxhash.xxh3_128()
    offset = 0
    for label, array in ordered:
        piece = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
        end = offset + piece.nbytes
        layout[label] = {
            "dtype": _NAMES[array.dtype],
            "shape": list(array.shape),
            "data_offsets": [offset, end],
        }
        data.update(piece)
        pieces.append(piece)
        offset = end
    own = {
        "llmagic.header": _ZEROS.decode(),
        "llmagic.data": data.hexdigest(),
        "llmagic.version": str(VERSION),
        "llmagic.kind": str(kind),
        "llmagic.name": name.hex(),
    }
    if parent is not None:
        own["parent"] = parent.hex()
    text = json.dumps({"__metadata__": own | dict(meta), **layout}, separators=(",", ":")).encode()
    text = text.ljust(len(text) + -(_LENGTH + len(text)) % _ALIGNMENT)
    if len(text) > _LARGEST_HEADER:
        raise ValueError(f"expected labels below {_LARGEST_HEADER:,} bytes, got {len(text):,}.")
    header = bytearray(len(text).to_bytes(_LENGTH, "little") + text)
    assert header.startswith(_BEFORE, _LENGTH)
    header[_CHECKSUM] = _hex(header)
    return [memoryview(header), *pieces]


def _hex(header: bytearray) -> bytes:
    return xxhash.xxh3_128(header).hexdigest().encode()


def read_header(descriptor: int) -> Header:
    """Read and verify a file's header; the file's offset is at its data then.

    Raises
    ------
    DamagedError
        It is not what was written, or not as long.
    OSError
        It could not be read.
    """
    length = os.read(descriptor, _LENGTH)
    size = int.from_bytes(length, "little")
    total = os.fstat(descriptor).st_size
    if len(length) < _LENGTH or not len(_BEFORE) + _DIGITS <= size <= _LARGEST_HEADER:
        raise DamagedError("its first bytes are not a header's")
    if _LENGTH + size > total:
        raise DamagedError(f"it ends inside its header, after {total:,} bytes")
    header = bytearray(length)
    while len(header) < _LENGTH + size:
        more = os.read(descriptor, _LENGTH + size - len(header))
        if not more:
            raise DamagedError("it ends inside its header")
        header += more
    found = bytes(header[_CHECKSUM])
    header[_CHECKSUM] = _ZEROS
    if _hex(header) != found:
        raise DamagedError("its header has another checksum")
    try:
        parsed = _parse(header)
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedError(f"its header cannot be understood: {error}") from error
    if parsed.n_bytes != total:
        raise DamagedError(f"it has {total:,} bytes instead of {parsed.n_bytes:,}")
    return parsed


def _parse(header: bytearray) -> Header:
    layout = json.loads(header[_LENGTH:])
    own = layout.pop("__metadata__")
    if own["llmagic.version"] != str(VERSION):
        raise ValueError(f"version {VERSION} was expected, {own['llmagic.version']} came")
    arrays: dict[str, tuple[np.dtype[Any], tuple[int, ...], int]] = {}
    end = 0
    for name, array in layout.items():
        dtype, shape = _DTYPES[array["dtype"]], tuple(array["shape"])
        n_bytes = math.prod(shape) * dtype.itemsize
        if array["data_offsets"] != [end, end + n_bytes]:
            raise ValueError("its arrays do not follow each other")
        arrays[name] = (dtype, shape, end)
        end += n_bytes
    parent = own.get("parent")
    return Header(
        kind=Kind(own["llmagic.kind"]),
        name=bytes.fromhex(own["llmagic.name"]),
        parent=None if parent is None else bytes.fromhex(parent),
        meta={key: value for key, value in own.items() if not key.startswith("llmagic.")},
        arrays=arrays,
        data_checksum=bytes.fromhex(own["llmagic.data"]),
        n_header=len(header),
        n_data=end,
    )


def read_data(descriptor: int, header: Header) -> Entry:
    """Read and verify the data after a header that was just read.

    Raises
    ------
    DamagedError
        It is not what was written.
    OSError
        It could not be read.
    """
    data = np.empty(header.n_data, np.uint8)
    if _fill(descriptor, data) != header.data_checksum:
        raise DamagedError("its data has another checksum")
    data.flags.writeable = False
    arrays = {}
    for name, (dtype, shape, start) in header.arrays.items():
        stop = start + math.prod(shape) * dtype.itemsize
        arrays[name] = data[start:stop].view(dtype).reshape(shape)
    return Entry(header.meta, arrays)


def check_data(descriptor: int, header: Header) -> Iterator[int]:
    """Verify the data after a header without keeping it; yields bytes as they are read.

    Raises
    ------
    DamagedError
        It is not what was written.
    OSError
        It could not be read.
    """
    checksum = xxhash.xxh3_128()
    left = header.n_data
    while left:
        piece = os.read(descriptor, min(left, 16 * _CHUNK))
        if not piece:
            raise DamagedError("it ends inside its data")
        checksum.update(piece)
        left -= len(piece)
        yield len(piece)
    if checksum.digest() != header.data_checksum:
        raise DamagedError("its data has another checksum")


def _fill(descriptor: int, data: np.ndarray) -> bytes:
    """Read as many bytes as `data` has; returns their checksum."""
    checksum = xxhash.xxh3_128()
    view = data.data
    start = 0
    while start < data.nbytes:
        n_read = os.readv(descriptor, [view[start : start + _CHUNK]])
        if not n_read:
            raise DamagedError("it ends inside its data")
        checksum.update(view[start : start + n_read])
        start += n_read
    return checksum.digest()
