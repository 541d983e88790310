"""LoRA adapters: loaded for a model, and set on each of its contexts."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmagic.errors import ModelError, ModelFileError
from llmagic.model.gguf import Header, read_header
from llmagic.model.library import LOG, llama


@dataclass(frozen=True)
class Adapter:
    """One adapter, and how strongly it counts. The model it was loaded for frees it."""

    header: Header
    scale: float
    pointer: Any


def load_adapter(model: int, name: str, path: Path, scale: float) -> Adapter:
    """Load an adapter for a model (`llama_model *`).

    Raises
    ------
    ModelFileError
        The file is missing, no adapter, or one for another model.
    ModelError
        It is one that is switched on by tokens of the prompt, which is not supported.
    """
    header = read_header(path)
    with LOG.section() as log:
        pointer = llama.llama_adapter_lora_init(model, str(path).encode())
        if not pointer:
            raise ModelFileError(
                f"expected a LoRA adapter for {name!r}, and {str(path)!r} is none. "
                f"llama.cpp: {log.errors()}"
            )
    if llama.llama_adapter_get_alora_n_invocation_tokens(pointer):
        raise ModelError(
            f"expected a LoRA adapter, and {str(path)!r} is an activated one (aLoRA), which "
            "works from certain tokens on only. It is not supported."
        )
    return Adapter(header, scale, pointer)


def set_adapters(context: int, adapters: Sequence[Adapter]) -> None:
    """Let a context (`llama_context *`) evaluate with these adapters."""
    if adapters:
        n = len(adapters)
        pointers = (llama.llama_adapter_lora_p_ctypes * n)(*(each.pointer for each in adapters))
        scales = (ctypes.c_float * n)(*(each.scale for each in adapters))
        llama.llama_set_adapters_lora(context, pointers, n, scales)
