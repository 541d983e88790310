"""Sessions and shells of the other suites' kind."""

from tests.notebook.conftest import _environment, kernel, llama, qwen35, shell, store
from tests.session.conftest import open_session

__all__ = ["_environment", "kernel", "llama", "open_session", "qwen35", "shell", "store"]
