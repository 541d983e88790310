"""A notebook is a conversation; running a cell evaluates only what changed.

`%load_ext llmagic` gives `%%llm` and `%llm`; `Session` is the same from Python. Nothing but this
file is imported until one of them is used, so the import takes milliseconds (PEP 562).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llmagic.notebook.upload import ImageUpload
    from llmagic.session import Session, Turn

__version__ = "0.1.0"

__all__ = [
    "ImageUpload",
    "Session",
    "Turn",
    "__version__",
    "load_ipython_extension",
    "unload_ipython_extension",
]

_HOMES = {
    "ImageUpload": "llmagic.notebook.upload",
    "Session": "llmagic.session",
    "Turn": "llmagic.session",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(importlib.import_module(_HOMES[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))


def load_ipython_extension(ipython: Any) -> None:
    """Register `%llm` and `%%llm`; IPython calls this on `%load_ext llmagic`.

    Parameters
    ----------
    ipython : IPython.core.interactiveshell.InteractiveShell
        The shell to register the magics with.
    """
    from llmagic.notebook import magics

    magics.load_ipython_extension(ipython)


def unload_ipython_extension(ipython: Any) -> None:
    """Remove the magics and free the model; IPython calls this on `%unload_ext llmagic`.

    Parameters
    ----------
    ipython : IPython.core.interactiveshell.InteractiveShell
        The shell the magics were registered with.
    """
    from llmagic.notebook import magics

    magics.unload_ipython_extension(ipython)
