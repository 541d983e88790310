"""The language models: one function per architecture, the smallest of its kind that llama.cpp runs.

Names and shapes are those of llama.cpp's `src/models/*.cpp`. The gains are chosen so that what a
context leaves behind shows in the logits: an attention over n tokens averages n random values and
would fade as 1 / sqrt(n), so its output projection amplifies; recurrent heads forget with time
constants from tens to thousands of tokens.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from gguf import GGUFWriter

from tests.toys.tokenizer import output_scale, vocabulary
from tests.toys.weights import Tensors

N_EMBD = 128
N_FF = 256
N_HEAD, N_HEAD_KV, HEAD = 2, 1, 64
CONTEXT = 32768
WINDOW = 128
"""Sliding window of the gemma3 toy (tokens): the last 128 are seen, itself included."""
SECTIONS = (11, 11, 10, 0)
"""M-RoPE sectors for time, row and column: they must cover all of HEAD / 2, or llama.cpp quietly
takes the fourth position for the rest."""

SHARP = 2.0
"""Standard deviation of the attention scores: some tokens count for more, none for all."""
FIRST_OUT, OUT = 3.0, 1.5
"""Gains of the first and the later attentions' output projections. What the first one averages is
much the same at all tokens, so the later ones need not amplify, or nothing else would be left."""
LOGITS = 3.0
"""Standard deviation of a word's logit."""


def llama(writer: GGUFWriter, tensors: Tensors) -> None:
    """Full attention."""
    _common(writer, n_layer=3)
    _heads(writer)
    writer.add_rope_dimension_count(HEAD)
    _ends(tensors)
    for block in _blocks(3):
        tensors.norm(f"{block}.attn_norm", N_EMBD)
        _attention(tensors, block, out=FIRST_OUT if block == "blk.0" else OUT)
        tensors.norm(f"{block}.ffn_norm", N_EMBD)
        _feed_forward(tensors, block)


def gemma3(writer: GGUFWriter, tensors: Tensors) -> None:
    """Sliding window and full attention in turn; norms after each part as well as before."""
    _common(writer, n_layer=4)
    _heads(writer)
    writer.add_key_length(HEAD)
    writer.add_value_length(HEAD)
    writer.add_sliding_window(WINDOW)
    writer.add_sliding_window_pattern([True, False, True, False])
    writer.add_rope_freq_base(1_000_000.0)
    # Gemma multiplies the embeddings of tokens, not those of images, by sqrt(n_embd).
    _ends(tensors, embedding=float(N_EMBD**-0.5))
    for block in _blocks(4):
        tensors.norm(f"{block}.attn_norm", N_EMBD)
        _attention(tensors, block)
        tensors.norm(f"{block}.attn_q_norm", HEAD, SHARP)
        tensors.norm(f"{block}.attn_k_norm", HEAD)
        tensors.norm(f"{block}.post_attention_norm", N_EMBD)
        tensors.norm(f"{block}.ffn_norm", N_EMBD)
        _feed_forward(tensors, block)
        tensors.norm(f"{block}.post_ffw_norm", N_EMBD, 0.5)


def qwen2vl(writer: GGUFWriter, tensors: Tensors) -> None:
    """Full attention with M-RoPE: an image takes fewer positions than tokens."""
    _common(writer, n_layer=3)
    _heads(writer)
    writer.add_rope_dimension_sections(list(SECTIONS))
    writer.add_rope_freq_base(1_000_000.0)
    _ends(tensors)
    for block in _blocks(3):
        tensors.norm(f"{block}.attn_norm", N_EMBD)
        _attention(tensors, block, out=FIRST_OUT if block == "blk.0" else OUT)
        for part, heads in (("q", N_HEAD), ("k", N_HEAD_KV), ("v", N_HEAD_KV)):
            tensors.bias(f"{block}.attn_{part}", heads * HEAD)
        tensors.norm(f"{block}.ffn_norm", N_EMBD)
        _feed_forward(tensors, block)


def qwen35(writer: GGUFWriter, tensors: Tensors) -> None:
    """Gated delta nets, every fourth layer gated attention with M-RoPE; one delta net follows."""
    n_layer, every = 5, 4
    n_key, n_value, size, conv = 2, 4, 32, 4
    _common(writer, n_layer=n_layer)
    _heads(writer)
    writer.add_key_length(HEAD)
    writer.add_value_length(HEAD)
    writer.add_rope_dimension_count(HEAD)
    writer.add_rope_dimension_sections(list(SECTIONS))
    writer.add_rope_freq_base(1_000_000.0)
    writer.add_full_attention_interval(every)
    _state_space(writer, conv=conv, inner=n_value * size, state=size, heads=n_value, groups=n_key)
    _ends(tensors)
    for index, block in enumerate(_blocks(n_layer)):
        tensors.norm(f"{block}.attn_norm", N_EMBD)
        if (index + 1) % every:
            channels = (2 * n_key + n_value) * size
            tensors.matrix(f"{block}.attn_qkv", channels, N_EMBD)
            tensors.matrix(f"{block}.attn_gate", n_value * size, N_EMBD)
            tensors.add(
                f"{block}.ssm_conv1d.weight",
                tensors.noise(f"{block}.ssm_conv1d", channels, conv) * np.float32(0.7),
            )
            _decay(tensors, block, n_value, flat=True)
            tensors.matrix(f"{block}.ssm_beta", n_value, N_EMBD)
            tensors.matrix(f"{block}.ssm_alpha", n_value, N_EMBD, 0.3)
            tensors.norm(f"{block}.ssm_norm", size)
            tensors.matrix(f"{block}.ssm_out", N_EMBD, n_value * size, 2.0)
        else:
            # Query and gate of each head side by side, hence twice the rows.
            _attention(tensors, block, query=2, out=2 * FIRST_OUT)
            tensors.norm(f"{block}.attn_q_norm", HEAD, SHARP)
            tensors.norm(f"{block}.attn_k_norm", HEAD)
        tensors.norm(f"{block}.post_attention_norm", N_EMBD)
        _feed_forward(tensors, block)


def mamba2(writer: GGUFWriter, tensors: Tensors) -> None:
    """State space layers only: a state of fixed size, no rows that could be cut."""
    n_layer, inner, state, heads, groups, conv = 3, 256, 128, 4, 1, 4
    _common(writer, n_layer=n_layer, n_ff=0)
    writer.add_head_count(0)
    _state_space(writer, conv=conv, inner=inner, state=state, heads=heads, groups=groups)
    _ends(tensors)
    channels = inner + 2 * groups * state
    for block in _blocks(n_layer):
        tensors.norm(f"{block}.attn_norm", N_EMBD)
        tensors.matrix(f"{block}.ssm_in", inner + channels + heads, N_EMBD)
        tensors.add(
            f"{block}.ssm_conv1d.weight",
            tensors.noise(f"{block}.ssm_conv1d", channels, conv) * np.float32(0.7),
        )
        tensors.bias(f"{block}.ssm_conv1d", channels)
        _decay(tensors, block, heads, flat=False)
        skip = tensors.noise(f"{block}.ssm_d", heads, 1) * np.float32(0.3)
        tensors.add(f"{block}.ssm_d", skip)
        norm = 1 + np.float32(0.1) * tensors.noise(f"{block}.ssm_norm", groups, inner // groups)
        tensors.add(f"{block}.ssm_norm.weight", norm)
        tensors.matrix(f"{block}.ssm_out", N_EMBD, inner, 2.0)


MODELS: dict[str, Callable[[GGUFWriter, Tensors], None]] = {
    "llama": llama,
    "gemma3": gemma3,
    "qwen2vl": qwen2vl,
    "qwen35": qwen35,
    "mamba2": mamba2,
}


def _blocks(n_layer: int) -> list[str]:
    return [f"blk.{index}" for index in range(n_layer)]


def _common(writer: GGUFWriter, *, n_layer: int, n_ff: int = N_FF) -> None:
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(N_EMBD)
    writer.add_block_count(n_layer)
    writer.add_feed_forward_length(n_ff)
    writer.add_layer_norm_rms_eps(1e-6)


def _heads(writer: GGUFWriter) -> None:
    writer.add_head_count(N_HEAD)
    writer.add_head_count_kv(N_HEAD_KV)


def _state_space(
    writer: GGUFWriter, *, conv: int, inner: int, state: int, heads: int, groups: int
) -> None:
    writer.add_ssm_conv_kernel(conv)
    writer.add_ssm_inner_size(inner)
    writer.add_ssm_state_size(state)
    writer.add_ssm_time_step_rank(heads)
    writer.add_ssm_group_count(groups)


def _ends(tensors: Tensors, embedding: float = 1.0) -> None:
    """Token embeddings (elements of this size) and the output, not tied to each other."""
    vocab = vocabulary()
    n_vocab = len(vocab.tokens)
    rows = tensors.noise("token_embd", n_vocab, N_EMBD) * np.float32(embedding)
    tensors.add("token_embd.weight", rows.astype(np.float16))
    tensors.norm("output_norm", N_EMBD)
    scale = np.array(output_scale(vocab), np.float32)[:, None]
    rows = tensors.noise("output", n_vocab, N_EMBD) * scale * np.float32(LOGITS / N_EMBD**0.5)
    tensors.add("output.weight", rows.astype(np.float16))


def _attention(tensors: Tensors, block: str, *, query: int = 1, out: float = OUT) -> None:
    tensors.matrix(f"{block}.attn_q", query * N_HEAD * HEAD, N_EMBD, SHARP)
    tensors.matrix(f"{block}.attn_k", N_HEAD_KV * HEAD, N_EMBD)
    tensors.matrix(f"{block}.attn_v", N_HEAD_KV * HEAD, N_EMBD)
    tensors.matrix(f"{block}.attn_output", N_EMBD, N_HEAD * HEAD, out)


def _feed_forward(tensors: Tensors, block: str) -> None:
    tensors.matrix(f"{block}.ffn_gate", N_FF, N_EMBD)
    tensors.matrix(f"{block}.ffn_up", N_FF, N_EMBD)
    tensors.matrix(f"{block}.ffn_down", N_EMBD, N_FF, 1.5)


def _decay(tensors: Tensors, block: str, heads: int, *, flat: bool) -> None:
    """Heads that forget within 24, 96, 384 and 1,536 tokens.

    A state shrinks by exp(a * softplus(dt)) a token. Mamba also multiplies what it adds by
    softplus(dt): with the root of the rate, slow heads hold as much as fast ones. The delta net's
    `a` is a vector, Mamba's a column.
    """
    tokens = 24.0 * 4.0 ** np.arange(heads)
    step = 2 * tokens**-0.5
    tensors.add(f"{block}.ssm_dt.bias", np.log(np.expm1(step)).astype(np.float32))
    rate = (-1 / (tokens * step)).astype(np.float32)
    tensors.add(f"{block}.ssm_a", rate if flat else rate[:, None])
