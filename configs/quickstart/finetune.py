"""Sounding shapes, fine-tuned from the quickstart's pretraining: classes, captions and retrieval from one model.

COMMAND  mmvideo train configs/quickstart/finetune.py --workdir runs/quickstart_finetuned
DATA     as for configs/quickstart/shapes.py, from whose run in runs/quickstart this one starts
COST     2 CPU cores, 3 minutes

The backbone starts from the pretrained one. Text becomes causal, so that the model can generate it; video and audio
never attend to the caption that describes them. New heads classify the motion (from video alone), melody and instrument
(from audio alone), and whether motion and melody agree (which needs both).
"""

import dataclasses
import runpy
from pathlib import Path

from mmvideo.evaluation.config import Evaluation
from mmvideo.experiment import Experiment
from mmvideo.input.config import Masking, Packing
from mmvideo.objectives import Captioning, Classification
from mmvideo.training.config import Optimizer, Training

pretraining = runpy.run_path(str(Path(__file__).with_name("shapes.py")))["experiment"]

experiment = Experiment(
    name="quickstart_finetuned",
    input=dataclasses.replace(
        pretraining.input,
        text=dataclasses.replace(pretraining.input.text, begin=True),
        masking=Masking(),
        packing=Packing(rows=16, tokens=256, clips=3),
    ),
    model=dataclasses.replace(pretraining.model, fusion=dataclasses.replace(pretraining.model.fusion, text="causal")),
    objectives={
        "contrastive": pretraining.objectives["contrastive"],
        "captioning": Captioning(),
        "motion": Classification("visual", 6, modalities=("video",), weight=0.3),
        "sound": Classification("audio", 16, modalities=("audio",), weight=0.3),
        "agreement": Classification("joint", 2, modalities=("video", "audio"), weight=0.3),
    },
    training=Training(
        steps=200,
        init_from="runs/quickstart",
        optimizer=Optimizer(name="muon", learning_rate=2e-3, warmup=20, weight_decay=0.05),
        log_every=20,
        save_every=200,
    ),
    evaluation=Evaluation(losses=False),
)
