"""The demo model's vocabulary: byte-level BPE of 1,024 tokens, made from its dialogues.

`python -m training.tokenizer FILE` makes it. Text is cut as Qwen2 cuts it, so that llama.cpp's
`qwen2` pre-tokenizer gives the same tokens; each digit is a token.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from llmagic.demo.picture import COLOURS, SHAPES
from training.dialogues import NUMBERS, Dialogue, talked
from training.preprocess import CELL

SIZE = 1024
CONTROL = (
    "<|end|>",
    "<|pad|>",
    "<|system|>",
    "<|user|>",
    "<|assistant|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
)
TEMPLATE = (
    "{%- for message in messages %}"
    "{{- '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|assistant|>' }}{%- endif %}"
)

# Qwen2's rule for cutting text before merging (llama.cpp: LLAMA_VOCAB_PRE_TYPE_QWEN2).
_CUT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
NORMAL, CONTROL_TYPE, UNUSED = 1, 3, 5
"""Token types of GGUF."""


@dataclass
class Tokens:
    """A dialogue as the model gets it.

    Attributes
    ----------
    ids : list of int
        A picture is as many `<|image_pad|>` as it has tokens, between its two marks.
    pictures : list of uint8 arrays, H x W x 3
    answer : list of bool
        Whether a token is one the model has to say; the end of each reply is.
    """

    ids: list[int]
    pictures: list[npt.NDArray[np.uint8]]
    answer: list[bool]


class Tokenizer:
    """A byte-level BPE with control tokens; see `train` and `load`."""

    def __init__(self, bpe: tokenizers.Tokenizer) -> None:
        self._bpe = bpe
        vocab = bpe.get_vocab()
        self.vocabulary = sorted(vocab, key=vocab.__getitem__)
        self.types = [CONTROL_TYPE if text in CONTROL else NORMAL for text in self.vocabulary]
        unused = [f"[unused{i}]" for i in range(SIZE - len(self.vocabulary))]
        self.vocabulary += unused
        self.types += [UNUSED] * len(unused)
        self.merges = _merges(bpe)
        self.template = TEMPLATE
        self.eos = vocab["<|end|>"]
        self.pad = vocab["<|pad|>"]
        self.image = vocab["<|image_pad|>"]
        self._control = {text: vocab[text] for text in CONTROL}
        self._encode = lru_cache(65536)(lambda text: tuple(bpe.encode(text).ids))

    @classmethod
    def load(cls, path: str | Path) -> Tokenizer:
        """The tokenizer of a file that `save` wrote."""
        return cls(tokenizers.Tokenizer.from_file(str(path)))

    @classmethod
    def train(cls, n_dialogues: int = 8000, seed: int = 0) -> Tokenizer:
        """Make a vocabulary from this many dialogues."""
        bpe = tokenizers.Tokenizer(models.BPE(ignore_merges=False))
        bpe.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(tokenizers.Regex(_CUT), "isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
        bpe.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=SIZE - len(CONTROL),
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        bpe.train_from_iterator(_corpus(n_dialogues, seed), trainer)
        # Behind the others: no control token may be part of a merge.
        bpe.add_special_tokens(list(CONTROL))
        return cls(bpe)

    def save(self, path: str | Path) -> None:
        """Write it for `load`."""
        self._bpe.save(str(path))

    def encode(self, text: str) -> list[int]:
        """Tokens of a text, in which control tokens are only letters."""
        if "<|" in text:
            return [token for part in _split(text) for token in self._encode(part)]
        return list(self._encode(text))

    def decode(self, ids: Iterable[int]) -> str:
        """The text of tokens, control tokens left out."""
        return str(self._bpe.decode([token for token in ids if self.types[token] == NORMAL]))

    def tokens(self, dialogue: Dialogue) -> Tokens:
        """A dialogue through the template, as `llmagic.prompt` and mtmd do it."""
        ids: list[int] = []
        answer: list[bool] = []
        pictures = []
        for message in dialogue.messages:
            says = message.role == "assistant"
            ids.append(self._control[f"<|{message.role}|>"])
            answer.append(False)
            for part in message.parts:
                if isinstance(part, str):
                    new = self.encode(part)
                else:
                    pictures.append(part)
                    n = (part.shape[0] // CELL) * (part.shape[1] // CELL)
                    start, end = self._control["<|vision_start|>"], self._control["<|vision_end|>"]
                    new = [start, *[self.image] * n, end]
                ids += new
                answer += [says] * len(new)
            ids.append(self.eos)
            answer.append(says)
        return Tokens(ids, pictures, answer)


def _split(text: str) -> list[str]:
    """A text cut inside every "<|", so that no control token is found in it."""
    parts = text.split("<|")
    return [
        piece
        for i, part in enumerate(parts)
        if (piece := ("|" if i else "") + part + ("<" if i < len(parts) - 1 else ""))
    ]


def _merges(bpe: tokenizers.Tokenizer) -> list[str]:
    import json

    merges = json.loads(bpe.to_str())["model"]["merges"]
    return [merge if isinstance(merge, str) else " ".join(merge) for merge in merges]


def _corpus(n: int, seed: int) -> Iterable[str]:
    """The dialogues' texts; before them the words that must be one token each."""
    words = [*COLOURS, *SHAPES, *NUMBERS]
    for word in words:
        for form in (word, f" {word}", word.capitalize(), f" {word}s"):
            for _ in range(n):
                yield form
    rng = np.random.default_rng(seed)
    for _ in range(n):
        for message in talked(rng, draw=False).messages:
            yield from (part for part in message.parts if isinstance(part, str))


if __name__ == "__main__":
    made = Tokenizer.train()
    made.save(sys.argv[1])
    print(f"{len(made.merges)} merges, {SIZE} tokens: {sys.argv[1]}")
