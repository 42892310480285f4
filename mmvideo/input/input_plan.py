"""Plan of a run's input, made before any clip is decoded: corpora, sizes, order, budgets and all static shapes."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool

from mmvideo.datasets.manifests.annotations import Annotations
from mmvideo.input import mixture
from mmvideo.input.annotations import captions
from mmvideo.input.annotations.teacher_embeddings import TeacherEmbeddings, match_teacher_embeddings
from mmvideo.input.collate import BatchShape
from mmvideo.input.config import DropToken, Input, Masking, Views
from mmvideo.input.planning import budgets, token_counts
from mmvideo.input.planning.epoch_plan import EpochOrder, Planner
from mmvideo.input.planning.sampler import make_sampler
from mmvideo.input.skipped_clips import SkippedClips
from mmvideo.input.transforms import patchify
from mmvideo.stream import MODALITIES, Modality, StreamSpec

if TYPE_CHECKING:
    from mmvideo.media.text import Tokenizer


class InputPlan:
    """Corpora laid out for a run; the source of everything that its rows follow from.

    Attributes:
      config: the settings.
      mask, drop: shares of hidden and dropped tokens.
      corpus: the sources as one corpus.
      tokenizer: tokenizer of the captions; None without text.
      captions: captions as text tokens.
      sizes: tokens of every clip.
      spec: static part of the streams.
      sampler: sampler of the shown content of clips.
      teacher_embeddings: teacher embeddings of the clips; None where the config names none.
      used: True for clips with content that this run uses; the others are listed as skipped.
      planner: planner of the rows.
      shape: static shape of a row.
      skipped: skipped clips, with reasons.
    """

    def __init__(
        self,
        config: Input,
        *,
        masked: bool,
        train: bool,
        modalities: Sequence[str] | None,
        misaligned: bool,
        views: Views,
        assets: Mapping[str, bytes] | None,
        corpora: Sequence[Any],
    ):
        """Lay out the first epoch; the arguments are those of `Batches`.

        Raises:
          ValueError: a setting or a corpus cannot work.
        """
        self.config, self._train, self._assets = config, train, assets
        self.mask, self.drop = config.masking if masked else Masking(), config.drop_token if train else DropToken()
        self._shown = self._choose_shown(modalities)
        self.corpus = mixture.CorpusMixture(corpora, _json(assets, "classes.json"), _annotations(assets))
        self.tokenizer = self._choose_tokenizer()
        self.captions = self._encode_captions()
        tracks = self.corpus.has_video, self.corpus.has_audio
        self.sizes = token_counts.clip_sizes(self.corpus.seconds, *tracks, self.captions, config, self.mask, self.drop)
        self.skipped = SkippedClips()
        self.spec = self._choose_spec()
        self.sampler = make_sampler(
            self.corpus, self.sizes, self.captions, config, self._shown, train, misaligned or train, views
        )
        self.teacher_embeddings = self._find_vectors()
        self.used = self._usable()
        self.planner = self._plan()
        self.shape = self._choose_shape()

    def _choose_tokenizer(self) -> Tokenizer | None:
        if self.config.text is None:
            return None
        if self._assets is not None:
            from mmvideo.media.text import Tokenizer

            return Tokenizer(self._assets["tokenizer.model"])
        texts = (text for texts in self.corpus.all_captions() for text in texts)
        return captions.choose_tokenizer(self.config.text, [c.tokenizer_path for c in self.corpus.corpora], texts)

    def _encode_captions(self) -> captions.Captions:
        if self.tokenizer is None:
            return captions.no_captions(len(self.corpus))
        texts = self.corpus.all_captions()
        # Evaluation reads the first caption only.
        return captions.encode(texts if self._train else [t[:1] for t in texts], self.tokenizer, self.config.text)

    def _choose_spec(self) -> StreamSpec:
        """Return the modalities that the config prepares and some clip has, or those of the run that is evaluated."""
        config, trained = self.config, self._assets is not None
        video = audio = text = None
        if config.video is not None and (trained or self.sizes.video_steps.any()):
            video = patchify.video_spec(config.video)
        if config.audio is not None and (trained or self.sizes.audio_steps.any()):
            audio = patchify.audio_spec(config.audio, token_counts.longest_audio(config.audio))
        if self.tokenizer is not None and (trained or len(self.captions.text_tokens)):
            text = captions.text_spec(config.text, self.tokenizer)
        return StreamSpec(video, audio, text)

    def _choose_shown(self, modalities: Sequence[str] | None) -> Bool[np.ndarray, " 3"]:
        """Return a mask of the modalities that may be shown of a clip."""
        if modalities is None:
            return np.ones(len(MODALITIES), bool)
        have = [name for name in MODALITIES if getattr(self.config, name) is not None]
        if not modalities or not set(modalities) <= set(have):
            raise ValueError(f"evaluation.modalities {tuple(modalities)} must name some of those of the run: {have}")
        return np.isin(MODALITIES, list(modalities))

    def _choose_shape(self) -> BatchShape:
        """Return the static shape of a row."""
        return BatchShape(
            self.spec,
            self.planner.budget,
            tuple(name for name in self.spec.modalities if getattr(self.mask, name) > 0),
            self.corpus.annotations.single,
            {} if self.teacher_embeddings is None else self.teacher_embeddings.widths,
            self.corpus.targets.widths,
            self.corpus.moments.most,
            mixed=self._train and self.config.mixing.active,
        )

    def _find_vectors(self) -> TeacherEmbeddings | None:
        """Return the teacher embeddings of the clips, if the config names a file."""
        if self.config.embeddings is None:
            return None
        clips = [str(clip) for corpus in self.corpus.corpora for clip in corpus.table.id]
        return match_teacher_embeddings(self.config.embeddings, clips, required=self._train)

    def _plan(self) -> Planner:
        """Return the planner, with order and budgets."""
        usable, first = self.used, self.corpus.first
        # first [0, 3, 5], usable [1, 0, 1, 1, 0]: the members are [0, 2] and [3].
        members = [s + np.flatnonzero(usable[s:e]) for s, e in zip(first[:-1], first[1:], strict=True)]
        counts = mixture.epoch_counts(self.config.sources, [len(m) for m in members])
        order = EpochOrder(members, counts, self.config.seed, shuffled=self._train)
        everyone = np.flatnonzero(usable)
        most = self.sizes.largest(everyone, self.sampler.has[everyone], self.captions, self.sampler.count)
        # Needs do not depend on the budget, so a planner without limits gives them for the choice of budgets.
        unbudgeted = Planner(order, self.sampler, self.sizes, most.max(axis=0))
        packing = self.config.packing
        if not self._train:
            # Evaluation drops nothing and often hides nothing, so a clip may need more slots than a training row has.
            packing = budgets.grow_packing(most.max(axis=0), packing)
        budget = budgets.choose_budgets(
            unbudgeted.needs(0)[1],
            most.max(axis=0),
            packing,
            lambda column: f"clip {self.corpus.clip_id(int(everyone[most[:, column].argmax()]))}",
        )
        hidden = {name: share for name in self.spec.modalities if (share := getattr(self.mask, name)) > 0}
        budget = budgets.enforce_minimum(budget, most.max(axis=0), self.spec.modalities, hidden)
        return Planner(order, self.sampler, self.sizes, budget)

    def _usable(self) -> Bool[np.ndarray, " n"]:
        """Return a mask of the clips with content that this run uses; the others are listed as skipped."""
        has = self.sampler.has
        usable = has[:, Modality.VIDEO] | has[:, Modality.AUDIO]
        if not self._train:
            # Training never uses text alone. An evaluation may: of clips without media, or if it asks for text alone.
            silent = ~(self.corpus.has_video | self.corpus.has_audio)
            asked = not self._shown[[Modality.VIDEO, Modality.AUDIO]].any()
            usable |= (silent | asked) & has[:, Modality.TEXT]
        if not usable.any():
            names = ", ".join(f"{s.path} ({s.split})" for s in self.config.sources)
            raise ValueError(f"no clip of {names} has pictures or sound that this config uses")
        reason = "has neither pictures nor sound that this config uses"
        if not self._shown.all():
            reason = f"has no {' and no '.join(np.array(MODALITIES)[self._shown])}"
        for number in np.flatnonzero(~usable):
            self.skipped.add(self.corpus.clip_id(int(number)), reason)
        return usable


def _json(assets: Mapping[str, bytes] | None, name: str) -> Any:
    return None if assets is None or name not in assets else json.loads(assets[name])


def _annotations(assets: Mapping[str, bytes] | None) -> Annotations | None:
    """Return the label types of the run that trained a model; None for a run that knew only single classes."""
    sorts = _json(assets, "annotations.json")
    return None if sorts is None else Annotations(**{sort: tuple(kinds) for sort, kinds in sorts.items()})


def restrict_modalities(config: Input, assets: Mapping[str, bytes] | None) -> Input:
    """Return the config without the modalities that the training run of a model did not have."""
    trained = _json(assets, "spec.json")
    if trained is None:
        return config
    return dataclasses.replace(config, **{name: None for name in MODALITIES if trained[name] is None})
