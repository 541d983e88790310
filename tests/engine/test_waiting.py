"""How llama.cpp's threads wait for each other; a wrong setting costs a busy machine everything."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

PROGRAM = "import os, llmagic.model.library; print(os.environ.get('GOMP_SPINCOUNT'))"


def spins(**given: str) -> tuple[str, str]:
    """What GNU OpenMP has read, and what the process passes on to others."""
    environment = {k: v for k, v in os.environ.items() if k not in ("GOMP_SPINCOUNT",)}
    environment |= {"OMP_DISPLAY_ENV": "verbose", **given}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, check=True, capture_output=True, text=True
    )
    found = re.search(r"GOMP_SPINCOUNT = '(\w+)'", done.stderr)
    if not found:
        pytest.skip("llama.cpp was built without GNU OpenMP")
    return found[1], done.stdout.strip()


def test_threads_sleep_soon_and_what_is_started_from_the_notebook_is_left_alone() -> None:
    assert spins() == ("1000", "None")


def test_whoever_has_decided_is_obeyed() -> None:
    assert spins(GOMP_SPINCOUNT="7") == ("7", "7")
    assert spins(OMP_WAIT_POLICY="passive") == ("0", "None")
