"""One's own clips, in a corpus made by `mmvideo data build FOLDER corpora/mine --tokenizer-vocabulary 4000`.

A small model that a laptop trains; with an accelerator, take a larger one: --model.size S --input.video.size 128.

COMMAND  mmvideo train configs/pretrain/folder.py --input.sources.0.path corpora/mine --workdir runs/mine
"""

import dataclasses

from mmvideo.evaluation.config import Evaluation
from mmvideo.experiment import Experiment
from mmvideo.input.config import Audio, Input, Masking, Packing, Source, Video
from mmvideo.model.config import Fusion, Model
from mmvideo.objectives import Contrastive, MaskedPatches, MaskedText
from mmvideo.training.config import Optimizer, Training

experiment = Experiment(
    name="mine",
    input=Input(
        sources=(Source("corpora/mine"),),
        video=Video(fps=8.0, frames=32, size=96, tubelet=(4, 16, 16), crop_scale=0.6),
        audio=dataclasses.replace(Audio(), seconds=4.0),
        masking=Masking(video=0.75, audio=0.6, text=0.15),
        packing=Packing(rows=16, tokens=512, clips=8),
    ),
    model=Model(size="nano", fusion=Fusion("mid", layer=3, media_layer=2), compute="float32"),
    objectives={
        "contrastive": Contrastive(pairs=("video-text", "audio-text", "video-audio")),
        "masked_patches": MaskedPatches(weight=0.5),
        "masked_text": MaskedText(weight=0.2),
    },
    training=Training(steps=1000, optimizer=Optimizer(learning_rate=1e-3)),
    evaluation=Evaluation(),
)
