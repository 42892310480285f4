"""Each published model as ours: the recipe's settings at a tiny size, its weights mapped, both run on one input.

Every function gives pairs of arrays by name, ours and the published one's.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
from flax import nnx
from streams_of_clips import cells, make_stream, patches
from weights import BERT, CLIP, TIMESFORMER, TIMM, V_JEPA, VIDEO_MAE, VIT, WHISPER, Golden, fill

from mmvideo.experiment import Experiment
from mmvideo.experiment.config import load_experiment
from mmvideo.media.config import WHISPER as WHISPER_FEATURES
from mmvideo.media.spectrogram import spectrogram
from mmvideo.model.config import Block, Fusion, Model, Sharing
from mmvideo.model.transformer.multimodal_transformer import MultimodalTransformer
from mmvideo.objectives import Contrastive, MaskedPatches
from mmvideo.objectives.losses.masked_mean import gather_targets
from mmvideo.stream import PatchSpec, StreamSpec, TextSpec

CONFIGS = Path(__file__).parents[2] / "configs"

Pairs = dict[str, tuple[np.ndarray, np.ndarray]]


def recipe(name: str) -> Experiment:
    """A recipe of configs/."""
    return load_experiment(CONFIGS / f"{name}.py")


def small(model: Model, **changes) -> Model:
    """The settings at the size of the golden models, in float32."""
    sizes = dict(depth=2, width=24, heads=2, feed_forward=48, compute="float32", attention="xla", remat="none")
    return dataclasses.replace(model, **(sizes | changes))


def built(model: Model, spec: StreamSpec) -> nnx.Module:
    """A new trunk."""
    return MultimodalTransformer(model, spec, rngs=nnx.Rngs(0))


def run(function: Callable, *modules: nnx.Module, stream):
    """The function of the modules and the stream, compiled."""
    for module in modules:
        module.eval()
    return nnx.jit(function)(*modules, stream)


def of_video(golden: Golden, frames: int, tubelet: tuple[int, int, int]) -> tuple[StreamSpec, np.ndarray, np.ndarray]:
    """The spec of 16 pixels, and the patches and cells of the first clip's frames."""
    shown = golden.given["frames" if "frames" in golden.given else "images"]
    shown = shown[0] if shown.ndim == 5 else shown[:1]
    grid = (frames // tubelet[0], 16 // tubelet[1], 16 // tubelet[2])
    return StreamSpec(video=PatchSpec((*tubelet, 3), grid, 0.25)), patches(shown, tubelet), cells(*grid)


def answers(heads, features, stream):
    """What the heads of masked patches answer for video."""
    return heads(features, stream)["video"]


def videomae() -> Pairs:
    """Pretraining: what the encoder makes of the tubes that are seen, and the pixels told of the others."""
    golden, found = Golden("videomae"), recipe("pretrain/videomae")
    spec, content, grid = of_video(golden, 4, (2, 4, 4))
    decoder = dataclasses.replace(found.model.decoder, depth=2, width=12, heads=2)
    model = small(found.model, decoder=decoder)
    backbone = fill(
        built(model, spec),
        golden.patches("videomae.embeddings.patch_embeddings.projection", "embed.video.dense")
        | golden.layers("videomae.encoder.layer", VIDEO_MAE, "blocks", 2)
        | golden.norm("videomae.layernorm", "norms.fused"),
        zero=("embed.modality",),
    )
    heads = fill(
        found.objectives["masked_patches"].heads(model, spec, rngs=nnx.Rngs(0)),
        golden.dense("encoder_to_decoder", "decoder.narrow")
        | {"decoder.mask": golden.w["mask_token"][0, 0]}
        | golden.layers("decoder.decoder_layers", VIDEO_MAE, "decoder.blocks", 2)
        | golden.norm("decoder.norm", "decoder.norm")
        | golden.dense("decoder.head", "answers.video"),
        zero=("decoder.modality",),
    )
    hides = golden.given["hidden"][0]
    stream = make_stream([{"video": (content[~hides], grid[~hides])}], [{"video": (content[hides], grid[hides])}])
    top, told = run(lambda t, h, s: ((f := t(s)).top, answers(h, f, s)), backbone, heads, stream=stream)
    return {"encoder": (top, golden.out["encoded"]), "pixels": (told, golden.out["answers"])}


def videomae_classification() -> Pairs:
    """Fine-tuning: the mean of the tokens, normed in place of the trunk's norm."""
    golden, found = Golden("videomae_classification"), recipe("finetune/kinetics400")
    spec, content, grid = of_video(golden, 4, (2, 4, 4))
    model = small(found.model)
    backbone = fill(
        built(model, spec),
        golden.patches("videomae.embeddings.patch_embeddings.projection", "embed.video.dense")
        | golden.layers("videomae.encoder.layer", VIDEO_MAE, "blocks", 2),
        zero=("embed.modality",),
    )
    objective = dataclasses.replace(found.objectives["action"], classes=5)
    heads = fill(
        objective.heads(model, spec, rngs=nnx.Rngs(0)),
        golden.norm("fc_norm", "logits.norm") | golden.dense("classifier", "logits.dense"),
    )
    stream = make_stream([{"video": (content, grid)}])
    return {"logits": (run(lambda t, h, s: h(t(s), s)[0][:, 0], backbone, heads, stream=stream), golden.out["logits"])}


def vit_mae() -> Pairs:
    """An image MAE in AudioMAE's settings: the encoder, and the decoder with the class token."""
    golden, found = Golden("vit_mae"), recipe("pretrain/audiomae")
    spec, content, grid = of_video(golden, 1, (1, 4, 4))
    decoder = dataclasses.replace(found.model.decoder, depth=2, width=16, heads=2)
    model = small(found.model, decoder=decoder)
    backbone = fill(
        built(model, spec),
        golden.patches("vit.embeddings.patch_embeddings.projection", "embed.video.dense")
        | {"extra.classes": golden.w["vit.embeddings.cls_token"]}
        | golden.layers("vit.layers", VIT, "blocks", 2)
        | golden.norm("vit.layernorm", "norms.fused"),
        zero=("embed.modality",),
    )
    heads = fill(
        MaskedPatches(target="patch").heads(model, spec, rngs=nnx.Rngs(0)),
        golden.dense("decoder.decoder_embed", "decoder.narrow")
        | {"decoder.mask": golden.w["decoder.mask_token"][0, 0]}
        | golden.layers("decoder.decoder_layers", VIT, "decoder.blocks", 2)
        | golden.norm("decoder.decoder_norm", "decoder.norm")
        | golden.dense("decoder.decoder_pred", "answers.video"),
        zero=("decoder.modality",),
    )
    hides = golden.given["hidden"][0]
    kept = np.argsort(golden.given["order"][0])[: (~hides).sum()]
    stream = make_stream([{"video": (content[kept], grid[kept])}], [{"video": (content[hides], grid[hides])}])

    def both(backbone, heads, stream):
        features = backbone(stream)
        return features.top, features.classes[-1][:, 0, 0], answers(heads, features, stream)

    top, own, told = run(both, backbone, heads, stream=stream)
    wanted = golden.out["encoded"]
    return {
        "encoder": (top, wanted[:, 1:]),
        "class token": (own, wanted[:, :1]),
        "pixels": (told, golden.out["answers"][:, hides]),
    }


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


def vivit() -> Pairs:
    """The joint model: a class token, learned positions, GELU by tanh, one norm before the classifier."""
    golden, found = Golden("vivit"), recipe("pretrain/vivit_joint")
    spec, content, grid = of_video(golden, 4, (2, 8, 8))
    model = small(found.model)
    table = golden.w["vivit.embeddings.position_embeddings"][0]
    backbone = fill(
        built(model, spec),
        golden.patches("vivit.embeddings.patch_embeddings.projection", "embed.video.dense")
        | {"position.tables.video": table[1:], "extra.classes": golden.w["vivit.embeddings.cls_token"] + table[:1]}
        | golden.layers("vivit.layers", VIT, "blocks", 2)
        | golden.norm("vivit.layernorm", "norms.fused"),
        zero=("embed.modality",),
    )
    objective = dataclasses.replace(found.objectives["classification"], classes=5)
    heads = fill(objective.heads(model, spec, rngs=nnx.Rngs(0)), golden.dense("classifier", "logits.dense"))
    stream = make_stream([{"video": (content, grid)}])
    top, logits = run(lambda t, h, s: ((f := t(s)).top, h(f, s)[0][:, 0]), backbone, heads, stream=stream)
    return {"encoder": (top, golden.out["encoded"][:, 1:]), "logits": (logits, golden.out["logits"])}


def timesformer() -> Pairs:
    """Joint space and time: our one table holds the sums of the tables of space and of time."""
    golden = Golden("timesformer")
    spec, content, grid = of_video(golden, 3, (1, 8, 8))
    model = small(Model(fusion=Fusion("early"), class_tokens=1, position="learned_1d"))
    space, time = (golden.w[f"embeddings.{name}_embeddings"][0] for name in ("position", "time"))
    backbone = fill(
        built(model, spec),
        golden.patches("embeddings.patch_embeddings.projection", "embed.video.dense")
        | {
            "position.tables.video": (time[:, None] + space[None, 1:]).reshape(12, -1),
            "extra.classes": golden.w["embeddings.cls_token"] + space[:1],
        }
        | golden.layers("encoder.layer", TIMESFORMER, "blocks", 2)
        | golden.norm("layernorm", "norms.fused"),
        zero=("embed.modality",),
    )
    features = run(lambda t, s: t(s), backbone, stream=make_stream([{"video": (content, grid)}]))
    wanted = golden.out["encoded"]
    return {
        # Place by place, and within a place step by step.
        "encoder": (features.top, wanted[:, 1:].reshape(1, 4, 3, -1).swapaxes(1, 2).reshape(1, 12, -1)),
        "class token": (features.classes[-1][:, 0, 0], wanted[:, :1]),
    }


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
        "pass alone, pictures": (apart[:, :2], golden.out["picture"]),
        "pass alone, sound": (apart[:, 2:], golden.out["sound"]),
        "pixels": (told["video"], golden.out["picture_patches"][:, orders["video"]]),
        "spectrogram": (told["audio"], patch),
    }


def _towers(golden: Golden, lengths: list[int]) -> tuple[StreamSpec, object]:
    """Pictures and words a row: as many words as `lengths` says."""
    spec = StreamSpec(video=PatchSpec((1, 4, 4, 3), (1, 4, 4), 0.25), text=TextSpec(30, 8, 29))
    rows = []
    for image, words, length in zip(golden.given["images"], golden.given["words"], lengths, strict=True):
        text = words[:length].astype(np.int32), np.stack([np.zeros(length), np.zeros(length), np.arange(length)], -1)
        rows.append({"video": (patches(image[None], (1, 4, 4)), cells(1, 4, 4)), "text": text})
    return spec, make_stream(rows)


def _compared(golden: Golden, objective: Contrastive, backbone, heads, stream, bias: float) -> Pairs:
    def embed(backbone, heads, stream):
        features = backbone(stream)
        return features.taps[0], {
            name: both[0][:, 0] for name, both in objective.embeddings(heads, features, stream).items()
        }

    taps, embedded = run(embed, backbone, heads, stream=stream)
    logits = heads.scale(0) * embedded["video"] @ embedded["text"].T + bias
    count = np.asarray(stream.layout.is_token).sum(axis=1) - 16
    texts = [(taps[row, 16 : 16 + count[row]], golden.out["text_tokens"][row, : count[row]]) for row in range(2)]
    return {
        "text tokens": tuple(np.concatenate(side) for side in zip(*texts, strict=True)),
        "image embeddings": (embedded["video"], golden.out["image"]),
        "text embeddings": (embedded["text"], golden.out["text"]),
        "logits": (logits, golden.out["logits"]),
    }


def siglip() -> Pairs:
    """Both towers in the recipe's settings, and the sigmoid's logits; texts are filled up to their full length."""
    golden, found = Golden("siglip"), recipe("pretrain/siglip_video_audio")
    spec, stream = _towers(golden, [8, 8])
    pooling = dataclasses.replace(found.model.attention_pooling, feed_forward=48)
    model = small(found.model, attention_pooling=pooling)
    backbone = fill(
        built(model, spec),
        golden.patches("vision_model.embeddings.patch_embedding", "embed.video.dense")
        | {
            "embed.text.table": golden.w["text_model.embeddings.token_embedding.weight"],
            "position.tables.video": golden.w["vision_model.embeddings.position_embedding.weight"],
            "position.tables.text": golden.w["text_model.embeddings.position_embedding.weight"],
        }
        | golden.layers("vision_model.encoder.layers", CLIP, "blocks.apart.video", 2)
        | golden.layers("text_model.encoder.layers", CLIP, "blocks.apart.text", 2)
        | golden.norm("vision_model.post_layernorm", "norms.apart.video")
        | golden.norm("text_model.final_layer_norm", "norms.apart.text"),
        zero=("embed.modality",),
    )
    objective = dataclasses.replace(found.objectives["sigmoid"], pairs=("video-text",), width=24)
    head, pool = "vision_model.head", "poolers.video.attention"
    parts = {
        f"{pool}.{name}.{ours}": part
        for theirs, ours in (("weight", "kernel"), ("bias", "bias"))
        for name, part in zip(
            ("query", "key", "value"), np.split(golden.w[f"{head}.attention.in_proj_{theirs}"], 3), strict=True
        )
    }
    heads = fill(
        objective.heads(model, spec, rngs=nnx.Rngs(0)),
        {name: part.T for name, part in parts.items()}
        | {f"{pool}.probe": golden.w[f"{head}.probe"][0, 0]}
        | golden.dense(f"{head}.attention.out_proj", f"{pool}.out")
        | golden.norm(f"{head}.layernorm", f"{pool}.norm")
        | golden.dense(f"{head}.mlp.fc1", f"{pool}.up")
        | golden.dense(f"{head}.mlp.fc2", f"{pool}.down")
        | golden.dense("text_model.head", "projections.text.dense")
        | {"log_scale": golden.w["logit_scale"], "bias": golden.w["logit_bias"]},
    )
    return _compared(golden, objective, backbone, heads, stream, float(golden.w["logit_bias"][0]))


def clip() -> Pairs:
    """A norm before the pictures' first layer, causal text read at its end, projections without a bias."""
    golden = Golden("clip")
    spec, stream = _towers(golden, [4, 8])
    model = small(
        Model(
            fusion=Fusion("late", text="causal"),
            sharing=Sharing(apart="nothing"),
            block=Block(epsilon=1e-5, activation="gelu_quick"),
            class_tokens=1,
            embedding_norm=("video",),
            position="learned_1d",
        )
    )
    table = golden.w["vision_model.embeddings.position_embedding.weight"]
    own = golden.w["vision_model.embeddings.class_embedding"] + table[0]
    backbone = fill(
        built(model, spec),
        golden.patches("vision_model.embeddings.patch_embedding", "embed.video.dense")
        | {
            "embed.text.table": golden.w["text_model.embeddings.token_embedding.weight"],
            "position.tables.video": table[1:],
            "position.tables.text": golden.w["text_model.embeddings.position_embedding.weight"],
            "extra.classes": np.stack([own, np.zeros_like(own)])[:, None],
        }
        | golden.layers("vision_model.encoder.layers", CLIP, "blocks.apart.video", 2)
        | golden.layers("text_model.encoder.layers", CLIP, "blocks.apart.text", 2)
        | golden.norm("vision_model.pre_layrnorm", "embedding_norm.video")
        | golden.norm("vision_model.post_layernorm", "norms.apart.video")
        | golden.norm("text_model.final_layer_norm", "norms.apart.text"),
        zero=("embed.modality",),
    )
    objective = Contrastive(
        ("video-text",), width=10, pooling="class", poolings={"text": "last"}, projection="matrix"
    )  # fmt: skip
    heads = fill(
        objective.heads(model, spec, rngs=nnx.Rngs(0)),
        {
            "projections.video.dense.kernel": golden.w["visual_projection.weight"].T,
            "projections.text.dense.kernel": golden.w["text_projection.weight"].T,
            "log_scale": golden.w["logit_scale"][None],
        },
    )
    return _compared(golden, objective, backbone, heads, stream, 0.0)


def vjepa2() -> Pairs:
    """The encoder of all tokens, and the predictor of those that are hidden from it."""
    golden, found = Golden("vjepa2"), recipe("pretrain/vjepa")
    spec, content, grid = of_video(golden, 4, (2, 4, 4))
    objective = found.objectives["latent_prediction"]
    predictor = dataclasses.replace(objective.predictor, depth=2, width=24, heads=2)
    model = small(found.model, width=40, feed_forward=80)
    backbone = fill(
        built(model, spec),
        golden.patches("encoder.embeddings.patch_embeddings.proj", "embed.video.dense")
        | golden.layers("encoder.layer", V_JEPA, "blocks", 2)
        | golden.norm("encoder.layernorm", "norms.fused"),
        zero=("embed.modality",),
    )
    heads = fill(
        dataclasses.replace(objective, predictor=predictor).heads(model, spec, rngs=nnx.Rngs(0)),
        golden.dense("predictor.embeddings.predictor_embeddings", "predictor.narrow")
        | {"predictor.mask": golden.w["predictor.embeddings.mask_tokens"][1, 0, 0]}
        | golden.layers("predictor.layer", V_JEPA, "predictor.blocks", 2)
        | golden.norm("predictor.layernorm", "predictor.norm")
        | golden.dense("predictor.proj", "answers.video"),
        zero=("predictor.modality",),
    )
    kept, wanted = golden.given["kept"][0], golden.given["wanted"][0]
    whole = make_stream([{"video": (content, grid)}])
    part = make_stream([{"video": (content[kept], grid[kept])}], [{"video": (content[wanted], grid[wanted])}])
    top = run(lambda t, s: t(s).top, backbone, stream=whole)

    def told(heads, stream):
        # transformers' class gives the predictor some of the tokens of an encoder that has seen all.
        decoded = heads.predictor(top[:, kept], stream)
        return heads.answers["video"](gather_targets(decoded, stream.targets["video"].target_index))

    return {
        "encoder": (top, golden.out["encoded"]),
        "predictor": (run(told, heads, stream=part), golden.out["predicted"]),
    }


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


def bert() -> Pairs:
    """Norms behind the branches and on the embedded pieces; the type of a piece is our vector of its modality."""
    golden = Golden("bert")
    words = golden.given["words"][0].astype(np.int32)
    model = small(
        Model(
            fusion=Fusion("early"),
            block=Block(epsilon=1e-12, order="post"),
            embedding_norm=("text",),
            position="learned_1d",
        )
    )
    kinds = np.zeros((3, 24), np.float32)
    kinds[2] = golden.w["embeddings.token_type_embeddings.weight"][0]
    backbone = fill(
        built(model, StreamSpec(text=TextSpec(30, 8, 29))),
        {
            "embed.text.table": golden.w["embeddings.word_embeddings.weight"],
            "embed.modality.table": kinds,
            "position.tables.text": golden.w["embeddings.position_embeddings.weight"],
        }
        | golden.norm("embeddings.LayerNorm", "embedding_norm.text")
        | golden.layers("encoder.layer", BERT, "blocks", 2),
    )
    grid = np.stack([0 * words, 0 * words, np.arange(len(words))], axis=-1)
    return {
        "encoder": (
            run(lambda t, s: t(s).top, backbone, stream=make_stream([{"text": (words, grid)}])),
            golden.out["encoded"],
        )
    }


FAMILIES: dict[str, Callable[[], Pairs]] = {
    "VideoMAE, pretraining": videomae,
    "VideoMAE, classification": videomae_classification,
    "ViT-MAE": vit_mae,
    "AST": ast,
    "ViViT, joint": vivit,
    "TimeSformer, joint": timesformer,
    "CAV-MAE, released code": cav_mae,
    "SigLIP": siglip,
    "CLIP": clip,
    "V-JEPA 2": vjepa2,
    "Whisper, encoder": whisper,
    "BERT": bert,
}
"""What is compared, by the name that the table has for it."""


def difference(ours, theirs) -> float:
    """The largest difference, relative to the largest number."""
    ours, theirs = np.asarray(jax.device_get(ours), np.float64), np.asarray(theirs, np.float64)
    assert ours.shape == theirs.shape, f"{ours.shape} and {theirs.shape}"
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())
