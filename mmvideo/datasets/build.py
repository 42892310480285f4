"""From a manifest folder to a corpus: a TFDS dataset in ArrayRecord that is read back without TensorFlow.

A corpus is a folder of

    NAME-SPLIT.array_record-00000-of-00002 …   the shards: encoded media, captions, labels, tags, attributes
    clips-SPLIT.parquet                        the clip table (see `table.ClipTable`)
    features.json, labels-….labels.txt         what TFDS must know to read the shards
    skipped.jsonl                              clips that were left out, `{"id", "reason"}` a line
    tokenizer.model                            SentencePiece over the training captions, if asked for
    build.json                                 from what and how it was built, and the counts
    digests.json                               SHA-256 of all of these, compared when the corpus is opened
    dataset_info.json                          written last: with it the corpus is complete

A shard is one task for one process, and what it holds depends on its rows alone, so the corpus is the same for any
number of processes. A shard appears under its name only when it is whole, and its receipt under `.building/` only
after that; a build that was stopped goes on from there.
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
"""Number of the layout of corpora; a change of it makes corpora of before unlike new ones.

1: transcoding changed the colours of BT.709, BT.2020 and SMPTE 240M, cuts had a constant frame rate, and lengths that
FFmpeg estimates were believed.
"""

SLOWEST, FASTEST = 0.001, 1000.0
"""Frames a second that a build may ask for; a slip of the keys would else make a million of each second."""

MOST = 1 << 30
"""Pixels and frames that a build may ask for: FFmpeg counts them in 32 bits."""

WORK = ".building"
COMPLETE = "dataset_info.json"
RECORD = "build.json"
SKIPPED = "skipped.jsonl"
TOKENIZER = "tokenizer.model"


class BuildError(ValueError):
    """A corpus can't be built there or of that: what is in the way and what to do."""


@dataclasses.dataclass(frozen=True)
class BuildSummary:
    """What a build gave.

    Attributes:
      clips: number of clips in the corpus.
      skipped: id and reason of each clip that was left out.
      splits: clips in each split.
      labels: what each kind of label is, in words.
      moments: clips with moments that their captions tell of.
      left_out: files of a folder without a manifest that don't end as media do, and links to folders.
    """

    clips: int
    skipped: list[tuple[str, str]]
    splits: dict[str, int]
    labels: dict[str, str] = dataclasses.field(default_factory=dict)
    moments: int = 0
    left_out: list[str] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class _Plan:
    """Everything that decides what the corpus will hold."""

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
    """Builds a corpus of the clips of a manifest (see `manifest.read_manifest`), or goes on with a stopped build.

    Args:
      source: a manifest, its folder, or a folder of clips.
      out: folder of the corpus, new or empty, or with an unfinished build of the same.
      name: name of the dataset; None takes that of `out`.
      short_side: transcode to so many pixels of the shorter side; a smaller picture is never enlarged.
      gop: transcode with so many frames from one key frame to the next; small makes random access fast.
      fps: transcode to so many frames a second.
      deinterlace, tone_map: whether interlaced pictures are made whole, and HLG and PQ become BT.709: by what is
        transcoded here, and by readers of what is kept as it is.
      processes: shards written side by side; None takes one a processor core.
      shard_clips: clips in a shard.
      tokenizer_vocabulary: train a SentencePiece tokenizer of so many pieces over the training captions.
      time_tokens: so many of its pieces tell moments of a clip (see `media.time_tokens`).
      progress: whether to show a progress bar on a terminal.
      allow_outside: whether a manifest's media may lie outside of its folder.
      limits: bounds beyond which a clip is left out.

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
    """Builds a corpus of rows from anywhere, with the licence files that go with them; else as `build`.

    Files that were left out are named in its record.
    """
    from mmvideo.datasets.workers import run_tasks

    numbers = {"shard_clips": shard_clips, "processes": processes, "tokenizer_vocabulary": tokenizer_vocabulary}
    if time_tokens is not None:
        # Only where it is given, so that corpora built before it was known stay what they are.
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
    del settings["processes"]
    plan = _plan(rows, source, out, classes, recipe, settings)
    _look_at(plan)
    if (out / COMPLETE).exists():
        return _complete(plan)
    plan.work.mkdir(parents=True, exist_ok=True)
    with _lock(plan.work):
        _begin(plan)
        tasks = [task for tasks in plan.tasks.values() for task in tasks]
        run_tasks([task for task in tasks if read_shard_manifest(task) is None], tasks, processes, progress)
        return _finish(plan, licences, list(left_out))


def _plan(rows, source: Path, out: Path, classes: dict, recipe: Recipe, settings: dict) -> _Plan:
    """Rows into shards: those of a split in the manifest's order, `shard_clips` in each."""
    splits: dict[str, list[ManifestRow]] = {}
    kinds = annotations_of([row.labels for row in rows])
    # Corpora of before there were other labels than single classes keep their fingerprints.
    sorts = [dataclasses.asdict(kinds)] if kinds.several or kinds.number else []
    for row in rows:
        splits.setdefault(row.split, []).append(row)
    size, dataset = settings["shard_clips"], settings["name"]
    tasks: dict[str, list[ShardTask]] = {}
    for split, clips in splits.items():
        groups = [tuple(clips[start : start + size]) for start in range(0, len(clips), size)]
        for number, group in enumerate(groups):
            file = shard_name(dataset, split, number, len(groups))
            digest = rows_digest(group, source, LAYOUT, classes, recipe.settings(), *sorts)
            task = ShardTask(out / file, out / WORK / f"{file}.json", group, classes, recipe, digest, kinds)
            tasks.setdefault(split, []).append(task)
    digest = rows_digest(rows, source, LAYOUT, classes, settings)
    return _Plan(source, out, dataset, classes, kinds, settings, tasks, digest)


def _look_at(plan: _Plan) -> None:
    """Refuses a folder that holds anything but this corpus, finished or not."""
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
    """The record of a build at `path`, if there is one.

    Raises:
      BuildError: it was from another source or with other settings.
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
    """The summary of the corpus that is there already, if it is the one that was asked for."""
    try:
        digests = read_digests(plan.out)
        if digests is not None:
            check_files(plan.out, digests)
    except DigestError as error:
        raise BuildError(f"{error}; delete {plan.out} to build it anew") from None
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
    """Notes what is being built, and removes shards of a plan before that this one hasn't got."""
    write_text(plan.work / RECORD, json.dumps(plan.record(), indent=1))
    files = {task.path.name for tasks in plan.tasks.values() for task in tasks}
    for path in plan.out.glob(f"{plan.dataset}-*.array_record-*"):
        if path.name not in files:
            path.unlink()


def _finish(plan: _Plan, licences: dict[str, Path], left_out: list[str]) -> BuildSummary:
    """Puts the shards' receipts together: tables, descriptions, and last of all the file that makes it complete."""
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
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir()
    _write_parts(plan, made, receipts, summary)
    for name, path in licences.items():
        shutil.copyfile(path, made / name)
    done = zip([task for tasks in plan.tasks.values() for task in tasks], sum(receipts.values(), []), strict=True)
    write_digests(made, {task.path.name: receipt.sha256 for task, receipt in done})
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
    """The clips of which a fact holds; receipts of a build from before don't tell."""
    return sum(bool(fact.get(name)) for shards in receipts.values() for receipt in shards for fact in receipt.facts)


def _in_words(kinds: Annotations, classes: dict[str, list[str]]) -> dict[str, str]:
    """What each kind of label is."""
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

    chosen = [receipts["train"]] if "train" in receipts else list(receipts.values())
    captions = [text for shards in chosen for receipt in shards for fact in receipt.facts for text in fact["captions"]]
    if not captions:
        raise BuildError(f"{plan.source}: has no captions to train a tokenizer on; leave tokenizer_vocabulary out")
    # Byte pairs fill any vocabulary on few captions; the unigram model stays at their letters and stems.
    text_tokens, moments = plan.settings["tokenizer_vocabulary"], plan.settings.get("time_tokens", 0)
    train(captions, text_tokens, kind="bpe", time_tokens=moments).save(path)


def _read_skipped(path: Path) -> list[tuple[str, str]]:
    entries = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
    return [(entry["id"], entry["reason"]) for entry in entries]


@contextlib.contextmanager
def _lock(work: Path) -> Iterator[None]:
    """Keeps other processes from building in the same folder; the lock goes with the process, however it ends."""
    import fcntl

    with open(work / "lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BuildError(f"{work.parent}: another process is building this corpus; wait for it to finish") from None
        if (work.parent / COMPLETE).exists():
            raise BuildError(f"{work.parent}: another process has just built a corpus there; open it")
        yield
