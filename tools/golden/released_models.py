"""Make `tests/published/golden/cav_mae.npz`: what CAV-MAE's released code gives for random weights and inputs.

    pip install torch
    git clone https://github.com/YuanGongND/cav-mae
    python tools/golden/released_models.py cav-mae/src/models

The code is run as it is; of timm, which it imports, it gets the two modules that it uses, written here. The file is as
those of `published_models.py`.
"""

from __future__ import annotations

import importlib
import sys
import types
from pathlib import Path

import numpy as np
import torch
from published_models import pixels, randomised, write
from torch import nn


class Attention(nn.Module):
    """timm's attention: one map for queries, keys and values."""

    def __init__(self, dim: int, num_heads: int, qkv_bias: bool, **unused):
        super().__init__()
        self.heads = num_heads
        self.qkv, self.proj = nn.Linear(dim, 3 * dim, bias=qkv_bias), nn.Linear(dim, dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        parts = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.proj(nn.functional.scaled_dot_product_attention(*parts).transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    """timm's feed-forward."""

    def __init__(self, in_features: int, hidden_features: int, act_layer: type, **unused):
        super().__init__()
        self.fc1, self.act = nn.Linear(in_features, hidden_features), act_layer()
        self.fc2 = nn.Linear(hidden_features, in_features)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc2(self.act(self.fc1(x)))


def stand_in_for_timm() -> None:
    """Puts modules with these two under the names that released code imports."""
    names = dict(Attention=Attention, Mlp=Mlp, PatchEmbed=object, Block=object, DropPath=nn.Identity)
    names |= dict(to_2tuple=lambda value: (value, value), trunc_normal_=nn.init.trunc_normal_)
    for path in ("timm", "timm.models", "timm.models.layers", "timm.models.vision_transformer"):
        module = types.ModuleType(path)
        vars(module).update(names)
        sys.modules[path] = module
        if "." in path:
            setattr(sys.modules[path.rpartition(".")[0]], path.rpartition(".")[2], module)


def cav_mae(folder: Path) -> None:
    """Eleven layers a modality and one for both: both passes through it, and the decoder's answers."""
    stand_in_for_timm()
    np.float = float  # a name that NumPy has given up since
    package = types.ModuleType("released")
    package.__path__ = [str(folder)]
    sys.modules["released"] = package
    kind = importlib.import_module("released.cav_mae").CAVMAE
    model = kind(
        img_size=32, audio_length=32, embed_dim=16, num_heads=2, decoder_embed_dim=8, decoder_depth=2,
        decoder_num_heads=2,
    )  # fmt: skip
    model = randomised(model, 10, fixed=("pos_embed_a", "pos_embed_v"))
    frames, seen = pixels(1, 3, 32, 32)
    rows = torch.randn(1, 32, 128, generator=torch.Generator().manual_seed(6))
    torch.manual_seed(7)
    x, mask_a, order_a, mask_v, order_v, ca, cv = model.forward_encoder(rows, seen, 0.5, 0.5)
    sound, picture = model.forward_decoder(x, mask_a, order_a, mask_v, order_v)
    write(
        "cav_mae", model,
        {"images": frames, "rows": rows, "order_a": order_a, "order_v": order_v},
        {"joint": x, "sound": ca, "picture": cv, "sound_patches": sound, "picture_patches": picture},
    )  # fmt: skip


if __name__ == "__main__":
    with torch.no_grad():
        cav_mae(Path(sys.argv[1]))
