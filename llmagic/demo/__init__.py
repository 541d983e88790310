"""The demo model: it knows pictures of coloured shapes and its conversation, nothing else."""

from __future__ import annotations

from llmagic.demo.picture import COLOURS, SHAPES, SIZES, picture

__all__ = ["COLOURS", "SHAPES", "SIZES", "picture"]
