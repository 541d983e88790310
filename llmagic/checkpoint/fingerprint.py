"""What a saved state means: a digest of everything that would change it.

llama.cpp checks neither weights nor projector, rope scaling or adapters when a state is loaded
(llama-facts), so every checkpoint's key starts with this digest.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from llmagic.model.context import Shape
from llmagic.model.gguf import read_header
from llmagic.model.library import version
from llmagic.model.loading import Model
from llmagic.model.vision import Projector
from llmagic.sequence import CHUNK
from llmagic.settings import Loading

FORMAT = 1


def fingerprint(
    model: Model, projector: Projector | None, shape: Shape, loading: Loading, template: str
) -> bytes:
    """Digest (16 bytes) of the model, its settings and the library that evaluates it.

    The size of the context, the number of sequences and of threads are left out: a state does not
    depend on them (measured, llama-facts). The rope settings are the file's own, which are in the
    header's digest.
    """
    facts = {
        "format": FORMAT,
        "library": version(),
        "model": model.header.digest.hex(),
        "projector": projector.digest.hex() if projector else None,
        "template": hashlib.sha256(template.encode()).hexdigest(),
        "kv_type": shape.kv_type,
        "n_batch": shape.n_batch,
        "chunk": CHUNK,
        "flash_attention": True,
        "lora": [[read_header(Path(path)).digest.hex(), scale] for path, scale in loading.lora],
    }
    text = json.dumps(facts, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).digest()
