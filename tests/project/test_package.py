"""What `import llmagic` gives, and what it leaves alone."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys

import llmagic

HEAVY = ("llama_cpp", "numpy", "PIL", "jinja2", "jsonschema", "IPython", "ipywidgets")


def loaded_after(program: str) -> list[str]:
    """Heavy packages in a fresh interpreter that ran `program`."""
    program += f"\nimport json, sys; print(json.dumps([n for n in {HEAVY} if n in sys.modules]))"
    output = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    ).stdout
    return list(json.loads(output.splitlines()[-1]))


def test_import_loads_nothing_heavy():
    assert loaded_after("import llmagic; dir(llmagic); llmagic.__version__") == []


def test_a_reply_without_a_schema_loads_no_schemas():
    # Three quarters of the time to the first answer.
    program = """
import llmagic
llmagic.Session("demo").ask("Hello.", max_tokens=1)
"""
    loaded = loaded_after(program)
    assert "llama_cpp" in loaded
    assert "jsonschema" not in loaded


def test_load_ext_does_not_load_llama_cpp():
    program = """
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
shell.extension_manager.load_extension("llmagic")
assert "llm" in shell.magics_manager.magics["cell"]
"""
    loaded = loaded_after(program)
    assert "IPython" in loaded  # or this would be true of any program
    assert "llama_cpp" not in loaded


def test_unload_ext_removes_the_magics():
    program = """
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
shell.extension_manager.load_extension("llmagic")
shell.extension_manager.unload_extension("llmagic")
assert "llm" not in shell.magics_manager.magics["cell"]
assert "llm" not in shell.magics_manager.magics["line"]
"""
    loaded_after(program)


def test_public_names():
    assert llmagic.Session is llmagic.__dict__["Session"]  # looked up once
    assert set(llmagic.__all__) <= set(dir(llmagic))
    assert llmagic.Turn.__module__ == "llmagic.turns"
    assert not hasattr(llmagic, "Sesion")


def test_version_is_the_installed_one():
    version = importlib.metadata.version("llmagic")
    assert llmagic.__version__ == version
    command = [sys.executable, "-m", "llmagic", "--version"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == (
        f"llmagic {version}\n"
    )
