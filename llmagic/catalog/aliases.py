"""Short names for models, in a file that people may edit, too."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import platformdirs

from llmagic.errors import UsageError

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
RESERVED = ("demo", "none")


def aliases_file() -> Path:
    """Where aliases are: LLMAGIC_ALIASES, or `aliases.json` in the platform's settings folder."""
    if named := os.environ.get("LLMAGIC_ALIASES"):
        return Path(named).expanduser()
    return platformdirs.user_config_path("llmagic", appauthor=False) / "aliases.json"


def aliases() -> dict[str, str]:
    """All aliases, from name to what it stands for.

    Raises
    ------
    UsageError
        The file is not a JSON object of texts, or cannot be read.
    """
    path = aliases_file()
    try:
        found = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise UsageError(
            f"expected a JSON object with aliases in {str(path)!r}, and it cannot be read: {error}."
            " Mend it or remove it."
        ) from error
    if not isinstance(found, dict) or not all(isinstance(each, str) for each in found.values()):
        raise UsageError(
            f'expected a JSON object like {{"small": "user/repo:Q4_K_M"}} in {str(path)!r}. '
            "Mend it or remove it."
        )
    return found


def set_alias(name: str, target: str) -> None:
    """Let `name` stand for a path or a hub's `user/repo[:quant]`.

    Raises
    ------
    UsageError
        It is no name, or one that means something already; or the file cannot be written.
    """
    if not NAME.fullmatch(name) or name.lower() in RESERVED:
        raise UsageError(
            f"expected letters, digits, '.', '_' and '-' as an alias, and not "
            f"{' or '.join(RESERVED)}, and got {name!r}."
        )
    _write({**aliases(), name: target})


def remove_alias(name: str) -> None:
    """Forget an alias.

    Raises
    ------
    UsageError
        There is none of this name; or the file cannot be written.
    """
    known = aliases()
    if name not in known:
        names = ", ".join(sorted(known)) or "none"
        raise UsageError(f"expected an alias to remove (there are: {names}), and got {name!r}.")
    _write({key: value for key, value in known.items() if key != name})


def _write(known: dict[str, str]) -> None:
    path = aliases_file()
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps(known, indent=2, sort_keys=True) + "\n", "utf-8")
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise UsageError(
            f"aliases cannot be written to {str(path)!r}: {error.strerror}."
        ) from error
