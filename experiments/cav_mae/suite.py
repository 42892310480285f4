"""CAV-MAE: the weight of the contrastive loss beside masked prediction, and the mask.

COMMAND  mmvideo ablate experiments/cav_mae --tier toy
COST     toy: 2 CPU cores, 40 minutes (10 cells, 3 seeds); paper: `--tier paper` plans it
EXPECTS  a larger contrastive weight improves audio retrieval from video; no published ordering was read

SOURCE   Gong et al. 2023, arXiv 2210.07839; the axes are those of its README's checkpoints. The values of its tables
         were not found, so the orderings are ours.
FIXED    paper: configs/pretrain/cav_mae.py, zero-shot retrieval between video and audio on VGGSound. Toy: plain shapes,
         two layers for each modality and one shared layer with separate norms, both objectives of the base.
"""

import dataclasses
from pathlib import Path

from mmvideo.ablation.suite import Axis, Claim, Metric, Study, Suite, Tier, grid, named
from mmvideo.ablation.toy import LOG_MEL, PLAIN, refitted, toy, toy_input
from mmvideo.experiment import load_experiment
from mmvideo.input.config import Audio, Masking, Source, Video
from mmvideo.model.config import Fusion, Sharing
from mmvideo.objectives import Contrastive, MaskedPatches

CONFIGS = Path(__file__).parents[2] / "configs"

DIRECTION = grid("direction", "objectives.contrastive.direction", ["forward", "both"], ["one", "two"])
MODES = {"unstructured": "unstructured", "T": "time", "F": "frequency", "TF": "time_frequency"}
MODE = named("mode", {label: refitted({"input.masking.audio_kind": kind}) for label, kind in MODES.items()})


def weights(values: list[float]) -> Axis:
    return grid("weight", "objectives.contrastive.weight", values)


def ratios(percents: list[int]) -> Axis:
    return named(
        "hidden %",
        {str(n): refitted({"input.masking.video": n / 100, "input.masking.audio": n / 100}) for n in percents},
    )


TOY = toy(
    "cav_mae",
    {
        "masked_patches": MaskedPatches(target="patch"),
        "contrastive": Contrastive(
            pairs=("video-audio",), weight=0.01, direction="forward", width=96, temperature=0.05, learned=False
        ),
    },
    fusion=Fusion("mid", 2),
    config=toy_input(
        # Patches of 8 pixels and of 8 x 16, so that enough remain when three of four are masked.
        video=Video(fps=12.0, frames=24, size=32, tubelet=(8, 8, 8)),
        audio=Audio(seconds=2.0, spectrogram=LOG_MEL, patch=(8, 16)),
        masking=Masking(video=0.75, video_kind="random", audio=0.75),
    ),
    tasks=("retrieval", "probes"),
    probes=("visual", "audio"),
)
TOY = dataclasses.replace(TOY, model=dataclasses.replace(TOY.model, sharing=Sharing(apart="nothing", fused="norms")))
TOY_METRICS = (
    Metric("video→audio R@10", "retrieval", "video_to_audio/r@10"),
    Metric("motion, probe", "probes", "visual/video/linear/accuracy"),
    Metric("sound, probe", "probes", "audio/audio/linear/accuracy"),
)

toy_tier = Tier(
    studies=(
        Study(
            "weight",
            TOY,
            (weights([0.001, 0.01, 0.1, 1.0]),),
            TOY_METRICS,
            claims=(
                Claim(
                    "more weight finds more sounds", {"weight": "0.1"}, {"weight": "0.001"}, "video→audio R@10", "ours",
                    "E",
                ),
                Claim(
                    "a weight of 1 loses at most 0.05 of what is told of sounds", {"weight": "1.0"}, {"weight": "0.01"},
                    "sound, probe", "ours", "E", margin=-0.05,
                ),
            ),
        ),
        Study("direction", TOY, (DIRECTION,), TOY_METRICS),
        Study("ratio", TOY, (ratios([50, 75, 85]),), TOY_METRICS),
        Study("mode", TOY, (MODE,), TOY_METRICS),
    ),
    corpora=(PLAIN,),
    minutes=40,
)  # fmt: skip

RECIPE = load_experiment(CONFIGS / "pretrain" / "cav_mae.py")
BASE = dataclasses.replace(
    RECIPE,
    evaluation=dataclasses.replace(
        RECIPE.evaluation, sources=(Source("corpora/vggsound", "test"),), tasks=("retrieval",)
    ),
)
FOUND = (
    Metric("video→audio R@10", "retrieval", "video_to_audio/r@10"),
    Metric("audio→video R@10", "retrieval", "audio_to_video/r@10"),
)

paper_tier = Tier(
    studies=(
        Study(
            "weight",
            BASE,
            (weights([0.001, 0.01, 0.1]),),
            FOUND,
            claims=(
                Claim("more weight finds more", {"weight": "0.1"}, {"weight": "0.001"}, FOUND[0].name, "ours", "E"),
            ),
        ),
        Study("direction", BASE, (DIRECTION,), FOUND),
        Study("ratio", BASE, (ratios([50, 65, 75, 85]),), FOUND),
        Study("mode", BASE, (MODE,), FOUND),
        Study("batch", BASE, (grid("batch", "input.packing.rows", [48, 108, 256]),), FOUND),
    ),
    seeds=(0,),
    needs="corpora/audioset with a frame and the sound, corpora/vggsound to be found in; an image MAE's weights for "
    "numbers like the published ones",
)

suite = Suite(
    name="cav_mae",
    title="CAV-MAE: weight of comparing, and mask",
    fixed="data, size, steps and optimiser of the base; a smaller batch takes as many steps, as published epochs do "
    "not",
    toy=toy_tier,
    paper=paper_tier,
    remarks="The paper's retrieval takes 5 clips of each class, ours all test clips. Its end points (51.2 mAP of "
    "both, 46.6 of sound alone, AudioSet, README) are of fine-tuning: configs/finetune/vggsound.py does that from any "
    "cell.",
)
