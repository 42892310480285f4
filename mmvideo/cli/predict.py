"""`mmvideo predict {embed}`: write the outputs of a trained model for clips."""

from __future__ import annotations

from pathlib import Path

from mmvideo.cli.terminal.usage_errors import Parser, parse_step

ABOUT = "Write the outputs of a trained model for clips."


def main(arguments: list[str]) -> int:
    """Parse, and run the action."""
    options = _parser().parse_args(arguments)
    return options.run(options)


def _parser() -> Parser:
    """Return the parser of the command."""
    parser = Parser(prog="mmvideo predict", description=ABOUT)
    actions = parser.add_subparsers(metavar="ACTION", required=True, parser_class=Parser)

    embed = actions.add_parser("embed", help="write the embeddings of the clips of corpora, for input.embeddings")
    embed.add_argument("workdir", type=Path, help="folder of the run, or what was exported of one")
    embed.add_argument("corpora", nargs="+", metavar="corpus", help="folder of a corpus, or samples:NAME")
    embed.add_argument("--out", type=Path, required=True, metavar="FILE.npz", help="the file to write")
    embed.add_argument(
        "--split", action="append", default=[], help="only this split; may be given again (default: all)"
    )
    embed.add_argument(
        "--features", action="store_true", help="mean features of the trunk, in place of the contrastive embeddings"
    )
    embed.add_argument("--step", help="a step, or best (default: the newest checkpoint)")
    embed.set_defaults(run=_embed)
    return parser


def _embed(options) -> int:
    """Write embeddings, and print a summary."""
    from mmvideo.cli.terminal.usage_errors import UsageError

    if options.out.suffix != ".npz":
        raise UsageError(f"--out {options.out} must end in .npz")
    step = parse_step(options.step)
    from mmvideo.experiment.find_config import find_run
    from mmvideo.experiment.input_checks import check_source

    find_run(options.workdir)
    for corpus in options.corpora:
        for split in options.split or (None,):
            check_source(corpus, split, "corpus")
    from mmvideo.experiment.weights.write_embeddings import write_embeddings

    written = write_embeddings(options.workdir, options.corpora, options.out, options.split, options.features, step)
    print(f"{options.out}: {written.clips} clips, {len(written.skipped)} skipped")
    for group, count in written.known.items():
        print(f"  {group:<12}{count:>8} vectors of {written.width[group]}")
    for clip, reason in written.skipped[:5]:
        print(f"  skipped {clip}: {reason}")
    if len(written.skipped) > 5:
        print(f"  … and {len(written.skipped) - 5} more")
    return 0
