"""Switching between two branches: from memory (exact) and inside the context (live).

Two questions continue the same conversation of 1k, 4k and 16k tokens ("shared"), or two
conversations differ from the first word on ("apart"). One after the other gets another question
at its end. With `exact=True` one branch is in the context at a time, so a switch loads what the
other does not share; with `exact=False` both are, and nothing moves.

Reports, asserts nothing: a time belongs to a machine. JSON comes last.

    python -m benchmarks.live_switch [--toys llama qwen35] [--lengths 1000 4000] [--rounds 9]
    python -m benchmarks.live_switch --model MODEL.gguf
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from llmagic.session import Session, Turn
from llmagic.settings import Loading
from tests.toys import TOYS, write

ASK: dict[str, Any] = {"max_tokens": 1, "temperature": 0}
WORDS = ["the", "red", "blue", "circle", "square", "answer", "question", "image", "cell", "word"]
THREADS = 1
"""More make a toy slower, and say nothing of a switch."""


def measure(model: Path, length: int, rounds: int, *, shared: bool, exact: bool) -> dict[str, Any]:
    """Median time of a switch (ms), and what it moved (bytes) and evaluated (tokens)."""
    n_ctx = 2 * length + 4096
    loading = Loading(exact=exact, n_ctx=n_ctx, n_ctx_start=n_ctx, n_threads=THREADS)
    with Session(model, loading=loading) as session:
        branches = _branches(session, length, shared=shared)
        usages = []
        for index in range(2 * (rounds + 1)):
            turn = session.ask("And then?", after=branches[index % 2], **ASK)
            branches[index % 2] = turn
            usages.append(turn.usage)
        restored = [usage["restored"] for usage in usages[2:]]  # the first ones warm up
        times = [each["ms"] for each in restored]
        return {
            "tokens": usages[-1]["prompt"]["tokens"],
            "tier": restored[-1]["tier"],
            "restored_tokens": restored[-1]["tokens"],
            "evaluated_tokens": usages[-1]["evaluated"]["tokens"],
            "bytes": restored[-1]["bytes"],
            "median_ms": round(statistics.median(times), 3),
            "min_ms": round(min(times), 3),
            "max_ms": round(max(times), 3),
        }


def _branches(session: Session, length: int, *, shared: bool) -> list[Turn]:
    """The last turns of two conversations of about `length` tokens."""
    if shared:
        trunk = session.ask(_text(session, length, 0), after=None, **ASK)
        return [session.ask(text, after=trunk, **ASK) for text in ("What is it?", "Who was it?")]
    return [session.ask(_text(session, length, n), after=None, **ASK) for n in (1, 2)]


def _text(session: Session, length: int, seed: int) -> str:
    generator = np.random.default_rng(seed)
    words: list[str] = []
    while (missing := length - len(session.tokenize(" ".join(words)))) > 0:
        words += generator.choice(WORDS, max(missing // 2, 1)).tolist()
    return " ".join(words)


def run(models: dict[str, Path], lengths: list[int], rounds: int) -> list[dict[str, Any]]:
    results = []
    for name, model in models.items():
        for shared in (True, False):
            for length in lengths:
                memory, live = (
                    measure(model, length, rounds, shared=shared, exact=exact)
                    for exact in (True, False)
                )
                results.append(
                    {
                        "model": name,
                        "branches": "shared" if shared else "apart",
                        "memory": memory,
                        "live": live,
                        "ratio": round(memory["median_ms"] / live["median_ms"], 1),
                    }
                )
                print(_row(results[-1]), file=sys.stderr)
    return results


def _row(result: dict[str, Any]) -> str:
    memory, live = result["memory"], result["live"]
    return (
        f"{result['model']:<9} {result['branches']:<7} {memory['tokens']:>6} tokens   "
        f"memory {memory['median_ms']:>8.3f} ms {memory['bytes']:>11,} B   "
        f"{live['tier']} {live['median_ms']:>7.3f} ms {live['bytes']:>9,} B   x {result['ratio']}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--toys", nargs="*", choices=TOYS, default=["llama", "gemma3", "qwen35"])
    parser.add_argument("--model", type=Path, help="instead of toys")
    parser.add_argument("--lengths", nargs="*", type=int, default=[1000, 4000, 16000])
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if arguments.model is not None:
            models = {arguments.model.stem: arguments.model}
        else:
            models = {name: write(name, Path(folder)).model for name in arguments.toys}
        results = run(models, arguments.lengths, arguments.rounds)
    machine = (
        f"{platform.python_implementation()} {platform.python_version()}, {platform.machine()}"
    )
    print(json.dumps({"machine": machine, "rounds": arguments.rounds, "switches": results}))


if __name__ == "__main__":
    main()
