"""A store in a new folder, and entries like those the package writes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from llmagic.prompt.images import Picture
from llmagic.store import Kind, Store
from tests.store.mounting import mount

__all__ = ["mount"]

MIB = 1 << 20


def arrays_of(kind: Kind, seed: int = 0, scale: int = 1) -> dict[str, np.ndarray]:
    """What an entry of a kind holds, small."""
    noise = np.random.default_rng(seed)
    match kind:
        case Kind.CHECKPOINT:
            return {
                "rows": noise.integers(0, 256, 1500 * scale, np.uint8),
                "state": noise.integers(0, 256, 400 * scale, np.uint8),
            }
        case Kind.STATE:
            return {"state": noise.integers(0, 256, 400 * scale, np.uint8)}
        case Kind.EMBEDDING:
            return {"embedding": noise.standard_normal((4 * scale, 64), np.float32)}
        case Kind.IMAGE:
            pixels = noise.integers(0, 256, (12, 16 * scale, 3), np.uint8)
            png = Picture(16 * scale, 12, pixels.tobytes()).png()
            return {"png": np.frombuffer(png, np.uint8)}
        case Kind.TURN | Kind.ASKED:
            text = json.dumps({"reply": "a cat on a mat. " * 20 * scale, "seed": seed}).encode()
            return {"json": np.frombuffer(text, np.uint8)}


def same(one: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray]) -> bool:
    """Whether arrays are the same, bit for bit, of the same type and shape."""
    return one.keys() == other.keys() and all(
        a.dtype == other[name].dtype
        and a.shape == other[name].shape
        # Bytes, not values: a NaN equals no NaN.
        and a.tobytes() == other[name].tobytes()
        for name, a in one.items()
    )


@dataclass
class Opened:
    """A store, with all it ever said."""

    store: Store
    warnings: list[str] = field(default_factory=list)

    def put(
        self,
        kind: Kind,
        name: bytes,
        seed: int = 0,
        *,
        scale: int = 1,
        parent: bytes | None = None,
        meta: Mapping[str, str] | None = None,
    ) -> list[bool]:
        """Put an entry; the list gets what `done` was told."""
        told: list[bool] = []
        self.store.put(
            kind,
            name,
            arrays=arrays_of(kind, seed, scale),
            meta=meta or {"model": "toy"},
            parent=parent,
            done=told.append,
        )
        return told

    def put_now(self, kind: Kind, name: bytes, seed: int = 0, **how: object) -> bool:
        """Put an entry and wait; whether it was written."""
        told = self.put(kind, name, seed, **how)  # type: ignore[arg-type]
        assert self.store.flush(120)
        (written,) = told
        return written

    def file(self, kind: Kind, name: bytes) -> Path:
        return self.store.path / "v1" / kind / f"{name.hex()}.safetensors"


Open = Callable[..., Opened]


@pytest.fixture
def open_store(tmp_path: Path) -> Iterator[Open]:
    """Opens stores, the same folder unless told; closes them at the end."""
    stores: list[Store] = []

    def open_(folder: Path | None = None, *, budget: int = 64 * MIB, **how: int) -> Opened:
        warnings: list[str] = []
        store = Store(folder or tmp_path / "store", budget=budget, warn=warnings.append, **how)
        stores.append(store)
        return Opened(store, warnings)

    yield open_
    for store in stores:
        store.close()


@pytest.fixture
def opened(open_store: Open) -> Opened:
    return open_store()
