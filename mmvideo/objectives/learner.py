"""The learner: one trunk, and the heads of every objective on it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from mmvideo.model.factory import build_model
from mmvideo.model.features import Features
from mmvideo.model.kinds import ModelConfig
from mmvideo.model.pool import pool
from mmvideo.objectives import AnyObjective
from mmvideo.objectives.components.modality_groups import embedding_name
from mmvideo.objectives.components.requirements import has_unfused_features, require_pooling
from mmvideo.objectives.contrastive import Contrastive, Embedded, group_name
from mmvideo.stream import StreamSpec, TokenStream


class Learner(nnx.Module):
    """What a run trains: a weighted set of objectives over one forward pass.

    Args:
      model: kind, size and fusion of the trunk.
      spec: the modalities of the run.
      objectives: what is learned, by name.
      rngs: needs the stream `params`.

    Attributes:
      backbone: the `MultimodalTransformer`, or a baseline.
      heads: the heads of each objective, by name.

    Raises:
      ValueError: no objective, or one that this model or these modalities cannot serve; the message
        starts with its name.
    """

    def __init__(self, model: ModelConfig, spec: StreamSpec, objectives: Mapping[str, AnyObjective], *, rngs: nnx.Rngs):
        if not objectives:
            raise ValueError("objectives is empty: a run needs at least one, such as contrastive")
        self._objectives = tuple(objectives.items())
        for name, objective in self._objectives:
            _named(name, require_pooling, model, objective)
        # Its name in the tree stays trunk: checkpoints and freeze patterns use it, and norms of the gradient are
        # summed in the order of such names.
        self.trunk = build_model(model, spec, rngs=rngs)
        self.heads = nnx.Dict(
            {name: _named(name, objective.heads, model, spec, rngs=rngs) for name, objective in self._objectives}
        )
        self.begin()

    def begin(self) -> None:
        """Lets objectives make what they make of the trunk as it is, such as a teacher."""
        for name, objective in self._objectives:
            if hasattr(objective, "begin"):
                _named(name, objective.begin, self.heads[name], self.trunk)

    @property
    def objectives(self) -> dict[str, AnyObjective]:
        """What is learned, by name."""
        return dict(self._objectives)

    def losses(self, stream: TokenStream) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
        """The weighted sum of the losses, and all metrics.

        Metrics are float32 scalars: `loss` is the sum, `NAME/loss` each objective's own without its
        weight, `NAME/…` what else it tells.

        Raises:
          ValueError: the stream lacks what an objective needs, such as hidden patches.
        """
        features = self.trunk(stream)
        features = dataclasses.replace(features, embedded=self._embedded(features, stream))
        total, metrics = jnp.float32(0), {}
        for name, objective in self._objectives:
            loss, own = _named(name, objective.loss, self.heads[name], features, stream, self.trunk)
            total += objective.weight * loss
            metrics |= {f"{name}/loss": loss} | {f"{name}/{key}": value for key, value in own.items()}
        return total, {"loss": total} | metrics

    def predict(self, stream: TokenStream) -> dict[str, dict[str, Array]]:
        """What the objectives that answer for single clips say of each, by the objective's name.

        An objective answers by a method `predict(heads, features, stream, backbone)`; its answer is a dict of arrays
        `[B, E, …]`, of which `known` tells for which clips the others mean something.
        """
        features = self.trunk(stream)
        return {
            name: _named(name, objective.predict, self.heads[name], features, stream, self.trunk)
            for name, objective in self._objectives
            if hasattr(objective, "predict")
        }

    def embed(self, stream: TokenStream) -> Embedded:
        """Unit embeddings from the contrastive heads, by group: `video`, `text`, `video+audio`.

        Each is an embedding `[B, E, d]` and which clips have the whole group `[B, E]`. The first contrastive objective
        that embeds text, or the first of all, makes the main space, whose names are plain; those of the others say
        whose they are (`objectives/components/modality_groups.py`), since embeddings of two objectives can't be
        compared.
        """
        return self._embedded(self.trunk(stream), stream)

    def _embedded(self, features: Features, stream: TokenStream) -> Embedded:
        """What the contrastive objectives make of features."""
        spaces = [(name, one) for name, one in self._objectives if isinstance(one, Contrastive)]
        spaces.sort(key=lambda space: ("text",) not in space[1].groups)
        embedded: Embedded = {}
        for place, (name, objective) in enumerate(spaces):
            found = objective.embeddings(self.heads[name], features, stream)
            embedded |= {embedding_name(group, name if place else ""): own for group, own in found.items()}
        return embedded

    def features(self, stream: TokenStream) -> Embedded:
        """Features of the trunk before any head, the mean over a clip's tokens, for probes.

        By group: each modality of the run, and `video+audio`; `[B, E, D]` float32 and which clips
        have the whole group. They come from the deepest layer at which the group has met no other
        modality; with a fusion that has none (early), from the top.
        """
        features = self.trunk(stream)
        spec, slots = self.trunk.spec, stream.clips.clip_index.shape[1]
        groups = [(name,) for name in spec.modalities]
        if {"video", "audio"} <= set(spec.modalities):
            groups.append(("video", "audio"))
        return {group_name(group): pool(self._tap(features, group), features.layout, group, slots) for group in groups}

    def _tap(self, features: Features, group: tuple[str, ...]) -> Float[Array, "B L D"]:
        """The tokens from which a group's features are pooled."""
        backbone = self.trunk
        return features.tokens(group) if has_unfused_features(backbone.config, backbone.spec, group) else features.top


def _named(name: str, call, *args, **kwargs):
    """The call's result, its operations under the objective's name; a ValueError says of which objective it is."""
    try:
        with jax.named_scope(name):
            return call(*args, **kwargs)
    except ValueError as error:
        raise ValueError(f"objective {name!r}: {error}") from error
