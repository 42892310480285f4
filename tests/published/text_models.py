"""Published models of text, alone and beside pictures, as ours: the same weights, one input, what both make of it."""

from __future__ import annotations

import dataclasses

import numpy as np
from flax import nnx
from streams_of_clips import cells, make_stream, patches
from tiny_models import Pairs, built, recipe, run, small
from weights import BERT, CLIP, Golden, fill

from mmvideo.model.config import Block, Fusion, Model, Sharing
from mmvideo.objectives import Contrastive
from mmvideo.stream import PatchSpec, StreamSpec, TextSpec


def _towers(golden: Golden, lengths: list[int]) -> tuple[StreamSpec, object]:
    """Pictures and words a row: as many words as `lengths` says."""
    spec = StreamSpec(video=PatchSpec((1, 4, 4, 3), (1, 4, 4), 0.25), text=TextSpec(30, 8, 29))
    rows = []
    for image, words, length in zip(golden.given["images"], golden.given["words"], lengths, strict=True):
        text = words[:length].astype(np.int32), np.stack([np.zeros(length), np.zeros(length), np.arange(length)], -1)
        rows.append({"video": (patches(image[None], (1, 4, 4)), cells(1, 4, 4)), "text": text})
    return spec, make_stream(rows)


def _compared(
    golden: Golden, images: np.ndarray, objective: Contrastive, backbone, heads, stream, bias: float
) -> Pairs:
    """Tokens of both towers, embeddings and logits; `images` are the published tokens, class tokens first."""

    def embed(backbone, heads, stream):
        features = backbone(stream)
        return (
            features.taps[0],
            features.classes[0][:, 0, 0],
            {name: both[0][:, 0] for name, both in objective.embeddings(heads, features, stream).items()},
        )

    taps, classes, embedded = run(embed, backbone, heads, stream=stream)
    logits = heads.scale(0) * embedded["video"] @ embedded["text"].T + bias
    count = np.asarray(stream.layout.is_token).sum(axis=1) - 16
    texts = [(taps[row, 16 : 16 + count[row]], golden.out["text_tokens"][row, : count[row]]) for row in range(2)]
    return {
        "image tokens": (np.concatenate([classes, taps[:, :16]], axis=1), images),
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
    bias = float(golden.w["logit_bias"][0])
    return _compared(golden, golden.out["image_tokens"], objective, backbone, heads, stream, bias)


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
    # transformers norms the class token alone behind its last layer, we norm all tokens.
    images = golden.normed("vision_model.post_layernorm", golden.out["image_tokens"], 1e-5)
    return _compared(golden, images, objective, backbone, heads, stream, 0.0)


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
