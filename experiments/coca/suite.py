"""CoCa: contrastive loss, captioning, or both; their weights; and the layer where text attends to frames.

COMMAND  mmvideo ablate experiments/coca --tier toy
COST     toy: 2 CPU cores, 35 minutes (7 cells, 3 seeds); paper: `--tier paper` plans it
EXPECTS  both losses together retrieve better than the contrastive loss alone; twice the weight on captioning is no
         worse than the opposite

SOURCE   Yu et al. 2022, arXiv 2205.01917, table 8.
FIXED    paper: configs/pretrain/coca_video.py, zero-shot on MSR-VTT instead of ImageNet. Toy: frames and captions of
         plain shapes, 4 layers; retrieval, and the share of the text tokens of held-out captions that are predicted
         from the clip.
"""

import dataclasses
from pathlib import Path

from mmvideo.ablation.fields import override
from mmvideo.ablation.suite import Axis, Change, Claim, Metric, Published, Study, Suite, Tier, grid, named
from mmvideo.ablation.toy import PLAIN, toy, toy_input, words
from mmvideo.experiment import Experiment, load_experiment
from mmvideo.input.config import Source
from mmvideo.model.config import Fusion
from mmvideo.objectives import Captioning, Contrastive

CONFIGS = Path(__file__).parents[2] / "configs"
TABLE = "CoCa, table 8"


def alone(name: str) -> Change:
    """Keep one of the two objectives."""

    def change(experiment: Experiment) -> Experiment:
        return dataclasses.replace(experiment, objectives={name: experiment.objectives[name]})

    return change


OBJECTIVE = named("objective", {"contrastive": alone("contrastive"), "captioning": alone("captioning"), "both": {}})


def ratios() -> Axis:
    """Set the ratio of the captioning weight to the contrastive weight."""
    return named(
        "captioning : contrastive",
        {
            label: {"objectives.captioning.weight": captioning, "objectives.contrastive.weight": contrastive}
            for label, (captioning, contrastive) in {"1:1": (1.0, 1.0), "1:2": (1.0, 2.0), "2:1": (2.0, 1.0)}.items()
        },
    )


PUBLISHED = {
    "objective": (
        Published({"objective": "contrastive"}, {"ImageNet": 70.7, "VQA": 59.2}, TABLE, "P"),
        Published({"objective": "captioning"}, {"VQA": 68.9}, TABLE, "P"),
        Published({"objective": "both"}, {"ImageNet": 71.6, "VQA": 69.0}, TABLE, "P"),
    ),
    "weights": tuple(
        Published({"captioning : contrastive": label}, {"ImageNet": top1, "VQA": vqa}, TABLE, "P")
        for label, top1, vqa in (("1:1", 71.5, 68.6), ("1:2", 71.0, 68.1), ("2:1", 71.6, 69.0))
    ),
    "layers": tuple(
        Published({"text alone": label}, {"ImageNet": top1, "VQA": vqa}, TABLE, "P")
        for label, top1, vqa in (("3", 70.2, 69.0), ("6", 71.6, 69.0), ("9", 71.4, 68.8))
    ),
}


def claims(found: str) -> dict[str, tuple[Claim, ...]]:
    """Published zero-shot results; the table measures them on ImageNet."""
    ratio = "captioning : contrastive"
    return {
        "objective": (
            Claim(
                "both find more than comparing alone", {"objective": "both"}, {"objective": "contrastive"}, found,
                f"{TABLE}: ImageNet 71.6 against 70.7", "P",
            ),
        ),
        "weights": (
            Claim(
                "2:1 finds more than 1:2", {ratio: "2:1"}, {ratio: "1:2"}, found,
                f"{TABLE}: ImageNet 71.6 against 71.0", "P",
            ),
        ),
    }  # fmt: skip


FOUND = "text→video R@10"
TOY = toy(
    "coca",
    {"contrastive": Contrastive(pairs=("video-text",), width=96, pooling="map"), "captioning": Captioning(weight=2.0)},
    fusion=Fusion("mid", 2, text="causal"),
    config=toy_input(audio=None, text=words()),
    tasks=None,
)
TOY = override(TOY, {"model.depth": 4})
TOY_METRICS = (
    Metric(FOUND, "retrieval", "text_to_video/r@10"),
    Metric("pieces told", "losses", "captioning/accuracy"),
    Metric("shape, colour and motion told", "captioning", "facts/colour+shape+motion"),
)

toy_tier = Tier(
    studies=(
        Study(
            "objective",
            TOY,
            (OBJECTIVE,),
            TOY_METRICS,
            claims=(
                *claims(FOUND)["objective"],
                Claim(
                    "both tell no less than captioning alone, but for 0.03 of the pieces", {"objective": "both"},
                    {"objective": "captioning"}, "pieces told", f"{TABLE}: VQA 69.0 against 68.9", "P", margin=-0.03,
                ),
            ),
            published=PUBLISHED["objective"],
        ),
        Study("weights", TOY, (ratios(),), TOY_METRICS, claims("text→video R@10")["weights"], PUBLISHED["weights"]),
        Study(
            "layers",
            TOY,
            (grid("text alone", "model.fusion.layer", [1, 2, 3], ["1 of 4", "2 of 4", "3 of 4"]),),
            TOY_METRICS,
            claims=(
                Claim(
                    "text alone in half of the layers finds more than in a quarter", {"text alone": "2 of 4"},
                    {"text alone": "1 of 4"}, FOUND, f"{TABLE}: 6 of 12 has ImageNet 71.6, 3 of 12 has 70.2", "P",
                ),
            ),
        ),
    ),
    corpora=(PLAIN,),
    minutes=35,
)  # fmt: skip

RECIPE = load_experiment(CONFIGS / "pretrain" / "coca_video.py")
BASE = dataclasses.replace(
    RECIPE,
    evaluation=dataclasses.replace(
        RECIPE.evaluation, sources=(Source("corpora/msrvtt", "test"),), tasks=("retrieval", "captioning")
    ),
)
# A model without the contrastive loss cannot retrieve, and one without captioning cannot generate.
BASE = override(BASE, {"evaluation.tasks": None, "evaluation.losses": False})
METRICS = (Metric("R@1", "retrieval", "text_to_video/r@1"), Metric("CIDEr-D", "captioning", "cider_d"))

paper_tier = Tier(
    studies=(
        Study("objective", BASE, (OBJECTIVE,), METRICS, claims("R@1")["objective"], PUBLISHED["objective"]),
        Study("weights", BASE, (ratios(),), METRICS, claims("R@1")["weights"], PUBLISHED["weights"]),
        Study(
            "layers",
            BASE,
            (grid("text alone", "model.fusion.layer", [3, 6, 9]),),
            METRICS,
            claims=(
                Claim("6 beat 3", {"text alone": "6"}, {"text alone": "3"}, "R@1", f"{TABLE}: 71.6 against 70.2", "P"),
            ),
            published=PUBLISHED["layers"],
        ),
    ),
    seeds=(0,),
    needs="corpora/webvid to train on, corpora/msrvtt to be found in",
)

suite = Suite(
    name="coca",
    title="CoCa: loss weights, and where text meets pictures",
    fixed="data, size, steps and optimiser of the base",
    toy=toy_tier,
    paper=paper_tier,
    remarks="Poolers (cascade, parallel) and their numbers of queries have no setting here: a side is pooled by its "
    "mean or by one query. The published ImageNet and VQA stand beside video retrieval and captions, which are other "
    "tasks.",
)
