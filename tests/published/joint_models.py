"""Published models in which pictures and sound meet as ours: the same weights, one input, what both make of it."""

from __future__ import annotations

import dataclasses

import numpy as np
from flax import nnx
from streams_of_clips import cells, make_stream, patches
from tiny_models import Pairs, built, recipe, run, small
from weights import TIMM, Golden, fill

from mmvideo.stream import PatchSpec, StreamSpec


def mbt() -> Pairs:
    """Two encoders that meet through bottlenecks, and the mean of their tokens."""
    return _mbt("mbt", classes=0, bottlenecks=2)


def mbt_class_tokens() -> Pairs:
    """The same with a class token for each modality; scenic's class then adds a bottleneck."""
    return _mbt("mbt_class_tokens", classes=1, bottlenecks=3)


def _mbt(name: str, classes: int, bottlenecks: int) -> Pairs:
    golden, found = Golden(name), recipe("pretrain/mbt")
    sound = golden.given["rows"][0].reshape(2, 4, 2, 4).swapaxes(1, 2).reshape(4, 16)
    picture, grids = patches(golden.given["frames"][0], (2, 4, 4)), {"video": cells(2, 2, 2), "audio": cells(2, 2, 1)}
    spec = StreamSpec(PatchSpec((2, 4, 4, 3), (2, 2, 2), 0.16), PatchSpec((4, 4), (2, 2, 1), 0.04))
    fusion = dataclasses.replace(found.model.fusion, layer=1, bottlenecks=bottlenecks)
    model = small(
        found.model, depth=3, width=16, feed_forward=32, fusion=fusion, class_tokens=classes
    )  # fmt: skip
    ends = {"video": "", "audio": "_spectrogram"}
    tables = {ours: golden.w[f"Transformer.posembed_input{end}.pos_embedding"][0] for ours, end in ends.items()}
    arrays = {f"position.tables.{ours}": table[classes:] for ours, table in tables.items()}
    for ours, end in ends.items():
        arrays |= golden.flax_dense(f"embedding{end}", f"embed.{ours}.dense")
        arrays |= golden.flax_layers(f"Transformer.encoderblock_{{}}{end}", f"blocks.{ours}")
    if classes:
        own = (golden.w["cls"][0] + tables["video"][:1], golden.w["clsspectrogram"][0] + tables["audio"][:1])
        arrays["extra.classes"] = np.stack(own)
    backbone = fill(
        built(model, spec),
        arrays
        | {"extra.bottlenecks": golden.w["bottleneck"][0]}
        | golden.flax_norm("Transformer.encoder_norm", "norms.fused.video", "norms.fused.audio"),
        zero=("embed.modality", "norms.apart"),
    )
    objective = found.objectives["classification"]
    objective = dataclasses.replace(objective, classes=5, pooling="class" if classes else objective.pooling)
    heads = fill(objective.heads(model, spec, rngs=nnx.Rngs(0)), golden.flax_dense("output_projection", "logits.dense"))
    stream = make_stream([{"video": (picture, grids["video"]), "audio": (sound, grids["audio"])}])

    def all_of(backbone, heads, stream):
        features = backbone(stream)
        return features.top, features.classes[-1][:, 0], heads(features, stream)[0][:, 0]

    top, tokens, logits = run(all_of, backbone, heads, stream=stream)
    # Scenic has the sound first, and each class token before its modality.
    heard, seen = np.split(golden.out["encoded"], [classes + 4], axis=1)
    wanted = np.concatenate([seen[:, classes:], heard[:, classes:]], axis=1)
    pairs = {"encoder": (top, wanted), "logits": (logits, golden.out["logits"])}
    if classes:
        pairs["class tokens"] = tokens[:, :2, 0], np.concatenate([seen[:, :1], heard[:, :1]], axis=1)
    return pairs


def cav_mae() -> Pairs:
    """The released code's two passes through the shared layer, and its decoder; in the recipe's settings."""
    golden, found = Golden("cav_mae"), recipe("pretrain/cav_mae")
    sound = np.ascontiguousarray(golden.given["rows"][0].reshape(2, 16, 8, 16).swapaxes(1, 2)).reshape(16, 256)
    picture = patches(golden.given["images"][:1], (1, 16, 16))
    grids = {"video": cells(1, 2, 2), "audio": cells(2, 8, 1)}
    spec = StreamSpec(PatchSpec((1, 16, 16, 3), (1, 2, 2), 1.0), PatchSpec((16, 16), (2, 8, 1), 0.16))
    decoder = dataclasses.replace(found.model.decoder, depth=2, width=8, heads=2)
    model = small(found.model, depth=12, width=16, heads=2, feed_forward=64, decoder=decoder)
    kernel = golden.w["patch_embed_a.proj.weight"][:, 0]
    alone = {
        f"alone.{name}.{branch}_{ours}": golden.w[f"blocks_u.0.norm{number}_{name[0]}.{theirs}"][None]
        for name in ("audio", "video")
        for number, branch in ((1, "attention"), (2, "feed_forward"))
        for ours, theirs in (("scale", "weight"), ("bias", "bias"))
    }

    def kinds(prefix: str) -> np.ndarray:
        own = [golden.w[f"{prefix}modality_{name}"][0, 0] for name in ("v", "a")]
        return np.stack([*own, np.zeros_like(own[0])])

    backbone = fill(
        built(model, spec),
        golden.patches("patch_embed_v.proj", "embed.video.dense")
        | {
            "embed.audio.dense.kernel": kernel.transpose(2, 1, 0).reshape(256, -1),
            "embed.audio.dense.bias": golden.w["patch_embed_a.proj.bias"],
            "embed.modality.table": kinds(""),
        }
        | golden.layers("blocks_v", TIMM, "blocks.apart.video", 2)
        | golden.layers("blocks_a", TIMM, "blocks.apart.audio", 2)
        | golden.layers("blocks_u", TIMM, "blocks.fused", 2)
        | alone
        | golden.norm("norm_v", "norms.apart.video")
        | golden.norm("norm_a", "norms.apart.audio")
        | golden.norm("norm", "norms.fused"),
    )
    # The released code predicts patches of mel rows by time columns.
    answer = golden.dense("decoder_pred_a", "answers.audio")
    answer = {name: value.reshape(-1, 16, 16).swapaxes(1, 2).reshape(value.shape) for name, value in answer.items()}
    heads = fill(
        found.objectives["masked_patches"].heads(model, spec, rngs=nnx.Rngs(0)),
        golden.dense("decoder_embed", "decoder.narrow")
        | {"decoder.mask": golden.w["mask_token"][0, 0], "decoder.modality.table": kinds("decoder_")}
        | golden.layers("decoder_blocks", TIMM, "decoder.blocks", 2)
        | golden.norm("decoder_norm", "decoder.norm")
        | answer
        | golden.dense("decoder_pred_v", "answers.video"),
    )
    content = {"video": picture, "audio": sound}
    seen, hides = {}, {}
    # Of sound the released code counts mel row by mel row, we time step by time step.
    turned = np.arange(16).reshape(2, 8).T.reshape(-1)
    for name, order in (("video", golden.given["order_v"][0]), ("audio", golden.given["order_a"][0])):
        shuffled = np.argsort(order)
        places = turned[shuffled] if name == "audio" else shuffled
        half = len(places) // 2
        for part, own in ((seen, places[:half]), (hides, places[half:])):
            part[name] = content[name][own], grids[name][own]
        hides[f"{name} order"] = shuffled[half:]
    orders = {name: hides.pop(f"{name} order") for name in ("video", "audio")}
    stream = make_stream([seen], [hides])

    def both(backbone, heads, stream):
        features = backbone(stream)
        return features.taps, heads(features, stream)

    (apart, joint), told = run(both, backbone, heads, stream=stream)
    wanted = golden.out["joint"]
    patch = golden.out["sound_patches"][:, orders["audio"]].reshape(1, -1, 16, 16).swapaxes(2, 3).reshape(1, -1, 256)
    return {
        "joint pass": (joint, np.concatenate([wanted[:, 8:], wanted[:, :8]], axis=1)),
        "pass alone, video": (apart[:, :2], golden.out["picture"]),
        "pass alone, audio": (apart[:, 2:], golden.out["sound"]),
        "pixels": (told["video"], golden.out["picture_patches"][:, orders["video"]]),
        "spectrogram": (told["audio"], patch),
    }
