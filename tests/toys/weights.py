"""Random tensors with fixed seeds, and how they get into a GGUF file."""

from __future__ import annotations

import os
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
from gguf import GGUFWriter

Array = npt.NDArray[np.float32]


class Tensors:
    """The tensors of one file. Each is drawn from a seed made of the file's and its own name.

    So adding a tensor changes no other one. `numpy.random.RandomState` is frozen: its numbers do
    not depend on numpy's version, those of `default_rng` may.
    """

    def __init__(self, writer: GGUFWriter, seed: str) -> None:
        self._writer = writer
        self._seed = seed

    def noise(self, name: str, *shape: int) -> Array:
        """Standard normal numbers of this shape (numpy's order: GGUF's reversed)."""
        random = np.random.RandomState(zlib.crc32(f"{self._seed}/{name}".encode()))
        return random.standard_normal(shape).astype(np.float32)

    def matrix(self, name: str, n_out: int, n_in: int, gain: float = 1.0) -> None:
        """A linear map in F16: inputs of variance 1 come out with variance `gain` squared."""
        noise = self.noise(name, n_out, n_in) * np.float32(gain / np.sqrt(n_in))
        self.add(f"{name}.weight", noise.astype(np.float16))

    def norm(self, name: str, n: int, mean: float = 1.0) -> None:
        """A normalisation's weights, around `mean`, in F32."""
        self.add(f"{name}.weight", np.float32(mean) + np.float32(0.1) * self.noise(name, n))

    def bias(self, name: str, n: int, scale: float = 0.1, mean: float = 0.0) -> None:
        noise = self.noise(f"{name}.bias", n)
        self.add(f"{name}.bias", np.float32(mean) + np.float32(scale) * noise)

    def add(self, name: str, values: npt.NDArray[np.float32] | npt.NDArray[np.float16]) -> None:
        """One tensor, under its full name and with the type of `values`."""
        self._writer.add_tensor(name, np.ascontiguousarray(values))


def finish(writer: GGUFWriter, path: Path) -> None:
    """Write everything to `path`: complete or not there at all, also when two processes do it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        writer.write_header_to_file(temporary)
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
