"""Files and PIL images of any format and mode, as canonical pixels."""

from __future__ import annotations

import io
import warnings
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from llmagic.errors import ImageError
from llmagic.prompt.pixels import Picture, Pixels, check_size, in_unit_range, on_white, to_8bit

_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def decode(source: bytes | BinaryIO, name: str = "the data") -> Picture:
    """An image file's first frame, upright, on white.

    Parameters
    ----------
    source : bytes or binary file
        A whole file in any format Pillow reads.
    name : str
        What to call it in an error message.

    Raises
    ------
    ImageError
        When it is no image, is damaged or truncated, or has more pixels than Pillow's limit.
    """
    stream = io.BytesIO(source) if isinstance(source, bytes) else source
    head = stream.read(64)
    stream.seek(0)
    if not head:
        raise ImageError(f"An image was expected in {name}, but it is empty.")
    try:
        with warnings.catch_warnings():
            # A warning at the limit would let the pixels be decoded all the same.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(stream) as image:
                return from_pil(image)
    except ImageError as error:
        raise ImageError(f"Cannot use {name}: {error}") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(
            f"{name} exceeds PIL.Image.MAX_IMAGE_PIXELS = {Image.MAX_IMAGE_PIXELS}: {error} "
            "Make it smaller, or raise that limit if you trust the image."
        ) from error
    except UnidentifiedImageError as error:
        raise ImageError(
            f"{name} is not an image that Pillow can read: {_looks_like(head)}. Expected PNG, "
            "JPEG, WebP, GIF, BMP, TIFF or another raster format."
        ) from error
    except Exception as error:  # decoders raise anything at all on damaged files
        raise _undecodable(name, error) from error


def from_pil(image: Image.Image) -> Picture:
    """A PIL image's current frame (the first, unless someone called `seek`) as a picture.

    The EXIF orientation, where there still is one, is applied. Colour profiles are not.

    Raises
    ------
    ImageError
        When its pixels cannot be decoded or converted, or are more than Pillow's limit.
    """
    check_size(*image.size)
    try:
        image.load()
        return Picture.from_pixels(_rgb(_upright(image)))
    except ImageError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise
    except Exception as error:  # see above
        raise _undecodable(f"the {image.mode} image", error) from error


def _upright(image: Image.Image) -> Image.Image:
    try:
        orientation = image.getexif().get(_ORIENTATION)
    except Exception:  # damaged EXIF data says nothing about orientation; the pixels are fine
        return image
    method = _UPRIGHT.get(orientation) if isinstance(orientation, int) else None
    return image if method is None else image.transpose(method)


def _rgb(image: Image.Image) -> Pixels:
    mode = image.mode
    if mode.startswith("I;16"):
        return _gray(_keyed(to_8bit(np.asarray(image)), np.asarray(image), image))
    if mode == "I":
        return _gray(to_8bit(np.asarray(image)))
    if mode == "F":
        samples = np.asarray(image)
        # Pillow's own conversions give F the range 0..255.
        if samples.min() >= 0 and 1 < samples.max() <= 255 and not in_unit_range(samples):
            samples = samples / np.float32(255)
        return _gray(to_8bit(samples))
    if mode == "La":
        return _rgb(image.convert("LA"))
    if image.has_transparency_data:
        pixels = np.asarray(_with_eight_bit_key(image).convert("RGBA"))
        return on_white(pixels[..., :3], pixels[..., 3])
    return np.asarray(image if mode == "RGB" else image.convert("RGB"))


def _gray(samples: Pixels) -> Pixels:
    return np.repeat(samples[..., None], 3, axis=2)


def _keyed(gray: Pixels, samples: npt.NDArray[np.uint16], image: Image.Image) -> Pixels:
    """16-bit gray with its transparent value (PNG's tRNS), which Pillow does not apply."""
    key = image.info.get("transparency")
    if not isinstance(key, int):
        return gray
    return np.where(samples == key, np.uint8(255), gray)


def _with_eight_bit_key(image: Image.Image) -> Image.Image:
    """Pillow reads 16-bit RGB as 8 bit but leaves its transparent colour at 16."""
    key = image.info.get("transparency")
    if image.mode == "RGB" and isinstance(key, tuple) and max(key) > 255:
        image = image.copy()
        image.info["transparency"] = tuple(value >> 8 for value in key)
    return image


def _undecodable(name: str, error: Exception) -> ImageError:
    return ImageError(
        f"{name} cannot be decoded: {str(error) or type(error).__name__}. It may be incomplete or "
        "damaged; save or download it again, or convert it to PNG."
    )


def _looks_like(head: bytes) -> str:
    start = head.lstrip().lower()
    if start.startswith((b"<svg", b"<?xml")):
        return "it looks like SVG or XML, which must be drawn first (convert it to PNG)"
    if start.startswith((b"<!doctype", b"<html")):
        return "it is an HTML page, not the image itself"
    if start.startswith(b"%pdf"):
        return "it is a PDF (convert its page to PNG)"
    if start.startswith(b"version https://git-lfs"):
        return "it is a Git LFS pointer (run git lfs pull)"
    if head[4:12] in (b"ftypheic", b"ftypheix", b"ftypmif1", b"ftyphevc"):
        return "it is HEIC, as telephones take it (convert it to JPEG, or register pillow-heif)"
    return f"it begins with {head[:12]!r}"
