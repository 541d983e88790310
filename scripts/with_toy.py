"""Run a command with the environment that the notebooks read their models from.

    python scripts/with_toy.py FOLDER COMMAND [ARGUMENT ...]

The qwen35 toy with its projector, and a model written by hand that calls tools, are written into
FOLDER (a few MB, about a second). A model of your own goes first: with LLMAGIC_QUICKSTART_MODEL
set, nothing is written and nothing changed.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
TOOLS = "LLMAGIC_TOOLS_MODEL"
MODEL, PROJECTOR = "LLMAGIC_QUICKSTART_MODEL", "LLMAGIC_QUICKSTART_PROJECTOR"


def write_toy(folder: Path) -> dict[str, str]:
    """Write the toy models; returns the environment variables that name their files."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "tests.toys", "qwen35", "--folder", str(folder)]
    output = subprocess.run(command, cwd=PROJECT, check=True, stdout=subprocess.PIPE, text=True)
    paths = [line.strip() for line in output.stdout.splitlines() if line.strip().endswith(".gguf")]
    if len(paths) != 2:
        raise SystemExit(f"expected tests.toys to print two .gguf paths, it printed {paths}")
    command = [sys.executable, "-m", "tests.toys.parrot", str(folder)]
    output = subprocess.run(command, cwd=PROJECT, check=True, stdout=subprocess.PIPE, text=True)
    paths += output.stdout.split("\n")[:1]
    return dict(zip((MODEL, PROJECTOR, TOOLS), map(os.path.abspath, paths), strict=True))


def main() -> None:
    if len(sys.argv) < 3:
        raise SystemExit(__doc__)
    folder, command = Path(sys.argv[1]), sys.argv[2:]
    toy = {} if os.environ.get(MODEL) else write_toy(folder.absolute())
    os.execvpe(command[0], command, os.environ | toy)


if __name__ == "__main__":
    main()
