"""The demo model: it knows pictures of coloured shapes and its conversation, nothing else."""

from __future__ import annotations

from llmagic.demo.picture import picture

__all__ = ["picture"]
