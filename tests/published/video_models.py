"""Published models of pictures and video as ours: the same weights, one input, what both make of it."""

from __future__ import annotations

import dataclasses

import numpy as np
from flax import nnx
from streams_of_clips import make_stream
from tiny_models import Pairs, answers, built, of_video, recipe, run, small
from weights import TIMESFORMER, V_JEPA, VIDEO_MAE, VIT, Golden, fill

from mmvideo.model.config import Fusion, Model
from mmvideo.objectives import MaskedPatches
from mmvideo.objectives.losses.masked_mean import gather_targets


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


def vivit_factorised() -> Pairs:
    """Scenic's factorised encoder: layers in space with a class token, then in time, with positions of their own."""
    golden, found = Golden("vivit_factorised"), recipe("pretrain/vivit_factorised")
    spec, content, grid = of_video(golden, 4, (2, 8, 8))
    model = small(found.model, video_encoder=dataclasses.replace(found.model.video_encoder, depth=2))
    space, time = (golden.w[f"{name}Transformer.posembed_input.pos_embedding"][0] for name in ("Spatial", "Temporal"))
    backbone = fill(
        built(model, spec),
        golden.flax_dense("embedding", "embed.video.dense")
        | {
            "space.position.tables.video": space[1:],
            "space.class_token": golden.w["cls_SpatialTransformer"] + space[:1],
            "position.tables.video": time[1:],
            "extra.classes": golden.w["cls_TemporalTransformer"] + time[:1],
        }
        | golden.flax_layers("SpatialTransformer.encoderblock_{}", "space.blocks")
        | golden.flax_norm("SpatialTransformer.encoder_norm", "space.norm")
        | golden.flax_layers("TemporalTransformer.encoderblock_{}", "blocks")
        | golden.flax_norm("TemporalTransformer.encoder_norm", "norms.fused"),
        zero=("embed.modality",),
    )
    objective = dataclasses.replace(found.objectives["classification"], classes=5)
    heads = fill(objective.heads(model, spec, rngs=nnx.Rngs(0)), golden.flax_dense("output_projection", "logits.dense"))

    def all_of(backbone, heads, stream):
        features = backbone(stream)
        return features.top, features.classes[-1][:, 0, 0], heads(features, stream)[0][:, 0]

    top, own, logits = run(all_of, backbone, heads, stream=make_stream([{"video": (content, grid)}]))
    wanted = golden.out["encoded"]
    return {
        "steps": (top, wanted[:, 1:]),
        "class token": (own, wanted[:, :1]),
        "logits": (logits, golden.out["logits"]),
    }


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
