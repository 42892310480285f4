"""`mmvideo data {build,show,advise,shapes,scenes}`: build a corpus, inspect one, or generate one."""

from __future__ import annotations

from pathlib import Path

from mmvideo.cli.advise import add_advise
from mmvideo.cli.terminal.usage_errors import Parser

ABOUT = (
    "Corpora: build one from a folder of clips, look at one, ask what to choose for it, or generate sounding shapes."
)


def main(arguments: list[str]) -> int:
    """Parse, and run one of the actions."""
    options = _parser().parse_args(arguments)
    return options.run(options)


def _parser() -> Parser:
    """Return the parser of the command."""
    parser = Parser(prog="mmvideo data", description=ABOUT)
    actions = parser.add_subparsers(metavar="ACTION", required=True, parser_class=Parser)

    build = actions.add_parser("build", help="make a corpus (TFDS, ArrayRecord) of a folder of clips")
    build.add_argument("source", type=Path, help="folder with manifest.jsonl or manifest.csv, or with clips alone")
    build.add_argument("out", type=Path, help="folder of the corpus")
    build.add_argument("--short-side", type=int, help="transcode: pixels of the shorter side")
    build.add_argument("--gop", type=int, help="transcode: frames from one key frame to the next")
    build.add_argument("--fps", type=float, help="transcode: frames a second")
    build.add_argument("--no-deinterlace", action="store_true", help="leave interlaced frames as they are coded")
    build.add_argument("--no-tone-map", action="store_true", help="leave HLG and PQ as they are coded")
    build.add_argument("--processes", type=int, help="processes side by side (default: one a core)")
    build.add_argument("--shard-clips", type=int, default=256, help="clips in a shard (default: 256)")
    build.add_argument(
        "--tokenizer-vocabulary", type=int, help="train a SentencePiece tokenizer with this many tokens on the captions"
    )
    build.add_argument(
        "--time-tokens", type=int, help="tokens of the tokenizer that stand for times in a clip (dense captioning)"
    )
    build.add_argument("--allow-outside", action="store_true", help="accept media outside the manifest's folder")
    build.add_argument("--most-pixels", type=int, help="leave out larger frames (default: 8192 x 8192)")
    build.add_argument("--most-seconds", type=float, help="leave out longer files (default: 28800, eight hours)")
    build.add_argument("--most-gap", type=float, help="leave out files whose time stamps jump further (default: 3600)")
    build.set_defaults(run=_build)

    show = actions.add_parser("show", help="write a page with the frames, audio and text of a sample of clips")
    show.add_argument("corpus", help="folder of a corpus or of clips, or samples:{film,animations,sounds,all}")
    show.add_argument("--split", default="train", help="which split (default: train)")
    show.add_argument("--out", type=Path, help="the page (default: NAME-SPLIT.html)")
    show.add_argument("--clips", type=int, default=24, help="how many clips (default: 24)")
    show.add_argument("--seed", type=int, default=0, help="which sample (default: 0)")
    show.set_defaults(run=_show)

    add_advise(actions)

    shapes = actions.add_parser("shapes", help="generate sounding shapes: mp4 files with a manifest")
    shapes.add_argument("out", type=Path, help="folder to write")
    shapes.add_argument("--train", type=int, default=2000, help="training clips (default: 2000)")
    shapes.add_argument("--test", type=int, default=512, help="test clips (default: 512)")
    shapes.add_argument("--seed", type=int, default=0, help="seed of every clip (default: 0)")
    shapes.add_argument("--difficulty", type=float, help="from 0 (plain) to 1 (cluttered and noisy)")
    shapes.add_argument("--tie", type=float, help="how often a shape has its own instrument, 0 to 1")
    shapes.add_argument("--size", type=int, help="height and width in pixels")
    shapes.add_argument("--longest", type=float, help="longest clip in seconds, at least 1.6")
    shapes.add_argument(
        "--questions", type=int, default=0, metavar="N", help="write questions.jsonl too, N questions a clip (up to 6)"
    )
    shapes.add_argument("--processes", type=int, help="processes side by side (default: one a core)")
    shapes.set_defaults(run=_shapes)

    scenes = actions.add_parser("scenes", help="generate long videos of shapes, with queries and their moments")
    scenes.add_argument("out", type=Path, help="folder to write: manifest.jsonl (queries), events.jsonl (videos)")
    scenes.add_argument("--train", type=int, default=400, help="training videos (default: 400)")
    scenes.add_argument("--test", type=int, default=100, help="test videos (default: 100)")
    scenes.add_argument("--seed", type=int, default=0, help="seed of every video (default: 0)")
    scenes.add_argument("--queries", type=int, help="queries a video, at most (default: 3)")
    scenes.add_argument("--shortest", type=float, help="shortest video in seconds (default: 12)")
    scenes.add_argument("--longest", type=float, help="longest video in seconds (default: 24)")
    scenes.add_argument("--difficulty", type=float, help="from 0 (plain) to 1 (cluttered and noisy)")
    scenes.add_argument("--size", type=int, help="height and width in pixels")
    scenes.add_argument("--processes", type=int, help="processes side by side (default: one a core)")
    scenes.set_defaults(run=_scenes)
    return parser


def _build(options) -> int:
    """Build a corpus, and print a summary."""
    import dataclasses

    from mmvideo.datasets.build import build
    from mmvideo.media.config import LIMITS

    bounds = {"pixels": options.most_pixels, "seconds": options.most_seconds, "gap": options.most_gap}
    summary = build(
        options.source,
        options.out,
        short_side=options.short_side,
        gop=options.gop,
        fps=options.fps,
        deinterlace=not options.no_deinterlace,
        tone_map=not options.no_tone_map,
        processes=options.processes,
        shard_clips=options.shard_clips,
        tokenizer_vocabulary=options.tokenizer_vocabulary,
        time_tokens=options.time_tokens,
        allow_outside=options.allow_outside,
        limits=dataclasses.replace(LIMITS, **{name: value for name, value in bounds.items() if value is not None}),
    )
    splits = ", ".join(f"{count} {name}" for name, count in summary.splits.items())
    print(f"{options.out}: {summary.clips} clips ({splits}), {len(summary.skipped)} skipped")
    if summary.left_out:
        more = f" and {len(summary.left_out) - 5} more" if len(summary.left_out) > 5 else ""
        names = ", ".join(summary.left_out[:5])
        print(f"  left out {len(summary.left_out)} files that don't end as media do: {names}{more}")
    if summary.labels:
        print("  labels: " + "; ".join(f"{kind}, {words}" for kind, words in summary.labels.items()))
    if summary.moments:
        print(f"  moments: of {summary.moments} clips")
    for clip, reason in summary.skipped[:5]:
        print(f"  skipped {clip}: {reason}")
    if len(summary.skipped) > 5:
        print(f"  … and {len(summary.skipped) - 5} more, all in {options.out / 'skipped.jsonl'}")
    return 0


def _show(options) -> int:
    """Write a page with samples of a corpus."""
    from mmvideo.datasets.inspect_corpus import inspect

    # corpora/films/ gives films-train.html, samples:film gives samples-film-train.html.
    name = options.corpus.replace("samples:", "samples-").rstrip("/").split("/")[-1]
    page = inspect(
        options.corpus,
        options.split,
        options.out or Path(f"{name}-{options.split}.html"),
        clips=options.clips,
        seed=options.seed,
    )
    print(f"wrote {page}")
    return 0


def _shapes(options) -> int:
    """Generate sounding shapes."""
    import dataclasses

    from mmvideo.datasets.shapes import ShapesConfig, write_shapes

    named = _given(options, "difficulty", "tie", "size", "longest")
    config = dataclasses.replace(ShapesConfig(seed=options.seed), **named)
    splits = {"train": options.train, "test": options.test}
    write_shapes(options.out, config, splits, options.processes, progress=True, questions=options.questions)
    print(f"{options.out}: {options.train} train and {options.test} test clips, seed {options.seed}")
    return 0


def _scenes(options) -> int:
    """Generate long videos of shapes."""
    import dataclasses

    from mmvideo.datasets.shapes import ScenesConfig, write_scenes

    config = ScenesConfig()
    scene = dataclasses.replace(config.scene, seed=options.seed, **_given(options, "difficulty", "size"))
    config = dataclasses.replace(config, scene=scene, **_given(options, "queries", "shortest", "longest"))
    splits = {"train": options.train, "test": options.test}
    write_scenes(options.out, config, splits, options.processes, progress=True)
    print(f"{options.out}: {options.train} train and {options.test} test videos, seed {options.seed}")
    return 0


def _given(options, *names: str) -> dict:
    """Return the settings among these that were given; the others keep the defaults of their dataclass."""
    return {name: value for name in names if (value := getattr(options, name)) is not None}
