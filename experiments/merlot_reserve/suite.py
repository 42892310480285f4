"""MERLOT Reserve: pretraining with and without audio.

COMMAND  mmvideo ablate experiments/merlot_reserve --tier toy
COST     toy: 2 CPU cores, 20 minutes (3 cells, 3 seeds); paper: `--tier paper` plans it
EXPECTS  a model that also matches masked audio learns better video features

SOURCE   Zellers et al. 2022, arXiv 2201.02639, whose abstract says that audio in pretraining helps VCR, a task on
         images. Its ablation table was not read, so none of its values is quoted here.
FIXED    paper: configs/pretrain/merlot_reserve.py. Toy: video, audio and captions of plain shapes. Masked video patches
         and masked audio spans are matched against those of the batch; masked text tokens are predicted. Then probes on
         the frozen video features classify the motion, on which audio carries no information, and the shape, whose
         instrument audio hints at.
"""

import dataclasses
from pathlib import Path

from mmvideo.ablation.suite import Claim, Metric, Study, Suite, Tier, named
from mmvideo.ablation.toy import PLAIN, fitted, toy, toy_input, words
from mmvideo.experiment import Experiment, load_experiment
from mmvideo.input.config import Masking, Source, Video
from mmvideo.model.config import Fusion
from mmvideo.objectives import Contrastive, ContrastiveSpans, MaskedText

CONFIGS = Path(__file__).parents[2] / "configs"
PAPER = "MERLOT Reserve, abstract, of VCR"
NONE, TARGET = "V+T span loss", "+ audio in and target"


def without_sound(experiment: Experiment) -> Experiment:
    """Train on video and text alone, with the objectives that remain."""
    objectives = {
        name: dataclasses.replace(one, audio=0.0) if isinstance(one, ContrastiveSpans) else one
        for name, one in experiment.objectives.items()
        if not (isinstance(one, Contrastive) and "audio" in one.pairs[0])
    }
    config = dataclasses.replace(
        experiment.input, audio=None, masking=dataclasses.replace(experiment.input.masking, audio=0.0)
    )
    return dataclasses.replace(experiment, input=fitted(config), objectives=objectives)


def without_frames(experiment: Experiment) -> Experiment:
    """Match audio spans, without the contrastive loss between frames and whole audio."""
    objectives = {name: one for name, one in experiment.objectives.items() if name != "frames"}
    return dataclasses.replace(experiment, objectives=objectives)


PROBES = (
    Metric("motion, probe", "probes", "visual/video/linear/accuracy"),
    Metric("shape, probe", "probes", "noun/video/linear/accuracy"),
)
TOY = toy(
    "merlot_reserve",
    {
        "spans": ContrastiveSpans(video=1.0, audio=1.0, width=96, temperature=0.05),
        "frames": Contrastive(pairs=("video-audio",), width=96, temperature=0.05),
        "words": Contrastive(pairs=("video-text",), width=96, temperature=0.05),
        "masked_text": MaskedText(),
    },
    fusion=Fusion("mid", 2),
    config=toy_input(
        video=Video(fps=12.0, frames=24, size=32, tubelet=(4, 16, 16)),
        text=words(),
        masking=Masking(video=0.25, video_kind="random", audio=0.25, audio_kind="time", text=0.25),
    ),
    tasks=("probes",),
    probes=("visual", "noun"),
)
WITH = {"sound": named("sound", {NONE: without_sound, "spans alone": without_frames, TARGET: {}})}

toy_tier = Tier(
    studies=(
        Study(
            "sound",
            TOY,
            (WITH["sound"],),
            PROBES,
            claims=(
                Claim(
                    "sound in training tells more of the picture's shape", {"sound": TARGET}, {"sound": NONE},
                    "shape, probe", PAPER, "P",
                ),
                Claim(
                    "and no less than 0.02 of its motion", {"sound": TARGET}, {"sound": NONE}, "motion, probe", "ours",
                    "E", margin=-0.02,
                ),
            ),
        ),
    ),
    corpora=(PLAIN,),
    minutes=20,
)  # fmt: skip

RECIPE = load_experiment(CONFIGS / "pretrain" / "merlot_reserve.py")
BASE = dataclasses.replace(
    RECIPE,
    # Without audio, the frames are the targets.
    input=dataclasses.replace(
        RECIPE.input, masking=dataclasses.replace(RECIPE.input.masking, video=0.25, video_kind="random")
    ),
    objectives=RECIPE.objectives
    | {
        "spans": dataclasses.replace(RECIPE.objectives["spans"], video=1.0),
        "words": Contrastive(pairs=("video-text",), width=768, temperature=0.05),
    },
    evaluation=dataclasses.replace(
        RECIPE.evaluation, sources=(Source("corpora/msrvtt", "test"),), tasks=("retrieval",)
    ),
)

paper_tier = Tier(
    studies=(
        Study(
            "sound",
            BASE,
            (WITH["sound"],),
            (Metric("R@1", "retrieval", "text_to_video/r@1"),),
            claims=(
                Claim(
                    "sound in training finds more by words", {"sound": TARGET}, {"sound": NONE}, "R@1",
                    PAPER, "P",
                ),
            ),
        ),
    ),
    seeds=(0,),
    needs="corpora/yt_temporal to train on, corpora/msrvtt to be found in",
)  # fmt: skip

suite = Suite(
    name="merlot_reserve",
    title="MERLOT Reserve: with and without sound",
    fixed="data, size, steps and optimiser of the base; frames, pieces and their masks",
    toy=toy_tier,
    paper=paper_tier,
    remarks="Sound as a target that is not an input has no setting here, nor have spans of text; VCR, on which the "
    "paper measures, has no evaluator, so retrieval stands in for it. Its full model differs in more.",
)
