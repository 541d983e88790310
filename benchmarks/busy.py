"""How a reply fares while something else keeps the cores busy, by how the threads wait.

llama.cpp's threads wait for each other after every node of the graph. Each way of waiting is tried
in a process of its own, first with the machine as it is, then with one busy process a core; the
demo model generates, with one thread a core. Reports tokens a second; JSON comes last.

    python -m benchmarks.busy [--rounds 3]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys

WAYS = {
    "GNU OpenMP's own": {"GOMP_SPINCOUNT": "300000"},
    "llmagic's": {},
    "sleep at once": {"OMP_WAIT_POLICY": "passive"},
}

PROGRAM = """
import sys, llmagic
from llmagic.settings import Loading
session = llmagic.Session("demo", loading=Loading(n_threads=int(sys.argv[1])))
session.ask("Hello.", temperature=0)
made = session.ask("Tell me a joke.", temperature=0).usage["generated"]
print(1000 * made["tokens"] / made["ms"])
"""


def measure(way: dict[str, str], cores: int, limit: float) -> float:
    """Tokens a second; 0 where the reply took longer than `limit` seconds."""
    kept = {k: v for k, v in os.environ.items() if k not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    command = [sys.executable, "-c", PROGRAM, str(cores)]
    try:
        done = subprocess.run(
            command, env=kept | way, check=True, capture_output=True, text=True, timeout=limit
        )
    except subprocess.TimeoutExpired:
        return 0.0
    return float(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--limit", type=float, default=120.0, help="seconds for one reply")
    given = parser.parse_args()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    results: dict[str, dict[str, list[float]]] = {}
    for busy in (False, True):
        others = [
            subprocess.Popen([sys.executable, "-c", "while True: pass"])
            for _ in range(cores if busy else 0)
        ]
        try:
            for _ in range(given.rounds):
                for name, way in WAYS.items():
                    found = measure(way, cores, given.limit)
                    row = results.setdefault(name, {"idle": [], "busy": []})
                    row["busy" if busy else "idle"].append(round(found, 1))
        finally:
            for other in others:
                other.kill()
    for name, row in results.items():
        middle = {state: statistics.median(found) for state, found in row.items()}
        print(
            f"{name:18} idle {middle['idle']:8.1f} tokens/s   busy {middle['busy']:8.1f} tokens/s"
        )
    print(json.dumps({"cores": cores, "tokens_per_second": results}))


if __name__ == "__main__":
    main()
