"""The weights of files that `training.export` wrote, to train them further."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from gguf import GGUFReader, dequantize

from training.export import text_tensors, vision_tensors
from training.net import DeltaNet, Model


@torch.no_grad()
def load(model: Model, text: Path, projector: Path) -> None:
    """Put the weights of both files into a model of the same shape.

    Raises
    ------
    ValueError
        If a tensor is missing or of another shape.
    """
    for path, wanted in ((text, text_tensors(model)), (projector, vision_tensors(model))):
        found = {tensor.name: tensor for tensor in GGUFReader(path).tensors}
        for name, value in wanted:
            if name not in found:
                raise ValueError(f"expected a tensor {name} in {path}; it is of another model")
            kept = dequantize(found[name].data, found[name].tensor_type)
            kept = torch.from_numpy(np.array(kept, np.float32))
            if kept.numel() != value.numel():
                raise ValueError(
                    f"expected {name} of shape {tuple(value.shape)} in {path}, and got "
                    f"{tuple(kept.shape)}; it is of a model of another shape"
                )
            # Minus the exponential of a parameter, where all others are parameters.
            if name.endswith("ssm_a"):
                mixer = model.text.blocks[int(name.split(".")[1])].mixer
                assert isinstance(mixer, DeltaNet)
                value, kept = mixer.a_log, (-kept).log()
            value.copy_(kept.view_as(value))
