"""ViViT: joint attention against space first and then time, and the effect of regularisers.

COMMAND  mmvideo ablate experiments/vivit --tier toy
COST     toy: 2 CPU cores, 35 minutes (6 cells, 3 seeds); paper: `--tier paper` plans it
EXPECTS  joint is slightly better than factorised; regularisers help if clips are few

SOURCE   Arnab et al. 2021, arXiv 2103.15691, section 4.2 and its tables of input encodings, models and regularisers.
         The gains above 60.4 on Something-Something begin with a start from Kinetics, which no cell has here.
FIXED    paper: configs/pretrain/vivit_joint.py and vivit_factorised.py on Kinetics-400; for regularisers
         configs/finetune/something_something_v2.py from scratch. Toy: classify which of six motions a plain shape
         makes; unordered frames do not show all of them. 3 layers.
"""

import dataclasses
from pathlib import Path

from mmvideo.ablation.suite import Claim, Metric, Published, Study, Suite, Tier, named
from mmvideo.ablation.toy import PLAIN, label_config, toy, toy_input
from mmvideo.experiment import Experiment, load_experiment
from mmvideo.input.config import Mixing, Video
from mmvideo.model.config import Fusion, VideoEncoder

CONFIGS = Path(__file__).parents[2] / "configs"
PAPER = "ViViT, tables of models and regularisers"

MODELS = {
    "joint": (80.0, 43.1),
    "factorised encoder": (78.8, 43.7),
}
PUBLISHED = tuple(
    Published({"model": label}, {"K400": k400, "EK100": ek100}, PAPER, "P") for label, (k400, ek100) in MODELS.items()
)
REGULARISED = (
    Published({"regularisers": "without"}, {"SSv2": 60.4}, PAPER, "P"),
    Published({"regularisers": "with"}, {"SSv2": 65.4}, PAPER, "P"),
)


def claims(metric: str) -> tuple[Claim, ...]:
    """Kinetics results of the table of models."""

    def one(better: str, worse: str, numbers: str) -> Claim:
        text = f"{better} beats {worse}"
        return Claim(text, {"model": better}, {"model": worse}, metric, f"{PAPER}: K400 {numbers}", "P")

    return (one("joint", "factorised encoder", "80.0 against 78.8"),)


TOP1 = (Metric("motion", "classification", "visual/top1"), Metric("shape", "classification", "noun/top1"))
TOY = toy(
    "vivit",
    {"visual": label_config("visual", ("video",)), "noun": label_config("noun", ("video",))},
    fusion=Fusion("early"),
    config=toy_input(video=Video(fps=12.0, frames=24, size=32, tubelet=(2, 8, 8)), audio=None),
    tasks=("classification",),
)

toy_tier = Tier(
    studies=(
        Study(
            "model",
            TOY,
            (
                named(
                    "model",
                    {
                        "joint": {},
                        "factorised encoder": {"model.depth": 1, "model.video_encoder": VideoEncoder(2, "class")},
                        "FE, steps of mean tokens": {
                            "model.depth": 1,
                            "model.video_encoder": VideoEncoder(2, "mean"),
                        },
                    },
                ),
            ),
            TOP1,
            claims=claims("motion"),
            published=PUBLISHED,
        ),
        Study(
            "regularisers",
            TOY,
            (
                named(
                    "regularisers",
                    {
                        "without": {},
                        "drop path": {"model.block.drop_path": 0.2},
                        "mixup": {"input.mixing": Mixing(mixup=0.3)},
                        "with": {
                            "model.block.drop_path": 0.2,
                            "input.mixing": Mixing(mixup=0.3),
                            "objectives.visual.smoothing": 0.3,
                            "objectives.noun.smoothing": 0.3,
                        },
                    },
                ),
            ),
            TOP1,
            claims=(
                Claim(
                    "regularisers together help",
                    {"regularisers": "with"},
                    {"regularisers": "without"},
                    "motion",
                    f"{PAPER}: SSv2 65.4 against 60.4",
                    "P",
                ),
            ),
            published=REGULARISED,
        ),
    ),
    corpora=(PLAIN,),
    minutes=35,
)

JOINT = load_experiment(CONFIGS / "pretrain" / "vivit_joint.py")
FACTORISED = load_experiment(CONFIGS / "pretrain" / "vivit_factorised.py")
SSV2 = load_experiment(CONFIGS / "finetune" / "something_something_v2.py")
K400 = (Metric("K400", "classification", "classification/top1"),)


def without_regularisers(experiment: Experiment) -> Experiment:
    """Turn off stochastic depth, mixing, random augmentation and label smoothing."""
    video = dataclasses.replace(experiment.input.video, rand_augment=None, erase=0.0)
    block = dataclasses.replace(experiment.model.block, drop_path=0.0)
    action = dataclasses.replace(experiment.objectives["action"], smoothing=0.0)
    return dataclasses.replace(
        experiment,
        input=dataclasses.replace(experiment.input, video=video, mixing=Mixing()),
        model=dataclasses.replace(experiment.model, block=block),
        objectives={"action": action},
    )


paper_tier = Tier(
    studies=(
        Study(
            "model",
            JOINT,
            (named("model", {"joint": {}, "factorised encoder": lambda _: FACTORISED}),),
            K400,
            claims=claims("K400"),
            published=PUBLISHED,
        ),
        Study(
            "start of tubelets",
            JOINT,
            (
                named(
                    "inflation",
                    {
                        label: {"training.init_from": "runs/image_vit_b", "training.inflation": way}
                        for label, way in {"inflation": "mean", "central frame": "central"}.items()
                    },
                ),
            ),
            K400,
            claims=(
                Claim(
                    "the central frame beats inflation", {"inflation": "central frame"}, {"inflation": "inflation"},
                    "K400", f"{PAPER}: 79.2 against 77.6", "P",
                ),
            ),
            published=(
                Published({"inflation": "inflation"}, {"K400": 77.6}, PAPER, "P"),
                Published({"inflation": "central frame"}, {"K400": 79.2}, PAPER, "P"),
            ),
        ),
        Study(
            "regularisers",
            dataclasses.replace(SSV2, training=dataclasses.replace(SSV2.training, init_from=None)),
            (named("regularisers", {"with": {}, "without": without_regularisers}),),
            (Metric("SSv2", "classification", "action/top1"),),
            claims=(
                Claim(
                    "regularisers help", {"regularisers": "with"}, {"regularisers": "without"}, "SSv2",
                    f"{PAPER}: 65.4 against 60.4", "P",
                ),
            ),
            published=REGULARISED,
        ),
    ),
    seeds=(0,),
    needs="corpora/kinetics400 and corpora/something_something_v2; runs/image_vit_b, a ViT-B/16 of single images",
)  # fmt: skip

suite = Suite(
    name="vivit",
    title="ViViT: factorisations and regularisers",
    fixed="data, width, steps and optimiser; all models have as many layers in the toy",
    toy=toy_tier,
    paper=paper_tier,
    remarks="Factorised self-attention (77.4 on K400, 39.1 on EK100), factorised dot-product attention (76.3, 39.5) "
    "and the factorised encoder whose steps meet in a mean alone (75.8, 38.8) have no setting here: behind the space "
    "encoder stands at least one layer. Tubelets from random weights (73.2) need no checkpoint and are the first "
    "study's; frames sampled alone (78.5) are left out. EK100 is another corpus: configs/finetune/epic_kitchens100.py.",
)
