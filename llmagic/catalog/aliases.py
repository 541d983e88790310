"""Short names for models, in a file that people may edit, too."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import platformdirs

from llmagic.errors import UsageError
from llmagic.store.files import locked

RESERVED = ("demo", "none")

WAITING = 60.0
"""Seconds that a change waits for one of another process, before it fails."""


def aliases_file() -> Path:
    """Where aliases are: LLMAGIC_ALIASES, or `aliases.json` in the platform's settings folder.

    Raises
    ------
    UsageError
        LLMAGIC_ALIASES is in the home of a user who is not known.
    """
    if named := os.environ.get("LLMAGIC_ALIASES"):
        try:
            return Path(named).expanduser()
        except RuntimeError as error:
            raise UsageError(
                f"expected the path of a file in LLMAGIC_ALIASES, and {named!r} begins with the "
                "home of a user who is not known here. Write the folder out."
            ) from error
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
        It is no name, or one that means something already; it would stand for an alias or for
        nothing; or the file cannot be written.
    """
    if not _is_name(name) or name.lower() in RESERVED:
        raise UsageError(
            f"expected letters, digits, '.', '_' and '-' as an alias, and not "
            f"{' or '.join(RESERVED)}, and got {name!r}."
        )
    with _changing() as known:
        if not target.strip() or target in (name, *known):
            raise UsageError(
                f"expected the alias {name!r} to stand for a path or a hub's user/repo[:quant], "
                f"and got {target!r}{', an alias' if target.strip() else ''}."
            )
        known[name] = target


def remove_alias(name: str) -> None:
    """Forget an alias.

    Raises
    ------
    UsageError
        There is none of this name; or the file cannot be written.
    """
    with _changing() as known:
        if name not in known:
            names = ", ".join(sorted(known)) or "none"
            raise UsageError(f"expected an alias to remove (there are: {names}), and got {name!r}.")
        del known[name]


def _is_name(name: str) -> bool:
    """Letters and digits of any script, with their marks, and some punctuation behind the first."""
    return name[:1].isalnum() and all(
        each.isalnum() or each in "._-" or unicodedata.category(each).startswith("M")
        for each in name
    )


@contextlib.contextmanager
def _changing() -> Iterator[dict[str, str]]:
    """All aliases, to be changed: they are written at the end, and no other process does meanwhile.

    Raises
    ------
    UsageError
        The file cannot be read or written.
    """
    # What a link leads to is written, and the link stays.
    path = Path(os.path.realpath(aliases_file()))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
        try:
            if not locked(folder, fcntl.LOCK_EX, WAITING):
                raise UsageError(
                    f"another process has been changing the aliases in {str(path)!r} for "
                    f"{WAITING:.0f} s. Try again when it has ended."
                )
            known = aliases()
            yield known
            _write(path, known)
        finally:
            os.close(folder)
    except OSError as error:
        raise UsageError(
            f"aliases cannot be written to {str(path)!r}: {error.strerror}. Set LLMAGIC_ALIASES to "
            "a file that can be."
        ) from error


def _write(path: Path, known: dict[str, str]) -> None:
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with unfinished.open("w", encoding="utf-8") as file:
            file.write(json.dumps(known, indent=2, sort_keys=True) + "\n")
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            unfinished.unlink()
        raise
