"""`python -m llmagic`: the command `llmagic` of this very Python."""

from __future__ import annotations

import sys

from llmagic.cli import main

if __name__ == "__main__":
    sys.exit(main())
