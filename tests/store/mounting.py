"""A fixture that mounts small file systems, for disks that are full or cannot be written to."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

Mount = Callable[..., Path]


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Mount]:
    """Mounts small file systems, where this user may."""
    mounted: list[Path] = []

    def mount_(options: str, at: str = "mounted") -> Path:
        path = tmp_path / at
        path.mkdir(exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(path)]
        remount = ["mount", "-o", f"remount,{options}", str(path)]
        try:
            subprocess.run(
                remount if path in mounted else command,
                check=True,
                capture_output=True,
                timeout=300,
            )
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"file systems cannot be mounted here: {error}")
        if path not in mounted:
            mounted.append(path)
        return path

    yield mount_
    for path in mounted:
        subprocess.run(["umount", str(path)], check=True, capture_output=True, timeout=300)
