"""Every mode and every kind of file that Pillow reads gives the pixels people see."""

import io

import numpy as np
import pytest
from PIL import Image

from llmagic.errors import ImageError
from llmagic.prompt.images import picture
from tests.prompt.pixels import RAMP, encoded, pixels


@pytest.mark.parametrize("mode", [*Image.MODES])
def test_every_mode_of_pillow_gives_a_picture(mode):
    assert pixels(Image.new(mode, (3, 2))).shape == (2, 3, 3)


@pytest.mark.parametrize(
    "mode", ["1", "L", "P", "CMYK", "YCbCr", "LAB", "HSV", "RGBX", "RGBA", "LA"]
)
def test_white_is_white_and_black_is_black_in_every_colour_space(mode):
    two = Image.new("RGB", (2, 1))
    two.putpixel((1, 0), (255, 255, 255))
    if mode == "LAB":
        from PIL import ImageCms

        srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
        two = ImageCms.profileToProfile(two, srgb, lab, outputMode="LAB")
    else:
        two = two.convert(mode)
    assert two.mode == mode
    assert np.abs(pixels(two).astype(int) - [[[0] * 3, [255] * 3]]).max() <= 1


def test_alpha_is_composed_on_white():
    clear = Image.new("RGBA", (3, 1))
    clear.putdata([(255, 0, 0, 255), (255, 0, 0, 128), (255, 0, 0, 0)])
    expected = [[[255, 0, 0], [255, 127, 127], [255, 255, 255]]]
    assert pixels(clear).tolist() == expected
    assert pixels(Image.new("RGBA", (1, 1), (1, 1, 1, 128))).tolist() == [[[128] * 3]]  # rounded
    premultiplied = clear.convert("RGBa")
    assert premultiplied.mode == "RGBa"
    assert np.abs(pixels(premultiplied).astype(int) - expected).max() <= 1


@pytest.mark.parametrize("mode", ["LA", "La", "PA"])
def test_alpha_of_gray_and_palette_is_composed_on_white(mode):
    clear = Image.new("LA", (3, 1))
    clear.putdata([(0, 255), (0, 128), (0, 0)])
    clear = clear.convert("RGBA") if mode == "PA" else clear  # Pillow's LA -> PA drops the alpha
    shown = pixels(clear.convert(mode))[..., 0].tolist()
    assert shown == [[0, 127, 255]]


def test_the_palette_is_looked_up_and_its_transparency_is_white():
    indexed = Image.new("P", (4, 1))
    indexed.putpalette([0, 0, 0, 10, 20, 30, 200, 100, 50, 1, 2, 3])
    indexed.putdata([0, 1, 2, 3])
    assert pixels(indexed).tolist() == [[[0, 0, 0], [10, 20, 30], [200, 100, 50], [1, 2, 3]]]
    one = encoded(indexed, "PNG", transparency=1)
    assert pixels(one)[0, 1].tolist() == [255, 255, 255]
    several = encoded(indexed, "PNG", transparency=b"\x00\xff\x80\xff")
    assert pixels(several)[0].tolist()[:2] == [[255, 255, 255], [10, 20, 30]]
    assert pixels(several)[0, 2].tolist() == [227, 177, 152]
    assert pixels(encoded(indexed, "GIF", transparency=2))[0, 2].tolist() == [255, 255, 255]


@pytest.mark.parametrize(("mode", "key"), [("L", 7), ("RGB", (7, 7, 7)), ("1", 0)])
def test_a_transparent_colour_is_white(mode, key):
    black = Image.new(mode, (1, 1), key)
    assert pixels(encoded(black, "PNG", transparency=key)).tolist() == [[[255] * 3]]


def test_sixteen_bits_lose_their_lower_eight():
    deep = np.array([[0, 255, 256, 32768, 65535]], np.uint16)
    expected = [[0, 0, 1, 128, 255]]
    assert pixels(deep)[..., 0].tolist() == expected
    image = Image.fromarray(deep)
    assert image.mode == "I;16"
    assert pixels(image)[..., 0].tolist() == expected
    assert pixels(encoded(image, "PNG"))[..., 0].tolist() == expected
    assert pixels(encoded(image, "TIFF"))[..., 0].tolist() == expected
    assert pixels(deep.astype(">u2"))[..., 0].tolist() == expected
    big = Image.frombytes("I;16B", (5, 1), deep.astype(">u2").tobytes())
    assert pixels(big)[..., 0].tolist() == expected
    assert pixels(deep.astype(np.int32))[..., 0].tolist() == expected
    assert pixels(Image.fromarray(deep.astype(np.int32)))[..., 0].tolist() == expected


def test_sixteen_bit_gray_has_its_transparent_value_white():
    deep = Image.fromarray(np.array([[1000, 2000]], np.uint16))
    assert pixels(encoded(deep, "PNG", transparency=1000))[0, :, 0].tolist() == [255, 7]


def test_wide_integers_up_to_255_are_eight_bit():
    assert pixels(Image.fromarray(np.array([[0, 200]], np.int32)))[0, :, 0].tolist() == [0, 200]
    assert pixels(np.array([[0, 200]]))[0, :, 0].tolist() == [0, 200]


@pytest.mark.parametrize("scale", [1, 255])
def test_float_images_hold_one_or_255(scale):
    image = Image.fromarray(np.array([[0, 0.2, 1]], np.float32) * np.float32(scale))
    assert image.mode == "F"
    assert pixels(image)[0, :, 0].tolist() == [0, 51, 255]


@pytest.mark.parametrize("value", [-5.0, 256.0, np.nan, np.inf])
def test_float_images_out_of_range_are_refused(value):
    with pytest.raises(ImageError, match=r"0\.\.1"):
        picture(Image.fromarray(np.array([[0, 100, value]], np.float32)))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_the_exif_orientation_is_applied_once(format, orientation):
    # What a viewer must show: top half black, bottom left gray, bottom right white.
    upright = np.zeros((16, 32), np.uint8)
    upright[8:, :16], upright[8:, 16:] = 128, 255
    back = {
        1: lambda a: a,
        2: np.fliplr,
        3: lambda a: np.rot90(a, 2),
        4: np.flipud,
        5: np.transpose,
        6: lambda a: np.rot90(a, 1),
        7: lambda a: np.rot90(a, 2).T,
        8: lambda a: np.rot90(a, -1),
    }
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(back[orientation](upright)))
    shown = pixels(encoded(stored.convert("RGB"), format, exif=exif, quality=100))
    assert shown.shape == (16, 32, 3)
    assert np.abs(shown[..., 0].astype(int) - upright).max() < 12


def test_the_transparent_colour_survives_the_orientation():
    exif = Image.Exif()
    exif[0x0112] = 6
    file = encoded(Image.new("L", (2, 1), 9), "PNG", exif=exif, transparency=9)
    assert pixels(file).tolist() == [[[255] * 3], [[255] * 3]]


def test_damaged_exif_data_does_not_cost_the_image():
    file = encoded(Image.fromarray(RAMP), "PNG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff\xff")
    assert np.array_equal(pixels(file), RAMP)


@pytest.mark.parametrize("format", ["GIF", "PNG", "WEBP", "TIFF"])
def test_an_animation_is_its_first_frame(format):
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "lime", "blue")]
    options = {"lossless": True} if format == "WEBP" else {}
    file = encoded(frames[0], format, save_all=True, append_images=frames[1:], **options)
    assert Image.open(io.BytesIO(file)).n_frames == 3
    assert pixels(file)[0, 0].tolist() == [255, 0, 0]


def test_a_pil_image_is_left_as_it_was():
    image = Image.open(io.BytesIO(encoded(Image.fromarray(RAMP))))
    image.info["transparency"] = (300, 300, 300)
    before = dict(image.info)
    picture(image)
    assert image.info == before
    assert image.mode == "RGB"
