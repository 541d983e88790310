"""Images of other libraries."""

import base64
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from llmagic.errors import ImageError
from llmagic.prompt.images import Picture, is_image_like, picture
from tests.prompt.pixels import RAMP, encoded, pixels


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
