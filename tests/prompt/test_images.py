import base64
import contextlib
import hashlib
import http.server
import io
import sys
import threading
import types
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from llmagic.errors import ImageError
from llmagic.prompt import references
from llmagic.prompt.images import Picture, is_image_like, open_reference, picture

RAMP = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3) * 4


def pixels(value, **keywords):
    made = picture(value, **keywords)
    return np.frombuffer(made.pixels, np.uint8).reshape(made.height, made.width, 3)


def encoded(image, format="PNG", **keywords):
    stream = io.BytesIO()
    image.save(stream, format, **keywords)
    return stream.getvalue()


@pytest.fixture
def png():
    return encoded(Image.fromarray(RAMP))


# --- the picture itself ---------------------------------------------------------------------------


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


# --- modes of Pillow ------------------------------------------------------------------------------


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


# --- files that cannot be used --------------------------------------------------------------------


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


# --- arrays ---------------------------------------------------------------------------------------


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


# --- types of other libraries ---------------------------------------------------------------------


def stand_in(module, name, **members):
    """A class as another library would have it: found by its name, nothing imported."""
    return type(name, (), {"__module__": module, **members})


class FakeTensorBody:
    def __init__(self, array, on="cuda"):
        self.array, self.on, self.shape = array, on, array.shape

    def detach(self):
        return type(self)(self.array, self.on + " detached")

    def cpu(self):
        return type(self)(self.array, self.on.replace("cuda", "cpu"))

    def float(self):
        return type(self)(self.array.astype(np.float32), self.on)

    def numpy(self):
        if self.on != "cpu detached":
            raise TypeError("can't convert cuda tensor that requires grad")
        if self.array.dtype == np.float16:  # stands for bfloat16
            raise TypeError("Got unsupported ScalarType BFloat16")
        return self.array


@pytest.fixture
def tensor(monkeypatch):
    torch = types.ModuleType("torch")
    torch.Tensor = type("Tensor", (FakeTensorBody,), {"__module__": "torch"})
    monkeypatch.setitem(sys.modules, "torch", torch)
    return torch.Tensor


def test_tensors_have_their_channels_first_or_last(tensor):
    assert np.array_equal(pixels(tensor(RAMP[1:, 1:].repeat(2, 0))), RAMP[1:, 1:].repeat(2, 0))
    assert np.array_equal(pixels(tensor(RAMP.transpose(2, 0, 1))), RAMP)
    assert np.array_equal(pixels(tensor(RAMP[..., 0]))[..., 1], RAMP[..., 0])
    assert np.array_equal(pixels(tensor(RAMP[None, :, :, 0]))[..., 1], RAMP[..., 0])
    assert pixels(tensor(np.ones((3, 4, 3), np.float32))).shape == (4, 3, 3)
    assert pixels(tensor(np.ones((3, 4, 7), np.float16))).shape == (4, 7, 3)
    with pytest.raises(ImageError, match="one by one"):
        picture(tensor(RAMP[None]))


def test_tensors_in_a_prompt(tensor):
    assert is_image_like(tensor(RAMP.transpose(2, 0, 1)))
    assert not is_image_like(tensor(np.arange(3.0)))
    broken = tensor(RAMP)
    broken.detach = None
    assert not is_image_like(broken)
    with pytest.raises(ImageError, match="cannot be turned into an array"):
        picture(broken)


def test_a_matplotlib_figure_is_drawn():
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2, 1), dpi=50)
    canvas = figure.canvas
    figure.add_axes((0, 0, 1, 1)).set_facecolor("red")
    assert is_image_like(figure)
    made = pixels(figure)
    assert made.shape == (50, 100, 3)
    assert made[25, 50].tolist() == [255, 0, 0]
    assert figure.canvas is canvas


def test_ipythons_images(tmp_path, png):
    from IPython.display import Image as Shown

    file = tmp_path / "a.png"
    file.write_bytes(png)
    address = "data:image/png;base64," + base64.b64encode(png).decode()
    for shown in (Shown(png), Shown(filename=str(file)), Shown(url=address)):
        assert is_image_like(shown)
        assert np.array_equal(pixels(shown), RAMP)


def test_objects_that_draw_themselves_as_png(png):
    for result in (png, base64.b64encode(png).decode(), (png, {"width": 3})):
        drawing = stand_in("molecules", "Drawing", _repr_png_=lambda self, r=result: r)()
        assert is_image_like(drawing)
        assert np.array_equal(pixels(drawing), RAMP)
    nothing = stand_in("molecules", "Formula", _repr_png_=lambda self: None)()
    assert not is_image_like(nothing)
    with pytest.raises(ImageError, match="gave no image, but None"):
        picture(nothing)
    broken = stand_in("molecules", "Broken", _repr_png_=lambda self: 1 / 0)()
    assert is_image_like(broken)
    with pytest.raises(ImageError, match="ZeroDivisionError") as caught:
        picture(broken)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_what_is_no_image_at_all():
    with pytest.raises(ImageError, match="a dict came"):
        picture({})
    anything = stand_in("mock", "Anything", __getattr__=lambda self, name: lambda: b"")()
    assert not is_image_like(anything)


def test_what_counts_as_an_image_in_a_prompt(png):
    yes = [
        Image.new("L", (1, 1)),
        picture(png),
        png,
        bytearray(png),
        memoryview(png),
        encoded(Image.fromarray(RAMP), "JPEG"),
        encoded(Image.fromarray(RAMP), "GIF"),
        encoded(Image.fromarray(RAMP), "WEBP"),
        encoded(Image.fromarray(RAMP), "BMP"),
        encoded(Image.fromarray(RAMP), "TIFF"),
        encoded(Image.fromarray(RAMP), "AVIF"),
        Path("x.png"),
        Path("dir/X.JPEG"),
        RAMP,
        RAMP[..., 0],
        RAMP[..., :1],
        RAMP / 255,
        RAMP[..., 0] / 255,
        RAMP[..., 0] > 3,
        RAMP.astype(np.uint16)[..., 0],
        RAMP.astype(float),  # out of range: to be refused rather than spelled out
        RAMP.transpose(2, 0, 1),
    ]
    no = [
        "x.png",
        "",
        3,
        None,
        [],
        b"text",
        b"BM is a text",
        b"",
        Path("notes.txt"),
        Path("folder"),
        np.arange(3),
        np.arange(6).reshape(2, 3),
        np.array([[0.5, 7.0]]),
        np.array([[0.5, np.nan]]),
        np.zeros((2, 3), complex),
        np.zeros((2, 3, 5)),
        Image,
        Picture,
    ]
    assert [value for value in yes if not is_image_like(value)] == []
    assert [value for value in no if is_image_like(value)] == []


# --- references -----------------------------------------------------------------------------------


def opened(target, base, attachments=None):
    return open_reference(target, base=base, attachments=attachments or {})


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("a.png", "a.png"),
        ("a.png", "./a.png"),
        ("a b.png", "a b.png"),
        ("a b.png", "a%20b.png"),
        ("100%.png", "100%.png"),
        ("a%20b.png", "a%20b.png"),
        ("bücher/ü.png", "bücher/ü.png"),
        ("bücher/ü.png", "b%C3%BCcher/%C3%BC.png"),
        ("a:b.png", "a:b.png"),
        ("图.png", "图.png"),
    ],
)
def test_paths_start_from_the_base(tmp_path, png, name, target):
    file = tmp_path / name
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(png)
    assert opened(target, tmp_path) == picture(RAMP)
    assert opened(str(file), Path("elsewhere")) == picture(RAMP)
    assert picture(target, base=tmp_path) == picture(Path(target), base=tmp_path) == picture(RAMP)


def test_home_file_urls_and_the_working_directory(tmp_path, png, monkeypatch):
    (tmp_path / "a b.png").write_bytes(png)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert opened("~/a b.png", Path("elsewhere")) == picture(RAMP)
    address = (tmp_path / "a b.png").as_uri()
    assert "%20" in address
    assert opened(address, Path("elsewhere")) == picture(RAMP)
    monkeypatch.chdir(tmp_path)
    assert picture("a b.png") == picture(RAMP)


@pytest.mark.parametrize(
    "target", ["no.png", "nul\0.png", "~nobody-at-all/x.png", "x" * 5000, "\ud800.png", ""]
)
def test_a_path_that_cannot_be_read_is_named_with_its_folder(tmp_path, target):
    with pytest.raises(ImageError) as caught:
        opened(target, tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert repr(target)[1:20] in str(caught.value)
    assert len(str(caught.value)) < 12_000


def test_folders_pipes_and_other_files_are_refused(tmp_path):
    import os

    (tmp_path / "folder.png").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "text.png").write_text("hello")
    for name, why in [("folder", "a folder"), ("pipe", "regular"), ("text", "not an image")]:
        with pytest.raises(ImageError, match=rf"'{name}\.png'.*{why}"):
            opened(f"{name}.png", tmp_path)


def test_data_uris(tmp_path, png):
    plain = base64.b64encode(png).decode()
    assert opened(f"data:image/png;base64,{plain}", tmp_path) == picture(RAMP)
    assert opened(f"DATA:;Base64,{plain.rstrip('=')}", tmp_path) == picture(RAMP)
    broken = "%0A".join(plain[i : i + 20] for i in range(0, len(plain), 20))
    assert opened(f"data:image/png;base64,{broken}", tmp_path) == picture(RAMP)
    quoted = "".join(f"%{byte:02x}" for byte in png)
    assert opened(f"data:image/png,{quoted}", tmp_path) == picture(RAMP)


@pytest.mark.parametrize(
    ("rest", "why"),
    [
        ("image/png;base64", "no comma"),
        ("image/png;base64,!!!!", "not base64"),
        ("image/png;base64,A", "not base64"),
        ("image/png;base64,\ud800", "not base64"),
        ("image/png;base64,", "empty"),
        ("image/png;base64,AAAA", "not an image"),
    ],
)
def test_data_uris_that_are_no_image_are_refused_and_cut_short(tmp_path, rest, why):
    with pytest.raises(ImageError, match=why):
        opened(f"data:{rest}", tmp_path)
    with pytest.raises(ImageError) as caught:
        opened(f"data:image/png;base64,{'A' * 100_000}", tmp_path)
    assert len(str(caught.value)) < 1000


def test_attachments(tmp_path, png):
    there = {"a b.png": png}
    assert opened("attachment:a b.png", tmp_path, there) == picture(RAMP)
    assert opened("attachment:a%20b.png", tmp_path, there) == picture(RAMP)
    with pytest.raises(ImageError, match=r"'c\.png'.*'a b\.png'"):
        opened("attachment:c.png", tmp_path, there)
    with pytest.raises(ImageError, match="none"):
        opened("attachment:c.png", tmp_path)


@pytest.fixture
def server(png):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            body = {"/a%20b.png": png, "/short.png": png, "/big.png": bytes(50_000)}.get(self.path)
            self.send_response(200 if body else 404)
            if body and self.path != "/big.png":
                self.send_header("Content-Length", str(len(body) + 5 * ("short" in self.path)))
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


def test_urls(tmp_path, server, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert opened(f"{server}/a b.png", tmp_path) == picture(RAMP)
    assert opened(f"{server}/a%20b.png", tmp_path) == picture(RAMP)
    with pytest.raises(ImageError, match=r"none\.png'.*404"):
        opened(f"{server}/none.png", tmp_path)
    with pytest.raises(ImageError, match="5 bytes before its end"):
        opened(f"{server}/short.png", tmp_path)
    monkeypatch.setattr(references, "MAX_DOWNLOAD", 40_000)
    with pytest.raises(ImageError, match="larger than"):
        opened(f"{server}/big.png", tmp_path)


@pytest.mark.parametrize(
    "target", ["ftp://x/a.png", "s3://x/a.png", "http://", "http://\ud800/", "http://127.0.0.1:1/a"]
)
def test_addresses_that_cannot_be_opened(tmp_path, target, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    with pytest.raises(ImageError, match="Cannot"):
        opened(target, tmp_path)
