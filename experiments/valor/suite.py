"""VALOR: the groups of modalities that captions are compared with in training, and the contrastive weight.

COMMAND  mmvideo ablate experiments/valor --tier toy
COST     toy: 2 CPU cores, 35 minutes (7 cells, 3 seeds); paper: `--tier paper` plans it
EXPECTS  training on all groups is as good for each group as training on it alone; a group that was never trained
         retrieves nothing

SOURCE   Chen et al. 2023, arXiv 2304.08345, tables 8 and 12.
FIXED    paper: configs/pretrain/valor_groups.py, zero-shot on VALOR-32K. Toy: video, audio and captions of plain
         shapes; 3 layers: one for separate modalities, one in which video and audio fuse, one for all.
"""

import dataclasses
from pathlib import Path

from mmvideo.ablation.fields import override
from mmvideo.ablation.suite import Axis, Claim, Metric, Published, Study, Suite, Tier, grid, named
from mmvideo.ablation.toy import PLAIN, toy, toy_input, words
from mmvideo.experiment import load_experiment
from mmvideo.input.config import ModalityDropout, Source, Video
from mmvideo.model.config import Fusion
from mmvideo.objectives import Captioning, Contrastive

CONFIGS = Path(__file__).parents[2] / "configs"
T8, T12 = "VALOR, table 8", "VALOR, table 12"

PAIRS = ("video-text", "audio-text", "video+audio-text")
GROUPS = ("text-video", "text-audio", "text-video+audio")
ALL = "all three"


def groups() -> Axis:
    """Train on one group, with a weight of 0 for the two others, or on all, with one group per clip."""
    rows = {"T-V": 0, "T-A": 1, "T-AV": 2}
    return named(
        "groups",
        {
            label: {
                "input.modality_dropout": ModalityDropout(groups=(GROUPS[row],)),
                "objectives.contrastive.pair_weights": tuple(float(row == other) for other in range(3)),
            }
            for label, row in rows.items()
        }
        | {ALL: {"input.modality_dropout": ModalityDropout(groups=GROUPS)}},
    )


ALPHA = "objectives.contrastive.weight"

FOUND = (
    Metric("T-V R@10", "retrieval", "text_to_video/r@10"),
    Metric("T-A R@10", "retrieval", "text_to_audio/r@10"),
    Metric("T-AV R@10", "retrieval", "text_to_video+audio/r@10"),
)
TABLE = tuple(
    Published({"groups": label}, dict(zip(columns, values, strict=True)), f"{T8}, VALOR-32K R@1", "P")
    for columns in (("T-V zero-shot", "T-V FT", "T-AV zero-shot", "T-AV FT"),)
    for label, values in (
        ("T-V", (38.3, 42.7, 38.3, 46.9)), ("T-AV", (34.9, 40.1, 50.5, 55.4)), (ALL, (37.1, 41.8, 50.7, 55.6))
    )
)  # fmt: skip
TABLE += (Published({"groups": "T-A"}, {"T-V zero-shot": 0.0}, f"{T8}, VALOR-32K R@1", "P"),)
ALPHAS = tuple(
    Published({"alpha": label}, {"AVR": avr, "AVC": avc}, T12, "P")
    for label, avr, avc in (("0.5", 53.0, 50.8), ("1.0", 54.7, 50.0), ("1.5", 54.9, 50.4), ("3.0", 55.4, 49.9))
)


def claims(video: str, both: str) -> tuple[Claim, ...]:
    """Zero-shot results of table 8."""
    return (
        Claim(
            "all groups find no less by picture and sound than that group alone, but for 0.03", {"groups": ALL},
            {"groups": "T-AV"}, both, f"{T8}: 50.7 against 50.5", "P", margin=-0.03,
        ),
        Claim(
            "trained on the picture alone, less is found by picture and sound", {"groups": ALL}, {"groups": "T-V"},
            both, f"{T8}: 50.7 against 38.3", "P",
        ),
        Claim(
            "trained on sound alone, less is found by the picture", {"groups": ALL}, {"groups": "T-A"}, video,
            f"{T8}: 37.1 against 0.0", "P",
        ),
        Claim(
            "the picture's own group finds more by it than all groups", {"groups": "T-V"}, {"groups": ALL}, video,
            f"{T8}: 38.3 against 37.1", "P",
        ),
    )  # fmt: skip


TOY = toy(
    "valor",
    {"contrastive": Contrastive(pairs=PAIRS, weight=1.5, width=96), "captioning": Captioning()},
    fusion=Fusion("mid", layer=2, media_layer=1, text="causal"),
    config=toy_input(
        video=Video(fps=12.0, frames=24, size=32, tubelet=(4, 16, 16)),
        text=words(),
        modality_dropout=ModalityDropout(groups=GROUPS),
    ),
    tasks=("retrieval", "losses"),
)

toy_tier = Tier(
    studies=(
        Study("groups", TOY, (groups(),), FOUND, claims(FOUND[0].name, FOUND[2].name), TABLE),
        Study(
            "alpha",
            TOY,
            (grid("alpha", ALPHA, [0.5, 1.0, 1.5, 3.0]),),
            (*FOUND, Metric("pieces told", "losses", "captioning/accuracy")),
            claims=(
                Claim(
                    "more weight on comparing finds more", {"alpha": "3.0"}, {"alpha": "0.5"}, FOUND[2].name,
                    f"{T12}: 55.4 against 53.0", "P",
                ),
                Claim(
                    "and tells less", {"alpha": "0.5"}, {"alpha": "3.0"}, "pieces told",
                    f"{T12}: 50.8 against 49.9", "P",
                ),
            ),
            published=ALPHAS,
        ),
    ),
    corpora=(PLAIN,),
    minutes=35,
)  # fmt: skip

RECIPE = load_experiment(CONFIGS / "pretrain" / "valor_groups.py")
BASE = dataclasses.replace(
    RECIPE,
    evaluation=dataclasses.replace(
        RECIPE.evaluation, sources=(Source("corpora/valor32k", "test"),), tasks=("retrieval", "captioning")
    ),
)
BASE = override(BASE, {"evaluation.decoding.beams": 3})
MEASURED = (
    Metric("T-V R@1", "retrieval", "text_to_video/r@1"),
    Metric("T-AV R@1", "retrieval", "text_to_video+audio/r@1"),
    Metric("CIDEr-D", "captioning", "cider_d"),
)

paper_tier = Tier(
    studies=(
        Study("groups", BASE, (groups(),), MEASURED, claims("T-V R@1", "T-AV R@1"), TABLE),
        Study(
            "alpha",
            BASE,
            (grid("alpha", ALPHA, [0.5, 1.0, 1.5, 3.0]),),
            MEASURED,
            claims=(
                Claim("more finds more", {"alpha": "3.0"}, {"alpha": "0.5"}, "T-AV R@1", T12, "P"),
                Claim("and tells less", {"alpha": "0.5"}, {"alpha": "3.0"}, "CIDEr-D", T12, "P"),
            ),
            published=ALPHAS,
        ),
    ),
    seeds=(0,),
    needs="corpora/valor1m, corpora/webvid and corpora/cc3m to train on, corpora/valor32k to be measured on",
)

suite = Suite(
    name="valor",
    title="VALOR: groups of modalities, and the weight of comparing",
    fixed="data, size, steps and optimiser of the base; captions are written of the group that a clip shows",
    toy=toy_tier,
    paper=paper_tier,
    remarks="Here each group has a projection of its own, which is new where the group was never trained: it finds as "
    "much as chance. VALOR's groups share theirs, so that training on T-V alone finds 38.3 by picture and sound too. "
    "How the decoder fuses (table 11: merged, one after the other, side by side) has no setting: text attends to "
    "pictures and sound in one attention, the paper's concatenation. R@10 of 400 clips by chance is 0.025.",
)
