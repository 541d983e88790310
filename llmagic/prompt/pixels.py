"""The one form every image takes here: 8-bit RGB pixels, and rules to get there.

Samples of another depth are scaled, never stretched to fill the range: a dark picture stays dark.

==================  ============================================================
samples             become
==================  ============================================================
bool                0 or 255
8 bit               themselves
16 bit              ``value >> 8``
wider integers      themselves up to 255; ``value >> 8`` up to 65535; else an error
float               ``round(255 * value)`` for 0..1
alpha               what shows on white
==================  ============================================================
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
import numpy.typing as npt
from PIL import Image

from llmagic.errors import ImageError

Pixels = npt.NDArray[np.uint8]
"""Canonical pixels, H x W x 3."""

_ROUNDING = 1e-3
"""How far past 0..1 a float may stray: resampling and normalising overshoot by rounding."""


@dataclass(frozen=True)
class Picture:
    """An image as a model gets it.

    Attributes
    ----------
    width, height : int
        In pixels, both at least 1.
    pixels : bytes
        8-bit RGB, row by row from the top left; ``width * height * 3`` bytes.

    Raises
    ------
    ImageError
        When there are no pixels, or not as many as the size says.
    """

    width: int
    height: int
    pixels: bytes = field(repr=False)

    def __post_init__(self) -> None:
        check_size(self.width, self.height)
        expected = self.width * self.height * 3
        if len(self.pixels) != expected:
            raise ImageError(
                f"A {self.width} x {self.height} picture takes {expected} bytes of 8-bit RGB, "
                f"but {len(self.pixels)} came. Pass the rows one after another, without padding."
            )

    @classmethod
    def from_pixels(cls, pixels: Pixels) -> Picture:
        """The picture that these H x W x 3 pixels are."""
        height, width, _ = pixels.shape
        return cls(width, height, pixels.tobytes())

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 of size and pixels (32 bytes): the same for the same picture in any format."""
        size = np.array([self.width, self.height], "<u8").tobytes()
        return hashlib.sha256(b"llmagic-picture1" + size + self.pixels).digest()

    def to_pil(self) -> Image.Image:
        """The picture as a new PIL image of mode RGB."""
        return Image.frombytes("RGB", (self.width, self.height), self.pixels)

    def png(self, level: int = 6) -> bytes:
        """The picture as a PNG file; `level` is zlib's, from 1 (quick) to 9 (small)."""
        stream = io.BytesIO()
        self.to_pil().save(stream, "PNG", compress_level=level)
        return stream.getvalue()


_ALIVE: WeakValueDictionary[bytes, Picture] = WeakValueDictionary()


def the_one(picture: Picture) -> Picture:
    """The picture of these pixels that is in memory already, if there is one.

    A cell reads its images anew at each run, and all its versions are kept.
    """
    return _ALIVE.setdefault(picture.digest, picture)


def check_size(width: int, height: int) -> None:
    """Refuse what has no pixels, or more than Pillow's `PIL.Image.MAX_IMAGE_PIXELS`.

    Raises
    ------
    ImageError
        With the counts and what to do.
    """
    if width < 1 or height < 1:
        raise ImageError(
            f"An image needs at least one pixel each way; this one is {width} x {height}. "
            "Check the slice or crop it came from."
        )
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and width * height > limit:
        raise ImageError(
            f"The image is {width} x {height} = {width * height:,} pixels; at most {limit:,} are "
            "read (PIL.Image.MAX_IMAGE_PIXELS, against decompression bombs). Make it smaller, or "
            "raise that limit if you trust the image."
        )


def to_8bit(samples: npt.NDArray[Any]) -> Pixels:
    """Samples of any real type as 8 bit, by the table above.

    Raises
    ------
    ImageError
        For values outside the ranges of the table, NaN and infinity, and types that hold no
        intensities (complex, text, objects).
    """
    kind = samples.dtype.kind
    if kind == "b":
        return samples.astype(np.uint8) * np.uint8(255)
    if samples.dtype == np.uint8:
        return samples.astype(np.uint8, copy=False)
    if kind == "u" and samples.dtype.itemsize == 2:
        return (samples >> 8).astype(np.uint8)
    if kind in "iu":
        return _integers_to_8bit(samples)
    if kind == "f":
        return _floats_to_8bit(samples)
    raise ImageError(
        f"An image holds bool, integer or float samples; these are {samples.dtype}. Convert "
        "them first, for example with .astype('uint8')."
    )


def on_white(color: Pixels, alpha: Pixels) -> Pixels:
    """What shows of `color` (H x W x C) with opacity `alpha` (H x W) in front of white."""
    opacity = alpha.astype(np.uint16)[..., None]
    # In whole numbers, so that no version of any library rounds it otherwise: at most 65152.
    shown: Pixels = ((color * opacity + 255 * (255 - opacity) + 127) // 255).astype(np.uint8)
    return shown


def in_unit_range(samples: npt.NDArray[Any]) -> bool:
    """Whether all floats are 0..1, give or take rounding (False with NaN, True when empty)."""
    if not samples.size:
        return True
    return bool(samples.min() >= -_ROUNDING and samples.max() <= 1 + _ROUNDING)


def _integers_to_8bit(samples: npt.NDArray[Any]) -> Pixels:
    low, high = int(samples.min()), int(samples.max())
    if low < 0 or high > 65535:
        raise ImageError(
            f"An image of {samples.dtype} samples holds 0..255 (8 bit) or 0..65535 (16 bit); "
            f"this one holds {low}..{high}. Scale it to 0..255 and pass .astype('uint8')."
        )
    return (samples if high <= 255 else samples >> 8).astype(np.uint8)


def _floats_to_8bit(samples: npt.NDArray[Any]) -> Pixels:
    if not in_unit_range(samples):
        low, high = float(samples.min()), float(samples.max())
        if not np.isfinite([low, high]).all():
            count = int(np.count_nonzero(~np.isfinite(samples)))
            raise ImageError(
                f"An image of floats holds 0..1; {count} of these {samples.size} samples are NaN "
                "or infinite. Replace them, for example with numpy.nan_to_num."
            )
        raise ImageError(
            f"An image of floats holds 0..1; this one holds {low:g}..{high:g}. Divide it by its "
            "full scale (often 255), or cut it off with .clip(0, 1)."
        )
    exact = np.float64 if samples.dtype.itemsize > 4 else np.float32  # half is too coarse for 255
    scaled: Pixels = np.rint(samples.astype(exact).clip(0, 1) * 255).astype(np.uint8)
    return scaled
