"""Build of a corpus from a manifest folder: a TFDS dataset in ArrayRecord that is read without TensorFlow.

A corpus is a folder of

    NAME-SPLIT.array_record-00000-of-00002 …   the shards: encoded media, captions, labels, tags, attributes
    clips-SPLIT.parquet                        the clip table (see `clip_table.ClipTable`)
    features.json, labels-….labels.txt         descriptions with which TFDS reads the shards
    skipped.jsonl                              clips that were left out, `{"id", "reason"}` a line
    tokenizer.model                            SentencePiece over the training captions, if requested
    build.json                                 source, settings and counts of the build
    digests.json                               SHA-256 of all of these, compared when the corpus is opened
    dataset_info.json                          written last: with it the corpus is complete

One process writes one shard, whose content depends only on its rows, so the corpus is the same for any number of
processes. A shard appears under its name only when it is complete, and its receipt under `.building/` only after that;
an interrupted build continues from there.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from mmvideo.datasets.digests import DigestError, check_files, read_digests, write_digests
from mmvideo.datasets.manifests.annotations import SORTS, Annotations, annotations_of
from mmvideo.datasets.manifests.folder import left_out
from mmvideo.datasets.manifests.manifest import NAMES, class_names, read_classes, read_manifest
from mmvideo.datasets.manifests.manifest_row import ManifestRow
from mmvideo.datasets.manifests.surrogates import spelled_out
from mmvideo.datasets.records import dataset_name, shard_name, write_description
from mmvideo.datasets.write_shard import (
    Recipe,
    ShardManifest,
    ShardTask,
    read_shard_manifest,
    replace,
    rows_digest,
    write_text,
)
from mmvideo.media.config import LIMITS, Limits

LAYOUT = 2
"""Version of the layout of corpora; a change makes older corpora differ from new ones.

1: transcoding changed the colours of BT.709, BT.2020 and SMPTE 240M, cuts had a constant frame rate, and lengths
estimated by FFmpeg were believed.
"""

SLOWEST, FASTEST = 0.001, 1000.0
"""Range of frames per second that a build accepts; a typing error could otherwise make a million of each second."""

MOST = 1 << 30
"""Largest number of pixels and frames that a build accepts: FFmpeg counts them in 32 bits."""

WORK = ".building"
COMPLETE = "dataset_info.json"
RECORD = "build.json"
SKIPPED = "skipped.jsonl"
TOKENIZER = "tokenizer.model"


class BuildError(ValueError):
    """A corpus cannot be built; the message has the cause and the remedy."""


@dataclasses.dataclass(frozen=True)
class BuildSummary:
    """Result of a build.

    Attributes:
      clips: number of clips in the corpus.
      skipped: id and reason of each clip that was left out.
      splits: number of clips in each split.
      labels: description of each label type.
      moments: number of clips with moments described by their captions.
      left_out: files of a folder without a manifest that have no media suffix, and links to folders.
    """

    clips: int
    skipped: list[tuple[str, str]]
    splits: dict[str, int]
    labels: dict[str, str] = dataclasses.field(default_factory=dict)
    moments: int = 0
    left_out: list[str] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class _Plan:
    """Everything that determines the content of the corpus."""

    source: Path
    out: Path
    dataset: str
    classes: dict[str, list[str]]
    kinds: Annotations
    settings: dict
    tasks: dict[str, list[ShardTask]]
    digest: str

    @property
    def work(self) -> Path:
        return self.out / WORK

    def record(self) -> dict:
        return {"source": str(self.source), "settings": self.settings, "digest": self.digest}


def build(
    source: str | Path,
    out: str | Path,
    *,
    name: str | None = None,
    short_side: int | None = None,
    gop: int | None = None,
    fps: float | None = None,
    deinterlace: bool = True,
    tone_map: bool = True,
    processes: int | None = None,
    shard_clips: int = 256,
    tokenizer_vocabulary: int | None = None,
    time_tokens: int | None = None,
    progress: bool = True,
    allow_outside: bool = False,
    limits: Limits = LIMITS,
) -> BuildSummary:
    """Build a corpus from the clips of a manifest (see `manifest.read_manifest`), or continue an interrupted build.

    Args:
      source: a manifest, its folder, or a folder of clips.
      out: folder of the corpus, new or empty, or with an unfinished build of the same corpus.
      name: name of the dataset; None uses that of `out`.
      short_side: length of the shorter side in pixels to transcode to; smaller video is never enlarged.
      gop: frames from one key frame to the next to transcode to; a small number makes random access fast.
      fps: frames per second to transcode to.
      deinterlace, tone_map: whether to make whole frames of interlaced ones, and to convert HLG and PQ to BT.709; it
        applies to transcoding here, and to readers of media kept as it is.
      processes: number of shards written in parallel; None uses one for each processor core.
      shard_clips: number of clips in a shard.
      tokenizer_vocabulary: vocabulary size of a SentencePiece tokenizer trained on the training captions; None for
        none.
      time_tokens: number of its tokens for moments of a clip (see `media.time_tokens`).
      progress: whether to show a progress bar on a terminal.
      allow_outside: whether a manifest's media may be outside its folder.
      limits: limits beyond which a clip is left out.

    Raises:
      ManifestError: the manifest is wrong.
      BuildError: `out` holds something else, no clip could be read, or a setting is wrong.
    """
    source = Path(source).absolute()
    rows = read_manifest(source, allow_outside)
    folder = source if source.is_dir() else source.parent
    listed = source.is_file() or any((folder / name).is_file() for name in NAMES)
    return build_rows(
        rows,
        folder,
        out,
        classes=class_names(rows, read_classes(folder)),
        licences={path.name: path for path in sorted(folder.glob("LICEN[SC]E*")) if path.is_file()},
        name=name,
        recipe=Recipe(short_side, gop, None if fps is None else float(fps), deinterlace, tone_map, limits),
        processes=processes,
        shard_clips=shard_clips,
        tokenizer_vocabulary=tokenizer_vocabulary,
        time_tokens=time_tokens,
        progress=progress,
        left_out=[] if listed else left_out(folder),
    )


def build_rows(
    rows: Sequence[ManifestRow],
    source: Path,
    out: str | Path,
    *,
    classes: dict[str, list[str]],
    licences: dict[str, Path],
    name: str | None,
    recipe: Recipe,
    processes: int | None,
    shard_clips: int,
    tokenizer_vocabulary: int | None,
    time_tokens: int | None = None,
    progress: bool,
    left_out: Sequence[str] = (),
) -> BuildSummary:
    """Build a corpus from any rows, with their licence files; otherwise as `build`.

    The files that were left out are named in its record.
    """
    from mmvideo.datasets.workers import run_tasks

    numbers = {"shard_clips": shard_clips, "processes": processes, "tokenizer_vocabulary": tokenizer_vocabulary}
    if time_tokens is not None:
        # Added only if it is set, so that corpora built before this setting existed keep their fingerprints.
        numbers |= {"time_tokens": time_tokens}
        if tokenizer_vocabulary is None:
            raise BuildError("time_tokens are pieces of a tokenizer: give tokenizer_vocabulary too")
    for setting, value in (numbers | recipe.settings()).items():
        if value is not None and value is not False and not value > 0:
            raise BuildError(f"{setting} must be greater than 0, not {value}")
    if recipe.fps is not None and not SLOWEST <= recipe.fps <= FASTEST:
        raise BuildError(f"fps must be from {SLOWEST:g} to {FASTEST:g} frames a second, not {recipe.fps:g}")
    if max(recipe.gop or 0, recipe.short_side or 0) > MOST:
        raise BuildError(
            f"gop and short_side must be at most {MOST}, not {max(recipe.gop or 0, recipe.short_side or 0)}"
        )
    out = Path(out).absolute()
    settings = recipe.settings() | numbers | {"name": dataset_name(name or out.name)}
    # The number of processes does not change the corpus.
    del settings["processes"]
    plan = _plan(rows, source, out, classes, recipe, settings)
    _look_at(plan)
    if (out / COMPLETE).exists():
        return _complete(plan)
    plan.work.mkdir(parents=True, exist_ok=True)
    # From here on the folder belongs to this process.
    with _lock(plan.work):
        _begin(plan)
        tasks = [task for tasks in plan.tasks.values() for task in tasks]
        run_tasks([task for task in tasks if read_shard_manifest(task) is None], tasks, processes, progress)
        return _finish(plan, licences, list(left_out))


def _plan(rows, source: Path, out: Path, classes: dict, recipe: Recipe, settings: dict) -> _Plan:
    """Divide rows into shards: those of a split in the manifest's order, `shard_clips` in each."""
    splits: dict[str, list[ManifestRow]] = {}
    kinds = annotations_of([row.labels for row in rows])
    # Added only if it is needed, so that corpora built before the other sorts of labels existed keep their
    # fingerprints.
    sorts = [dataclasses.asdict(kinds)] if kinds.several or kinds.number else []
    for row in rows:
        splits.setdefault(row.split, []).append(row)
    size, dataset = settings["shard_clips"], settings["name"]
    tasks: dict[str, list[ShardTask]] = {}
    for split, clips in splits.items():
        # 5 clips in shards of 2: the groups have 2, 2 and 1 clips.
        groups = [tuple(clips[start : start + size]) for start in range(0, len(clips), size)]
        for number, group in enumerate(groups):
            file = shard_name(dataset, split, number, len(groups))
            digest = rows_digest(group, source, LAYOUT, classes, recipe.settings(), *sorts)
            task = ShardTask(out / file, out / WORK / f"{file}.json", group, classes, recipe, digest, kinds)
            tasks.setdefault(split, []).append(task)
    digest = rows_digest(rows, source, LAYOUT, classes, settings)
    return _Plan(source, out, dataset, classes, kinds, settings, tasks, digest)


def _look_at(plan: _Plan) -> None:
    """Refuse a folder that holds anything but this corpus, finished or not."""
    out = plan.out
    if spelled_out(str(out)) != str(out):
        raise BuildError(
            f"{spelled_out(str(out))}: its name isn't UTF-8, which TFDS can't write; choose another folder"
        )
    if out.exists() and not out.is_dir():
        raise BuildError(f"{out}: is a file; name a folder")
    if plan.source == out:
        raise BuildError(f"{out}: the corpus can't lie in the folder of its own clips; choose another folder")
    if (out / COMPLETE).exists() or not out.exists():
        return
    if not (out / WORK).is_dir() and any(out.iterdir()):
        raise BuildError(f"{out}: isn't empty and no corpus of mmvideo; choose another folder")
    _compare(plan, out / WORK / RECORD, "an unfinished build")


def _compare(plan: _Plan, path: Path, what: str) -> dict | None:
    """Return the record of a build at `path`, if there is one.

    Raises:
      BuildError: it has another source or other settings.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    now = {"source": str(plan.source), **plan.settings}
    before = {"source": record["source"], **record["settings"]}
    names = [name for name in before | now if before.get(name) != now.get(name)]
    other = [f"{name} {before.get(name)}, now {now.get(name)}" for name in names]
    if other:
        raise BuildError(
            f"{plan.out}: holds {what} of something else ({'; '.join(other)}); choose another folder or delete it"
        )
    return record


def _complete(plan: _Plan) -> BuildSummary:
    """Return the summary of the existing corpus, if it is the requested one."""
    try:
        digests = read_digests(plan.out)
        if digests is not None:
            check_files(plan.out, digests)
    except DigestError as error:
        raise BuildError(f"{error}; delete {plan.out} to build it anew") from None
    # Settings and source first: a message about them is clearer than one about the digest.
    record = _compare(plan, plan.out / RECORD, "a corpus")
    if record is None:
        raise BuildError(f"{plan.out}: holds a dataset that mmvideo hasn't built; choose another folder")
    if record.get("layout") != LAYOUT:
        raise BuildError(
            f"{plan.out}: was built with layout {record.get('layout')} of corpora, now it is {LAYOUT}; "
            "delete it to build it anew, or choose another folder"
        )
    if record["digest"] != plan.digest:
        raise BuildError(
            f"{plan.out}: was built before the clips or the manifest in {plan.source} changed; "
            "delete it to build it anew, or choose another folder"
        )
    shutil.rmtree(plan.work, ignore_errors=True)
    skipped, labels = _read_skipped(plan.out / SKIPPED), _in_words(plan.kinds, plan.classes)
    left = record.get("left_out", [])
    return BuildSummary(record["clips"], skipped, record["splits"], labels, record.get("moments", 0), left)


def _begin(plan: _Plan) -> None:
    """Write the record of the build, and remove shards of an earlier plan that this one lacks."""
    write_text(plan.work / RECORD, json.dumps(plan.record(), indent=1))
    files = {task.path.name for tasks in plan.tasks.values() for task in tasks}
    for path in plan.out.glob(f"{plan.dataset}-*.array_record-*"):
        # A plan with 3 shards has names `…-of-00003`: those of an earlier plan with 2 are removed.
        if path.name not in files:
            path.unlink()


def _finish(plan: _Plan, licences: dict[str, Path], left_out: list[str]) -> BuildSummary:
    """Combine the shards' receipts: tables, descriptions, and as the last file the one that completes the corpus."""
    receipts: dict[str, list[ShardManifest]] = {}
    for split, tasks in plan.tasks.items():
        receipts[split] = [receipt for receipt in map(read_shard_manifest, tasks) if receipt is not None]
        if len(receipts[split]) != len(tasks):
            raise BuildError(f"{plan.out}: shards of split {split} changed while they were built; run the build again")
    summary = dataclasses.replace(_summarise(plan, receipts), left_out=left_out)
    if not summary.clips:
        first = "; ".join(f"{clip}: {reason}" for clip, reason in summary.skipped[:3])
        raise BuildError(f"{plan.source}: none of its {len(summary.skipped)} clips can be read ({first})")
    made = plan.work / "made"
    # The parts are made apart and renamed into place, so that an interrupted finish starts over.
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir()
    _write_parts(plan, made, receipts, summary)
    for name, path in licences.items():
        shutil.copyfile(path, made / name)
    done = zip([task for tasks in plan.tasks.values() for task in tasks], sum(receipts.values(), []), strict=True)
    write_digests(made, {task.path.name: receipt.sha256 for task, receipt in done})
    # The key sorts the completing file last (False < True): without it the folder is an unfinished build.
    for path in sorted(made.iterdir(), key=lambda path: path.name == COMPLETE):
        replace(path, plan.out / path.name)
    shutil.rmtree(plan.work)
    return summary


def _summarise(plan: _Plan, receipts: dict[str, list[ShardManifest]]) -> BuildSummary:
    splits = {split: sum(len(receipt.facts) for receipt in shards) for split, shards in receipts.items()}
    skipped = [pair for shards in receipts.values() for receipt in shards for pair in receipt.skipped]
    facts = (fact for shards in receipts.values() for receipt in shards for fact in receipt.facts)
    moments = sum(bool(fact.get("moments")) for fact in facts)
    splits = {split: count for split, count in splits.items() if count}
    return BuildSummary(sum(splits.values()), skipped, splits, _in_words(plan.kinds, plan.classes), moments)


def _count(receipts: dict[str, list[ShardManifest]], name: str) -> int:
    """Return the number of clips with this fact; receipts of older builds lack it."""
    return sum(bool(fact.get(name)) for shards in receipts.values() for receipt in shards for fact in receipt.facts)


def _in_words(kinds: Annotations, classes: dict[str, list[str]]) -> dict[str, str]:
    """Return a description of each label type."""
    words = {kind: SORTS[kinds.sort(kind)] for kind in sorted(kinds.kinds)}
    return {kind: f"{word} of {len(classes[kind])}" if kind in classes else word for kind, word in words.items()}


def _write_parts(plan: _Plan, made: Path, receipts: dict[str, list[ShardManifest]], summary: BuildSummary) -> None:
    from mmvideo.datasets.clip_table import table_of, write_table

    described = {}
    for split in summary.splits:
        shards = receipts[split]
        facts = [fact for receipt in shards for fact in receipt.facts]
        write_table(table_of(facts, plan.kinds), made / f"clips-{split}.parquet")
        described[split] = ([len(receipt.facts) for receipt in shards], sum(receipt.size for receipt in shards))
    write_description(made, plan.dataset, plan.classes, plan.kinds, described)
    lines = [json.dumps({"id": clip, "reason": reason}, ensure_ascii=False) + "\n" for clip, reason in summary.skipped]
    (made / SKIPPED).write_text("".join(lines), encoding="utf-8")
    sizes = {task.path.name: receipt.size for split, tasks in plan.tasks.items()
             for task, receipt in zip(tasks, receipts[split], strict=True)}  # fmt: skip
    record = plan.record() | {
        "layout": LAYOUT,
        "clips": summary.clips,
        "skipped": len(summary.skipped),
        "left_out": summary.left_out,
        "splits": summary.splits,
        "classes": plan.classes,
        "moments": summary.moments,
        "shards": sizes,
        "digests": True,
        "sources": {name: _count(receipts, name) for name in ("interlaced", "hdr")},
        "pictures": {name: plan.settings.get(name, True) for name in ("deinterlace", "tone_map")},
    }
    (made / RECORD).write_text(json.dumps(record, indent=1), encoding="utf-8")
    if plan.settings["tokenizer_vocabulary"]:
        _train_tokenizer(plan, receipts, made / TOKENIZER)


def _train_tokenizer(plan: _Plan, receipts: dict[str, list[ShardManifest]], path: Path) -> None:
    from mmvideo.media.text import train

    # Only training captions: a tokenizer must not see the test split.
    chosen = [receipts["train"]] if "train" in receipts else list(receipts.values())
    captions = [text for shards in chosen for receipt in shards for fact in receipt.facts for text in fact["captions"]]
    if not captions:
        raise BuildError(f"{plan.source}: has no captions to train a tokenizer on; leave tokenizer_vocabulary out")
    # Byte-pair encoding fills any vocabulary from few captions; the unigram model finds only letters and stems.
    text_tokens, moments = plan.settings["tokenizer_vocabulary"], plan.settings.get("time_tokens", 0)
    train(captions, text_tokens, kind="bpe", time_tokens=moments).save(path)


def _read_skipped(path: Path) -> list[tuple[str, str]]:
    entries = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
    return [(entry["id"], entry["reason"]) for entry in entries]


@contextlib.contextmanager
def _lock(work: Path) -> Iterator[None]:
    """Prevent other processes from building in the same folder; the lock ends with the process."""
    import fcntl

    with open(work / "lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BuildError(f"{work.parent}: another process is building this corpus; wait for it to finish") from None
        if (work.parent / COMPLETE).exists():
            raise BuildError(f"{work.parent}: another process has just built a corpus there; open it")
        yield
