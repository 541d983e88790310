"""The committed pictures are what notebooks/make_pictures.py draws."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"), dtype=np.int16)


def test_committed_pictures_are_the_drawn_ones(tmp_path):
    subprocess.run([sys.executable, NOTEBOOKS / "make_pictures.py", tmp_path], check=True)
    committed = sorted(path.name for path in (NOTEBOOKS / "pictures").iterdir())
    assert committed == sorted(path.name for path in tmp_path.iterdir())
    assert {Path(name).suffix for name in committed} == {".png", ".jpg"}
    for name in committed:
        drawn, kept = pixels(tmp_path / name), pixels(NOTEBOOKS / "pictures" / name)
        assert drawn.shape == kept.shape, name
        # Another Pillow may round or compress differently; another picture differs by far more.
        assert np.abs(drawn - kept).mean() < 3, name
