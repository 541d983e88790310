"""Kernels that start at once: a process that has imported everything forks for each of them.

Most of a kernel's start is imports. What is forked is an ipykernel as any other, with a process, a
session, a folder and an environment of its own; only its modules were read before.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import importlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from queue import Empty

from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.connect import write_connection_file

from tests.patience import SECONDS, wait_for_the_disk

PROJECT = Path(__file__).parents[2]
IMPORTED = (
    "ipykernel.ipkernel",
    "ipykernel.kernelapp",
    "PIL.Image",
    "llmagic.notebook.magics",
    "llmagic.session",
)
ENDING = SECONDS + 60
"""Seconds a kernel has to end after it was told to: it may wait for the disk."""


class Zygote:
    """The process that forks; it ends with this one, and its kernels with it."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.notebook.zygote"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=PROJECT,
            start_new_session=True,
        )
        atexit.register(self.close)

    def fork(self, connection_file: str, folder: Path) -> int:
        """Start a kernel with the environment that is set here now; returns its process id."""
        order = {"file": connection_file, "folder": str(folder), "environment": dict(os.environ)}
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, "the process that forks kernels has ended"
        return int(answer)

    def close(self) -> None:
        self._process.communicate()


@functools.cache
def zygote() -> Zygote:
    """One for each test process."""
    return Zygote()


class Forked:
    """A kernel of this Python in a folder, started by a fork."""

    def __init__(self, folder: Path) -> None:
        self._ended = False
        # Sockets are files: a free port may be another's before the kernel binds it.
        self._sockets = Path(tempfile.mkdtemp(prefix="kernel-"))
        self._file = str(self._sockets / "kernel.json")
        ip, key = str(self._sockets / "socket"), secrets.token_hex(16).encode()
        write_connection_file(self._file, transport="ipc", ip=ip, key=key)
        self.pid = zygote().fork(self._file, folder)

    def connect(self, seconds: float) -> BlockingKernelClient:
        """A client whose messages all come from now on.

        (`wait_for_ready` waits for a fifth of a second in which nothing comes.)
        """
        client = BlockingKernelClient(connection_file=self._file)
        client.load_connection_file()
        client.start_channels(hb=False)
        end = time.monotonic() + seconds
        while True:
            client.kernel_info()
            try:
                client.get_iopub_msg(timeout=0.5)
            except Empty:
                assert self.is_alive(), "the kernel died"
                assert time.monotonic() < end, f"the kernel is not ready after {seconds} s"
            else:
                return client

    def interrupt(self) -> None:
        """What a front end's stop button does."""
        os.killpg(self.pid, signal.SIGINT)

    def is_alive(self) -> bool:
        if self._ended:
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        return True

    def wait(self, seconds: float) -> bool:
        """Wait for the kernel's end; False when it still runs."""
        end = time.monotonic() + seconds
        while self.is_alive():
            if time.monotonic() > end:
                return False
            time.sleep(0.005)
        return True

    def end(self) -> None:
        """End it with SIGKILL if it has not ended, and remove its sockets."""
        if not self._ended:  # or the number may be another process's by now
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            self._ended = self.wait(ENDING)
            assert self._ended, f"kernel {self.pid} does not end"
        shutil.rmtree(self._sockets, ignore_errors=True)


def _import() -> None:
    """What a kernel and a cell import anyway. No widgets: they look for their kernel at import."""
    for module in IMPORTED:
        importlib.import_module(module)
    assert "ipywidgets" not in sys.modules
    wait_for_the_disk()


def _become_kernel(order: dict[str, object]) -> None:
    from ipykernel.kernelapp import IPKernelApp

    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()  # as a front end starts it: SIGINT goes to what the kernel started, too
    environment = order["environment"]
    assert isinstance(environment, dict)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(str(order["folder"]))
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    parent = f"--IPKernelApp.parent_handle={os.getppid()}"  # it ends with its parent
    IPKernelApp.launch_instance(argv=["-f", str(order["file"]), parent])


def main() -> None:
    """Fork for every line read, until there are no more."""
    sys.path.remove(str(PROJECT))
    _import()
    gc.freeze()  # or every collection in a kernel would visit all of it, and copy it
    # Nobody waits for the kernels: a dead one is gone at once.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for line in sys.stdin:
        kernel = os.fork()
        if kernel == 0:
            _become_kernel(json.loads(line))
            return
        print(kernel, flush=True)


if __name__ == "__main__":
    main()
