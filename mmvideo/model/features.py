"""The output of the transformer: the tokens at the end of every stage of fusion."""

from __future__ import annotations

import dataclasses

import jax
from jaxtyping import Array, Bool, Float, Int

from mmvideo.model.fusion.fusion_stages import Stage, leaking_modalities
from mmvideo.model.fusion.gather import TokenPool
from mmvideo.stream import MODALITIES, TokenLayout


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Features:
    """Tokens tapped at the end of each stage of fusion.

    Attributes:
      taps: one array per stage, each after its own norm; values in padding are arbitrary.
      layout: clip and modality of each token: the layout of the stream, unless the backbone keeps fewer tokens.
      classes: for each tap the class tokens of every clip and modality; `C` may be 0. Those of a modality that the clip
        lacks are arbitrary.
      place: index of each token of the stream's rows in the rows of the taps, `PADDING` if it is not kept; None when
        the rows are the stream's.
      stages: the stages, in the order of the taps.
      modalities: the modalities that the model was built for.
      entering: the tokens at the start of each stage, from which the backbone can `resume`; empty for a backbone that
        can't.
      source: the pool of the tokens in `entering`: tokens of the rows, class tokens and registers.
      embedded: unit embeddings `[B, E, d]` by group of modalities, and a mask of the clips that have the whole group.
        The learner adds them for the run's contrastive objectives.
    """

    taps: tuple[Float[Array, "B L D"], ...]
    layout: TokenLayout
    classes: tuple[Float[Array, "B E 3 C D"], ...]
    place: Int[Array, "B S"] | None
    stages: tuple[Stage, ...] = dataclasses.field(metadata={"static": True})
    modalities: tuple[str, ...] = dataclasses.field(metadata={"static": True})
    entering: tuple[Float[Array, "B T D"], ...] = ()
    source: TokenPool | None = None
    embedded: dict[str, tuple[Float[Array, "B E d"], Bool[Array, "B E"]]] = dataclasses.field(default_factory=dict)

    @property
    def top(self) -> Float[Array, "B L D"]:
        """The tokens after the last layer and the final norm."""
        return self.taps[-1]

    def tap(self, modalities: tuple[str, ...]) -> int:
        """Return the index of the deepest tap at which no other modality has reached the given modalities.

        Raises:
          ValueError: an unknown modality, one that the model lacks, or a fusion that mixes in others from the first
            layer on.
        """
        lacking = [name for name in modalities if name not in self.modalities]
        if lacking or not modalities:
            raise ValueError(f"no features of {lacking or 'no modality'}: the model was built for {self.modalities}")
        # Example: stages apart, media, fused. ("video",) -> 0, ("video", "audio") -> 1, all three -> 2.
        apart = [number for number, stage in enumerate(self.stages) if not self._outsiders(stage, modalities)]
        if not apart:
            others = ", ".join(self._outsiders(self.stages[0], modalities))
            raise ValueError(
                f"no layer has features of {' + '.join(modalities)} alone: {others} can be seen from the first layer "
                "on; choose fusion.scheme mid or late, or for mid a higher fusion.layer or fusion.media_layer"
            )
        return apart[-1]

    def tokens(self, modalities: tuple[str, ...]) -> Float[Array, "B L D"]:
        """Return the tokens at `tap(modalities)`; raises as `tap` does.

        Only the tokens of the given modalities are valid; the same rows hold the tokens of the rest.
        """
        return self.taps[self.tap(modalities)]

    def _outsiders(self, stage: Stage, modalities: tuple[str, ...]) -> tuple[str, ...]:
        ordered = tuple(name for name in MODALITIES if name in modalities)
        return leaking_modalities(stage, ordered, self.modalities)
