"""How fast replies are drawn, beside the least that llama.cpp allows.

Three loops in one process, in turn, with the same model, prompt, settings and number of tokens:
`bare` is llama_sampler_sample and llama_decode and nothing else; `session` is `Session.ask`, with
text, stop texts and interrupts; `cell` shows it in a notebook's display as well. One thread, and
CPU time of that thread, so that a busy machine counts little. Medians of the time for a token (us),
least and most; ratios are those of the rounds, each of which runs all three.

Reports, asserts nothing: a time belongs to a machine. JSON comes last.

    python -m benchmarks.decode [--model MODEL.gguf] [--tokens 128] [--rounds 15]
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import llama_cpp.llama_cpp as llama
import numpy as np

from llmagic.engine import work
from llmagic.events import Event
from llmagic.model.context import Context
from llmagic.model.sampling import Sampler
from llmagic.notebook.display import Live
from llmagic.session import Session
from llmagic.settings import Loading, Sampling

PROMPT = "Describe what you see, in as many words as you like."


class CpuTime:
    """Stands for the module `time` where turns are timed: CPU time of the thread."""

    perf_counter = staticmethod(time.thread_time)


class Bare:
    """The least loop there is, in a context of its own."""

    def __init__(self, session: Session, sampling: Sampling) -> None:
        engine = session.engine
        self._n_vocab = engine.model.vocabulary.n_tokens
        self._sampling = sampling
        self._context = Context(engine.model, engine.context.shape)
        *before, self._last = session.tokenize(PROMPT)
        self._context.evaluate(before, 0, 0)
        self._position = len(before)
        self._state = self._context.read(0)

    def run(self, seed: int, n: int) -> float:
        """Seconds of CPU time for `n` tokens."""
        context = self._context
        context.clear(0)
        assert context.write(0, self._state)
        context.evaluate([self._last], self._position, 0, logits=True)
        sampler = Sampler(self._sampling, seed, self._n_vocab)
        token = np.zeros(1, np.int32)
        pointer = token.ctypes.data_as(llama.ctypes.POINTER(llama.llama_token))
        batch = llama.llama_batch_get_one(pointer, 1)
        start = time.thread_time()
        for _ in range(n):
            token[0] = llama.llama_sampler_sample(sampler._chain, context.pointer, -1)
            llama.llama_decode(context.pointer, batch)
        return time.thread_time() - start


def asking(
    session: Session, sampling: Sampling, tell: Callable[[], Callable[[Event], None] | None]
) -> Callable[[int, int], float]:
    """A loop through the session."""

    def run(seed: int, n: int) -> float:
        turn = session.ask(PROMPT, after=None, sampling=sampling, seed=seed, on_event=tell())
        assert len(turn.tokens) == n, turn.stop
        return float(turn.usage["generated"]["ms"]) / 1000

    return run


def measure(model: str, n: int, rounds: int) -> dict[str, Any]:
    sampling = Sampling(max_tokens=n)
    work.time = CpuTime  # type: ignore[assignment]
    with Session(model, loading=Loading(n_threads=1)) as session:
        vocabulary = session.engine.model.vocabulary
        ends = vocabulary.ends_reply
        # As long for all: what would end a reply is asked for, and passed over.
        vocabulary.ends_reply = lambda token: ends(token) and False  # type: ignore[method-assign]
        loops = {
            "bare": Bare(session, sampling).run,
            "session": asking(session, sampling, lambda: None),
            "cell": asking(session, sampling, lambda: Live(lambda *_, **__: None).event),
        }
        times: dict[str, list[float]] = {name: [] for name in loops}
        for seed in range(rounds + 1):
            for name in loops if seed % 2 else reversed(loops):
                times[name].append(loops[name](seed, n) / n * 1e6)
    found = {name: summary(each[1:]) for name, each in times.items()}  # the first ones warm up
    for name in ("session", "cell"):
        ratios = [a / b for a, b in zip(times[name][1:], times["bare"][1:], strict=True)]
        found[f"{name} / bare"] = summary(ratios, 3)
    return found


def summary(values: list[float], digits: int = 1) -> dict[str, float]:
    middle, low, high = statistics.median(values), min(values), max(values)
    return {"median": round(middle, digits), "min": round(low, digits), "max": round(high, digits)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="demo")
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=15)
    given = parser.parse_args()
    found = measure(given.model, given.tokens, given.rounds)
    for name, each in found.items():
        print(f"{name:<16} {each['median']:>9}  ({each['min']} to {each['max']})", file=sys.stderr)
    machine = (
        f"{platform.python_implementation()} {platform.python_version()}, {platform.machine()}"
    )
    settings = {"model": given.model, "tokens": given.tokens, "rounds": given.rounds}
    print(json.dumps({"machine": machine, **settings, "token_us": found}))


if __name__ == "__main__":
    main()
