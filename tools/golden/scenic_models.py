"""Make golden files of scenic's released code, with random weights and inputs: MBT and ViViT's factorised encoder.

    pip install flax ml_collections immutabledict absl-py scipy
    git clone https://github.com/google-research/scenic
    python tools/golden/scenic_models.py scenic

The released code runs unchanged; empty modules replace TensorFlow and clu, which it imports and the models do not use.
The files have the format of `published_models.py`, with flax names joined by dots.

MBT's class cannot run its released config: where the classifier is the mean of the tokens (`gap`), the sizes of the
bottleneck are set for class tokens only. The script therefore writes both: the unchanged class with class tokens, and
the config's model built from the parts of the class (`MeanOfTokens`).
"""

from __future__ import annotations

import math
import sys
import types
from pathlib import Path
from types import ModuleType

import flax.linen as nn
import jax
import ml_collections
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from golden_files import random_pixels, save

SIZES = dict(hidden_size=16, mlp_dim=32, num_layers=3, num_heads=2, num_classes=5)
BOTTLENECKS = 2


def settings(**values) -> ml_collections.ConfigDict:
    """Settings in the form that scenic's models read."""
    return ml_collections.ConfigDict(values)


def stand_in() -> None:
    """Register empty modules under the names that scenic imports besides its own."""
    for path in ("clu", "clu.parameter_overview", "tensorflow", "tensorflow.io", "tensorflow.io.gfile"):
        sys.modules[path] = types.ModuleType(path)
        if "." in path:
            setattr(sys.modules[path.rpartition(".")[0]], path.rpartition(".")[2], sys.modules[path])


def randomised(params: dict, seed: int) -> dict[str, np.ndarray]:
    """Return random weights by dotted name, exact in half precision, with the shapes of `params`."""
    draw, found = np.random.default_rng(seed), {}
    for name, value in flatten_dict(params, sep=".").items():
        noise = draw.normal(size=value.shape)
        if name.endswith(("query.kernel", "key.kernel", "value.kernel")):
            noise = noise * value.shape[0] ** -0.5
        elif name.endswith("kernel"):
            noise = noise * math.prod(value.shape[:-1]) ** -0.5
        elif value.ndim == 1:
            noise = 0.2 * noise + name.endswith("scale")
        found[name] = noise.astype(np.float16).astype(np.float32)
    return found


class MeanOfTokens(nn.Module):
    """MBT with the mean of all tokens, as in its config, built from the released parts.

    Attributes:
      released: the module `scenic.projects.mbt.model`.
      parts: settings of its encoder.
      stem: settings of its embedding.
    """

    released: ModuleType
    parts: dict
    stem: dict

    @nn.compact
    def __call__(self, x: dict, train: bool = False) -> tuple[jax.Array, jax.Array]:
        """Return all tokens after the last layer, and the logits of their mean."""
        tokens = {
            name: self.released.temporal_encode(
                value, name, self.stem["temporal_encoding_config"], self.stem["patches"], SIZES["hidden_size"]
            )[0]
            for name, value in x.items()
        }
        narrow = self.param("bottleneck", nn.initializers.normal(), (1, BOTTLENECKS, SIZES["hidden_size"]))
        encoded = self.released.Encoder(name="Transformer", **self.parts)(tokens, narrow, train=train)
        return encoded, nn.Dense(SIZES["num_classes"], name="output_projection")(encoded.mean(axis=1))


def mbt() -> None:
    """Write MBT: two encoders joined by bottlenecks in the last two of three layers."""
    from scenic.projects.mbt import model as released

    frames = random_pixels(1, 4, 3, 8, 8)
    rows = np.random.default_rng(2).normal(size=(1, 8, 8)).astype(np.float32)
    seen = {"spectrogram": rows[..., None], "rgb": frames.transpose(0, 1, 3, 4, 2).astype(np.float32) / 127.5 - 1}
    stem = dict(patches=settings(size=(4, 4, 2)), temporal_encoding_config=settings(method="3d_conv"))
    fused = dict(modality_fusion=tuple(seen), fusion_layer=1, use_bottleneck=True)
    inputs = {"frames": frames, "rows": rows}

    parts = {name: SIZES[name] for name in ("mlp_dim", "num_layers", "num_heads")} | fused
    model = MeanOfTokens(released, parts, stem)
    weights = randomised(model.init(jax.random.key(0), dict(seen))["params"], 1)
    encoded, logits = model.apply({"params": unflatten_dict(weights, sep=".")}, dict(seen))
    save("mbt", weights, inputs, {"encoded": encoded, "logits": logits})

    whole = dict(SIZES, **stem, **fused, n_bottlenecks=BOTTLENECKS, classifier="token", attention_config=settings())
    model = released.MBT(**whole)
    weights = randomised(model.init(jax.random.key(0), dict(seen), train=False)["params"], 2)
    params = {"params": unflatten_dict(weights, sep=".")}
    logits = model.apply(params, dict(seen), train=False)
    encoded = released.MBT(**whole, return_preclassifier=True).apply(params, dict(seen), train=False)
    save("mbt_class_tokens", weights, inputs, {"encoded": encoded, "logits": logits})


def vivit_factorised() -> None:
    """Write ViViT: two layers within a tubelet step, two over the steps; class tokens in both."""
    from scenic.projects.vivit import model as released

    frames = random_pixels(1, 4, 3, 16, 16)
    seen = frames.transpose(0, 1, 3, 4, 2).astype(np.float32) / 127.5 - 1
    sizes = {
        f"{part}_{name}": value
        for part in ("spatial", "temporal")
        for name, value in (("mlp_dim", 48), ("num_layers", 2), ("num_heads", 2))
    }
    model = released.SpaceTimeViViT(
        **sizes, hidden_size=24, num_classes=5, classifier="token", patches=settings(size=(8, 8, 2)),
        temporal_encoding_config=settings(method="3d_conv"), attention_config=settings(type="factorized_encoder"),
    )  # fmt: skip
    weights = randomised(model.init(jax.random.key(0), seen, train=False)["params"], 3)
    logits, kept = model.apply(
        {"params": unflatten_dict(weights, sep=".")}, seen, train=False,
        capture_intermediates=lambda module, _: module.name == "TemporalTransformer",
    )  # fmt: skip
    (encoded,) = kept["intermediates"]["TemporalTransformer"]["__call__"]
    save("vivit_factorised", weights, {"frames": frames}, {"encoded": encoded, "logits": logits})


def main() -> None:
    """Write the files of both."""
    stand_in()
    sys.path.insert(0, str(Path(sys.argv[1])))
    mbt()
    vivit_factorised()


if __name__ == "__main__":
    main()
