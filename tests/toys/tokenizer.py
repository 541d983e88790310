"""The vocabulary that all toys share: GPT-2-style byte-level BPE, trained on a few sentences.

Every byte is a token, so any text can be written; the merges make common English words a token or
two. The control tokens are those of ChatML, of Qwen's and of Gemma's image markers, typed as
control (3): llama.cpp never makes one of them out of text that is tokenised without
`parse_special`, and mtmd looks the image markers up by name.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

from gguf import GGUFWriter, TokenType

BOS, END_OF_TEXT, IM_START, IM_END = "<bos>", "<|endoftext|>", "<|im_start|>", "<|im_end|>"
CONTROL = (
    BOS,
    END_OF_TEXT,
    IM_START,
    IM_END,
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<start_of_image>",
    "<end_of_image>",
)

N_MERGES = 200

CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)

CORPUS = """
You are a helpful assistant. The user asks a question about the image and the model answers it.
What is in this picture? What do you see in the first image, and what is in the second one?
There is a red circle, a blue square and a green triangle. The circle is left of the square.
Describe the image in one sentence. Compare the two images. How many objects are there in all?
Remember my name, and the word that I told you before. I think that it was something else.
This cell has an image, the next cell has a question, and the last cell has the answer.
Please answer with one word. Yes, there is. No, there is not. The colour of the second is yellow.
Tell me more about that. Why would they have said so? Because the other one could not be here.
system user assistant role content think image picture cell question answer word name colour
"""


@dataclass(frozen=True)
class Vocabulary:
    """Tokens in the order of their ids, as GPT-2 writes bytes, with their types and merges."""

    tokens: tuple[str, ...]
    types: tuple[TokenType, ...]
    merges: tuple[str, ...]

    def id(self, token: str) -> int:
        return self.tokens.index(token)


UNUSED = 5
"""llama.cpp's type of a token that stands for nothing (llama.h, LLAMA_TOKEN_TYPE_UNUSED)."""


def byte_symbols() -> list[str]:
    """GPT-2's printable character for each byte 0..255 (openai/gpt-2, encoder.py)."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    rest = iter(range(0x100, 0x200))
    return [chr(byte if byte in printable else next(rest)) for byte in range(256)]


@cache
def vocabulary() -> Vocabulary:
    """256 bytes, then the merges, then the control tokens."""
    symbols = byte_symbols()
    merges = _merges(symbols)
    # Two merges may make the same token by different ways; a vocabulary has it once.
    normal = tuple(dict.fromkeys([*symbols, *("".join(pair) for pair in merges)]))
    types = (TokenType.NORMAL,) * len(normal) + (TokenType.CONTROL,) * len(CONTROL)
    merged = tuple(f"{left} {right}" for left, right in merges)
    return Vocabulary((*normal, *CONTROL), types, merged)


def _merges(symbols: list[str]) -> list[tuple[str, str]]:
    """Train BPE on `CORPUS`; ties go to the pair that sorts first, so the result is fixed."""
    # llama.cpp's "qwen2" pre-tokenizer splits plain English in the same places.
    words = Counter(
        tuple(symbols[byte] for byte in word.encode())
        for word in re.findall(r" ?[A-Za-z]+| ?[^\sA-Za-z]+|\s+", CORPUS)
    )
    merges: list[tuple[str, str]] = []
    while len(merges) < N_MERGES:
        pairs: Counter[tuple[str, str]] = Counter()
        for word, count in words.items():
            for pair in pairwise(word):
                pairs[pair] += count
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        words = Counter({_apply(word, best): count for word, count in words.items()})
    return merges


def _apply(word: tuple[str, ...], pair: tuple[str, str]) -> tuple[str, ...]:
    out: list[str] = []
    at = 0
    while at < len(word):
        if word[at : at + 2] == pair:
            out.append(pair[0] + pair[1])
            at += 2
        else:
            out.append(word[at])
            at += 1
    return tuple(out)


def output_scale(vocab: Vocabulary) -> list[float]:
    """How large each token's row of the output matrix is, relative to a word's.

    Random logits would end a reply after some random number of tokens, and fill it with control
    characters. A row near zero gives a logit near zero, far below the largest of several hundred.
    """
    scales = []
    for index, kind in enumerate(vocab.types):
        if kind == TokenType.CONTROL:
            scales.append(0.05)
        elif index < 0x20 or index == 0x7F:
            scales.append(0.3)
        elif 0x80 <= index < 0x100:
            scales.append(0.7)  # parts of UTF-8 characters: now and then, to exercise decoding
        else:
            scales.append(1.0)
    return scales


def add_tokenizer(
    writer: GGUFWriter,
    *,
    add_bos: bool,
    pad_to: int = 0,
    more: Mapping[str, TokenType] | None = None,
    template: str | None = None,
) -> None:
    """Write the vocabulary, the special tokens and the chat template into a GGUF's metadata.

    The template is ChatML unless another is given. With `add_bos` ChatML begins with the BOS token
    too, as Gemma's does. `more` tokens follow the control tokens. `pad_to` tokens at least: those
    added are unused.
    """
    vocab = vocabulary()
    more = more or {}
    padding = range(len(vocab.tokens) + len(more), pad_to)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list([*vocab.tokens, *more, *(f"[unused{index}]" for index in padding)])
    writer.add_token_types([*vocab.types, *more.values(), *(UNUSED for _ in padding)])
    writer.add_token_merges(list(vocab.merges))
    writer.add_bos_token_id(vocab.id(BOS))
    writer.add_eos_token_id(vocab.id(IM_END))
    writer.add_pad_token_id(vocab.id(END_OF_TEXT))
    writer.add_add_bos_token(add_bos)
    writer.add_chat_template(template or ("{{ bos_token }}" if add_bos else "") + CHATML)
