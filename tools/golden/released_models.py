"""Make golden files of models without a package, CAV-MAE and AudioMAE, with random weights and inputs.

    pip install torch
    git clone https://github.com/YuanGongND/cav-mae
    git clone https://github.com/facebookresearch/AudioMAE
    python tools/golden/released_models.py cav-mae/src/models AudioMAE

The released code runs unchanged; this script supplies the modules of timm that it imports. The files have the format of
`published_models.py`. The decoder of AudioMAE is the global one of its paper (`decoder_mode=0`); the decoder of its
script, with shifted windows, is not supported.
"""

from __future__ import annotations

import functools
import importlib
import math
import sys
import types
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch_models import pixels, randomised, write


class Attention(nn.Module):
    """timm's attention, with one projection for queries, keys and values."""

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


class Block(nn.Module):
    """timm's layer: norms before attention and feed-forward."""

    def __init__(self, dim: int, num_heads: int, mlp_ratio: float, qkv_bias: bool, norm_layer: type, **unused):
        super().__init__()
        self.norm1, self.attn = norm_layer(dim), Attention(dim, num_heads, qkv_bias)
        self.norm2, self.mlp = norm_layer(dim), Mlp(dim, int(dim * mlp_ratio), nn.GELU)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class VisionTransformer(nn.Module):
    """The parts of timm's classifier that AudioMAE's fine-tuning uses; it sets the others itself."""

    def __init__(self, embed_dim: int, depth: int, num_classes: int, norm_layer: type, **layer):
        super().__init__()
        self.cls_token, self.pos_drop = nn.Parameter(torch.zeros(1, 1, embed_dim)), nn.Identity()
        layer = {name: layer[name] for name in ("num_heads", "mlp_ratio", "qkv_bias")}
        self.blocks = nn.ModuleList([Block(embed_dim, norm_layer=norm_layer, **layer) for _ in range(depth)])
        self.norm, self.head = norm_layer(embed_dim), nn.Linear(embed_dim, num_classes)


def _pair(value):
    return value if isinstance(value, tuple) else (value, value)


def stand_in_for_timm() -> None:
    """Register modules with these parts under the names that the released code imports."""
    names = dict(Attention=Attention, Mlp=Mlp, PatchEmbed=object, Block=Block, DropPath=nn.Identity)
    names |= dict(VisionTransformer=VisionTransformer, SwinTransformerBlock=object)
    names |= dict(to_2tuple=_pair, trunc_normal_=nn.init.trunc_normal_)
    paths = ("timm", "timm.models", "timm.models.layers", "timm.models.vision_transformer")
    for path in (*paths, "timm.models.swin_transformer"):
        module = types.ModuleType(path)
        vars(module).update(names)
        sys.modules[path] = module
        if "." in path:
            setattr(sys.modules[path.rpartition(".")[0]], path.rpartition(".")[2], module)


def cav_mae(folder: Path) -> None:
    """Write CAV-MAE: eleven layers per modality and one shared layer, with both passes, and the decoder's output."""
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


def audiomae(folder: Path) -> None:
    """Write AudioMAE: the encoder of some patches, the decoder, which keeps the class token, and the classifier."""
    sys.modules["torch._six"] = types.ModuleType("torch._six")
    sys.modules["torch._six"].inf = math.inf  # a module that torch has removed since
    sys.path.insert(0, str(folder))
    norm = functools.partial(nn.LayerNorm, eps=1e-6)
    own = dict(img_size=(24, 12), in_chans=1, embed_dim=24)
    layer = dict(embed_dim=24, depth=2, num_heads=2, mlp_ratio=4, norm_layer=norm)
    kind = importlib.import_module("models_mae").MaskedAutoencoderViT
    decoder = dict(decoder_embed_dim=16, decoder_depth=2, decoder_num_heads=2)
    model = kind(**own | layer | decoder, patch_size=4, audio_exp=True, decoder_mode=0)
    model = randomised(model, 11, fixed=("pos_embed",))
    rows = torch.randn(1, 1, 24, 12, generator=torch.Generator().manual_seed(8))
    torch.manual_seed(9)
    encoded, hidden, order, _ = model.forward_encoder(rows, 0.5)
    answers = model.forward_decoder(encoded, order)[0]
    write(
        "audiomae", model, {"rows": rows[0], "hidden": hidden.bool(), "order": order},
        {"encoded": encoded, "answers": answers},
    )  # fmt: skip
    released = importlib.import_module("models_vit")
    tuned = released.VisionTransformer(global_pool=True, num_classes=5, qkv_bias=True, **layer)
    # As main_finetune_as.py does: its own patches, and positions that come with the weights of pretraining.
    tuned.patch_embed = released.PatchEmbed_new(patch_size=(4, 4), stride=4, **own)
    tuned.pos_embed = nn.Parameter(model.pos_embed.data.clone(), requires_grad=False)
    tuned = randomised(tuned, 12, fixed=("pos_embed",))
    write("audiomae_classification", tuned, {"rows": rows[0]}, {"logits": tuned(rows)})


def main() -> None:
    """Write the files of both."""
    np.float = float  # a name that NumPy has removed since
    stand_in_for_timm()
    with torch.no_grad():
        cav_mae(Path(sys.argv[1]))
        audiomae(Path(sys.argv[2]))


if __name__ == "__main__":
    main()
