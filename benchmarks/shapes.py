"""Models to measure with: random weights in real shapes, since speed does not depend on values.

    python -m benchmarks.shapes FOLDER [--only NAME ...]        # prints the paths

- `qwen3.5-0.8b-q8_0` and `-q4_0`: 24 layers of 1,024; every fourth attention with 8 / 2 heads of
  256, the others gated delta nets with 16 + 16 heads of 128; ffn 3,584; 151,936 tokens; a vision
  tower of 12 layers of 768, patches of 16 px;
- `gemma3-1b-q8_0`: 26 layers of 1,152 with 4 / 1 heads of 256, five of six with a window of 512;
  ffn 6,912; 262,144 tokens; a SigLIP-like tower (12 layers of 768, 448 px, 256 tokens an image: the
  real 1B has none);
- `llama3.2-1b-q8_0`: 16 layers of 2,048 with 32 / 8 heads of 64; ffn 8,192; 128,256 tokens; text.

Embeddings are Q8_0 always, towers F16.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from gguf import GGMLQuantizationType, GGUFWriter

from tests.toys.tokenizer import add_tokenizer, output_scale, vocabulary

Q8_0 = np.dtype([("scale", "<f2"), ("values", "i1", 32)])
Q4_0 = np.dtype([("scale", "<f2"), ("values", "u1", 16)])


class Shape(NamedTuple):
    """A model to write: its file, its projector's or None, and who writes them."""

    fill: Callable[[Writer], None]
    architecture: str
    tower: Callable[[Writer], None] | None
    quantization: str = "Q8_0"


class Writer:
    """A GGUF in the making, with a line of progress."""

    def __init__(self, path: Path, architecture: str, quantization: str = "Q8_0") -> None:
        self.gguf = GGUFWriter(path, architecture)
        self._random = np.random.default_rng(0)
        self._quantization = quantization
        self._name = path.name
        self.gguf.add_name(f"{path.stem} shape")

    def matrix(
        self,
        name: str,
        n_out: int,
        n_in: int,
        quantization: str | None = None,
        rows: npt.NDArray[np.float32] | None = None,
    ) -> None:
        """A quantized matrix; `rows` are factors for its rows."""
        kind = quantization or self._quantization
        n_blocks = n_out * n_in // 32
        if kind == "Q8_0":
            blocks = np.empty(n_blocks, Q8_0)
            blocks["scale"] = 1 / (73 * n_in**0.5)
            if rows is not None:
                blocks["scale"] *= np.repeat(rows, n_in // 32).astype(np.float16)
            blocks["values"] = self._random.integers(-127, 128, (n_blocks, 32), dtype=np.int8)
        else:
            blocks = np.empty(n_blocks, Q4_0)
            blocks["scale"] = 1 / (4.3 * n_in**0.5)
            low, high = self._random.integers(1, 16, (2, n_blocks, 16), dtype=np.uint8)
            blocks["values"] = low | high << 4
        data = blocks.view(np.uint8).reshape(n_out, -1)
        self.gguf.add_tensor(f"{name}.weight", data, raw_dtype=GGMLQuantizationType[kind])

    def noise(self, name: str, *shape: int, scale: float) -> None:
        values = self._random.standard_normal(shape, np.float32) * np.float32(scale)
        self.gguf.add_tensor(name, values.astype(np.float16))

    def vector(self, name: str, *shape: int, mean: float = 1.0) -> None:
        self.gguf.add_tensor(name, np.full(shape, mean, np.float32))

    def layers(self, n: int) -> range:
        self.gguf.add_block_count(n)
        return range(n)

    def progress(self, done: int, total: int) -> None:
        bar = "#" * (20 * done // total)
        print(f"\r{self._name} [{bar:20}]", end="", file=sys.stderr, flush=True)

    def finish(self, path: Path) -> None:
        self.gguf.write_header_to_file()
        self.gguf.write_kv_data_to_file()
        self.gguf.write_tensors_to_file()
        self.gguf.close()
        print(file=sys.stderr)


def _common(
    writer: Writer, *, n_embd: int, n_ff: int, heads: tuple[int, int, int], n_vocab: int, bos: bool
) -> None:
    gguf = writer.gguf
    n_head, n_head_kv, head = heads
    gguf.add_context_length(32768)
    gguf.add_embedding_length(n_embd)
    gguf.add_feed_forward_length(n_ff)
    gguf.add_layer_norm_rms_eps(1e-6)
    gguf.add_head_count(n_head)
    gguf.add_head_count_kv(n_head_kv)
    gguf.add_key_length(head)
    gguf.add_value_length(head)
    add_tokenizer(gguf, add_bos=bos, pad_to=n_vocab)
    # What is drawn is the toys' words, which a server's client can send back as text and get the
    # same tokens: rows near zero are logits near zero.
    rows = np.full(n_vocab, 0.05, np.float32)
    rows[: len(vocabulary().tokens)] = output_scale(vocabulary())
    writer.matrix("token_embd", n_vocab, n_embd, "Q8_0", rows)
    writer.vector("output_norm.weight", n_embd)


def _attention(
    writer: Writer, block: str, n_embd: int, heads: tuple[int, int, int], gate: int = 1
) -> None:
    n_head, n_head_kv, head = heads
    writer.matrix(f"{block}.attn_q", gate * n_head * head, n_embd)
    writer.matrix(f"{block}.attn_k", n_head_kv * head, n_embd)
    writer.matrix(f"{block}.attn_v", n_head_kv * head, n_embd)
    writer.matrix(f"{block}.attn_output", n_embd, n_head * head)


def _feed_forward(writer: Writer, block: str, n_embd: int, n_ff: int) -> None:
    writer.matrix(f"{block}.ffn_gate", n_ff, n_embd)
    writer.matrix(f"{block}.ffn_up", n_ff, n_embd)
    writer.matrix(f"{block}.ffn_down", n_embd, n_ff)


def qwen35(writer: Writer) -> None:
    n_embd, n_ff, heads, delta_heads, size, conv = 1024, 3584, (8, 2, 256), 16, 128, 4
    _common(writer, n_embd=n_embd, n_ff=n_ff, heads=heads, n_vocab=151_936, bos=False)
    gguf, inner = writer.gguf, delta_heads * size
    gguf.add_rope_dimension_count(64)
    gguf.add_rope_dimension_sections([11, 11, 10, 0])
    gguf.add_rope_freq_base(1e7)
    gguf.add_full_attention_interval(4)
    gguf.add_ssm_conv_kernel(conv)
    gguf.add_ssm_inner_size(inner)
    gguf.add_ssm_state_size(size)
    gguf.add_ssm_time_step_rank(delta_heads)
    gguf.add_ssm_group_count(delta_heads)
    for layer in writer.layers(24):
        block = f"blk.{layer}"
        writer.vector(f"{block}.attn_norm.weight", n_embd)
        if (layer + 1) % 4:
            writer.matrix(f"{block}.attn_qkv", 3 * inner, n_embd)
            writer.matrix(f"{block}.attn_gate", inner, n_embd)
            writer.vector(f"{block}.ssm_conv1d.weight", 3 * inner, conv, mean=0.3)
            writer.vector(f"{block}.ssm_a", delta_heads, mean=-0.1)
            writer.vector(f"{block}.ssm_dt.bias", delta_heads, mean=0.1)
            writer.matrix(f"{block}.ssm_beta", delta_heads, n_embd)
            writer.matrix(f"{block}.ssm_alpha", delta_heads, n_embd)
            writer.vector(f"{block}.ssm_norm.weight", size)
            writer.matrix(f"{block}.ssm_out", n_embd, inner)
        else:
            _attention(writer, block, n_embd, heads, gate=2)
            writer.vector(f"{block}.attn_q_norm.weight", heads[2])
            writer.vector(f"{block}.attn_k_norm.weight", heads[2])
        writer.vector(f"{block}.post_attention_norm.weight", n_embd)
        _feed_forward(writer, block, n_embd, n_ff)
        writer.progress(layer + 1, 24)


def gemma3(writer: Writer) -> None:
    n_embd, n_ff, heads = 1152, 6912, (4, 1, 256)
    _common(writer, n_embd=n_embd, n_ff=n_ff, heads=heads, n_vocab=262_144, bos=True)
    writer.gguf.add_sliding_window(512)
    writer.gguf.add_rope_freq_base(1e6)
    for layer in writer.layers(26):
        block = f"blk.{layer}"
        writer.vector(f"{block}.attn_norm.weight", n_embd)
        _attention(writer, block, n_embd, heads)
        writer.vector(f"{block}.attn_q_norm.weight", heads[2])
        writer.vector(f"{block}.attn_k_norm.weight", heads[2])
        writer.vector(f"{block}.post_attention_norm.weight", n_embd)
        writer.vector(f"{block}.ffn_norm.weight", n_embd)
        _feed_forward(writer, block, n_embd, n_ff)
        writer.vector(f"{block}.post_ffw_norm.weight", n_embd)
        writer.progress(layer + 1, 26)


def llama(writer: Writer) -> None:
    n_embd, n_ff, heads = 2048, 8192, (32, 8, 64)
    _common(writer, n_embd=n_embd, n_ff=n_ff, heads=heads, n_vocab=128_256, bos=False)
    writer.gguf.add_rope_dimension_count(64)
    writer.gguf.add_rope_freq_base(5e5)
    for layer in writer.layers(16):
        block = f"blk.{layer}"
        writer.vector(f"{block}.attn_norm.weight", n_embd)
        _attention(writer, block, n_embd, heads)
        writer.vector(f"{block}.ffn_norm.weight", n_embd)
        _feed_forward(writer, block, n_embd, n_ff)
        writer.progress(layer + 1, 16)


# --- the vision towers ---------------------------------------------------------------------------

WIDTH, TOWER_FF, TOWER_LAYERS, TOWER_HEADS = 768, 3072, 12, 12


def qwen35_tower(writer: Writer) -> None:
    patch, grid = 16, 48
    _tower(writer, "qwen3vl_merger", image=patch * grid, patch=patch, n_out=1024, fused=True)
    writer.gguf.add_vision_spatial_merge_size(2)
    _patches(writer, "v.patch_embd.weight.1", patch)
    writer.gguf.add_tensor("v.position_embd.weight", np.zeros((grid * grid, WIDTH), np.float32))
    _linear(writer, "mm.0", 4 * WIDTH, 4 * WIDTH)
    _linear(writer, "mm.2", 1024, 4 * WIDTH)


def gemma3_tower(writer: Writer) -> None:
    patch, grid = 14, 32
    _tower(writer, "gemma3", image=patch * grid, patch=patch, n_out=1152, fused=False)
    writer.gguf.add_vision_projector_scale_factor(2)
    writer.gguf.add_tensor("v.position_embd.weight", np.zeros((grid * grid, WIDTH), np.float32))
    writer.vector("mm.soft_emb_norm.weight", WIDTH)
    writer.noise("mm.input_projection.weight", WIDTH, 1152, scale=WIDTH**-0.5)


def _tower(writer: Writer, kind: str, *, image: int, patch: int, n_out: int, fused: bool) -> None:
    gguf = writer.gguf
    gguf.add_type("mmproj")
    gguf.add_clip_has_vision_encoder(True)
    gguf.add_clip_projector_type(kind)
    gguf.add_vision_projection_dim(n_out)
    gguf.add_vision_image_size(image)
    gguf.add_vision_patch_size(patch)
    gguf.add_vision_embedding_length(WIDTH)
    gguf.add_vision_feed_forward_length(TOWER_FF)
    gguf.add_vision_block_count(TOWER_LAYERS)
    gguf.add_vision_head_count(TOWER_HEADS)
    gguf.add_vision_attention_layernorm_eps(1e-6)
    gguf.add_vision_image_mean([0.5, 0.5, 0.5])
    gguf.add_vision_image_std([0.5, 0.5, 0.5])
    gguf.add_vision_use_gelu(True)
    _patches(writer, "v.patch_embd.weight", patch)
    writer.vector("v.patch_embd.bias", WIDTH, mean=0.0)
    for layer in range(TOWER_LAYERS):
        block = f"v.blk.{layer}"
        for norm in ("ln1", "ln2"):
            writer.vector(f"{block}.{norm}.weight", WIDTH)
            writer.vector(f"{block}.{norm}.bias", WIDTH, mean=0.0)
        for part in ("attn_qkv",) if fused else ("attn_q", "attn_k", "attn_v"):
            _linear(writer, f"{block}.{part}", 3 * WIDTH if fused else WIDTH, WIDTH)
        _linear(writer, f"{block}.attn_out", WIDTH, WIDTH)
        _linear(writer, f"{block}.ffn_up", TOWER_FF, WIDTH)
        _linear(writer, f"{block}.ffn_down", WIDTH, TOWER_FF)
        writer.progress(layer + 1, TOWER_LAYERS)
    writer.vector("v.post_ln.weight", WIDTH)
    writer.vector("v.post_ln.bias", WIDTH, mean=0.0)


def _patches(writer: Writer, name: str, patch: int) -> None:
    writer.noise(name, WIDTH, 3, patch, patch, scale=(3 * patch * patch) ** -0.5)


def _linear(writer: Writer, name: str, n_out: int, n_in: int) -> None:
    writer.noise(f"{name}.weight", n_out, n_in, scale=n_in**-0.5)
    writer.vector(f"{name}.bias", n_out, mean=0.0)


# --- files ---------------------------------------------------------------------------------------

SHAPES: dict[str, Shape] = {
    "qwen3.5-0.8b-q8_0": Shape(qwen35, "qwen35", qwen35_tower),
    "qwen3.5-0.8b-q4_0": Shape(qwen35, "qwen35", qwen35_tower, "Q4_0"),
    "gemma3-1b-q8_0": Shape(gemma3, "gemma3", gemma3_tower),
    "llama3.2-1b-q8_0": Shape(llama, "llama", None),
}


def write(name: str, folder: Path) -> tuple[Path, Path | None]:
    """Write a shape's files unless they are there; returns model and projector."""
    shape = SHAPES[name]
    folder.mkdir(parents=True, exist_ok=True)
    model, projector = folder / f"{name}-shape.gguf", folder / f"mmproj-{name}-shape.gguf"
    _write(model, shape.architecture, shape.fill, shape.quantization)
    if shape.tower is None:
        return model, None
    _write(projector, "clip", shape.tower, shape.quantization)
    return model, projector


def qwen35_08b(folder: Path) -> Path:
    """The language model of Qwen3.5-0.8B, Q8_0."""
    return write("qwen3.5-0.8b-q8_0", folder)[0]


def _write(
    path: Path, architecture: str, fill: Callable[[Writer], None], quantization: str
) -> None:
    if path.exists():
        return
    temporary = path.with_suffix(f".{os.getpid()}")
    writer = Writer(temporary, architecture, quantization)
    fill(writer)
    writer.finish(temporary)
    temporary.replace(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", nargs="*", choices=SHAPES, default=list(SHAPES))
    given = parser.parse_args()
    for name in given.only:
        print(*filter(None, write(name, given.folder)))


if __name__ == "__main__":
    main()
