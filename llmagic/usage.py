"""What a turn cost and what was reused: the dictionary of DESIGN, "Contracts"."""

from __future__ import annotations

from collections.abc import Sequence as Sequence_
from typing import Any

from llmagic.engine.engine import Outcome
from llmagic.sequence import Sequence
from llmagic.settings import Sampling
from llmagic.turns import Round, turn_id

VERSION = 1


def usage(
    wanted: Sequence, sampling: Sampling, outcome: Outcome, *, stop: str, model: str
) -> dict[str, Any]:
    """Usage of an evaluated turn, complete also when it failed; times in ms.

    Parameters
    ----------
    wanted : Sequence
        Everything before the reply.
    sampling : Sampling
    outcome : Outcome
        What the engine did.
    stop : str
        Why the reply ended.
    model : str
        Its name.
    """
    resumed, work, generated = outcome.resumed, outcome.work, outcome.generated
    tokens = tuple(generated.tokens) if generated is not None else ()
    return {
        "version": VERSION,
        "turn": turn_id(wanted, sampling, tokens),
        "model": model,
        "prompt": {"tokens": wanted.n_tokens, "images": wanted.n_images},
        "restored": {
            "tokens": resumed.tokens if resumed else 0,
            "images": resumed.images if resumed else 0,
            "tier": resumed.tier if resumed else "none",
            "ms": _ms(resumed.seconds) if resumed else 0.0,
            "bytes": resumed.n_bytes if resumed else 0,
        },
        "evaluated": {
            "tokens": work.evaluated.count if work else 0,
            "images": work.evaluated_images if work else 0,
            "ms": _ms(work.evaluated.seconds) if work else 0.0,
        },
        "encoded": {
            "images": work.encoded.count if work else 0,
            "ms": _ms(work.encoded.seconds) if work else 0.0,
        },
        "generated": {
            "tokens": len(tokens),
            "ms": _ms(work.generated.seconds) if work else 0.0,
            "stop": stop,
        },
        "saved": {
            "bytes": work.saved.count if work else 0,
            "ms": _ms(work.saved.seconds) if work else 0.0,
        },
        "exact": outcome.exact,
    }


def together(costs: Sequence_[dict[str, Any]], rounds: Sequence_[Round]) -> dict[str, Any]:
    """Usage of a turn in which tools were called, from those of its replies.

    The prompt is that of the last reply: what was evaluated for any of them is evaluated, all else
    restored (the earlier replies are in the context as they were drawn). What had to be evaluated
    for two of them stands in the prompt once, and counts once; times are of all that was done.
    """
    first, last = costs[0], costs[-1]
    if not rounds:
        return last
    total = {**last}
    for part in ("evaluated", "encoded", "generated", "saved"):
        total[part] = {
            name: value if isinstance(value, str) else sum(cost[part][name] for cost in costs)
            for name, value in last[part].items()
        }
    total["restored"] = {**first["restored"]}
    for name in ("tokens", "images"):
        total["restored"][name], total["evaluated"][name] = _divided(costs, name)
    if total["restored"]["tier"] == "none" and total["restored"]["tokens"]:
        total["restored"]["tier"] = "live"
    total["exact"] = all(cost["exact"] for cost in costs)
    total["tools"] = {"rounds": len(rounds), "calls": sum(len(each.uses) for each in rounds)}
    return total


def _divided(costs: Sequence_[dict[str, Any]], name: str) -> tuple[int, int]:
    """Tokens or images of the last prompt that were restored, and that any reply evaluated."""
    evaluated: list[tuple[int, int]] = []
    for cost in costs:
        start, n = cost["restored"][name], cost["evaluated"][name]
        if start + n:  # else it was stopped before it began
            kept = [(begin, min(end, start)) for begin, end in evaluated if begin < start]
            evaluated = [*kept, (start, start + n)]
    n_evaluated = sum(end - begin for begin, end in evaluated)
    return (evaluated[-1][1] if evaluated else 0) - n_evaluated, n_evaluated


def replayed(
    wanted: Sequence,
    sampling: Sampling,
    tokens: tuple[int, ...],
    *,
    tier: str,
    model: str,
    exact: bool,
) -> dict[str, Any]:
    """Usage of a turn whose reply was found in a tier: nothing was evaluated.

    No state was restored either. The whole prompt counts as restored because none of it was
    evaluated, with 0 bytes, and the tier is the one the reply came from. `exact` is how the reply
    was drawn.
    """
    found = usage(wanted, sampling, Outcome(exact=exact), stop="replayed", model=model)
    found["turn"] = turn_id(wanted, sampling, tokens)
    found["restored"].update(tokens=wanted.n_tokens, images=wanted.n_images, tier=tier)
    found["generated"]["tokens"] = len(tokens)
    return found


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)
