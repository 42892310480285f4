"""Published models of sound as ours: the same weights, one input, what both make of it."""

from __future__ import annotations

import dataclasses

import numpy as np
from flax import nnx
from streams_of_clips import cells, make_stream
from tiny_models import Pairs, built, recipe, run, small
from weights import TIMM, VIT, WHISPER, Golden, fill

from mmvideo.media.config import CLAP
from mmvideo.media.config import WHISPER as WHISPER_FEATURES
from mmvideo.media.spectrogram import spectrogram
from mmvideo.model.config import Block, Fusion, Model
from mmvideo.stream import PatchSpec, StreamSpec


def _sound(golden: Golden) -> tuple[StreamSpec, np.ndarray, np.ndarray]:
    """The spec of AudioMAE's golden files, with the patches and cells of their sound: 24 steps of 12 mel bins."""
    rows = golden.given["rows"][0]
    content = np.ascontiguousarray(rows.reshape(6, 4, 3, 4).swapaxes(1, 2)).reshape(18, 16)
    return StreamSpec(audio=PatchSpec((4, 4), (6, 3, 1), 0.04)), content, cells(6, 3, 1)


def audiomae() -> Pairs:
    """The released encoder and its global decoder, with the positions of the released code."""
    golden, found = Golden("audiomae"), recipe("pretrain/audiomae")
    spec, content, grid = _sound(golden)
    decoder = dataclasses.replace(found.model.decoder, depth=2, width=16, heads=2)
    model = small(found.model, feed_forward=96, decoder=decoder)
    backbone = fill(
        built(model, spec),
        golden.patches("patch_embed.proj", "embed.audio.dense")
        | {"extra.classes": golden.w["cls_token"]}
        | golden.layers("blocks", TIMM, "blocks", 2)
        | golden.norm("norm", "norms.fused"),
        zero=("embed.modality",),
    )
    heads = fill(
        found.objectives["masked_patches"].heads(model, spec, rngs=nnx.Rngs(0)),
        golden.dense("decoder_embed", "decoder.narrow")
        | {"decoder.mask": golden.w["mask_token"][0, 0]}
        | golden.layers("decoder_blocks", TIMM, "decoder.blocks", 2)
        | golden.norm("decoder_norm", "decoder.norm")
        | golden.dense("decoder_pred", "answers.audio"),
        zero=("decoder.modality",),
    )
    hides = golden.given["hidden"][0]
    kept = np.argsort(golden.given["order"][0])[: (~hides).sum()]
    stream = make_stream([{"audio": (content[kept], grid[kept])}], [{"audio": (content[hides], grid[hides])}])

    def both(backbone, heads, stream):
        features = backbone(stream)
        return features.top, features.classes[-1][:, 0, 1], heads(features, stream)["audio"]

    top, own, told = run(both, backbone, heads, stream=stream)
    wanted = golden.out["encoded"]
    return {
        "encoder": (top, wanted[:, 1:]),
        "class token": (own, wanted[:, :1]),
        "spectrogram": (told, golden.out["answers"][:, hides]),
    }


def audiomae_classification() -> Pairs:
    """Fine-tuning: the mean of the tokens without the class token, normed in place of the trunk's norm."""
    golden, found = Golden("audiomae_classification"), recipe("finetune/audioset")
    spec, content, grid = _sound(golden)
    model = small(found.model, feed_forward=96)
    backbone = fill(
        built(model, spec),
        golden.patches("patch_embed.proj", "embed.audio.dense")
        | {"extra.classes": golden.w["cls_token"]}
        | golden.layers("blocks", TIMM, "blocks", 2),
        zero=("embed.modality",),
    )
    objective = dataclasses.replace(found.objectives["events"], classes=5)
    heads = fill(
        objective.heads(model, spec, rngs=nnx.Rngs(0)),
        golden.norm("fc_norm", "logits.norm") | golden.dense("head", "logits.dense"),
    )
    stream = make_stream([{"audio": (content, grid)}])
    return {"logits": (run(lambda t, h, s: h(t(s), s)[0][:, 0], backbone, heads, stream=stream), golden.out["logits"])}


def ast() -> Pairs:
    """Overlapping patches of a spectrogram, whose positions lie mel bins first; two class tokens."""
    golden, found = Golden("ast"), recipe("pretrain/ast")
    rows = golden.given["rows"][0]
    content = np.lib.stride_tricks.sliding_window_view(rows, (4, 4))[::3, ::3]
    (steps, bins), grid = content.shape[:2], cells(*content.shape[:2], 1)
    spec = StreamSpec(audio=PatchSpec((4, 4), (steps, bins, 1), 0.03))
    model, prefix = small(found.model), "audio_spectrogram_transformer."
    kernel = golden.w[prefix + "embeddings.patch_embeddings.projection.weight"]
    table = golden.w[prefix + "embeddings.position_embeddings"][0]
    tokens = [golden.w[f"{prefix}embeddings.{name}_token"][0, 0] for name in ("cls", "distillation")]
    backbone = fill(
        built(model, spec),
        {
            "embed.audio.dense.kernel": kernel[:, 0].transpose(2, 1, 0).reshape(16, -1),
            "embed.audio.dense.bias": golden.w[prefix + "embeddings.patch_embeddings.projection.bias"],
            "position.tables.audio": table[2:].reshape(bins, steps, -1).swapaxes(0, 1).reshape(steps * bins, -1),
            "extra.classes": (np.stack(tokens) + table[:2])[None],
        }
        | golden.layers(prefix + "layers", VIT, "blocks", 2)
        | golden.norm(prefix + "layernorm", "norms.fused"),
        zero=("embed.modality",),
    )
    objective = dataclasses.replace(found.objectives["classification"], classes=5)
    heads = fill(
        objective.heads(model, spec, rngs=nnx.Rngs(0)),
        golden.norm("classifier.layernorm", "logits.norm") | golden.dense("classifier.dense", "logits.dense"),
    )
    stream = make_stream([{"audio": (content.reshape(-1, 16), grid)}])
    top, logits = run(lambda t, h, s: ((f := t(s)).top, h(f, s)[0][:, 0]), backbone, heads, stream=stream)
    wanted = golden.out["encoded"][:, 2:].reshape(1, bins, steps, -1).swapaxes(1, 2).reshape(top.shape)
    return {"encoder": (top, wanted), "logits": (logits, golden.out["logits"])}


def whisper() -> Pairs:
    """The features of sound, and the encoder behind two convolutions."""
    golden = Golden("whisper")
    rows = golden.given["rows"][0]
    spec = StreamSpec(audio=PatchSpec((2, 10), (9, 1, 1), 0.02))
    model = small(
        Model(
            fusion=Fusion("early"),
            block=Block(epsilon=1e-5, biases="qv"),
            position="learned_1d",
            audio_stem="convolution",
        )
    )
    stem = {}
    for theirs, ours in (("conv1", "first"), ("conv2", "second")):
        kernel = golden.w[f"{theirs}.weight"]
        stem[f"embed.audio.{ours}.kernel"] = kernel.transpose(2, 1, 0).reshape(-1, len(kernel))
        stem[f"embed.audio.{ours}.bias"] = golden.w[f"{theirs}.bias"]
    backbone = fill(
        built(model, spec),
        stem
        | {"position.tables.audio": golden.w["embed_positions.weight"]}
        | golden.layers("layers", WHISPER, "blocks", 2)
        | golden.norm("layer_norm", "norms.fused"),
        zero=("embed.modality",),
    )
    stream = make_stream([{"audio": (rows.reshape(9, 20), cells(9, 1, 1))}])
    top = run(lambda t, s: t(s).top, backbone, stream=stream)
    made = spectrogram(golden.given["sound"], WHISPER_FEATURES)
    return {"features": (made.T[None], golden.out["features"]), "encoder": (top, golden.out["encoded"])}


def clap() -> Pairs:
    """The features of sound alone."""
    golden = Golden("clap")
    return {"features": (spectrogram(golden.given["sound"], CLAP), golden.out["features"])}
