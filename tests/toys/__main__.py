"""Write toy models from the command line: ``python -m tests.toys NAME... --folder DIR``."""

from __future__ import annotations

import argparse
from pathlib import Path

from tests.toys import TOYS, write


def main() -> None:
    """Print the path of every file, a model before its projector."""
    parser = argparse.ArgumentParser(prog="python -m tests.toys", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(TOYS)} (all)")
    parser.add_argument("--folder", type=Path, required=True, help="where the files go")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(TOYS):
        parser.error(f"no toy is called {', '.join(sorted(unknown))}: expected {', '.join(TOYS)}")
    for name in arguments.names or TOYS:
        toy = write(name, arguments.folder)
        print(toy.model)
        if toy.projector is not None:
            print(toy.projector)


if __name__ == "__main__":
    main()
