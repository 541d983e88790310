"""The disk tier: content-addressed files that outlive the kernel (DESIGN D12)."""

from __future__ import annotations

from llmagic.store.container import TURN, Entry, Header, Kind
from llmagic.store.folder import Record, located, root
from llmagic.store.store import DEFAULT_BUDGET, TOUCH_SECONDS, New, Store, Usage

__all__ = [
    "DEFAULT_BUDGET",
    "TOUCH_SECONDS",
    "TURN",
    "Entry",
    "Header",
    "Kind",
    "New",
    "Record",
    "Store",
    "Usage",
    "located",
    "root",
]
