"""Give models of PyTorch random weights, and write them with their inputs and outputs as golden files."""

from __future__ import annotations

import numpy as np
import torch
from golden_files import random_pixels, save


def randomised(model: torch.nn.Module, seed: int, fixed: tuple[str, ...] = ()) -> torch.nn.Module:
    """Set random weights that half precision represents exactly; weights whose names end in `fixed` stay."""
    draw = torch.Generator().manual_seed(seed)
    for name, value in model.named_parameters():
        if name.endswith(fixed) and fixed:
            continue
        noise = torch.randn(value.shape, generator=draw)
        if value.ndim > 1:
            fan_in = value[0].numel()
            noise = noise * (1.0 if "embed" in name and value.ndim == 2 else fan_in**-0.5)
        else:
            noise = 0.2 * noise + (1.0 if "norm" in name.lower() and name.endswith("weight") else 0.0)
        value.data = noise.half().float()
    return model.eval()


def write(name: str, model: torch.nn.Module, inputs: dict, outputs: dict) -> None:
    """Write the model's file."""
    weights = {key: value.detach().numpy() for key, value in model.state_dict().items()}
    save(name, weights, inputs, {key: value.detach().float().numpy() for key, value in outputs.items()})


def pixels(*shape: int) -> tuple[np.ndarray, torch.Tensor]:
    """Return random pixels, and the models' normalised input."""
    values = random_pixels(*shape)
    return values, torch.from_numpy(values).float() / 127.5 - 1
