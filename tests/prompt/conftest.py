"""Images and folders of them."""

from __future__ import annotations

import pytest
from PIL import Image

from tests.prompt.interpolated import RED
from tests.prompt.pixels import RAMP, encoded


@pytest.fixture
def png():
    return encoded(Image.fromarray(RAMP))


@pytest.fixture
def folder(tmp_path):
    for name in (
        "a.png",
        "a b.png",
        "a(1).png",
        "ü.png",
        "a_b.png",
        "3\u202fPM.png",
        "x].png",
        "a{b}.png",
    ):
        (tmp_path / name).write_bytes(encoded(RED))
    return tmp_path
