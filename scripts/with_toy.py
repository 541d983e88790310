"""Run a command with the environment that the notebooks read their model from.

    python scripts/with_toy.py FOLDER COMMAND [ARGUMENT ...]

The qwen35 toy, with its projector beside it, is written into FOLDER (a few MB, about a second). A
model of your own goes first: with LLMAGIC_QUICKSTART_MODEL set, nothing is written and nothing
changed.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
MODEL = "LLMAGIC_QUICKSTART_MODEL"


def write_toy(folder: Path) -> dict[str, str]:
    """Write the toy; returns the environment variable that names its file."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "tests.toys", "qwen35", "--folder", str(folder)]
    output = subprocess.run(command, cwd=PROJECT, check=True, stdout=subprocess.PIPE, text=True)
    paths = [line.strip() for line in output.stdout.splitlines() if line.strip().endswith(".gguf")]
    if len(paths) != 2:
        raise SystemExit(f"expected tests.toys to print two .gguf paths, it printed {paths}")
    return {MODEL: os.path.abspath(paths[0])}


def main() -> None:
    if len(sys.argv) < 3:
        raise SystemExit(__doc__)
    folder, command = Path(sys.argv[1]), sys.argv[2:]
    toy = {} if os.environ.get(MODEL) else write_toy(folder.absolute())
    os.execvpe(command[0], command, os.environ | toy)


if __name__ == "__main__":
    main()
