"""A dialogue is the same tokens in training and in a session."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tokenizers", reason="needs the train extra")

from llmagic.prompt.images import picture
from llmagic.prompt.parts import ImagePart, Message, Part, ReplyPart, TextPart
from llmagic.prompt.template import ChatTemplate
from llmagic.prompt.tokens import sequence
from llmagic.sequence import Media, Text
from llmagic.session import Session
from training.dialogues import DRILLS, USUAL, Dialogue, Looks, talked
from training.tokenizer import Tokenizer


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.load(Path(__file__).parents[2] / "training" / "tokenizer.json")


def in_a_session(session: Session, dialogue: Dialogue, tokenizer: Tokenizer) -> list[int]:
    """The ids a session evaluates; as many `<|image_pad|>` as a picture has tokens."""
    messages = []
    for message in dialogue.messages:
        parts: list[Part] = []
        for part in message.parts:
            if not isinstance(part, str):
                parts.append(ImagePart(picture(part)))
            elif message.role == "assistant":
                parts.append(ReplyPart(part, tuple(tokenizer.encode(part))))
            else:
                parts.append(TextPart(part))
        messages.append(Message(message.role, tuple(parts)))
    template = ChatTemplate(session.engine.template or "")
    pieces = template.render(messages, generation_prompt=False)
    vocabulary = session.engine.model.vocabulary
    ids: list[int] = []
    for span in sequence(pieces, vocabulary, session.engine.projector, seed=b"").spans:
        if isinstance(span, Media):
            ids += [tokenizer.image] * span.n_tokens
        else:
            assert isinstance(span, Text)
            ids += span.tokens
    return ids


@pytest.mark.parametrize("seed", range(40))
def test_a_dialogue_is_the_same_tokens(demo: Session, tokenizer: Tokenizer, seed: int) -> None:
    drill = [USUAL, *DRILLS.values()][seed % 7]
    looks = Looks(free=0.4, ratios=0.4, plots=0.3)
    made = talked(np.random.default_rng([7, seed]), drill, looks, held_out=bool(seed % 2))
    assert in_a_session(demo, made, tokenizer) == tokenizer.tokens(made).ids


@pytest.mark.parametrize(
    "text",
    ["", " ", "a  b\n\n c", "<|end|>", "what's 12 345?", "Grüße, 你好 🙂", "<|user|><|", "|>"],
)
def test_any_text_is_the_same_tokens(demo: Session, tokenizer: Tokenizer, text: str) -> None:
    vocabulary = demo.engine.model.vocabulary
    assert vocabulary.tokenize(text, special=False) == tokenizer.encode(text)
    assert tokenizer.decode(tokenizer.encode(text)) == text
