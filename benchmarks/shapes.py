"""Models to measure with: random weights in real shapes, since speed does not depend on values.

    python -m benchmarks.shapes FOLDER        # prints the path

So far one: the language model of Qwen3.5-0.8B (24 layers of 1,024; every fourth attention with
8 / 2 heads of 256, the others gated delta nets with 16 + 16 heads of 128; ffn 3,584; 151,936
tokens; Q8_0).
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter

from tests.toys.tokenizer import add_tokenizer, vocabulary

N_LAYER, N_EMBD, N_FF, N_VOCAB = 24, 1024, 3584, 151_936
N_HEAD, N_HEAD_KV, HEAD = 8, 2, 256
DELTA_HEADS, DELTA_SIZE, CONV = 16, 128, 4
BLOCK = np.dtype([("scale", "<f2"), ("values", "i1", 32)])


def qwen35_08b(folder: Path) -> Path:
    """Write the model unless it is there; returns its path."""
    path = folder / "qwen3.5-0.8b-shape-q8_0.gguf"
    if path.exists():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f".{os.getpid()}")
    writer = GGUFWriter(temporary, "qwen35")
    random = np.random.default_rng(0)
    writer.add_name("Qwen3.5-0.8B shape")
    writer.add_context_length(32768)
    writer.add_embedding_length(N_EMBD)
    writer.add_block_count(N_LAYER)
    writer.add_feed_forward_length(N_FF)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_head_count(N_HEAD)
    writer.add_head_count_kv(N_HEAD_KV)
    writer.add_key_length(HEAD)
    writer.add_value_length(HEAD)
    writer.add_rope_dimension_count(64)
    writer.add_rope_dimension_sections([11, 11, 10, 0])
    writer.add_rope_freq_base(1e7)
    writer.add_full_attention_interval(4)
    inner = DELTA_HEADS * DELTA_SIZE
    writer.add_ssm_conv_kernel(CONV)
    writer.add_ssm_inner_size(inner)
    writer.add_ssm_state_size(DELTA_SIZE)
    writer.add_ssm_time_step_rank(DELTA_HEADS)
    writer.add_ssm_group_count(DELTA_HEADS)
    add_tokenizer(writer, add_bos=False, pad_to=N_VOCAB)

    def matrix(name: str, n_out: int, n_in: int) -> None:
        blocks = np.empty(n_out * n_in // 32, BLOCK)
        blocks["scale"] = 1 / (73 * n_in**0.5)
        blocks["values"] = random.integers(-127, 128, (len(blocks), 32), dtype=np.int8)
        data = blocks.view(np.uint8).reshape(n_out, -1)
        writer.add_tensor(f"{name}.weight", data, raw_dtype=GGMLQuantizationType.Q8_0)

    def vector(name: str, *shape: int, mean: float = 1.0) -> None:
        writer.add_tensor(name, np.full(shape, mean, np.float32))

    matrix("token_embd", N_VOCAB, N_EMBD)
    vector("output_norm.weight", N_EMBD)
    for layer in range(N_LAYER):
        block = f"blk.{layer}"
        vector(f"{block}.attn_norm.weight", N_EMBD)
        if (layer + 1) % 4:
            matrix(f"{block}.attn_qkv", 3 * inner, N_EMBD)
            matrix(f"{block}.attn_gate", inner, N_EMBD)
            vector(f"{block}.ssm_conv1d.weight", 3 * inner, CONV, mean=0.3)
            vector(f"{block}.ssm_a", DELTA_HEADS, mean=-0.1)
            vector(f"{block}.ssm_dt.bias", DELTA_HEADS, mean=0.1)
            matrix(f"{block}.ssm_beta", DELTA_HEADS, N_EMBD)
            matrix(f"{block}.ssm_alpha", DELTA_HEADS, N_EMBD)
            vector(f"{block}.ssm_norm.weight", DELTA_SIZE)
            matrix(f"{block}.ssm_out", N_EMBD, inner)
        else:
            matrix(f"{block}.attn_q", 2 * N_HEAD * HEAD, N_EMBD)
            matrix(f"{block}.attn_k", N_HEAD_KV * HEAD, N_EMBD)
            matrix(f"{block}.attn_v", N_HEAD_KV * HEAD, N_EMBD)
            matrix(f"{block}.attn_output", N_EMBD, N_HEAD * HEAD)
            vector(f"{block}.attn_q_norm.weight", HEAD)
            vector(f"{block}.attn_k_norm.weight", HEAD)
        vector(f"{block}.post_attention_norm.weight", N_EMBD)
        matrix(f"{block}.ffn_gate", N_FF, N_EMBD)
        matrix(f"{block}.ffn_up", N_FF, N_EMBD)
        matrix(f"{block}.ffn_down", N_EMBD, N_FF)
        print(f"\rlayer {layer + 1} of {N_LAYER}", end="", file=sys.stderr)
    print(file=sys.stderr)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    temporary.replace(path)
    return path


if __name__ == "__main__":
    assert vocabulary().tokens
    print(qwen35_08b(Path(sys.argv[1])))
