"""`Batches`: batch number `step` of a run is a lookup, on any number of processes and threads."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool

from mmvideo.datasets.annotations import Annotations
from mmvideo.input import budgets, captions, mixture, sizes, tokenise
from mmvideo.input.assemble import RowShape, assemble_row, stack_rows
from mmvideo.input.checks import check_config, check_views
from mmvideo.input.config import Drop, Input, Masking, Views
from mmvideo.input.footage import UnreadableClip
from mmvideo.input.kept import Kept, key_of
from mmvideo.input.loading import ClipLoader, Loaded
from mmvideo.input.mixing import note_mixed
from mmvideo.input.moments import note_moments
from mmvideo.input.picker import make_picker
from mmvideo.input.picks import Picks
from mmvideo.input.plan import Order, Planner, Row
from mmvideo.input.skipped import Mishaps
from mmvideo.input.targets import note_targets
from mmvideo.input.vectors import Vectors, match_vectors
from mmvideo.input.views import note_views
from mmvideo.stream import MODALITIES, PADDING, Clips, Modality, StreamSpec, TokenStream

if TYPE_CHECKING:
    from mmvideo.media.text import Tokenizer


class Batches:
    """The batches of a run, in numpy.

    In training, rows form one endless sequence over the epochs: batch `step` is rows
    `[step B, (step + 1) B)`, whoever asks. In evaluation every view of every clip comes exactly once, in the
    order of the corpora (rows by their first clip), unaugmented, from the middle where there is one view,
    with its first caption and all its modalities; the last batch is filled up with empty rows, and batches
    after it are empty.

    Attributes:
      config: the settings.
      spec: the static side of the streams.
      shape: the static shape of a row.
      tokenizer: of the captions; None without text.
      classes: class names of each kind of label that has classes, merged over the sources.
      annotations: the kinds of labels by their sort: one class, several classes, a number.
      rows: rows that this process makes of each batch.
    """

    def __init__(
        self,
        config: Input,
        *,
        masked: bool = True,
        train: bool = True,
        modalities: Sequence[str] | None = None,
        misaligned: bool = False,
        views: Views = Views(),
        process_index: int = 0,
        process_count: int = 1,
        assets: Mapping[str, bytes] | None = None,
        corpora: Sequence[Any] | None = None,
    ):
        """Opens the corpora and lays out the first epoch.

        Args:
          config: the settings.
          masked: False hides nothing, whatever the config says.
          train: False for evaluation.
          modalities: in evaluation, all that is shown of a clip; None shows what it has.
          misaligned: in evaluation, whether sound is shifted as in training.
          views: in evaluation, the views of every clip.
          process_index, process_count: which of how many processes this is; each makes its part of the rows.
          assets: what `assets` of the run gave in which a model was trained; tokenizer, classes and
            modalities are then that run's.
          corpora: already open, one for each source of the config; None opens them.

        Raises:
          ValueError: a setting or a corpus that cannot work.
        """
        from mmvideo.datasets.corpus import open_corpus

        config = _narrowed(config, _json(assets, "spec.json"))
        check_config(config, process_count)
        check_views(views, config, train)
        self.config, self.train = config, train
        self._mask = config.masking if masked else Masking()
        self._shown = self._choose_shown(modalities)
        self._assets = assets
        if corpora is None:
            corpora = [open_corpus(source.path, source.split) for source in config.sources]
        self.corpus = mixture.Mixture(corpora, _json(assets, "classes.json"), _annotations(assets))
        self.classes, self.annotations = self.corpus.classes, self.corpus.annotations
        self.tokenizer = self._choose_tokenizer()
        self._captions = self._encode_captions()
        drop = config.drop if train else Drop()
        tracks = self.corpus.has_video, self.corpus.has_audio
        self._sizes = sizes.clip_sizes(self.corpus.seconds, *tracks, self._captions, config, self._mask, drop)
        self._skipped, self._damaged = Mishaps(), Mishaps()
        self.spec = self._choose_spec()
        self._picker = make_picker(
            self.corpus, self._sizes, self._captions, config, self._shown, train, misaligned or train, views
        )
        self._vectors = self._find_vectors()
        self._planner = self._plan()
        self.shape = self._choose_shape()
        self._loader = ClipLoader(self.corpus, self._sizes, self._captions, config, self._mask, drop, train, views)
        self.rows = config.packing.rows // process_count
        self._first_row = process_index * self.rows
        self._kept = self._find_kept(
            masked=masked,
            train=train,
            modalities=modalities,
            misaligned=misaligned,
            views=dataclasses.asdict(views),
            process=(process_index, process_count),
        )
        if train:
            budgets.report_filling(self._planner.needs(0)[1], len(self._planner.epoch(0)), self._planner.budget)

    @property
    def steps_per_epoch(self) -> int:
        """Batches that hold the rows of the first epoch; later ones differ by a row or so in training."""
        return max(1, -(-len(self._planner.epoch(0)) // self.config.packing.rows))

    @property
    def skipped(self) -> list[tuple[str, str]]:
        """Ids of clips of this process that gave nothing so far, to be mixed into others too, each with the reason."""
        return self._skipped.list()

    @property
    def damaged(self) -> list[tuple[str, str]]:
        """Ids of clips of this process that were used as far as their files go, each with the reason."""
        return self._damaged.list()

    def clip_id(self, number: int) -> str:
        """The id of the clip that streams call `number`."""
        return self.corpus.clip_id(number)

    def views_of(self, number: int) -> int:
        """How many views streams hold of the clip that they call `number`; none of one that this run cannot use."""
        return int(self._picker.views[number]) if self._used[number] else 0

    def batch(self, step: int) -> TokenStream:
        """This process's rows of one batch."""
        return stack_rows([self._row(place) for place in range(step * self.rows, (step + 1) * self.rows)])

    def iterate(self, start_step: int, stop_step: int) -> Iterator[tuple[int, TokenStream]]:
        """Batches `start_step` to `stop_step - 1` with their numbers, rows prepared ahead by threads.

        Where the config names a folder for it, batches that lie there are read, and the others kept there.
        """
        if self._kept is None:
            yield from self._make(start_step, stop_step)
            return
        yield from self._kept.iterate(start_step, stop_step, self._make)
        self._kept.note_skipped(self.skipped)

    def _make(self, start_step: int, stop_step: int) -> Iterator[tuple[int, TokenStream]]:
        """Makes the batches. Grain only executes: nothing but the step is needed to go on where a run stopped."""
        import grain

        first, count = start_step * self.rows, max(stop_step - start_step, 0) * self.rows
        dataset = grain.MapDataset.source(_Rows(self, first, count))
        options = grain.ReadOptions(num_threads=self.config.threads, prefetch_buffer_size=self.config.prefetch)
        rows = iter(dataset.to_iter_dataset(options))
        try:
            for step in range(start_step, stop_step):
                yield step, stack_rows([next(rows) for _ in range(self.rows)])
        finally:
            rows.close()

    def assets(self) -> dict[str, bytes]:
        """Files that a checkpoint must carry so that its weights keep their meaning."""
        files: dict[str, Any] = {"classes.json": self.classes, "annotations.json": dataclasses.asdict(self.annotations)}
        files["spec.json"] = dataclasses.asdict(self.spec)
        if self.config.audio is not None and not self.config.audio.waveform:
            files["spectrogram.json"] = dataclasses.asdict(self.config.audio.spectrogram)
        encoded = {name: (json.dumps(value, indent=2) + "\n").encode() for name, value in files.items()}
        if self.tokenizer is not None:
            encoded["tokenizer.model"] = self.tokenizer.model
        return encoded

    def _row(self, place: int) -> TokenStream:
        """Row `place` of those that this process makes, counted through all batches."""
        step, within = divmod(place, self.rows)
        row = self._planner.row(step * self.config.packing.rows + self._first_row + within)
        picks = row.picks
        loaded = [self._load(row, slot) for slot in range(len(picks))]
        needs, labels = self._sizes.table(picks), self.corpus.labels
        tokens = [None if one is None else one.tokens for one in loaded]
        made = assemble_row(self.shape, picks.clip, tokens, needs, labels, picks.aligned, self._vectors)
        self._note(made.clips, picks, loaded)
        return made

    def _note(self, clips: Clips, picks: Picks, loaded: Sequence[Loaded | None]) -> None:
        """Writes what is known of an assembled row's clips and of their views."""
        note_views(clips, picks.view, np.array([0.0 if one is None else one.view.start for one in loaded]))
        note_targets(clips, self.corpus.targets)
        if self.shape.moments is not None:
            note_moments(clips, self.corpus.moments, [one and one.view for one in loaded], self.spec.video)
        if clips.mixed is not None:
            partner = np.array([PADDING if one is None else one.partner for one in loaded], np.int64)
            share = np.array([1.0 if one is None else one.share for one in loaded])
            note_mixed(clips, partner, share, self.corpus.labels, self.corpus.targets_of(partner))

    def _load(self, row: Row, slot: int) -> Loaded | None:
        """What one clip of a row gives; None, and a line in `skipped`, if it cannot be read."""
        number = int(row.picks.clip[slot])
        try:
            loaded = self._loader.load(row.picks, slot, (row.epoch, int(row.position[slot])))
        except UnreadableClip as error:
            self._skipped.add(self.clip_id(number), str(error))
            return None
        if loaded.lost is not None:
            partner, reason = loaded.lost
            self._skipped.add(self.clip_id(partner), reason)
        if loaded.damaged:
            self._damaged.add(self.clip_id(number), "its file ends early or is damaged; what is missing was filled up")
        return loaded

    def _find_kept(self, **how: Any) -> Kept | None:
        """The batches that other runs have kept, where the config names a folder for them."""
        if self.config.keep is None:
            return None
        key = key_of(self.config, self.corpus.corpora, self.assets(), **how)
        found = Kept(Path(self.config.keep) / key, lambda: self.batch(0))
        for clip, reason in found.skipped():
            self._skipped.add(clip, reason)
        return found

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
        return captions.encode(texts if self.train else [t[:1] for t in texts], self.tokenizer, self.config.text)

    def _choose_spec(self) -> StreamSpec:
        """The modalities that the config prepares and some clip has, or those of the run that is evaluated."""
        config, trained = self.config, self._assets is not None
        video = audio = text = None
        if config.video is not None and (trained or self._sizes.video_steps.any()):
            video = tokenise.video_spec(config.video)
        if config.audio is not None and (trained or self._sizes.audio_steps.any()):
            audio = tokenise.audio_spec(config.audio, sizes.longest_sound(config.audio))
        if self.tokenizer is not None and (trained or len(self._captions.pieces)):
            text = captions.text_spec(config.text, self.tokenizer)
        return StreamSpec(video, audio, text)

    def _choose_shown(self, modalities: Sequence[str] | None) -> Bool[np.ndarray, " 3"]:
        """Which modalities may be shown of a clip."""
        if modalities is None:
            return np.ones(len(MODALITIES), bool)
        have = [name for name in MODALITIES if getattr(self.config, name) is not None]
        if not modalities or not set(modalities) <= set(have):
            raise ValueError(f"evaluation.modalities {tuple(modalities)} must name some of those of the run: {have}")
        return np.isin(MODALITIES, list(modalities))

    def _choose_shape(self) -> RowShape:
        """The static shape of a row: what its clips may have, and room for it."""
        return RowShape(
            self.spec,
            self._planner.budget,
            tuple(name for name in self.spec.modalities if getattr(self._mask, name) > 0),
            self.annotations.single,
            {} if self._vectors is None else self._vectors.widths,
            self.corpus.targets.widths,
            self.corpus.moments.most,
            mixed=self.train and self.config.mixing.active,
        )

    def _find_vectors(self) -> Vectors | None:
        """What another model made of the clips, where the config names it."""
        if self.config.embeddings is None:
            return None
        clips = [str(clip) for corpus in self.corpus.corpora for clip in corpus.table.id]
        return match_vectors(self.config.embeddings, clips, required=self.train)

    def _plan(self) -> Planner:
        """Order, budgets and planner. Clips that have nothing this run uses are listed as skipped."""
        self._used = usable = self._usable()
        first = self.corpus.first
        members = [s + np.flatnonzero(usable[s:e]) for s, e in zip(first[:-1], first[1:], strict=True)]
        counts = mixture.epoch_counts(self.config.sources, [len(m) for m in members])
        order = Order(members, counts, self.config.seed, shuffled=self.train)
        everyone = np.flatnonzero(usable)
        most = self._sizes.largest(everyone, self._picker.has[everyone], self._captions, self._picker.count)
        unbudgeted = Planner(order, self._picker, self._sizes, most.max(axis=0))
        packing = self.config.packing
        if not self.train:
            # Rows of training may be too short for clips of which nothing is hidden or dropped.
            packing = budgets.room_for(most.max(axis=0), packing)
        budget = budgets.choose_budgets(
            unbudgeted.needs(0)[1],
            most.max(axis=0),
            packing,
            lambda column: f"clip {self.clip_id(int(everyone[most[:, column].argmax()]))}",
        )
        hidden = {name: share for name in self.spec.modalities if (share := getattr(self._mask, name)) > 0}
        budget = budgets.with_floors(budget, most.max(axis=0), self.spec.modalities, hidden)
        return Planner(order, self._picker, self._sizes, budget)

    def _usable(self) -> Bool[np.ndarray, " n"]:
        """Clips that show something that this run uses; the others are listed as skipped."""
        has = self._picker.has
        usable = has[:, Modality.VIDEO] | has[:, Modality.AUDIO]
        if not self.train:
            # What is words alone teaches nothing here, but it can be asked for.
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
            self._skipped.add(self.clip_id(int(number)), reason)
        return usable


class _Rows:
    """A stretch of a process's rows, as Grain wants its sources."""

    def __init__(self, batches: Batches, first: int, count: int):
        self._batches, self._first, self._count = batches, first, count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, place: int) -> TokenStream:
        return self._batches._row(self._first + place)


def _json(assets: Mapping[str, bytes] | None, name: str) -> Any:
    return None if assets is None or name not in assets else json.loads(assets[name])


def _annotations(assets: Mapping[str, bytes] | None) -> Annotations | None:
    """The kinds of labels of the run in which a model was trained; None for one that knew of single classes alone."""
    sorts = _json(assets, "annotations.json")
    return None if sorts is None else Annotations(**{sort: tuple(kinds) for sort, kinds in sorts.items()})


def _narrowed(config: Input, trained: Mapping[str, Any] | None) -> Input:
    """The config without the modalities that the run in which a model was trained did not have."""
    if trained is None:
        return config
    return dataclasses.replace(config, **{name: None for name in MODALITIES if trained[name] is None})
