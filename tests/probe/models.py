"""Files the toys do not cover: a SentencePiece vocabulary, a model without any text, a LoRA."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from gguf import GGUFValueType, GGUFWriter, TokenType

from tests.toys import text
from tests.toys.weights import Tensors, finish

WORDS = ("hello", "he", "ll", "llo", "lo", "wor", "ld", "world", "▁hello", "▁world", "▁he", "▁wor")
CONTROL = ("<s>", "</s>", "[INST]", "[/INST]")
MARK = "«é»"
"""A token of characters that are none."""
N_BARE = 64
N_EMBD, N_FF, HEAD = 64, 96, 32


def sentencepiece(
    path: Path, *, space_prefix: bool | None = True, writes_bytes: bool = True
) -> Path:
    """A llama whose vocabulary is SentencePiece's: words with and without the space before.

    Where it has no tokens for bytes, it has `MARK` instead.
    """
    writer = GGUFWriter(None, "llama")
    tokens, types = ["<unk>", *CONTROL], [TokenType.UNKNOWN, *[TokenType.CONTROL] * len(CONTROL)]
    if writes_bytes:
        tokens += [f"<0x{byte:02X}>" for byte in range(256)]
        types += [TokenType.BYTE] * 256
    else:
        tokens.append(MARK)
        types.append(TokenType.USER_DEFINED)
    letters = [chr(letter) for letter in range(0x21, 0x7F)]
    normal = ["▁", *letters, *WORDS]
    tokens += normal
    types += [TokenType.NORMAL] * len(normal)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    # Longer words are better ones, so that they are merged to the end.
    writer.add_token_scores([float(len(token)) for token in tokens])
    writer.add_token_types(types)
    writer.add_bos_token_id(tokens.index("<s>"))
    writer.add_eos_token_id(tokens.index("</s>"))
    writer.add_add_bos_token(True)
    if space_prefix is not None:
        writer.add_add_space_prefix(space_prefix)
    writer.add_chat_template(
        "{{ bos_token }}{% for message in messages %}{% if message.role == 'user' %}"
        "{{ '[INST]' + message.content + '[/INST]' }}{% else %}{{ message.content }}"
        "{% endif %}{% endfor %}"
    )
    _llama(writer, Tensors(writer, "sentencepiece"), len(tokens))
    finish(writer, path)
    return path


def bare(path: Path, n_vocab: int = N_BARE, *, deaf: bool = False, head: int = HEAD) -> Path:
    """A llama with no tokenizer and no template; `deaf`: its attention adds nothing."""
    writer = GGUFWriter(None, "llama")
    writer.add_tokenizer_model("no_vocab")
    writer.add_vocab_size(n_vocab)
    _llama(writer, Tensors(writer, "bare"), n_vocab, 0.0 if deaf else 3.0, head)
    finish(writer, path)
    return path


def lora(path: Path, *, scale: float = 1.0, invoked_by: Sequence[int] = ()) -> Path:
    """An adapter for the llama toy: the query projection of its first two blocks."""
    rank = 4
    writer = GGUFWriter(None, "llama")
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", float(rank))
    if invoked_by:
        key = "adapter.alora.invocation_tokens"
        writer.add_key_value(
            key, list(invoked_by), GGUFValueType.ARRAY, sub_type=GGUFValueType.UINT32
        )
    tensors = Tensors(writer, f"lora {scale}")
    for block in range(2):
        name = f"blk.{block}.attn_q.weight"
        a = tensors.noise(f"{name}.a", rank, text.N_EMBD) / text.N_EMBD**0.5
        b = tensors.noise(f"{name}.b", text.N_HEAD * text.HEAD, rank) * np.float32(scale)
        tensors.add(f"{name}.lora_a", a.astype(np.float32))
        tensors.add(f"{name}.lora_b", b.astype(np.float32))
    finish(writer, path)
    return path


def _llama(
    writer: GGUFWriter, tensors: Tensors, n_vocab: int, attention: float = 3.0, head: int = HEAD
) -> None:
    writer.add_context_length(2048)
    writer.add_embedding_length(N_EMBD)
    writer.add_block_count(1)
    writer.add_feed_forward_length(N_FF)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_head_count(2)
    writer.add_head_count_kv(1)
    writer.add_key_length(head)
    writer.add_value_length(head)
    writer.add_rope_dimension_count(head)
    tensors.add("token_embd.weight", tensors.noise("token_embd", n_vocab, N_EMBD))
    tensors.norm("output_norm", N_EMBD)
    tensors.matrix("output", n_vocab, N_EMBD, 3.0)
    tensors.norm("blk.0.attn_norm", N_EMBD)
    tensors.matrix("blk.0.attn_q", 2 * head, N_EMBD, 2.0)
    tensors.matrix("blk.0.attn_k", head, N_EMBD)
    tensors.matrix("blk.0.attn_v", head, N_EMBD)
    tensors.matrix("blk.0.attn_output", N_EMBD, 2 * head, attention)
    tensors.norm("blk.0.ffn_norm", N_EMBD)
    tensors.matrix("blk.0.ffn_gate", N_FF, N_EMBD)
    tensors.matrix("blk.0.ffn_up", N_FF, N_EMBD)
    tensors.matrix("blk.0.ffn_down", N_EMBD, N_FF, 1.5)
