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
    images = _Images(work, projector, steps)
    images.encode_ahead()
    total = sum(step.n_tokens for step in steps)
    work.context.watch_interrupt(True)
    try:
        for step in steps:
            work.tell(Prefill(work.evaluated.count, total))
            embedding = images.embedding(step.span) if isinstance(step.span, Media) else None
            with work.evaluated.running():
                work.with_room(
                    step.position,
                    partial(_evaluate, work, projector, step, embedding, step is steps[-1]),
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
    embedding: Embedding | None,
    logits: bool,
) -> None:
    span = step.span
    if not isinstance(span, Media):
        work.context.evaluate(span.tokens, step.position, work.branch.sequence, logits=logits)
        return
    assert projector is not None
    assert embedding is not None
    projector.evaluate(work.context, span, embedding, step.position, work.branch.sequence)


class _Images:
    """The images among the steps of a prompt, with their embeddings.

    They are encoded before anything is evaluated, so that what can fail fails first; those whose
    embeddings the projector's budget does not hold with the others, each when it is its turn.
    """

    def __init__(self, work: Work, projector: Projector | None, steps: list[Step]) -> None:
        self._work = work
        self._projector = projector
        self._ready: dict[bytes, Embedding] = {}
        # An image may be several slices, each with an embedding.
        self._image: dict[bytes, int] = {}
        self._slices = [step.span for step in steps if isinstance(step.span, Media)]
        image = 0
        for each in self._slices:
            self._image.setdefault(each.digest, image)
            image += each.boundary is Boundary.IMAGE
        new = [each for each in self._slices if not (projector and projector.is_encoded(each))]
        self._total = len({self._image[each.digest] for each in new})
        self._seen: set[int] = set()

    def encode_ahead(self) -> None:
        """Encode as many as the budget holds, but one at least.

        Raises
        ------
        Interrupted, EvaluationError
        """
        if self._projector is None:
            return
        room = self._projector.budget
        for each in self._slices:
            if each.digest not in self._ready:
                room -= self._projector.n_bytes(each)
                if room < 0 and self._ready:
                    return
                self._ready[each.digest] = self._encode(each, self._projector)
        if self._total:
            self._work.tell(Encoding(self._total, self._total))

    def embedding(self, media: Media) -> Embedding:
        """The embedding of an image, or slice of one.

        Raises
        ------
        Interrupted, EvaluationError
        """
        if self._projector is None:
            raise EvaluationError("an image cannot be evaluated without a projector.")
        ready = self._ready.get(media.digest)
        return self._encode(media, self._projector) if ready is None else ready

    def _encode(self, media: Media, projector: Projector) -> Embedding:
        work, image = self._work, self._image[media.digest]
        if image not in self._seen and not projector.is_encoded(media):
            work.tell(Encoding(work.encoded.count, self._total))
        with work.encoded.running():
            embedding, ran = projector.encode(media)
        if ran and image not in self._seen:
            self._seen.add(image)
            work.encoded.count += 1
        work.stop_if_interrupted()
        return embedding
