"""Weights as the two GGUF files that llama.cpp loads: the language model and its projector.

Names, types and keys are those of llama.cpp's ``src/models/qwen35.cpp`` and
``tools/mtmd/clip.cpp``. `training.net` keeps its weights the way llama.cpp wants them, so nothing
is rearranged here; fused matrices are cut where llama.cpp has two.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt
import torch
from gguf import GGMLQuantizationType, GGUFWriter, LlamaFileType, quants
from torch import Tensor

from training.net import Attention, DeltaNet, Model, Shape

Type = Literal["F32", "F16", "Q8_0"]
Array = npt.NDArray[np.float32]

CONTEXT = 4096
"""Tokens the model claims to read. No dialogue of its training is a tenth of that."""


class Vocabulary(Protocol):
    """What a file says of its tokens (`training.tokenizer.Tokenizer` has it)."""

    @property
    def vocabulary(self) -> Sequence[str]:
        """Tokens by their ids, bytes written as GPT-2 does."""

    @property
    def types(self) -> Sequence[int]:
        """Type of each token, `gguf.TokenType`."""

    @property
    def merges(self) -> Sequence[str]:
        """Merges of byte pairs, in order, a space between both parts."""

    @property
    def eos(self) -> int:
        """The token that ends a reply."""

    @property
    def pad(self) -> int:
        """A token that is never seen."""

    @property
    def template(self) -> str:
        """The chat template, Jinja."""


@dataclass(frozen=True)
class About:
    """What the files tell of themselves (``general.*``).

    `image_tokens` is the most that a picture should become (``llmagic.image_tokens``): those it
    was trained with.
    """

    name: str
    description: str
    version: str
    image_tokens: int
    author: str = "The llmagic contributors"
    license: str = "mit"


def export(
    model: Model,
    vocabulary: Vocabulary,
    about: About,
    text: Path,
    projector: Path,
    kind: Type = "Q8_0",
) -> None:
    """Write a model as two GGUF files, each whole or not at all.

    Norms, biases, convolutions and decays stay F32, as llama.cpp expects; the kernels of the
    pictures' patches are F16 at least. Matrices are of type `kind`.

    Parameters
    ----------
    model : Model
    vocabulary : Vocabulary
    about : About
    text, projector : Path
        Where the files go.
    kind : {"F32", "F16", "Q8_0"}

    Raises
    ------
    ValueError
        A row of some matrix is no multiple of 32 long (Q8_0 only), or the vocabulary has another
        size than the model's embedding.
    """
    if len(vocabulary.vocabulary) != model.shape.n_vocab:
        raise ValueError(
            f"expected a vocabulary of {model.shape.n_vocab} tokens, as the model's embedding has "
            f"rows, and got {len(vocabulary.vocabulary)}. Train the model with this tokenizer."
        )
    writer = GGUFWriter(None, "qwen35")
    _about(writer, about, model, kind)
    _text_keys(writer, model.shape)
    _vocabulary(writer, vocabulary)
    _write(writer, text, text_tensors(model), kind)
    writer = GGUFWriter(None, "clip")
    _about(writer, about, model, kind)
    _vision_keys(writer, model.shape)
    writer.add_uint32("llmagic.image_tokens", about.image_tokens)
    _write(writer, projector, vision_tensors(model), kind)


def text_tensors(model: Model) -> Iterator[tuple[str, Tensor]]:
    """Names and values of the language model's tensors, as llama.cpp calls them.

    All but ``ssm_a`` are the parameters themselves, or parts of them.
    """
    text = model.text
    yield "token_embd.weight", text.embed.weight
    yield "output_norm.weight", text.norm.weight
    for index, block in enumerate(text.blocks):
        parts = {
            "attn_norm.weight": block.norm.weight,
            "post_attention_norm.weight": block.post_norm.weight,
            **(_attention if isinstance(block.mixer, Attention) else _delta_net)(block.mixer),
        }
        gate, up = block.mlp.gate_up.weight.chunk(2)
        parts |= {"ffn_gate.weight": gate, "ffn_up.weight": up}
        parts["ffn_down.weight"] = block.mlp.down.weight
        for name, value in parts.items():
            yield f"blk.{index}.{name}", value


def _attention(mixer: Attention) -> Mapping[str, Tensor]:
    k, v = mixer.kv.weight.chunk(2)
    return {
        "attn_q.weight": mixer.q.weight,
        "attn_k.weight": k,
        "attn_v.weight": v,
        "attn_q_norm.weight": mixer.q_norm.weight,
        "attn_k_norm.weight": mixer.k_norm.weight,
        "attn_output.weight": mixer.out.weight,
    }


def _delta_net(mixer: DeltaNet) -> Mapping[str, Tensor]:
    return {
        "attn_qkv.weight": mixer.qkv.weight,
        "attn_gate.weight": mixer.z.weight,
        "ssm_conv1d.weight": mixer.conv,
        "ssm_a": -mixer.a_log.exp(),
        "ssm_dt.bias": mixer.dt,
        "ssm_beta.weight": mixer.beta.weight,
        "ssm_alpha.weight": mixer.alpha.weight,
        "ssm_norm.weight": mixer.norm.weight,
        "ssm_out.weight": mixer.out.weight,
    }


def vision_tensors(model: Model) -> Iterator[tuple[str, Tensor]]:
    """Names and values of the projector's tensors, as llama.cpp calls them."""
    vision, shape = model.vision, model.shape
    kernel = vision.patch.weight.view(shape.vision_width, 3, shape.patch, shape.patch)
    # Of two frames, and a picture is shown as both: llama.cpp uses the kernels' sum.
    yield "v.patch_embd.weight", kernel
    yield "v.patch_embd.weight.1", torch.zeros_like(kernel)
    yield "v.patch_embd.bias", vision.patch.bias
    yield "v.position_embd.weight", vision.position.flatten(0, 1)
    named = {"v.post_ln": vision.norm, "mm.0": vision.merge, "mm.2": vision.project}
    for index, block in enumerate(vision.blocks):
        parts = {"ln1": block.ln1, "attn_qkv": block.qkv, "attn_out": block.out}
        parts |= {"ln2": block.ln2, "ffn_up": block.up, "ffn_down": block.down}
        named |= {f"v.blk.{index}.{name}": part for name, part in parts.items()}
    for name, part in named.items():
        yield f"{name}.weight", part.weight
        yield f"{name}.bias", part.bias


def _array(value: Tensor) -> Array:
    return np.ascontiguousarray(value.detach().float().cpu().numpy())


# Keys ---------------------------------------------------------------------------------------


def _about(writer: GGUFWriter, about: About, model: Model, kind: Type) -> None:
    writer.add_name(about.name)
    writer.add_description(about.description)
    writer.add_version(about.version)
    writer.add_author(about.author)
    writer.add_license(about.license)
    writer.add_size_label(f"{sum(value.numel() for value in model.parameters()) / 1e6:.1f}M")
    types = {
        "F32": LlamaFileType.ALL_F32,
        "F16": LlamaFileType.MOSTLY_F16,
        "Q8_0": LlamaFileType.MOSTLY_Q8_0,
    }
    writer.add_file_type(types[kind])


def _text_keys(writer: GGUFWriter, shape: Shape) -> None:
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(len(shape.layers))
    writer.add_feed_forward_length(shape.ffn)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_key_length(shape.head)
    writer.add_value_length(shape.head)
    writer.add_layer_norm_rms_eps(shape.epsilon)
    writer.add_rope_dimension_count(shape.rotary)
    writer.add_rope_dimension_sections([*shape.sections, 0])
    writer.add_rope_freq_base(shape.theta)
    writer.add_full_attention_interval(_interval(shape.layers))
    writer.add_ssm_conv_kernel(shape.conv)
    writer.add_ssm_inner_size(shape.value_heads * shape.state)
    writer.add_ssm_state_size(shape.state)
    writer.add_ssm_time_step_rank(shape.value_heads)
    writer.add_ssm_group_count(shape.key_heads)


def _interval(layers: str) -> int:
    """Every how many layers is one of attention."""
    every = layers.find("a") + 1
    wanted = "".join("d" if (i + 1) % every else "a" for i in range(len(layers))) if every else ""
    if layers != wanted:
        raise ValueError(
            f"expected layers in which every n-th is attention, as 'dada' or 'dddaddda', and got "
            f"{layers!r}"
        )
    return every


def _vocabulary(writer: GGUFWriter, vocabulary: Vocabulary) -> None:
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(list(vocabulary.vocabulary))
    writer.add_token_types(list(vocabulary.types))
    writer.add_token_merges(list(vocabulary.merges))
    writer.add_eos_token_id(vocabulary.eos)
    writer.add_pad_token_id(vocabulary.pad)
    writer.add_add_bos_token(False)
    writer.add_chat_template(vocabulary.template)


def _vision_keys(writer: GGUFWriter, shape: Shape) -> None:
    writer.add_type("mmproj")
    writer.add_clip_has_vision_encoder(True)
    writer.add_clip_projector_type("qwen3vl_merger")
    writer.add_vision_projection_dim(shape.width)
    writer.add_vision_image_size(shape.patch * shape.grid)
    writer.add_vision_patch_size(shape.patch)
    writer.add_vision_embedding_length(shape.vision_width)
    writer.add_vision_feed_forward_length(shape.vision_ffn)
    writer.add_vision_block_count(shape.vision_layers)
    writer.add_vision_head_count(shape.vision_heads)
    writer.add_vision_attention_layernorm_eps(1e-6)
    writer.add_vision_image_mean([0.5, 0.5, 0.5])
    writer.add_vision_image_std([0.5, 0.5, 0.5])
    writer.add_vision_spatial_merge_size(2)
    writer.add_vision_use_gelu(True)


# Writing ------------------------------------------------------------------------------------


def _write(
    writer: GGUFWriter, path: Path, tensors: Iterator[tuple[str, Tensor]], kind: Type
) -> None:
    for name, value in tensors:
        data, stored = _stored(name, _array(value), kind)
        writer.add_tensor(name, data, raw_dtype=stored)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        writer.write_header_to_file(temporary)
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _stored(
    name: str, value: Array, kind: Type
) -> tuple[npt.NDArray[np.generic], GGMLQuantizationType]:
    """A tensor in the type llama.cpp takes it in, nearest to the type asked for."""
    precise = value.ndim < 2 or "conv1d" in name or "position_embd" in name
    # im2col, through which the pictures' patches go, wants F16 kernels.
    if (precise or kind == "F32") and "patch_embd.weight" not in name:
        return value, GGMLQuantizationType.F32
    if kind == "Q8_0" and value.ndim == 2:
        if value.shape[1] % 32:
            raise ValueError(
                f"expected rows of a multiple of 32 numbers for Q8_0, and {name} has rows of "
                f"{value.shape[1]}. Choose another width, or F16."
            )
        return quants.quantize(value, GGMLQuantizationType.Q8_0), GGMLQuantizationType.Q8_0
    return value.astype(np.float16), GGMLQuantizationType.F16
