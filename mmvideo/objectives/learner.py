"""The learner: one backbone, and the heads of every objective on it."""

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
    """The module that a run trains: a backbone and a weighted set of objectives over one forward pass.

    Args:
      model: Kind, size and fusion of the backbone.
      spec: The modalities of the run.
      objectives: The objectives by name.
      rngs: Random streams, of which `params` is needed.

    Attributes:
      trunk: The backbone: a `MultimodalTransformer` or a baseline.
      heads: The heads of each objective, by name.

    Raises:
      ValueError: There is no objective, or one that this model or these modalities can't serve. The message starts with
        the name of the objective.
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
        """Let the objectives that need it copy the current backbone, for example as a teacher."""
        for name, objective in self._objectives:
            if hasattr(objective, "begin"):
                _named(name, objective.begin, self.heads[name], self.trunk)

    @property
    def objectives(self) -> dict[str, AnyObjective]:
        """The objectives by name."""
        return dict(self._objectives)

    def losses(self, stream: TokenStream) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
        """Return the weighted sum of the losses, and all metrics.

        Metrics are float32 scalars: `loss` is the sum, `NAME/loss` the unweighted loss of each objective, and `NAME/…`
        its other metrics.

        Raises:
          ValueError: The stream lacks something that an objective needs, such as hidden patches.
        """
        features = self.trunk(stream)
        # Embeddings are computed once a step: the contrastive loss and hard negatives of matching share them.
        features = dataclasses.replace(features, embedded=self._embedded(features, stream))
        total = jnp.float32(0)
        metrics = {}
        for name, objective in self._objectives:
            loss, own = _named(name, objective.loss, self.heads[name], features, stream, self.trunk)
            total += objective.weight * loss
            metrics |= {f"{name}/loss": loss} | {f"{name}/{key}": value for key, value in own.items()}
        return total, {"loss": total} | metrics

    def predict(self, stream: TokenStream) -> dict[str, dict[str, Array]]:
        """Return the predictions for single clips, by the name of the objective that makes them.

        An objective takes part if it has a method `predict(heads, features, stream, backbone)`. Its prediction is a
        dict of arrays `[B, E, …]`; its entry `known` is True for the clips for which the other entries have a meaning.
        """
        features = self.trunk(stream)
        return {
            name: _named(name, objective.predict, self.heads[name], features, stream, self.trunk)
            for name, objective in self._objectives
            if hasattr(objective, "predict")
        }

    def embed(self, stream: TokenStream) -> Embedded:
        """Return the unit embeddings of the contrastive heads, by group: `video`, `text`, `video+audio`.

        Each entry is an embedding `[B, E, d]` and a mask of the clips that have the whole group `[B, E]`. The first
        contrastive objective that embeds text (or else the first of all) makes the main space, whose names are plain.
        The names of other spaces include their objective (`objectives/components/modality_groups.py`), because
        embeddings of two objectives can't be compared.
        """
        return self._embedded(self.trunk(stream), stream)

    def _embedded(self, features: Features, stream: TokenStream) -> Embedded:
        """Return the embeddings of all contrastive objectives from features."""
        spaces = [(name, one) for name, one in self._objectives if isinstance(one, Contrastive)]
        # The sort is stable and False comes before True: objectives with text first, in their given order otherwise.
        spaces.sort(key=lambda space: ("text",) not in space[1].groups)
        embedded: Embedded = {}
        for place, (name, objective) in enumerate(spaces):
            found = objective.embeddings(self.heads[name], features, stream)
            embedded |= {embedding_name(group, name if place else ""): own for group, own in found.items()}
        return embedded

    def features(self, stream: TokenStream) -> Embedded:
        """Return the features of the backbone before any head, as the mean over the tokens of a clip, for probes.

        Groups are each modality of the run, and `video+audio`. Each entry is `[B, E, D]` in float32 and a mask of the
        clips that have the whole group. The features come from the deepest layer at which the group has met no other
        modality, or from the top if the fusion (early) has no such layer.
        """
        features = self.trunk(stream)
        spec = self.trunk.spec
        slots = stream.clips.clip_index.shape[1]
        groups = [(name,) for name in spec.modalities]
        if {"video", "audio"} <= set(spec.modalities):
            groups.append(("video", "audio"))
        return {group_name(group): pool(self._tap(features, group), features.layout, group, slots) for group in groups}

    def _tap(self, features: Features, group: tuple[str, ...]) -> Float[Array, "B L D"]:
        """Return the tokens from which the features of a group are pooled."""
        backbone = self.trunk
        return features.tokens(group) if has_unfused_features(backbone.config, backbone.spec, group) else features.top


def _named(name: str, call, *args, **kwargs):
    """Call a function with its operations in a scope of the objective's name; add the name to a ValueError."""
    try:
        with jax.named_scope(name):
            return call(*args, **kwargs)
    except ValueError as error:
        raise ValueError(f"objective {name!r}: {error}") from error
