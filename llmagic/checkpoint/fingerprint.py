"""What a saved state means: a digest of everything that would change it.

llama.cpp checks neither weights nor projector, rope scaling or adapters when a state is loaded
(llama-facts), so every checkpoint's key starts with this digest.
"""

from __future__ import annotations

import hashlib
import json

from llmagic.model.context import Shape
from llmagic.model.library import build, llama
from llmagic.model.loading import Model
from llmagic.model.vision import Projector
from llmagic.sequence import CHUNK
from llmagic.settings import Loading

FORMAT = 2


def fingerprint(
    model: Model, projector: Projector | None, shape: Shape, loading: Loading, template: str
) -> bytes:
    """Digest (16 bytes) of the model, its settings and the library that evaluates it.

    The size of the context is left out: a state does not depend on it, but where the model has
    two sets of rope factors and takes one by that size. The number of threads is in: attention
    over more than 512 cells is split among them. So is the number of sequences where there is a
    sliding window, whose cache it sizes. The rope settings are the file's own, which are in the
    header's digest.
    """
    threads, more = shape.threads
    facts: dict[str, object] = {
        "format": FORMAT,
        "library": build(),
        "model": model.header.digest.hex(),
        "projector": projector.digest.hex() if projector else None,
        "template": hashlib.sha256(template.encode()).hexdigest(),
        "kv_type": shape.kv_type,
        "n_batch": shape.n_batch,
        "chunk": CHUNK,
        "n_threads": threads,
        "n_sequences": shape.n_sequences if model.n_swa else 0,
        "long_rope": shape.n_ctx > model.header.rope_threshold > 0,
        "flash_attention": True,
        "space_prefix": False,
        # Without a GPU in the build it is ignored.
        "n_gpu_layers": loading.n_gpu_layers if llama.llama_supports_gpu_offload() else 0,
        "lora": [[each.header.digest.hex(), each.scale] for each in model.adapters],
    }
    if more != threads:  # as it was before there was such a setting
        facts["n_threads_batch"] = more
    text = json.dumps(facts, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).digest()
