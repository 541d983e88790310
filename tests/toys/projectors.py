"""The vision towers with their projectors, one function per toy that sees.

Names and shapes are those of llama.cpp's `tools/mtmd/clip.cpp` and `tools/mtmd/models/*.cpp`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from gguf import GGUFWriter

from tests.toys.text import N_EMBD
from tests.toys.weights import Tensors

WIDTH = 64
N_FF = 128
N_HEAD = 2
N_LAYER = 2


def gemma3(writer: GGUFWriter, tensors: Tensors) -> None:
    """Any image becomes 64 x 64 px, 8 x 8 patches, pooled to 4 x 4 = 16 tokens."""
    side, patch = 64, 8
    _common(writer, "gemma3", image_size=side, patch_size=patch)
    writer.add_vision_projector_scale_factor(2)
    _patches(tensors, "v.patch_embd.weight", patch)
    tensors.bias("v.patch_embd", WIDTH)
    _positions(tensors, side // patch)
    _tower(tensors, fused=False)
    tensors.norm("mm.soft_emb_norm", WIDTH)
    # Stored transposed: inputs x outputs.
    projection = tensors.noise("mm.input_projection", WIDTH, N_EMBD) * np.float32(WIDTH**-0.5)
    tensors.add("mm.input_projection.weight", projection.astype(np.float16))


def qwen2vl(writer: GGUFWriter, tensors: Tensors) -> None:
    """28 px a token and side, at least 8 tokens: 96 x 96 px are 9 tokens and 3 positions."""
    patch = 14
    _common(writer, "qwen2vl_merger", image_size=patch * 8, patch_size=patch)
    _patches(tensors, "v.patch_embd.weight", patch)
    _patches(tensors, "v.patch_embd.weight.1", patch)
    _tower(tensors, fused=False)
    _merger(tensors)


def qwen35(writer: GGUFWriter, tensors: Tensors) -> None:
    """The qwen3vl projector: 32 px a token and side, at least 8 tokens; learned positions."""
    patch, grid = 16, 8
    _common(writer, "qwen3vl_merger", image_size=patch * grid, patch_size=patch)
    writer.add_vision_spatial_merge_size(2)
    _patches(tensors, "v.patch_embd.weight", patch)
    _patches(tensors, "v.patch_embd.weight.1", patch)
    tensors.bias("v.patch_embd", WIDTH)
    _positions(tensors, grid)
    _tower(tensors, fused=True)
    _merger(tensors)


PROJECTORS: dict[str, Callable[[GGUFWriter, Tensors], None]] = {
    "gemma3": gemma3,
    "qwen2vl": qwen2vl,
    "qwen35": qwen35,
}


def _common(writer: GGUFWriter, kind: str, *, image_size: int, patch_size: int) -> None:
    writer.add_type("mmproj")
    writer.add_clip_has_vision_encoder(True)
    writer.add_clip_projector_type(kind)
    writer.add_vision_projection_dim(N_EMBD)
    writer.add_vision_image_size(image_size)
    writer.add_vision_patch_size(patch_size)
    writer.add_vision_embedding_length(WIDTH)
    writer.add_vision_feed_forward_length(N_FF)
    writer.add_vision_block_count(N_LAYER)
    writer.add_vision_head_count(N_HEAD)
    writer.add_vision_attention_layernorm_eps(1e-6)
    writer.add_vision_image_mean([0.5, 0.5, 0.5])
    writer.add_vision_image_std([0.5, 0.5, 0.5])
    writer.add_vision_use_gelu(True)


def _patches(tensors: Tensors, name: str, patch: int) -> None:
    """A convolution kernel over one patch: outputs x 3 colours x rows x columns, in F16."""
    kernel = tensors.noise(name, WIDTH, 3, patch, patch) * np.float32((3 * patch * patch) ** -0.5)
    tensors.add(name, kernel.astype(np.float16))


def _positions(tensors: Tensors, side: int) -> None:
    """Learned positions, one row for each patch of a side x side grid; added, hence F32."""
    rows = tensors.noise("v.position_embd", side * side, WIDTH) * np.float32(0.5)
    tensors.add("v.position_embd.weight", rows)


def _tower(tensors: Tensors, *, fused: bool) -> None:
    for block in (f"v.blk.{index}" for index in range(N_LAYER)):
        for norm in ("ln1", "ln2"):
            tensors.norm(f"{block}.{norm}", WIDTH)
            tensors.bias(f"{block}.{norm}", WIDTH)
        for part in ("attn_qkv",) if fused else ("attn_q", "attn_k", "attn_v"):
            _linear(tensors, f"{block}.{part}", 3 * WIDTH if fused else WIDTH, WIDTH)
        _linear(tensors, f"{block}.attn_out", WIDTH, WIDTH, 2.0)
        _linear(tensors, f"{block}.ffn_up", N_FF, WIDTH)
        _linear(tensors, f"{block}.ffn_down", WIDTH, N_FF, 1.5)
    tensors.norm("v.post_ln", WIDTH)
    tensors.bias("v.post_ln", WIDTH)


def _merger(tensors: Tensors) -> None:
    """Four neighbouring patches become one token of the language model."""
    _linear(tensors, "mm.0", 4 * WIDTH, 4 * WIDTH)
    _linear(tensors, "mm.2", N_EMBD, 4 * WIDTH, 2.0)


def _linear(tensors: Tensors, name: str, n_out: int, n_in: int, gain: float = 1.0) -> None:
    tensors.matrix(name, n_out, n_in, gain)
    tensors.bias(name, n_out)
