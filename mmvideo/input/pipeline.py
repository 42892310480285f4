"""Batches of a run: batch number `step` is a lookup, for any number of processes and threads."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jax.profiler import TraceAnnotation

from mmvideo.input.annotations.moments import fill_moments
from mmvideo.input.annotations.numeric_targets import fill_targets
from mmvideo.input.batch_cache import BatchCache, cache_key
from mmvideo.input.checks import check_config, check_views
from mmvideo.input.clip_loader import ClipLoader, LoadedExample
from mmvideo.input.collate import assemble_row, stack_rows
from mmvideo.input.config import Input, Views
from mmvideo.input.input_plan import InputPlan, restrict_modalities
from mmvideo.input.planning.epoch_plan import Planned, Row
from mmvideo.input.planning.row_filling import report_filling
from mmvideo.input.planning.sampled_examples import SampledExamples
from mmvideo.input.skipped_clips import SkippedClips
from mmvideo.input.thread_count import threads_of
from mmvideo.input.transforms.eval_views import fill_views
from mmvideo.input.transforms.mixup import fill_mixup_targets
from mmvideo.input.view_reader import UnreadableClip
from mmvideo.stream import PADDING, Clips, TokenStream


class Batches:
    """The batches of a run in NumPy.

    In training, the rows of all epochs form one endless sequence: batch `step` is rows `[step B, (step + 1) B)` for
    every caller. In evaluation every view of every clip occurs exactly once, in the order of the corpora (rows by their
    first clip), unaugmented, from the middle if there is one view, with its first caption and all its modalities. The
    last batch is padded with empty rows, and later batches are empty.

    Attributes:
      config: the settings.
      spec: static part of the streams.
      shape: static shape of a row.
      tokenizer: tokenizer of the captions; None without text.
      classes: class names of each label type that has classes, merged over the sources.
      annotations: label types by sort: one class, several classes, a value.
      rows: rows of each batch that this process makes.
      threads: number of threads that prepare them.
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
        """Open the corpora and lay out the first epoch.

        Args:
          config: the settings.
          masked: False hides nothing, whatever the config says.
          train: False for evaluation.
          modalities: in evaluation, the modalities shown of a clip; None shows all that it has.
          misaligned: in evaluation, whether audio is shifted as in training.
          views: in evaluation, the views of every clip.
          process_index, process_count: index of this process and number of processes; each makes its part of the rows.
          assets: result of `assets` in the run that trained a model; tokenizer, classes and modalities are then
            those of that run.
          corpora: open corpora, one for each source of the config; None opens them.

        Raises:
          ValueError: a setting or a corpus cannot work.
        """
        from mmvideo.datasets.corpus import open_corpus

        config = restrict_modalities(config, assets)
        check_config(config, process_count)
        check_views(views, config, train)
        if corpora is None:
            corpora = [open_corpus(source.path, source.split) for source in config.sources]
            for corpus in corpora:
                corpus.open_records()
        how = {"masked": masked, "train": train, "modalities": modalities, "misaligned": misaligned}
        input_plan = InputPlan(config, **how, views=views, assets=assets, corpora=corpora)
        self.config, self.train, self.corpus, self.tokenizer = config, train, input_plan.corpus, input_plan.tokenizer
        self.classes, self.annotations = self.corpus.classes, self.corpus.annotations
        self.spec, self.shape = input_plan.spec, input_plan.shape
        self._sizes, self._picker, self._planner = input_plan.sizes, input_plan.sampler, input_plan.planner
        self._vectors, self._used = input_plan.teacher_embeddings, input_plan.used
        self._skipped, self._damaged = input_plan.skipped, SkippedClips()
        self._loader = ClipLoader(
            self.corpus, self._sizes, input_plan.captions, config, input_plan.mask, input_plan.drop, train, views
        )
        self.rows, self.threads = config.packing.rows // process_count, threads_of(config)
        # Process p makes rows [p, p + 1) * rows of every batch.
        self._first_row = process_index * self.rows
        self._kept = self._find_kept(**how, views=dataclasses.asdict(views), process=(process_index, process_count))
        if train:
            needs, rows = self._planner.needs(0)[1], len(self._planner.epoch(0))
            report_filling(needs, rows, self._planner.budget, config.packing)

    @property
    def steps_per_epoch(self) -> int:
        """Number of batches with rows of the first epoch; in training, later epochs differ by about a row."""
        return max(1, -(-len(self._planner.epoch(0)) // self.config.packing.rows))

    @property
    def skipped(self) -> list[tuple[str, str]]:
        """Ids of clips of this process that were skipped so far, also as partners of a mixup, each with the reason."""
        return self._skipped.list()

    @property
    def remembered(self) -> str | None:
        """Log line on the clips that are decoded once and kept in memory; None if there are none."""
        return self._loader.remembered

    @property
    def damaged(self) -> list[tuple[str, str]]:
        """Ids of clips of this process that were used only in part because their files are damaged, each with the
        reason."""
        return self._damaged.list()

    def clip_id(self, number: int) -> str:
        """Return the id of the clip with this number in the streams."""
        return self.corpus.clip_id(number)

    def views_of(self, number: int) -> int:
        """Return the number of views of a clip in the streams; 0 for a clip that this run cannot use."""
        return int(self._picker.views[number]) if self._used[number] else 0

    def planned(self, step: int) -> Planned:
        """Return the clips that batch `step` reads, over all processes."""
        rows = self.config.packing.rows
        return self._planner.planned(step * rows, rows)

    def batch(self, step: int) -> TokenStream:
        """Return this process's rows of one batch."""
        return stack_rows([self._row(place) for place in range(step * self.rows, (step + 1) * self.rows)])

    def iterate(self, start_step: int, stop_step: int) -> Iterator[tuple[int, TokenStream]]:
        """Yield batches `start_step` to `stop_step - 1` with their numbers; threads prepare rows ahead.

        If the config names a cache folder, batches in it are read, and the others are stored there.
        """
        if self._kept is None:
            yield from self._make(start_step, stop_step)
            return
        yield from self._kept.iterate(start_step, stop_step, self._make, lambda: self.skipped)

    def _make(self, start_step: int, stop_step: int) -> Iterator[tuple[int, TokenStream]]:
        """Make the batches. Grain only executes: a resumed run needs nothing but the step."""
        import grain

        first, count = start_step * self.rows, max(stop_step - start_step, 0) * self.rows
        dataset = grain.MapDataset.source(_Rows(self, first, count))
        options = grain.ReadOptions(num_threads=self.threads, prefetch_buffer_size=self.config.prefetch)
        rows = iter(dataset.to_iter_dataset(options))
        try:
            for step in range(start_step, stop_step):
                # Grain returns rows in order, however many threads prepare them.
                yield step, stack_rows([next(rows) for _ in range(self.rows)])
        finally:
            rows.close()

    def assets(self) -> dict[str, bytes]:
        """Return the files that a checkpoint must contain so that its weights keep their meaning."""
        files: dict[str, Any] = {"classes.json": self.classes, "annotations.json": dataclasses.asdict(self.annotations)}
        files["spec.json"] = dataclasses.asdict(self.spec)
        if self.config.audio is not None and not self.config.audio.waveform:
            files["spectrogram.json"] = dataclasses.asdict(self.config.audio.spectrogram)
        encoded = {name: (json.dumps(value, indent=2) + "\n").encode() for name, value in files.items()}
        if self.tokenizer is not None:
            encoded["tokenizer.model"] = self.tokenizer.model
        return encoded

    def origin(self) -> dict[str, Any]:
        """Return the sources of the batches, independent of their paths: digests of the corpora and of the teacher
        embeddings.

        A corpus that is not read from a folder, such as loose files, has no digest.
        """
        named = zip(self.config.sources, self.corpus.corpora, strict=True)
        sources = [
            {"split": source.split, "clips": len(corpus), "digest": getattr(corpus, "digest", "")}
            for source, corpus in named
        ]
        if self.config.embeddings is None:
            return {"sources": sources}
        with open(self.config.embeddings, "rb") as file:
            return {"sources": sources, "embeddings": hashlib.file_digest(file, "sha256").hexdigest()}

    def _row(self, place: int) -> TokenStream:
        """Return row `place` of the sequence of rows that this process makes over all batches."""
        # 2 processes, 8 rows a batch, so 4 rows each: row 5 of process 1 is row 1 of its part of batch 1,
        # which is row 1 * 8 + 4 + 1 = 13 of the whole sequence.
        step, within = divmod(place, self.rows)
        row = self._planner.row(step * self.config.packing.rows + self._first_row + within)
        sampled = row.sampled
        loaded = [self._load(row, slot) for slot in range(len(sampled))]
        needs, labels = self._sizes.table(sampled), self.corpus.labels
        tokens = [None if one is None else one.tokens for one in loaded]
        with TraceAnnotation("assemble"):
            made = assemble_row(self.shape, sampled.clip, tokens, needs, labels, sampled.aligned, self._vectors)
            self._note(made.clips, sampled, loaded)
        return made

    def _note(self, clips: Clips, sampled: SampledExamples, loaded: Sequence[LoadedExample | None]) -> None:
        """Write the known facts about the clips of an assembled row and their views."""
        fill_views(clips, sampled.view, np.array([0.0 if one is None else one.view.start for one in loaded]))
        fill_targets(clips, self.corpus.targets)
        if self.shape.moments is not None:
            fill_moments(clips, self.corpus.moments, [one and one.view for one in loaded], self.spec.video)
        if clips.mixed is not None:
            partner = np.array([PADDING if one is None else one.partner for one in loaded], np.int64)
            share = np.array([1.0 if one is None else one.share for one in loaded])
            fill_mixup_targets(clips, partner, share, self.corpus.labels, self.corpus.targets_of(partner))

    def _load(self, row: Row, slot: int) -> LoadedExample | None:
        """Return the content of one clip of a row; if it cannot be read, add it to `skipped` and return None."""
        number = int(row.sampled.clip[slot])
        try:
            loaded = self._loader.load(row.sampled, slot, (row.epoch, int(row.position[slot])))
        except UnreadableClip as error:
            self._skipped.add(self.clip_id(number), str(error))
            return None
        if loaded.lost is not None:
            partner, reason = loaded.lost
            self._skipped.add(self.clip_id(partner), reason)
        if loaded.damaged:
            self._damaged.add(self.clip_id(number), "its file ends early or is damaged; what is missing was filled up")
        return loaded

    def _find_kept(self, **how: Any) -> BatchCache | None:
        """Return the cache of batches, if the config names a folder for it."""
        if self.config.keep is None:
            return None
        key = cache_key(self.config, self.corpus.corpora, self.assets(), **how)
        found = BatchCache(Path(self.config.keep) / key, lambda: self.batch(0))
        for clip, reason in found.skipped:
            self._skipped.add(clip, reason)
        return found


class _Rows:
    """A range of a process's rows, as a Grain data source."""

    def __init__(self, batches: Batches, first: int, count: int):
        self._batches, self._first, self._count = batches, first, count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, place: int) -> TokenStream:
        return self._batches._row(self._first + place)
