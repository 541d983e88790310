"""Fixtures of the store's tests that sessions need, too."""

from __future__ import annotations

from tests.store.mounting import mount

__all__ = ["mount"]
