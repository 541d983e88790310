"""Evaluating what a branch does not hold yet of a sequence, image by image, chunk by chunk."""

from __future__ import annotations

from functools import partial

from llmagic.engine.work import Work
from llmagic.errors import EvaluationError, PromptError
from llmagic.events import Encoding, Prefill
from llmagic.model.vision import Embedding, Projector
from llmagic.sequence import Boundary, Media, Sequence, Step, scattered


def prefill(work: Work, projector: Projector | None, sequence: Sequence) -> bool:
    """Evaluate the rest of a sequence, saving at its boundaries; returns whether it is exact.

    Exact means: in the very pieces in which an evaluation from nothing would have done it.

    Raises
    ------
    Interrupted, EvaluationError
        The branch holds the steps that are whole; the one in the making must be undone.
    PromptError
        The sequence ends with an image.
    """
    if isinstance(sequence.steps[-1].span, Media):
        # llama.cpp gives no logits for an image, and ends the process when they are sampled from.
        raise PromptError(
            "expected text after the last image, and the chat template writes none there. Write "
            "something after it, or use a template that ends with a generation prompt."
        )
    end = work.branch.end
    key = end.key if end is not None else sequence.root
    if len(work.checkpoints.branches) > 1:
        key = scattered(key)
    start = work.branch.n_tokens
    steps = sequence.steps_after(start, key)
    canonical = {step.key for step in sequence.steps[sequence.index_after(start) :]}
    embeddings = _encode(work, projector, steps)
    total = sum(step.n_tokens for step in steps)
    work.context.watch_interrupt(True)
    try:
        for step in steps:
            work.tell(Prefill(work.evaluated.count, total))
            with work.evaluated.running():
                work.with_room(
                    step.position,
                    partial(_evaluate, work, projector, step, embeddings, step is steps[-1]),
                )
            work.branch.append(step)
            work.evaluated.count += step.n_tokens
            work.evaluated_images += step.boundary is Boundary.IMAGE
            if step.boundary is not None:
                work.save(exact=step.key in canonical)
            work.stop_if_interrupted()
    finally:
        work.context.watch_interrupt(False)
    work.tell(Prefill(total, total))
    return steps[-1].key == sequence.steps[-1].key


def _evaluate(
    work: Work,
    projector: Projector | None,
    step: Step,
    embeddings: dict[bytes, Embedding],
    logits: bool,
) -> None:
    span = step.span
    if not isinstance(span, Media):
        work.context.evaluate(span.tokens, step.position, work.branch.sequence, logits=logits)
        return
    if projector is None:
        raise EvaluationError("an image cannot be evaluated without a projector.")
    embedding = embeddings[span.digest]
    projector.evaluate(work.context, span, embedding, step.position, work.branch.sequence)


def _encode(work: Work, projector: Projector | None, steps: list[Step]) -> dict[bytes, Embedding]:
    """Embeddings of the images among the steps, by digest."""
    media = [step.span for step in steps if isinstance(step.span, Media)]
    embeddings: dict[bytes, Embedding] = {}
    if projector is None:
        return embeddings
    total = len({each.digest for each in media if not projector.is_encoded(each)})
    for each in media:
        if not projector.is_encoded(each):
            work.tell(Encoding(work.encoded.count, total))
        with work.encoded.running():
            embeddings[each.digest], ran = projector.encode(each)
        work.encoded.count += ran
        work.stop_if_interrupted()
    if total:
        work.tell(Encoding(total, total))
    return embeddings
