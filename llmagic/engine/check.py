"""Is restoring exact for this model? The probe's question, asked longer and with images."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from llmagic.checkpoint.payload import Layout, Payloads
from llmagic.checkpoint.probe import ONLY_WHOLE, Story, Verdict
from llmagic.checkpoint.trial import Trial
from llmagic.checkpoint.verdicts import probed
from llmagic.engine.engine import Engine
from llmagic.errors import ModelError
from llmagic.model.library import version
from llmagic.model.vision import Projector
from llmagic.prompt.images import Picture
from llmagic.sequence import Boundary, Media, Sequence, Span, Text
from llmagic.settings import Loading

VERSION = 1
N_CTX = 8192
PAST_WINDOW = 64
"""Tokens beyond those that fill the cache of a sliding window."""
SIZES = ((96, 96), (160, 96), (224, 224))
"""Pictures in a story, width and height (px); the first one comes again at its end."""
MOST_IMAGES = len(SIZES) + 1
LEAST_TOKENS = 32
"""Text tokens of a story that a small context leaves, before it has fewer pictures."""


@dataclass(frozen=True)
class Effort:
    """How long to look.

    Attributes
    ----------
    rounds : int
        Stories, each of other random tokens and pictures.
    n_tokens : int
        Text tokens of a story; the first has those beside that it takes to make a sliding window
        forget.
    """

    rounds: int = 2
    n_tokens: int = 256


def check(
    path: Path, projector: Path | None, loading: Loading, effort: Effort | None = None
) -> dict[str, Any]:
    """Load a model, restore it in every way the lookup does, and report (docs/check.md).

    The verdict is remembered: the model is loaded with it from then on.

    Raises
    ------
    ModelError
        One of the files cannot be used, or the context is too small to try anything in it.
    """
    effort = effort or Effort()
    loading = replace(loading, n_ctx_start=N_CTX)
    engine = Engine(path, projector, template=None, loading=loading, tell=lambda _: None)
    try:
        assert engine.context is not None
        stories = list(_stories(engine, effort))
        scratch = engine.n_branches + 1
        verdict = probed(
            engine.record,
            engine.context,
            engine.model.memory,
            scratch=scratch,
            stories=stories,
            projector=engine.projector,
            daring=True,
        )
        layout = verdict.layout if verdict.exact else Layout.WHOLE
        payloads = Payloads(engine.context, engine.model.memory, layout, scratch)
        trial = Trial(payloads, scratch, engine.projector)
        story, other = stories[-1]
        sensitive = other is not None and trial.depends(story, other)
        return _report(engine, verdict, stories, sensitive)
    finally:
        engine.close()


def _report(
    engine: Engine, verdict: Verdict, stories: list[Story], sensitive: bool
) -> dict[str, Any]:
    model, longest = engine.model, max(story.n_tokens for story, _ in stories)
    architecture = model.header.architecture
    return {
        "version": VERSION,
        "model": model.name,
        "path": str(model.header.path),
        "architecture": architecture,
        "memory": model.memory.value,
        "window": model.n_swa,
        "kv_type": engine.loading.kv_type,
        "layout": verdict.layout.value,
        # Equal logits say nothing of a model whose logits do not depend on what was restored.
        "exact": verdict.exact and sensitive,
        "sensitive": sensitive,
        "bytes_per_token": verdict.bytes_per_token,
        "state_bytes": verdict.state_bytes,
        "refused": [{"layout": layout, "reason": reason} for layout, reason in verdict.refused],
        "never_tried": ONLY_WHOLE.get(architecture),
        "rounds": len(stories),
        "tokens": longest,
        "past_window": bool(model.n_swa and longest > model.n_swa),
        "images": _images(engine.projector, stories),
        "ms": round(verdict.seconds * 1000, 1),
        "llama_cpp": version(),
    }


def _images(projector: Projector | None, stories: list[Story]) -> dict[str, Any] | None:
    if projector is None:
        return None
    spans = [span for story, _ in stories for span in story.spans if isinstance(span, Media)]
    return {
        "projector": projector.name,
        "count": sum(span.boundary is Boundary.IMAGE for span in spans),
        "tokens": sum(span.n_tokens for span in spans),
        "positions": sum(span.n_positions for span in spans),
    }


def _stories(engine: Engine, effort: Effort) -> Iterator[Story]:
    """Random stories, each with another one of the same form."""
    assert engine.context is not None
    n_vocab, n_swa = engine.model.vocabulary.n_tokens, engine.model.n_swa
    # The context may be larger than what the model takes: llama.cpp rounds up.
    room = min(engine.context.n_ctx, engine.n_ctx_limit) * 3 // 4
    shape = engine.context.shape
    # The cache of a window has room for every sequence's and for a batch, and forgets nothing
    # before it is full (llama-kv-cache-iswa.cpp).
    full = n_swa * shape.n_sequences + shape.n_batch + PAST_WINDOW if n_swa else 0
    for number in range(effort.rounds):
        first, n_tokens = full if number == 0 else 0, effort.n_tokens
        n_images = MOST_IMAGES if engine.projector is not None else 0
        while True:
            pair = [
                _story(
                    np.random.default_rng((number, which)),
                    n_vocab,
                    n_tokens,
                    first,
                    engine.projector,
                    n_images,
                )
                for which in range(2)
            ]
            surplus = pair[0].n_tokens - room
            if surplus <= 0:
                break
            # A small context, a long window, or large pictures: what fits is tried.
            if first:
                first = max(first - surplus, 0)
            elif n_tokens >= LEAST_TOKENS:
                n_tokens //= 2
            elif n_images > 1:
                n_images -= 1
            else:
                raise ModelError(
                    f"expected a context in which something can be tried, and {room:,} of its "
                    f"tokens do not hold the {pair[0].n_tokens:,} of the shortest story"
                    + (
                        " with one picture. Give pictures fewer tokens (--image-tokens), or check "
                        "the model without its projector (--no-projector)."
                        if n_images
                        else "."
                    )
                )
        yield pair[0], pair[1]


def _story(
    generator: np.random.Generator,
    n_vocab: int,
    n_tokens: int,
    first: int,
    projector: Projector | None,
    n_images: int,
) -> Sequence:
    """A system prompt, pictures alone and side by side, questions, replies, one token more."""

    def text(n: int, boundary: Boundary | None = None) -> Text:
        tokens = tuple(generator.integers(0, n_vocab, max(n, 1)).tolist())
        return Text(tokens, reply=boundary is Boundary.REPLY, boundary=boundary)

    pictures: list[tuple[Span, ...]] = []
    if projector is not None:
        pictures = [projector.place(_picture(generator, *size)) for size in SIZES]
        pictures.append(pictures[0])
    none: tuple[Span, ...] = ()
    one, two, three, again = [*pictures[:n_images], *[none] * (MOST_IMAGES - n_images)]
    part = n_tokens // 8
    return Sequence(
        (
            text(first + 2 * part, Boundary.SYSTEM),
            *one,
            text(part, Boundary.USER),
            text(4),
            text(min(part, 8), Boundary.REPLY),
            text(3),
            *two,
            *three,
            text(3 * part, Boundary.USER),
            text(4),
            text(1, Boundary.REPLY),
            *again,
            text(part, Boundary.USER),
            text(5),
        )
    )


def _picture(generator: np.random.Generator, width: int, height: int) -> Picture:
    # Coarse noise: the encoders resize, and fine noise would all become the same grey.
    blocks = generator.integers(0, 256, (height // 16, width // 16, 3), np.uint8)
    pixels = blocks.repeat(16, axis=0).repeat(16, axis=1)
    return Picture(width, height, pixels.tobytes())
