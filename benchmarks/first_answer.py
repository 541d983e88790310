"""How long a newcomer waits: from `import llmagic` to the demo model's first answer.

Reports, asserts nothing: a time belongs to a machine. Each round is a fresh interpreter, and a
kernel has imported IPython before; a first round warms the file cache. JSON comes last.

    python benchmarks/first_answer.py [--rounds 7] [--threads 2]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys

PROGRAM = """
import json, sys, time
from IPython.core.interactiveshell import InteractiveShell
start = time.perf_counter()
import llmagic
imported = time.perf_counter()
from llmagic.demo import picture
from llmagic.settings import Loading
session = llmagic.Session("demo", loading=Loading(n_threads={threads}))
loaded = time.perf_counter()
shapes = picture("red star", "blue circle")
turn = session.ask("What do you see? ", images=[shapes], temperature=0)
answered = time.perf_counter()
steps = {{"import": imported - start, "load": loaded - imported, "answer": answered - loaded}}
print(json.dumps({{**steps, "all": answered - start, "text": turn.text}}))
"""


def measure(threads: int) -> dict[str, float | str]:
    """Seconds of each step, and what was answered."""
    command = [sys.executable, "-c", PROGRAM.format(threads=threads)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return json.loads(output.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=0)
    given = parser.parse_args()
    measure(given.threads)
    runs = [measure(given.threads) for _ in range(given.rounds)]
    results = {
        step: round(statistics.median(float(run[step]) for run in runs), 3)
        for step in ("import", "load", "answer", "all")
    }
    for step, seconds in results.items():
        print(f"{step:8} {seconds:6.3f} s")
    print(f"answer: {runs[-1]['text']}")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    machine = {"python": platform.python_version(), "machine": platform.machine(), "cores": cores}
    print(json.dumps({"seconds": results, "rounds": given.rounds, **machine}))


if __name__ == "__main__":
    main()
