"""The gallery without a browser: what it holds, what it says, what the browser may ask of it."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from llmagic import ImageUpload
from llmagic.errors import ImageError, UsageError
from llmagic.notebook import upload
from llmagic.prompt.images import picture

RED, GREEN, BLUE = (Image.new("RGB", (40, 30), color) for color in ("red", "green", "blue"))


def names(up: ImageUpload) -> list[str]:
    return [item["name"] for item in up.items]


def png(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture
def three() -> ImageUpload:
    up = ImageUpload()
    for name, image in (("r", RED), ("g", GREEN), ("b", BLUE)):
        up.add(image, name=name)
    return up


def test_images_from_python(tmp_path: Path) -> None:
    figure = pytest.importorskip("matplotlib.figure").Figure()
    RED.save(tmp_path / "red.png")
    up = ImageUpload(tmp_path / "red.png")
    up.add(str(tmp_path / "red.png"), np.zeros((10, 20, 3), np.uint8), [figure, png(BLUE)])
    assert names(up) == ["red.png", "red.png", "ndarray", "figure", "bytes"]
    assert [image.mode for image in up.images] == ["RGB"] * 5
    assert up[2].size == (20, 10)
    assert np.array_equal(np.array(up[-1]), np.array(BLUE))
    assert up.items[0]["caption"] == "40 × 30, not encoded yet"
    assert repr(ImageUpload()) == "ImageUpload(no images)"
    assert repr(ImageUpload(tmp_path / "red.png")) == "ImageUpload(red.png)"


def test_what_is_no_image_adds_nothing(three: ImageUpload, tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(ImageError):
        three.add(RED, tmp_path / "text.png")
    with pytest.raises(ImageError):
        three.add([RED, 7])
    assert names(three) == ["r", "g", "b"]


def test_order(three: ImageUpload) -> None:
    three.move(0, 2)
    assert names(three) == ["g", "b", "r"]
    three.move(-1, 0)
    assert names(three) == ["r", "g", "b"]
    three.remove(1)
    assert names(three) == ["r", "b"]
    assert [image.getpixel((0, 0)) for image in three] == [(255, 0, 0), (0, 0, 255)]
    assert [image.getpixel((0, 0)) for image in three[1:]] == [(0, 0, 255)]
    three.clear()
    assert (len(three), names(three), three.images) == (0, [], [])


@pytest.mark.parametrize("index", [3, -4, "r", None])
def test_a_number_out_of_range(three: ImageUpload, index: Any) -> None:
    for act in (
        three.remove,
        lambda n: three.move(n, 0),
        lambda n: three.move(0, n),
        three.__getitem__,
    ):
        with pytest.raises(UsageError, match="one of the 3 images"):
            act(index)
    assert names(three) == ["r", "g", "b"]


def test_images_outlive_the_widget(three: ImageUpload) -> None:
    images = three.images
    three.close()
    assert [image.size for image in images] == [(40, 30)] * 3
    assert len(three.images) == 3


def test_nothing_of_an_image_is_in_the_state(three: ImageUpload) -> None:
    """The state is what a notebook may save."""
    state = {key: value for key, value in three.get_state().items() if key not in ("_esm", "_css")}
    assert "jpeg" not in str(state).lower()
    assert not any(isinstance(value, bytes | memoryview) for value in state.values())
    assert len(str(state)) < 4000


# What the browser says ------------------------------------------------------------------------


class Browser:
    """The other end of a widget."""

    def __init__(self, up: ImageUpload, monkeypatch: pytest.MonkeyPatch) -> None:
        self.up = up
        self.sent: list[tuple[Any, Any]] = []
        monkeypatch.setattr(
            up, "send", lambda content, buffers=None: self.sent.append((content, buffers))
        )

    def says(self, kind: str, buffers: tuple[bytes, ...] = (), **content: Any) -> None:
        self.up._handle_custom_msg({"kind": kind, **content}, [memoryview(b) for b in buffers])

    def uploads(self, name: str, data: bytes, part: int) -> None:
        for start in range(0, max(len(data), 1), part):
            about = {"upload": name, "name": name, "size": len(data), "first": start == 0}
            self.says("part", (data[start : start + part],), **about)


@pytest.fixture
def browser(three: ImageUpload, monkeypatch: pytest.MonkeyPatch) -> Browser:
    return Browser(three, monkeypatch)


def test_an_upload_in_parts(browser: Browser) -> None:
    data = png(RED)
    browser.uploads("new.png", data, 50)
    assert names(browser.up) == ["r", "g", "b", "new.png"]
    assert browser.up.pictures()[3] == picture(RED)


def test_two_uploads_at_once(browser: Browser) -> None:
    one, two = png(RED), png(BLUE)
    for first, data, name in ((True, one[:40], "1"), (True, two[:40], "2")):
        size = len(one if name == "1" else two)
        browser.says("part", (data,), upload=name, name=name, size=size, first=first)
    for data, name in ((two[40:], "2"), (one[40:], "1")):
        size = len(one if name == "1" else two)
        browser.says("part", (data,), upload=name, name=name, size=size, first=False)
    assert names(browser.up)[3:] == ["2", "1"]


def test_an_upload_that_is_no_image_says_so(browser: Browser) -> None:
    browser.says("begin")
    for name, data in (("text.png", b"not an image at all"), ("empty.png", b"")):
        browser.uploads(name, data, 10)
        assert browser.sent[-1][0] == {"kind": "taken", "upload": name}
    browser.uploads("red.png", png(RED), 1000)
    assert names(browser.up) == ["r", "g", "b", "red.png"]
    # One that is an image does not hide what was said about the others.
    assert browser.up.message.startswith("text.png: ")
    assert " empty.png: " in browser.up.message
    browser.says("begin")
    assert browser.up.message == ""


def test_an_upload_over_the_limit_is_dropped(
    browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upload, "LARGEST_FILE", 60)
    browser.uploads("red.png", png(RED), 50)
    assert names(browser.up) == ["r", "g", "b"]


def test_the_buttons(browser: Browser) -> None:
    ids = {item["name"]: item["id"] for item in browser.up.items}
    browser.says("move", id=ids["b"], to=0)
    assert names(browser.up) == ["b", "r", "g"]
    browser.says("move", id=ids["b"], to=99)
    assert names(browser.up) == ["r", "g", "b"]
    browser.says("remove", id=ids["g"])
    assert names(browser.up) == ["r", "b"]
    # Another view was quicker.
    browser.says("remove", id=ids["g"])
    browser.says("something else")
    browser.says("part", (b"x",), upload="?", name="?", size=9, first=False)
    assert names(browser.up) == ["r", "b"]


def test_thumbnails_are_sent_when_asked_for(browser: Browser) -> None:
    ids = [item["id"] for item in browser.up.items]
    browser.says("thumbnails", ids=[ids[2], ids[0], "none"])
    (content, buffers) = browser.sent[0]
    assert content == {"kind": "thumbnails", "ids": [ids[0], ids[2]]}
    small = Image.open(io.BytesIO(buffers[1]))
    assert small.format == "JPEG"
    assert max(small.size) <= upload.THUMBNAIL
