"""A picture is its pixels, wherever they come from: the value, arrays, damaged files."""

import contextlib
import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from llmagic.errors import ImageError
from llmagic.prompt.images import Picture, picture
from tests.prompt.pixels import RAMP, encoded, pixels


@pytest.mark.parametrize("format", ["PNG", "BMP", "TIFF", "PPM", "TGA", "ICO", "GIF", "WEBP"])
def test_the_digest_does_not_depend_on_the_file_format(format):
    gray = Image.fromarray(np.repeat(RAMP[:, :, :1], 3, axis=2)).resize((16, 16), 0)
    options = {"lossless": True} if format == "WEBP" else {}
    options |= {"sizes": [(16, 16)]} if format == "ICO" else {}
    assert picture(encoded(gray, format, **options)).digest == picture(gray).digest


def test_the_digest_holds_the_size():
    bytes_ = RAMP.tobytes()
    assert Picture(5, 4, bytes_).digest != Picture(4, 5, bytes_).digest
    assert len(Picture(5, 4, bytes_).digest) == 32


def test_the_digest_stays_the_same_between_releases():
    size = b"\x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0"
    spelled = hashlib.sha256(b"llmagic-picture1" + size + b"\x00\x01\x02\xff\xfe\xfd")
    assert Picture(1, 2, b"\x00\x01\x02\xff\xfe\xfd").digest == spelled.digest()


def test_a_picture_is_a_value(png):
    assert picture(png) == picture(RAMP)
    assert hash(picture(png)) == hash(picture(RAMP))
    assert picture(picture(png)) == picture(png)
    assert "pixels" not in repr(picture(png))
    with pytest.raises(AttributeError):
        picture(png).width = 3


def test_png_and_pil_give_the_same_pixels_back(png):
    made = picture(png)
    assert picture(made.png()) == made
    assert made.to_pil().size == (made.width, made.height) == (5, 4)
    assert np.array_equal(np.asarray(made.to_pil()), RAMP)


def test_a_picture_refuses_pixels_of_another_size():
    with pytest.raises(ImageError, match="takes 12 bytes .* 11 came"):
        Picture(2, 2, bytes(11))


@given(
    arrays.arrays(
        np.uint8, arrays.array_shapes(min_dims=2, max_dims=2, max_side=6).map(lambda s: (*s, 3))
    )
)
def test_rgb_arrays_are_their_own_pixels(array):
    assert np.array_equal(pixels(array), array)
    assert np.array_equal(pixels(np.asfortranarray(array)), array)
    assert np.array_equal(pixels(array[::-1, ::-1]), array[::-1, ::-1])
    assert np.array_equal(pixels(array / 255), array)
    assert np.array_equal(pixels((array / 255).astype(np.float32)), array)


def test_gray_bool_and_alpha_arrays():
    assert pixels(RAMP[..., 0])[2, 3].tolist() == [RAMP[2, 3, 0]] * 3
    assert pixels(RAMP[..., :1])[2, 3].tolist() == [RAMP[2, 3, 0]] * 3
    assert pixels(np.array([[True, False]]))[0].tolist() == [[255] * 3, [0] * 3]
    assert pixels(np.array([[[0.0, 0, 0, 0.5]]])).tolist() == [[[127] * 3]]
    assert pixels(np.array([[[0, 0, 0, 0]]], np.uint8)).tolist() == [[[255] * 3]]
    assert pixels(np.array([[0, 1]], np.float16))[0, :, 0].tolist() == [0, 255]


def test_rounding_past_one_is_cut_off():
    assert pixels(np.array([[-1e-6, 1 + 1e-6]]))[0, :, 0].tolist() == [0, 255]


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((0, 5), np.uint8), "at least one pixel"),
        (np.zeros((5, 0, 3)), "at least one pixel"),
        (np.zeros(7, np.uint8), "this one is 7"),
        (np.uint8(3) + np.zeros((), np.uint8), "a single number"),
        (np.zeros((4, 4, 2), np.uint8), "4 x 4 x 2"),
        (np.zeros((3, 8, 9), np.uint8), r"transpose\(1, 2, 0\)"),
        (np.zeros((1, 8, 9, 3), np.uint8), "batch"),
        (np.array([[0.0, np.nan]]), "1 of these 2 samples are NaN"),
        (np.array([[0.0, np.inf]]), "NaN or infinite"),
        (np.array([[0.0, 1.5]]), r"0\.\.1\.5.*clip"),
        (np.array([[-0.5, 1]]), r"-0\.5\.\.1"),
        (np.array([[0, -1]]), r"-1\.\.0"),
        (np.array([[0, 70000]]), "70000"),
        (np.array([[1j]]), "complex"),
        (np.array([["a"]]), "<U1"),
    ],
)
def test_arrays_that_are_no_image_say_why(array, message):
    if isinstance(array, np.generic):
        array = np.asarray(array)
    with pytest.raises(ImageError, match=message):
        picture(array)


@pytest.mark.parametrize("format", ["PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP"])
def test_truncated_files_are_refused(format):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    file = encoded(Image.fromarray(noise), format)
    with pytest.raises(ImageError, match=r"incomplete|not an image"):
        picture(file[: len(file) // 2])


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"hello world", "begins with b'hello world'"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
        (b"<!DOCTYPE html><html></html>", "HTML page"),
        (b"%PDF-1.7\n", "PDF"),
        (b"\0\0\0\x18ftypheic" + bytes(8), "HEIC.*convert it to JPEG"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
    ],
)
def test_what_is_no_image_says_what_it_looks_like(data, reason):
    with pytest.raises(ImageError, match=reason):
        picture(data)


@given(st.binary(max_size=200), st.sampled_from(["PNG", "GIF", "BMP", "JPEG", "TIFF"]))
def test_damage_gives_a_picture_or_an_image_error(junk, format):
    file = bytearray(encoded(Image.new("RGB", (9, 9), "teal"), format))
    file[20 : 20 + len(junk)] = junk
    with contextlib.suppress(ImageError):
        picture(bytes(file))


@pytest.mark.parametrize("limit", [19, 9])  # Pillow warns up to twice its limit, and raises above
def test_more_pixels_than_pillows_limit_are_refused_with_the_counts(monkeypatch, png, limit):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    with pytest.raises(ImageError, match=rf"MAX_IMAGE_PIXELS = {limit}: .*20 pixels"):
        picture(png)
    with pytest.raises(ImageError, match=rf"5 x 4 = 20 pixels; at most {limit}"):
        picture(RAMP)
    with pytest.raises(ImageError, match="5 x 4 = 20 pixels"):
        picture(Image.fromarray(RAMP))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert picture(png).width == 5
