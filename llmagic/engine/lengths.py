"""Which part of a prompt is long, for people whose prompt does not fit."""

from __future__ import annotations

from llmagic.sequence import Boundary, Media, Sequence


def lengths(sequence: Sequence) -> str:
    """How many tokens each part of a prompt has, the longest first, as the end of a sentence."""
    steps = sequence.steps
    system = max((step.stop for step in steps if step.boundary is Boundary.SYSTEM), default=0)
    above = max((step.stop for step in steps if step.boundary is Boundary.REPLY), default=system)
    turns = sum(step.boundary is Boundary.REPLY for step in steps)
    images = [
        step.n_tokens for step in steps if isinstance(step.span, Media) and step.start >= above
    ]
    question = "the question"
    if images:
        question += f" (with {sum(images):,} of {len(images)} image{'s' * (len(images) > 1)})"
    parts = [
        (sequence.n_tokens - above, question),
        (above - system, f"the {turns} turn{'s' * (turns != 1)} above"),
        (system, "the system prompt"),
    ]
    return ", ".join(f"{size:,} {name}" for size, name in sorted(parts, reverse=True) if size)
