"""What a turn must give: the same sequence evaluated from nothing, with no checkpoint in sight.

Nothing of the lookup, the tree, the live branches or the payload chain is used here: a fresh
context evaluates every step of the canonical sequence in order, replies token by token.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from llmagic.checkpoint.payload import Payloads
from llmagic.model.context import Context
from llmagic.sequence import Boundary, Media, Sequence, Text
from llmagic.session import Session, Turn

Logits = npt.NDArray[np.float32]


def sequence_of(session: Session, turn: Turn, *, with_reply: bool = True) -> Sequence:
    """What the context holds after a turn (or before its reply)."""
    before = session.chat.sequence(turn.system, turn.parent, turn.parts)
    if not with_reply or not turn.tokens:
        return before
    return before.extended([Text(turn.tokens, reply=True, boundary=Boundary.REPLY)])


def cold_logits(session: Session, sequence: Sequence) -> Logits:
    """Logits after `sequence`, evaluated from nothing in a context of its own: (n_vocab,)."""
    engine = session.engine
    context = Context(engine.model, engine.context.shape)
    try:
        # Settling a sliding window is part of how every sequence is evaluated (DESIGN).
        payloads = Payloads(context, engine.model.memory, engine.verdict.layout, scratch=1)
        for step in sequence.steps:
            span = step.span
            if isinstance(span, Media):
                embedding, _ = engine.projector.encode(span)
                engine.projector.evaluate(context, span, embedding, step.position, 0)
            elif span.reply:
                for index, token in enumerate(span.tokens):
                    context.evaluate([token], step.position + index, 0, logits=True)
            else:
                last = step is sequence.steps[-1]
                context.evaluate(span.tokens, step.position, 0, logits=last)
            if step.boundary is not None:
                payloads.settle(0, step.next_position)
        return context.logits()
    finally:
        context.close()


def warm_logits(session: Session) -> Logits:
    """Logits after the last token a session evaluated."""
    return session.engine.context.logits()


def assert_exact(session: Session, turn: Turn) -> None:
    """The session, right after `turn`, is bit for bit where a cold evaluation ends."""
    wanted = cold_logits(session, sequence_of(session, turn))
    got = warm_logits(session)
    if not np.array_equal(got, wanted):
        difference = float(np.abs(got - wanted).max())
        raise AssertionError(
            f"logits differ by up to {difference:.3g} (range {float(np.ptp(wanted)):.3g})"
        )


def assert_close(session: Session, turn: Turn, tolerance: float = 1e-3) -> None:
    """As `assert_exact`, within `tolerance` of the logits' range and with equal greedy tokens.

    For branches that share a context with others: their cells are scattered, which moves the
    last bits of a sum over them.
    """
    wanted = cold_logits(session, sequence_of(session, turn))
    got = warm_logits(session)
    assert float(np.abs(got - wanted).max()) <= tolerance * float(np.ptp(wanted))
    assert int(got.argmax()) == int(wanted.argmax())
