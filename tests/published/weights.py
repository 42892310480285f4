"""Weights of published models under the names and in the shapes of ours."""

from __future__ import annotations

from pathlib import Path

import jax.numpy as jnp
import numpy as np
from flax import nnx

GOLDEN = Path(__file__).parent / "golden"

Arrays = dict[str, np.ndarray]

VIT = {
    "attention": "attention.{}_proj", "names": ("q", "k", "v", "o"), "norms": ("layernorm_before", "layernorm_after"),
    "up": "mlp.fc1", "down": "mlp.fc2",
}  # fmt: skip
"""Names within a layer, as transformers has them for ViT."""

VIDEO_MAE = {
    "attention": "attention.{}", "names": ("attention.query", "attention.key", "attention.value", "output.dense"),
    "norms": ("layernorm_before", "layernorm_after"), "up": "intermediate.dense", "down": "output.dense",
}  # fmt: skip
CLIP = {
    "attention": "self_attn.{}_proj", "names": ("q", "k", "v", "out"), "norms": ("layer_norm1", "layer_norm2"),
    "up": "mlp.fc1", "down": "mlp.fc2",
}  # fmt: skip
V_JEPA = {
    "attention": "attention.{}", "names": ("query", "key", "value", "proj"), "norms": ("norm1", "norm2"),
    "up": "mlp.fc1", "down": "mlp.fc2",
}  # fmt: skip
WHISPER = CLIP | {"norms": ("self_attn_layer_norm", "final_layer_norm"), "up": "fc1", "down": "fc2"}
TIMM = V_JEPA | {"attention": "attn.{}", "names": ("qkv", "proj")}
TIMESFORMER = VIDEO_MAE | {"names": ("attention.qkv", "output.dense")}
BERT = {
    "attention": "attention.{}", "names": ("self.query", "self.key", "self.value", "output.dense"),
    "norms": ("attention.output.LayerNorm", "output.LayerNorm"), "up": "intermediate.dense", "down": "output.dense",
}  # fmt: skip


PARTS = ("kernel", "bias")
"""What a linear map has."""


class Golden:
    """A golden file: `w` the weights, `given` the inputs, `out` what the model made of them, all float32 or whole."""

    def __init__(self, name: str):
        with np.load(GOLDEN / f"{name}.npz") as file:
            arrays = {key: file[key] for key in file.files}
        wide = {key: value.astype(np.float32) if value.dtype == np.float16 else value for key, value in arrays.items()}
        self.w, self.given, self.out = (
            {key.partition("/")[2]: value for key, value in wide.items() if key.startswith(start)}
            for start in ("w/", "in/", "out/")
        )

    def dense(self, name: str, to: str) -> Arrays:
        """A linear map; without a bias it is 0."""
        kernel = self.w[f"{name}.weight"]
        bias = self.w.get(f"{name}.bias", np.zeros(len(kernel), np.float32))
        return {f"{to}.kernel": kernel.T, f"{to}.bias": bias}

    def norm(self, name: str, to: str) -> Arrays:
        """A layer norm."""
        return {f"{to}.scale": self.w[f"{name}.weight"], f"{to}.bias": self.w[f"{name}.bias"]}

    def normed(self, name: str, x: np.ndarray, epsilon: float) -> np.ndarray:
        """What a layer norm makes of an array, in float64."""
        centred = x - x.mean(axis=-1, keepdims=True, dtype=np.float64)
        scaled = centred / np.sqrt(np.square(centred).mean(axis=-1, keepdims=True) + epsilon)
        return scaled * self.w[f"{name}.weight"] + self.w[f"{name}.bias"]

    def patches(self, name: str, to: str) -> Arrays:
        """A convolution over patches: its kernel `[D, C, t, y, x]` (of images `[D, C, y, x]`) as a matrix."""
        kernel = self.w[f"{name}.weight"]
        kernel = kernel if kernel.ndim == 5 else kernel[:, :, None]
        bias = self.w.get(f"{name}.bias", np.zeros(len(kernel), np.float32))
        return {f"{to}.kernel": kernel.transpose(2, 3, 4, 1, 0).reshape(-1, len(kernel)), f"{to}.bias": bias}

    def layers(self, prefix: str, naming: dict, to: str, heads: int) -> Arrays:
        """All layers `prefix.N.…`, stacked."""
        each, number = [], 0
        while any(key.startswith(f"{prefix}.{number}.") for key in self.w):
            each.append(self._layer(f"{prefix}.{number}.", naming, heads))
            number += 1
        return {f"{to}.{name}": np.stack([layer[name] for layer in each]) for name in each[0]}

    def flax_dense(self, name: str, to: str) -> Arrays:
        """A linear map or a convolution of flax; all axes of its kernel but the last are one."""
        kernel = self.w[f"{name}.kernel"]
        return {f"{to}.kernel": kernel.reshape(-1, kernel.shape[-1]), f"{to}.bias": self.w[f"{name}.bias"]}

    def flax_norm(self, name: str, *to: str) -> Arrays:
        """A layer norm of flax, for each of several of ours."""
        return {f"{one}.{part}": self.w[f"{name}.{part}"] for one in to for part in ("scale", "bias")}

    def flax_layers(self, pattern: str, to: str) -> Arrays:
        """All layers of scenic whose names the pattern makes of their numbers, stacked."""
        each, number = [], 0
        while any(key.startswith(f"{pattern.format(number)}.") for key in self.w):
            each.append(self._flax_layer(f"{pattern.format(number)}."))
            number += 1
        return {f"{to}.{name}": np.stack([layer[name] for layer in each]) for name in each[0]}

    def _flax_layer(self, prefix: str) -> Arrays:
        attention, dense = f"{prefix}MultiHeadDotProductAttention_0", f"{prefix}MlpBlock_0.Dense_"
        asked = [f"{attention}.{name}" for name in ("query", "key", "value")]
        found = {
            "qkv_kernel": np.stack([self.w[f"{name}.kernel"] for name in asked], axis=1),
            "qkv_bias": np.stack([self.w[f"{name}.bias"] for name in asked]),
        }
        sources = {"out": f"{attention}.out", "up": f"{dense}0", "down": f"{dense}1"}
        found |= {f"{ours}_{part}": self.w[f"{name}.{part}"] for ours, name in sources.items() for part in PARTS}
        for number, branch in enumerate(("attention", "feed_forward")):
            found |= {f"{branch}_{part}": self.w[f"{prefix}LayerNorm_{number}.{part}"] for part in ("scale", "bias")}
        return found

    def _layer(self, prefix: str, naming: dict, heads: int) -> Arrays:
        *parts, out = (prefix + naming["attention"].format(name) for name in naming["names"])
        kernels, biases = self._projections(parts)
        head = (heads, len(kernels[0]) // heads)
        found = {
            "qkv_kernel": np.stack([kernel.T.reshape(-1, *head) for kernel in kernels], axis=1),
            "qkv_bias" if len(biases) == 3 else "qv_bias": np.stack([bias.reshape(head) for bias in biases]),
            "out_kernel": self.w[f"{out}.weight"].T.reshape(*head, -1),
            "out_bias": self.w[f"{out}.bias"],
        }
        for ours, theirs in zip(("attention", "feed_forward"), naming["norms"], strict=True):
            found[f"{ours}_scale"] = self.w[f"{prefix}{theirs}.weight"]
            found[f"{ours}_bias"] = self.w[f"{prefix}{theirs}.bias"]
        for ours in ("up", "down"):
            found[f"{ours}_kernel"] = self.w[f"{prefix}{naming[ours]}.weight"].T
            found[f"{ours}_bias"] = self.w[f"{prefix}{naming[ours]}.bias"]
        return found

    def _projections(self, names: list[str]) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Kernels of queries, keys and values, and the biases that there are; of three maps, or of one for all."""
        kernels = [self.w[f"{name}.weight"] for name in names]
        biases = [self.w[f"{name}.bias"] for name in names if f"{name}.bias" in self.w]
        return (kernels, biases) if len(names) == 3 else (np.split(kernels[0], 3), np.split(biases[0], 3))


def fill(module: nnx.Module, arrays: Arrays, zero: tuple[str, ...] = ()) -> nnx.Module:
    """The module with these parameters; those that start with a word of `zero` become 0.

    Raises:
      AssertionError: a parameter that nobody gives, one that the module lacks, or another shape.
    """
    left = dict(arrays)
    for path, variable in nnx.to_flat_state(nnx.state(module, nnx.Param)):
        name, shape = ".".join(map(str, path)), variable.get_value().shape
        if name not in left and name.startswith(zero) and zero:
            value = np.zeros(shape, np.float32)
        else:
            assert name in left, f"nobody gives {name} {shape}"
            value = left.pop(name)
        assert value.shape == shape, f"{name}: {value.shape} for {shape}"
        variable.set_value(jnp.asarray(value, jnp.float32))
    assert not left, f"the model has no {sorted(left)}"
    return module
