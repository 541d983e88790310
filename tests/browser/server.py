"""A real JupyterLab server with the extension of this checkout."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

BUILT = Path(__file__).resolve().parents[2] / "llmagic" / "labextension"

LIMIT = 300.0
"""Seconds the server may take to answer."""


class Server:
    """`jupyter lab` in a folder of its own; nothing of the user's configuration is read.

    Parameters
    ----------
    folder
        Everything the server writes is in here; notebooks are in `folder / "notebooks"`.
    """

    token = "browser-tests"

    def __init__(self, folder: Path) -> None:
        self.notebooks = folder / "notebooks"
        self.store = folder / "store"
        extensions = folder / "data" / "labextensions"
        for each in (self.notebooks, extensions):
            each.mkdir(parents=True)
        settings = {
            # Its question would lie over the panel.
            "apputils-extension/notification": {"fetchNews": "false"},
            # A kernel's first completion imports jedi; JupyterLab waits for it for a second only.
            "completer-extension/manager": {"providerTimeout": 30_000},
        }
        for name, values in settings.items():
            file = folder / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
            file.parent.mkdir(parents=True)
            file.write_text(json.dumps(values))
        (extensions / "llmagic").symlink_to(BUILT, target_is_directory=True)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.environment = os.environ | {
            "JUPYTER_PATH": str(folder / "data"),
            "JUPYTER_CONFIG_DIR": str(folder / "config"),
            "JUPYTER_DATA_DIR": str(folder / "own"),
            "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
            "JUPYTERLAB_SETTINGS_DIR": str(folder / "settings"),
            "JUPYTERLAB_WORKSPACES_DIR": str(folder / "workspaces"),
            "IPYTHONDIR": str(folder / "ipython"),
            "LLMAGIC_STORE": str(self.store),
        }
        options = {
            "ServerApp.ip": "127.0.0.1",
            "ServerApp.port": self.port,
            "ServerApp.root_dir": self.notebooks,
            "ServerApp.open_browser": False,
            "IdentityProvider.token": self.token,
            "LabApp.expose_app_in_browser": True,
            "JupyterNotebookApp.expose_app_in_browser": True,
            "LabApp.check_for_updates_class": "jupyterlab.NeverCheckForUpdate",
            "LabApp.news_url": "",
        }
        command = [sys.executable, "-m", "jupyterlab"]
        command += [f"--{name}={value}" for name, value in options.items()]
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            command.append("--allow-root")
        self._log = (folder / "server.log").open("w")
        self._process = subprocess.Popen(
            command, env=self.environment, stdout=self._log, stderr=self._log
        )
        self._wait(folder / "server.log")

    def url(self, path: str) -> str:
        """The address of a page or of a part of the server's interface."""
        return f"http://127.0.0.1:{self.port}/{path}"

    def api(self, path: str, method: str = "GET") -> Any:
        """Ask the server's REST interface."""
        headers = {"Authorization": f"token {self.token}"}
        request = urllib.request.Request(self.url(f"api/{path}"), headers=headers, method=method)
        with urllib.request.urlopen(request, timeout=LIMIT) as response:
            body = response.read()
        return json.loads(body) if body else None

    def stop_kernels(self) -> None:
        """End every session, as its kernel would be ended overnight."""
        for session in self.api("sessions"):
            self.api(f"sessions/{session['id']}", "DELETE")

    def stop(self) -> None:
        """End the server and its kernels."""
        self.stop_kernels()
        self._process.terminate()
        self._process.wait(LIMIT)
        self._log.close()

    def _wait(self, log: Path) -> None:
        end = time.monotonic() + LIMIT
        while True:
            try:
                self.api("status")
                return
            except OSError as error:
                if self._process.poll() is not None or time.monotonic() > end:
                    raise RuntimeError(f"no JupyterLab:\n{log.read_text()[-3000:]}") from error
            time.sleep(0.2)
