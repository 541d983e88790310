"""Prompts, replies and restores beside the least that the machine allows, in one run.

Each round takes llmagic and `llama-bench` (`scripts/llama_server.py` builds it) in turn, with the
same model, threads and batch: tokens a second of a prompt (llmagic cuts it every 128 tokens, which
is llama-bench's batch here) and of a reply (llama-bench only evaluates; llmagic also draws each
token and makes text of it, `greedy` and with the usual settings). Then two conversations are asked
in turn, so that each is restored from memory, beside `memcpy` of the same number of bytes into
memory that was touched before, and beside the calls into llama.cpp that a restore is made of (it
notes every token's cell, which costs a small model more than the bytes). Ratios are those of a
round; median, least and most are given.
`--spins` is how often a thread looks before it sleeps (`llmagic/model/library.py`): "own" leaves
GNU OpenMP its own way, for llmagic alone; llama-bench always has that.

    python scripts/llama_server.py
    python -m benchmarks.speed [--model MODEL.gguf] [--threads 2] [--rounds 5] [--spins 1000|own|N]

JSON comes last.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.shapes import SHAPES, write

if TYPE_CHECKING:
    from llmagic.session import Session, Turn

PROJECT = Path(__file__).resolve().parent.parent
WORDS = "something about the picture and the question of the day "


def llama_bench(model: Path, threads: int, prompt: int, reply: int) -> dict[str, float]:
    """Tokens a second of a prompt and of a reply."""
    where = [sys.executable, str(PROJECT / "scripts" / "llama_server.py"), "--where"]
    programs = subprocess.run(where, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    command = [
        *(f"{programs}/llama-bench", "-m", str(model), "-t", str(threads), "-r", "1", "-o", "json"),
        *("-p", str(prompt), "-n", str(reply), "-b", "128", "-ub", "128", "-fa", "1"),
    ]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found = json.loads(done.stdout)
    return {("reply" if each["n_gen"] else "prompt"): each["avg_ts"] for each in found}


def ours(session: Session, text: str, reply: int, seed: int) -> dict[str, float]:
    """The same of llmagic, in a conversation of its own each time."""
    long = session.ask(f"{seed} {text}", after=None, max_tokens=1, temperature=0)
    evaluated = long.usage["evaluated"]
    found = {"prompt": 1000 * evaluated["tokens"] / evaluated["ms"]}
    for name, settings in (("reply", {}), ("greedy", {"temperature": 0})):
        turn = session.ask(f"{seed}?", after=None, seed=seed, max_tokens=reply, **settings)
        made = turn.usage["generated"]
        found[name] = 1000 * made["tokens"] / made["ms"]
    return found


def restores(session: Session, text: str, rounds: int) -> dict[str, Any]:
    """Two conversations in turn, each restored from memory, beside `memcpy`."""
    turns: list[Turn] = [
        session.ask(f"{n} {text}", after=None, max_tokens=1, temperature=0) for n in (-1, -2)
    ]
    ratios, times, shares = [], [], []
    source = target = np.empty(0, np.uint8)
    for round_ in range(2 * rounds + 2):
        with in_calls(session) as spent:
            turn = session.ask("And?", after=turns[round_ % 2], max_tokens=1, temperature=0)
        restored = turn.usage["restored"]
        if source.size != restored["bytes"]:
            source = np.ones(restored["bytes"], np.uint8)
            target = np.ones_like(source)
        begin = time.perf_counter()
        np.copyto(target, source)
        copied = 1000 * (time.perf_counter() - begin)
        if round_ > 1:
            assert restored["tier"] == "memory", restored
            ratios.append(restored["ms"] / copied)
            times.append(restored["ms"])
            shares.append(restored["ms"] / (1000 * sum(spent)))
    return {
        "bytes": int(source.size),
        "ms": spread(times),
        "over_memcpy": spread(ratios),
        "over_calls": spread(shares),
    }


@contextmanager
def in_calls(session: Session) -> Iterator[list[float]]:
    """What the calls of a restore take (s): those before the first evaluation."""
    context = session.engine.context
    assert context is not None
    spent: list[float] = []

    def around(call: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            begin = time.perf_counter()
            try:
                return call(*args, **kwargs)
            finally:
                spent.append(time.perf_counter() - begin)

        return timed

    def evaluate(*args: Any, **kwargs: Any) -> Any:
        undo()
        return context.evaluate(*args, **kwargs)

    def undo() -> None:
        for name in ("clear", "copy", "cut", "write", "evaluate"):
            vars(context).pop(name, None)

    for name in ("clear", "copy", "cut", "write"):
        setattr(context, name, around(getattr(context, name)))
    context.evaluate = evaluate  # type: ignore[method-assign]
    try:
        yield spent
    finally:
        undo()


def measure(model: str, threads: int, prompt: int, reply: int, rounds: int) -> dict[str, Any]:
    from llmagic.catalog import resolve
    from llmagic.session import Session
    from llmagic.settings import Loading

    if model in SHAPES:
        path, _ = write(model, Path.home() / ".cache/llmagic/shapes")
    else:
        path = resolve(model, projector=False).model
    loading = Loading(n_threads=threads, n_ctx_start=8192)
    mine: dict[str, list[float]] = {}
    theirs: dict[str, list[float]] = {}
    with Session(path, projector=False, loading=loading) as session:
        vocabulary = session.engine.model.vocabulary
        vocabulary.ends_reply = lambda _: False  # type: ignore[method-assign]
        words = WORDS
        while len(session.tokenize(words)) < prompt - 16:
            words += WORDS
        ours(session, words, 8, 0)
        for round_ in range(1, rounds + 1):
            for name, value in llama_bench(path, threads, prompt, reply).items():
                theirs.setdefault(name, []).append(value)
            for name, value in ours(session, words, reply, round_).items():
                mine.setdefault(name, []).append(value)
        restored = restores(session, words, rounds)
    pairs = {
        name: [
            a / b
            for a, b in zip(mine[name], theirs["reply" if name != "prompt" else name], strict=True)
        ]
        for name in mine
    }
    return {
        "llmagic": {name: spread(each) for name, each in mine.items()},
        "llama-bench": {name: spread(each) for name, each in theirs.items()},
        "ratio": {name: spread(each) for name, each in pairs.items()},
        "restore": restored,
    }


def spread(values: list[float]) -> list[float]:
    """Median, least and most."""
    return [round(f(values), 3) for f in (statistics.median, min, max)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="demo")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--prompt", type=int, default=1024)
    parser.add_argument("--reply", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--spins", default="")
    given = parser.parse_args()
    before = os.getloadavg()[0]
    if given.spins:
        # Read once, when llama.cpp is loaded, and not by llama-bench.
        os.environ["GOMP_SPINCOUNT"] = "300000" if given.spins == "own" else given.spins
        import llmagic.model.library  # noqa: F401

        del os.environ["GOMP_SPINCOUNT"]
    found = measure(given.model, given.threads, given.prompt, given.reply, given.rounds)
    print(json.dumps(found["ratio"]), json.dumps(found["restore"]), file=sys.stderr)
    machine = (
        f"{platform.python_implementation()} {platform.python_version()}, {platform.machine()}"
    )
    settings = {
        "model": given.model,
        **{name: getattr(given, name) for name in ("threads", "prompt", "reply", "rounds")},
        "spins": given.spins or "llmagic's",
        "load": [round(before, 1), round(os.getloadavg()[0], 1)],
    }
    print(json.dumps({"machine": machine, **settings, **found}))


if __name__ == "__main__":
    main()
