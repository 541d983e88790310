"""Models by name: from a path, an alias, a folder of models or a hub to the files to load."""

from __future__ import annotations

from llmagic.catalog.names import Files, resolve

__all__ = ["Files", "resolve"]
