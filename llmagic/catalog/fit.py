"""What a model needs, by its header, and whether this machine has it. Nothing is loaded."""

from __future__ import annotations

from dataclasses import dataclass

import psutil

from llmagic.model.gguf import Header
from llmagic.model.library import devices, llama
from llmagic.model.loading import Memory

N_CTX = 4096
"""Tokens of context that are counted: what a context begins with (settings.Loading)."""

COMPUTING = 300 << 20
"""Bytes for the buffers of one batch; a guess that is right within a factor of two."""

_RECURRENT = ("mamba", "mamba2", "rwkv6", "rwkv6qwen2", "rwkv7", "arwkv7")
"""llama.cpp, llama-arch.cpp, llm_arch_is_recurrent."""

_HYBRID_KEYS = ("ssm.conv_kernel", "ssm.state_size", "shortconv.l_cache", "kda.head_dim")


def memory_of(header: Header) -> Memory:
    """The memory a model's file speaks of; a loaded model says it for sure (`%llm status`)."""
    if header.architecture in _RECURRENT:
        return Memory.RECURRENT
    if any(header.number(key) for key in _HYBRID_KEYS):
        return Memory.HYBRID
    return Memory.SWA if header.number("attention.sliding_window") else Memory.ATTENTION


def cache_bytes(header: Header, n_ctx: int) -> int:
    """Bytes of an f16 attention cache of `n_ctx` tokens, at most (windows are not subtracted)."""
    if memory_of(header) is Memory.RECURRENT:
        return 0
    heads = header.number("attention.head_count", 1)
    length = header.number("embedding_length") // max(heads, 1)
    row = header.number("attention.key_length", length)
    row += header.number("attention.value_length", length)
    layers = header.number("block_count") // max(header.number("full_attention_interval", 1), 1)
    return 2 * row * header.number("attention.head_count_kv", heads) * layers * n_ctx


def needed(header: Header, projector: Header | None) -> int:
    """Bytes of memory a model takes with its projector and a context of `N_CTX` tokens."""
    n_ctx = min(N_CTX, header.number("context_length") or N_CTX)
    weights = header.total_bytes + (projector.total_bytes if projector is not None else 0)
    return weights + cache_bytes(header, n_ctx) + COMPUTING


@dataclass(frozen=True)
class Machine:
    """Memory of this machine (bytes): main memory in all and free, free memory of all GPUs."""

    total: int
    available: int
    gpu: int

    @classmethod
    def here(cls) -> Machine:
        """The machine this runs on, as it is now."""
        memory = psutil.virtual_memory()
        offloads = bool(llama.llama_supports_gpu_offload())
        gpu = sum(each.free for each in devices() if each.kind == "gpu") if offloads else 0
        return cls(memory.total, memory.available, gpu)

    def fits(self, n_bytes: int) -> str:
        """Whether so much can be had: "gpu", "yes", "tight" (not now, but it could), or "no"."""
        if n_bytes <= self.gpu:
            return "gpu"
        if n_bytes <= self.available:
            return "yes"
        return "tight" if n_bytes <= self.total else "no"
