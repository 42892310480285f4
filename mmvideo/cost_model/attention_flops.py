"""The attention that a clip needs: pairs of a query and a key within the spans, by formula.

The products of a program are counted with dense attention, as the reference computes it: each query with every key of
its row. A backend that knows spans skips the other pairs, and needs only the pairs counted here.
"""

from __future__ import annotations

from collections.abc import Mapping

from mmvideo.model.config import Model, model_dims
from mmvideo.model.fusion.fusion_stages import Stage, stages


def attention_flops(model: Model, tokens: Mapping[str, int], captions: int = 1) -> int:
    """Return the FLOPs of queries with keys and weights with values in the backbone, for one clip and within its spans.

    Args:
      model: fusion, depth, width, and the tokens that the backbone adds.
      tokens: tokens of the clip that enter the backbone, by modality; those of all captions together.
      captions: number of captions in the text, all of one length.
    """
    numbers = model_dims(model)
    added = model.class_tokens + model.registers
    pairs = 0
    for stage in stages(model.fusion, numbers.depth):
        more = {name: added + stage.bottlenecks * (name in stage.fused) for name in tokens}
        for group in stage.groups:
            members = {name: tokens[name] + more[name] for name in group if tokens.get(name)}
            if tuple(members) == ("text",):
                each = _alone(tokens["text"], more["text"], captions, bool(stage.causal))
            else:
                each = _together(members, stage)
            pairs += each * _layers(model, stage, tuple(members))
    # Two products per pair, each with `width` multiply-adds over all heads: scores, and the weighted sum of values.
    return 4 * numbers.width * pairs


def space_flops(model: Model, grid: tuple[int, int, int]) -> int:
    """Return the same for the space encoder and a clip of a whole grid, in which a token attends to its own step."""
    steps, rows, columns = grid
    tokens = rows * columns + (model.video_encoder.pooling == "class")
    return 4 * model_dims(model).width * model.video_encoder.depth * steps * tokens**2


def _layers(model: Model, stage: Stage, members: tuple[str, ...]) -> int:
    """Return the number of layers of a stage that a group passes; an unfused modality may have its own number."""
    depth = stage.end - stage.first
    if stage.name == "apart" and model.depths and members:
        return model.depths.get(members[0], depth)
    return depth


def _alone(text_tokens: int, added: int, captions: int, causal: bool) -> int:
    """Return the pairs of unfused text, in which captions are separate; added tokens belong to the last one."""
    # Example: 2 captions of 3 tokens each and 1 class token: 3 * 3 + 4 * 4 = 25 pairs.
    each = text_tokens // captions
    lengths = [each] * (captions - 1) + [each + added]
    return sum(n * (n + 1) // 2 if causal else n * n for n in lengths)


def _together(members: Mapping[str, int], stage: Stage) -> int:
    """Return the pairs of a group that attends to all of itself; causal text attends only to earlier tokens."""
    # Example: 4 video and 3 causal text tokens: 4 * 4 + 3 * 4 + (1 + 2 + 3) = 34 pairs.
    free = sum(count for name, count in members.items() if name not in stage.causal)
    ordered = sum(count for name, count in members.items() if name in stage.causal)
    return free**2 + ordered * free + ordered * (ordered + 1) // 2
