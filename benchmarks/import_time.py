"""How long `import llmagic` and `%load_ext llmagic` take, in fresh interpreters.

Reports, asserts nothing: a time belongs to a machine. JSON comes last.

    python benchmarks/import_time.py [--rounds 9]
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys

CASES = {
    "import llmagic": ("", "import llmagic"),
    # What a kernel has loaded already is not counted: the shell exists before the clock starts.
    "%load_ext llmagic": (
        "from IPython.core.interactiveshell import InteractiveShell\n"
        "shell = InteractiveShell.instance()",
        "shell.extension_manager.load_extension('llmagic')",
    ),
    "llmagic.Session": ("", "import llmagic; llmagic.Session"),
}
HEAVY = ("llama_cpp", "numpy", "PIL", "jinja2", "IPython", "ipywidgets", "matplotlib")

PROGRAM = """
import json, sys, time
{setup}
before = set(sys.modules)
start = time.perf_counter()
{statement}
elapsed = time.perf_counter() - start
new = set(sys.modules) - before
print(json.dumps([elapsed, len(new), [name for name in {heavy!r} if name in new]]))
"""


def measure(setup: str, statement: str) -> tuple[float, int, list[str]]:
    """Seconds, number of modules loaded, heavy packages among them; one fresh interpreter."""
    program = PROGRAM.format(setup=setup, statement=statement, heavy=HEAVY)
    command = [sys.executable, "-c", program]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    elapsed, modules, heavy = json.loads(output.splitlines()[-1])
    return elapsed, modules, heavy


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    results = {}
    for name, (setup, statement) in CASES.items():
        measure(setup, statement)  # writes the byte code and warms the file cache
        runs = [measure(setup, statement) for _ in range(rounds)]
        times = [elapsed * 1000 for elapsed, _, _ in runs]
        _, modules, heavy = runs[-1]
        results[name] = {
            "median_ms": round(statistics.median(times), 2),
            "min_ms": round(min(times), 2),
            "max_ms": round(max(times), 2),
            "modules": modules,
            "heavy": heavy,
        }
        print(f"{name:<20} {results[name]}", file=sys.stderr)
    machine = (
        f"{platform.python_implementation()} {platform.python_version()}, {platform.machine()}"
    )
    print(json.dumps({"machine": machine, "rounds": rounds, "imports": results}, indent=2))


if __name__ == "__main__":
    main()
