"""What a user can set: how to load a model and how to draw a reply. Plain frozen values."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from numbers import Integral, Real
from typing import Any

from llmagic.errors import UsageError

MIB = 1 << 20


@dataclass(frozen=True)
class Loading:
    """How a model is loaded. Everything here that changes the state is in the fingerprint.

    Attributes
    ----------
    n_ctx : int
        Most tokens the context may hold; 0 means the model's own limit.
    n_ctx_start : int
        Tokens the context holds at first; it doubles on demand up to `n_ctx` (DESIGN D11).
    n_sequences : int
        Branches kept inside the context at once where `exact` is off.
    memory_budget : int
        Bytes of checkpoints kept in main memory, those that wait for the disk among them.
    image_budget : int
        Bytes of image embeddings kept in main memory, and of the pictures of earlier turns.
    kv_type : str
        Type of the attention cache: "f16", "q8_0" or "q4_0".
    n_threads : int
        Threads; 0 means one for each physical core.
    n_threads_batch : int
        Threads for prompts and images; 0 means as many as for replies.
    n_gpu_layers : int
        Layers on the GPU; -1 means all of them. Ignored by builds without a GPU.
    image_tokens : int
        Most tokens one image may take, for projectors with dynamic resolution; 0: the projector's.
    lora : tuple of (str, float)
        LoRA adapters, paths with their scales.
    exact : bool
        Every restored cell is bit for bit what an evaluation from nothing gives: one branch in
        the context at a time, resumed only where an evaluation from nothing is cut (DESIGN D3).
        Without it several branches share the context and one can resume at any token, which is
        quicker by some milliseconds and moves the logits (measured up to 0.5 % of their range).

    Raises
    ------
    UsageError
        A number outside its range.
    """

    n_ctx: int = 0
    n_ctx_start: int = 4096
    n_sequences: int = 4
    memory_budget: int = 2048 * MIB
    image_budget: int = 512 * MIB
    kv_type: str = "f16"
    n_threads: int = 0
    n_threads_batch: int = 0
    n_gpu_layers: int = -1
    image_tokens: int = 0
    lora: tuple[tuple[str, float], ...] = ()
    exact: bool = True

    def __post_init__(self) -> None:
        for name, (least, most) in _LOADING_RANGES.items():
            value = getattr(self, name)
            whole = isinstance(value, Integral) and not isinstance(value, bool)
            if not whole or not least <= value <= most:
                raise UsageError(
                    f"expected {name} to be a whole number from {least:,} to {most:,}, and got "
                    f"{value!r}."
                )


@dataclass(frozen=True)
class Sampling:
    """How a reply is drawn, in the order of llama.cpp's sampler chain.

    Attributes
    ----------
    temperature : float
        0 takes the most likely token always.
    top_k, top_p, min_p : int, float, float
        Truncation; 0, 1.0 and 0.0 switch each off.
    repeat_penalty : float
        Penalty on tokens among the last `repeat_last_n`; 1.0 switches it off.
    seed : int or None
        None derives it from the digest of the sequence, so an unchanged cell draws the same reply.
    max_tokens : int
        Most tokens in a reply; the context's room is a second limit. 0 evaluates the prompt alone.
    stop : tuple of str
        Texts that end the reply; they are not part of it. A str is one text.
    schema : str or None
        JSON schema (JSON text) the reply is held to, token by token.
    think : bool or None
        Whether the model shall think before it answers, where its chat template has a switch;
        None leaves it to the template.

    Raises
    ------
    UsageError
        A value of another type, or outside its range.
    """

    temperature: float = 0.8
    top_k: int = 40
    top_p: float = 0.95
    min_p: float = 0.05
    repeat_penalty: float = 1.0
    repeat_last_n: int = 64
    seed: int | None = None
    max_tokens: int = 512
    stop: tuple[str, ...] = ()
    schema: str | None = None
    think: bool | None = None

    def __post_init__(self) -> None:
        for name, (least, most) in _RANGES.items():
            value = getattr(self, name)
            if name == "seed" and value is None:
                continue
            whole = name in ("top_k", "repeat_last_n", "seed", "max_tokens")
            right = isinstance(value, Integral if whole else Real) and not isinstance(value, bool)
            if not right or not least <= value <= most:
                raise UsageError(
                    f"expected {name} to be a {'whole ' if whole else ''}number from {least:,} "
                    f"to {most:,}, and got {value!r}."
                )
            # One value, one spelling: 0, 0.0 and numpy's zeros give the same digests.
            object.__setattr__(self, name, int(value) if whole else float(value))
        given: object = self.stop
        stop = (given,) if isinstance(given, str) else given
        if not isinstance(stop, (tuple, list)) or not all(isinstance(each, str) for each in stop):
            raise UsageError(f"expected stop to be one or more texts, and got {given!r}.")
        object.__setattr__(self, "stop", tuple(stop))
        if not isinstance(self.schema, str | None):
            raise UsageError(f"expected a schema as JSON text, and got {self.schema!r}.")
        if self.think not in (None, True, False):
            raise UsageError(f"expected think to be True, False or None, and got {self.think!r}.")

    def changed(self, settings: Mapping[str, Any]) -> Sampling:
        """These settings with some others.

        Raises
        ------
        UsageError
            There is no such setting, or its value is none.
        """
        known = {each.name for each in fields(self)}
        unknown = sorted(set(settings) - known)
        if unknown:
            near = difflib.get_close_matches(unknown[0], sorted(known), n=1, cutoff=0.7)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise UsageError(
                f"expected settings among {', '.join(sorted(known))}, and got {', '.join(unknown)}."
                f"{hint}"
            )
        return replace(self, **settings)

    def document(self) -> dict[str, Any]:
        """The settings as JSON data, the same for the same draw.

        Settings that were added later are left out at their defaults: what was stored before
        they existed is found as before.
        """
        settings = asdict(self)
        return {
            name: value
            for name, value in settings.items()
            if value is not None or name not in _ADDED
        }


_ADDED = ("schema", "think")

MAX_THREADS = 512
"""llama.cpp ends the process at more (ggml-cpu.c, GGML_MAX_N_THREADS)."""

_LOADING_RANGES = {
    "n_ctx": (0, 2**31 - 1),
    "n_ctx_start": (0, 2**31 - 1),
    "n_sequences": (0, 250),
    "memory_budget": (0, 1 << 62),
    "image_budget": (0, 1 << 62),
    "n_threads": (0, MAX_THREADS),
    "n_threads_batch": (0, MAX_THREADS),
    "n_gpu_layers": (-1, 2**31 - 1),
    "image_tokens": (0, 1 << 20),
}

_RANGES = {
    "temperature": (0, 100),
    "top_k": (0, 2**31 - 1),
    "top_p": (0, 1),
    "min_p": (0, 1),
    "repeat_penalty": (0.01, 100),
    "repeat_last_n": (0, 1 << 20),
    "seed": (0, 2**31 - 1),
    "max_tokens": (0, 2**31 - 1),
}
