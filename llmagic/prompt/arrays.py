"""Arrays and tensors as pictures."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from llmagic.errors import ImageError
from llmagic.prompt.foreign import is_named
from llmagic.prompt.pixels import Picture, check_size, in_unit_range, on_white, to_8bit

_CHANNELS = (1, 3, 4)
SMALL = 8
"""Pixels on a side below which a matrix in a prompt may rather be meant as numbers."""


def is_tensor(value: object) -> bool:
    """Whether it is a torch tensor, without importing torch."""
    return is_named(value, "torch", "Tensor")


def is_matrix(value: Any) -> bool:
    """Whether it is an array or a tensor of two dimensions, which may be meant as numbers."""
    return (isinstance(value, np.ndarray) or is_tensor(value)) and value.ndim == 2


def holes(value: Any) -> int:
    """How many NaN and infinite values keep a matrix from being a picture; 0 if others do, too."""
    try:
        array = tensor_array(value) if is_tensor(value) else value
    except ImageError:
        return 0
    if array.dtype.kind != "f" or min(array.shape) < SMALL:
        return 0
    finite = array[np.isfinite(array)]
    return array.size - finite.size if finite.size and in_unit_range(finite) else 0


def is_image_array(array: npt.NDArray[Any]) -> bool:
    """Whether an array in a prompt is meant as an image rather than as numbers.

    H x W: uint8, uint16, bool, and float if all of it is 0..1. H x W x 1/3/4: any real type,
    so that a picture out of range is an error and not a page of numbers. For the same reason
    3/4 x H x W in uint8, which `from_array` refuses with the remedy.
    """
    kind, shape = array.dtype.kind, array.shape
    if kind not in "buif":
        return False
    if len(shape) == 3:
        first = shape[0] in (3, 4) and array.dtype == np.uint8
        return shape[2] in _CHANNELS or first
    if len(shape) != 2:
        return False
    if kind == "f":
        return in_unit_range(array)
    return kind == "b" or array.dtype in (np.uint8, np.uint16)


def from_array(array: npt.NDArray[Any]) -> Picture:
    """A numpy array, H x W, H x W x 1, H x W x 3 or H x W x 4 (alpha last), as a picture.

    Raises
    ------
    ImageError
        For another shape, no pixels, or samples out of range (see `llmagic.prompt.pixels`).
    """
    shape = array.shape
    if len(shape) not in (2, 3) or (len(shape) == 3 and shape[2] not in _CHANNELS):
        raise ImageError(_wrong_shape(shape))
    check_size(shape[1], shape[0])
    samples = to_8bit(np.asarray(array))
    if samples.ndim == 2:
        samples = samples[..., None]
    if samples.shape[2] == 1:
        samples = np.repeat(samples, 3, axis=2)
    elif samples.shape[2] == 4:
        samples = on_white(samples[..., :3], samples[..., 3])
    return Picture.from_pixels(samples)


def tensor_array(tensor: Any) -> npt.NDArray[Any]:
    """A torch tensor as a numpy array with channels last.

    C x H x W is torch's custom, so that is what 1, 3 or 4 at the front of three means.

    Raises
    ------
    ImageError
        When it cannot be copied out of torch.
    """
    try:
        plain = tensor.detach().cpu()
        try:
            array = np.asarray(plain.numpy())
        except TypeError:  # bfloat16 is no numpy type
            array = np.asarray(plain.float().numpy())
    except Exception as error:
        raise ImageError(
            f"The {type(tensor).__name__} cannot be turned into an array: {error}. Pass a dense "
            "tensor, or a numpy array."
        ) from error
    if array.ndim == 3 and array.shape[0] in _CHANNELS:
        array = np.moveaxis(array, 0, -1)
    return array


def _wrong_shape(shape: tuple[int, ...]) -> str:
    came = " x ".join(map(str, shape)) or "a single number"
    message = f"An image array is H x W or H x W x 1, 3 or 4; this one is {came}. "
    if len(shape) == 3 and shape[0] in _CHANNELS:
        return message + "Put the channels last: array.transpose(1, 2, 0)."
    if len(shape) == 4:
        return message + "It looks like a batch: pass its images one by one, such as array[0]."
    return message + "Pick or stack its channels."
