"""What the tests need of the process they run in, wherever it was started."""

from __future__ import annotations

import subprocess
import sys

from hypothesis import settings

from tests.project.test_scripts import PROJECT

IGNORING = 'trap "" INT; exec "$@"'
"""What a shell does for a job in the background."""


def test_ctrl_c_reaches_tests_that_run_in_the_background() -> None:
    code = "import signal, tests.conftest as _; print(signal.getsignal(signal.SIGINT))"
    command = ["sh", "-c", IGNORING, "sh", sys.executable, "-c", code]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True)
    assert "default_int_handler" in done.stdout


def test_examples_are_new_in_the_longer_campaigns_only() -> None:
    quick, slow = map(settings.get_profile, ("quick", "slow"))
    assert (quick.derandomize, slow.derandomize) == (True, False)
    assert quick.deadline is slow.deadline is None
