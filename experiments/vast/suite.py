"""VAST: modalities in training against modalities at test.

COMMAND  mmvideo ablate experiments/vast --tier toy
COST     toy: 2 CPU cores, 25 minutes (4 cells, 3 seeds); paper: `--tier paper` plans it
EXPECTS  more modalities in training and at test improve retrieval and captions, and alternating groups of them are best

SOURCE   Chen et al. 2023, arXiv 2305.18500, table 7.
FIXED    paper: configs/finetune/youcook2.py. Toy: video, audio and captions of plain shapes; captions describe both
         video and audio. Each model is tested with video, with audio and with both.
"""

from pathlib import Path

from mmvideo.ablation.fields import override
from mmvideo.ablation.suite import Axis, Claim, Metric, Published, Study, Suite, Tier, named
from mmvideo.ablation.toy import PLAIN, toy, toy_input, words
from mmvideo.experiment import load_experiment
from mmvideo.input.config import ModalityDropout, Video
from mmvideo.model.config import Fusion
from mmvideo.objectives import Captioning, Contrastive

CONFIGS = Path(__file__).parents[2] / "configs"
PAPER = "VAST, table 7"

TRAINED = {"V": ("text-video",), "A": ("text-audio",), "VA": ("text-video+audio",)}
MIXED = {"mixed groups": ("text-video", "text-audio", "text-video+audio")}


def trained() -> Axis:
    """Set the modalities of a clip in training."""
    return named(
        "trained on",
        {label: {"input.modality_dropout": ModalityDropout(groups=rows)} for label, rows in (TRAINED | MIXED).items()},
    )


PUBLISHED = (
    Published(
        {"trained on": "V"},
        {"MSR-VTT RET": 47.5, "YC2 RET": 14.0, "YC2 CAP": 93.6, "VALOR RET": 56.5},
        f"{PAPER}, V at test",
        "P",
    ),
    Published(
        {"trained on": "VA"},
        {"MSR-VTT RET": 53.8, "YC2 RET": 30.3, "YC2 CAP": 130.7, "VALOR RET": 62.6},
        f"{PAPER}, VA at test",
        "P",
    ),
)

FOUND = (
    Metric("by V, R@10", "retrieval", "text_to_video/r@10"),
    Metric("by A, R@10", "retrieval", "text_to_audio/r@10"),
    Metric("by VA, R@10", "retrieval", "text_to_video+audio/r@10"),
)
TOLD = (
    Metric("pieces told by VA", "losses", "captioning/accuracy"),
    Metric("pieces told by V", "losses.video+text", "captioning/accuracy"),
    Metric("pieces told by A", "losses.audio+text", "captioning/accuracy"),
)

TOY = toy(
    "vast",
    {
        "contrastive": Contrastive(pairs=("video-text", "audio-text", "video+audio-text"), width=96),
        "captioning": Captioning(media=("video", "audio")),
    },
    fusion=Fusion("mid", layer=2, media_layer=1, text="causal"),
    config=toy_input(video=Video(fps=12.0, frames=24, size=32, tubelet=(4, 16, 16)), text=words()),
    tasks=("retrieval", "losses"),
    subsets=("video+text", "audio+text"),
)

toy_tier = Tier(
    studies=(
        Study(
            "training and test",
            TOY,
            (trained(),),
            (*FOUND, *TOLD),
            claims=(
                Claim(
                    "trained on both, more is told by both than trained on pictures alone", {"trained on": "VA"},
                    {"trained on": "V"}, "pieces told by VA", f"{PAPER}: YC2 CAP 130.7 (VA, VA) against 93.6 (V, V)",
                    "P",
                ),
                Claim(
                    "mixed groups find more by both than both alone", {"trained on": "mixed groups"},
                    {"trained on": "VA"}, "by VA, R@10", f"{PAPER}, with subtitles: MSR-VTT 55.3 against 53.0", "P",
                ),
                Claim(
                    "mixed groups tell more by pictures alone than training on both", {"trained on": "mixed groups"},
                    {"trained on": "VA"}, "pieces told by V", "ours", "E",
                ),
            ),
            published=PUBLISHED,
        ),
    ),
    corpora=(PLAIN,),
    minutes=25,
)  # fmt: skip

BASE = override(
    load_experiment(CONFIGS / "finetune" / "youcook2.py"), {"evaluation.subsets": ("video+text", "audio+text")}
)

paper_tier = Tier(
    studies=(
        Study(
            "training and test",
            BASE,
            (trained(),),
            (
                Metric("by V, R@1", "retrieval", "text_to_video/r@1"),
                Metric("by VA, R@1", "retrieval", "text_to_video+audio/r@1"),
                Metric("CIDEr-D by VA", "captioning", "cider_d"),
                Metric("CIDEr-D by V", "captioning.video+text", "cider_d"),
            ),
            claims=(
                Claim(
                    "both find more than pictures alone", {"trained on": "VA"}, {"trained on": "V"}, "by VA, R@1",
                    PAPER, "P",
                ),
            ),
            published=PUBLISHED,
        ),
    ),
    seeds=(0,),
    needs="corpora/youcook2, and VALOR-style groups pretrained in runs/valor_groups",
)  # fmt: skip

suite = Suite(
    name="vast",
    title="VAST: modalities of training by modalities at test",
    fixed="data, size, steps and optimiser of the base; a clip shows one group at a time",
    toy=toy_tier,
    paper=paper_tier,
    remarks="Subtitles are a second text beside the caption, for which a clip has no place here: rows with S (49.2 to "
    "55.3 on MSR-VTT, table 7) are left out, also V to VAS and VAS to VAS. A group that a run never shows has a new "
    "projection and finds as much as chance. R@10 of 400 clips by chance is 0.025.",
)
