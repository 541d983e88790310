"""Anything image-like as a `Picture`.

Types of other libraries are known by their names, so that none is imported to ask.
"""

from __future__ import annotations

import base64
import io
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from llmagic.errors import ImageError
from llmagic.prompt.arrays import from_array, is_image_array, is_tensor, tensor_array
from llmagic.prompt.decoding import decode, from_pil
from llmagic.prompt.foreign import is_named
from llmagic.prompt.pixels import Picture, the_one
from llmagic.prompt.references import open_reference

__all__ = ["Picture", "gallery", "is_image_like", "open_reference", "picture", "the_one"]

_SUFFIX = re.compile(
    r"\.(a?png|avif|bmp|dds|dib|gif|hei[cf]|icns|ico|j2k|jfif|jp2|jpe|jpe?g|p[bgnp]m|pcx|psd|qoi"
    r"|tga|tiff?|webp)",
    re.IGNORECASE,
)
_SIGNATURES = (
    b"\x89PNG\r\n\x1a\n",
    b"\xff\xd8\xff",
    b"GIF87a",
    b"GIF89a",
    b"II*\x00",
    b"MM\x00*",
    b"\x00\x00\x00\x0cjP  ",
    b"\xff\x4f\xff\x51",
)


def picture(value: object, *, base: Path | None = None) -> Picture:
    """Anything image-like as canonical pixels.

    Parameters
    ----------
    value : object
        A `Picture`, PIL image, numpy array (see `llmagic.prompt.arrays`), torch tensor,
        matplotlib figure, IPython `Image`, object with `_repr_png_`, the bytes of an image file,
        a path, or a str naming a path, URL or `data:` URI.
    base : Path, optional
        The folder that relative paths start from; the working directory by default.

    Raises
    ------
    ImageError
        When it is none of these, or cannot be read.
    """
    base = Path.cwd() if base is None else base
    if isinstance(value, Picture):
        return value
    if isinstance(value, Image.Image):
        return _from_pil(value)
    if isinstance(value, np.ndarray):
        return from_array(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return decode(bytes(value), "the data")
    if isinstance(value, str | os.PathLike):
        return open_reference(_path(value), base=base, attachments={})
    if is_tensor(value):
        return from_array(tensor_array(value))
    if _is_figure(value):
        return decode(_figure_png(value), "the figure")
    if _is_ipython_image(value):
        return _from_ipython(value, base)
    if _draws_png(value):
        return _from_repr(value)
    raise ImageError(
        f"Expected an image, but a {_name(value)} came. Images are PIL images, numpy arrays, "
        "torch tensors, matplotlib figures, IPython Images, bytes of an image file, and paths."
    )


def is_image_like(value: object) -> bool:
    """Whether a value in a prompt stands for an image rather than for its text.

    A str never does. A path does by its suffix, bytes by their first bytes, an array by its type
    and shape (`llmagic.prompt.arrays.is_image_array`), an object with `_repr_png_` when that
    gives something.
    """
    if isinstance(value, Picture | Image.Image):
        return True
    if isinstance(value, np.ndarray):
        return is_image_array(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return _is_image_file(bytes(value[:32]))
    if isinstance(value, str):
        return False
    if isinstance(value, os.PathLike):
        return _SUFFIX.fullmatch(Path(_path(value)).suffix) is not None
    if is_tensor(value):
        try:
            return is_image_array(tensor_array(value))
        except ImageError:
            return False
    if _is_figure(value) or _is_ipython_image(value):
        return True
    try:
        return _draws_png(value) and _png_repr(value) is not None
    except ImageError:
        return True  # `picture` says what went wrong


def gallery(value: object) -> list[object] | None:
    """The images of a gallery such as `llmagic.ImageUpload`, in order; None for anything else.

    A gallery is what has a method `__llmagic_images__` that gives them.
    """
    give = getattr(type(value), "__llmagic_images__", None)
    return None if give is None else list(give(value))


def _is_image_file(head: bytes) -> bool:
    return (
        head.startswith(_SIGNATURES)
        or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")
        or (head[4:8] == b"ftyp" and head[8:12] in (b"avif", b"avis", b"heic", b"heix", b"mif1"))
        # Two letters alone would take a text for a bitmap; its reserved bytes are zero.
        or (head[:2] == b"BM" and head[6:10] == b"\0\0\0\0")
    )


def _path(value: str | os.PathLike[Any]) -> str:
    return os.fsdecode(os.fspath(value))


def _name(value: object) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")


def _from_pil(image: Image.Image) -> Picture:
    try:
        return from_pil(image)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(f"The image is too large: {error}") from error


def _is_figure(value: object) -> bool:
    return is_named(value, "matplotlib.figure", "Figure")


def _figure_png(figure: Any) -> bytes:
    stream = io.BytesIO()
    try:
        figure.savefig(stream, format="png")
    except Exception as error:
        raise ImageError(f"matplotlib could not draw the figure: {error}") from error
    return stream.getvalue()


def _is_ipython_image(value: object) -> bool:
    return is_named(value, "IPython.core.display", "Image")


def _from_ipython(image: Any, base: Path) -> Picture:
    if image.data:
        return decode(_png_bytes(image.data), "the IPython Image")
    target = image.filename or image.url
    if not target:
        raise ImageError("The IPython Image holds neither data nor a file name nor a URL.")
    return open_reference(os.fspath(target), base=base, attachments={})


def _draws_png(value: object) -> bool:
    # Asked of the type: a DataFrame or a Mock has an attribute of any name.
    return callable(getattr(type(value), "_repr_png_", None))


def _png_repr(value: Any) -> object:
    try:
        return value._repr_png_()
    except Exception as error:
        raise ImageError(
            f"_repr_png_ of the {_name(value)} raised {type(error).__name__}: {error}"
        ) from error


def _from_repr(value: object) -> Picture:
    drawn = _png_repr(value)
    if isinstance(drawn, tuple):  # IPython allows (data, metadata)
        drawn = drawn[0]
    if not isinstance(drawn, bytes | str):
        raise ImageError(f"_repr_png_ of the {_name(value)} gave no image, but {drawn!r}.")
    return decode(_png_bytes(drawn), f"the {_name(value)}")


def _png_bytes(data: bytes | str) -> bytes:
    """Data as IPython carries it: bytes, or their base64."""
    if isinstance(data, bytes):
        return data
    try:
        return base64.b64decode(data)
    except ValueError as error:
        raise ImageError(f"An image came as text that is not base64: {error}.") from error
