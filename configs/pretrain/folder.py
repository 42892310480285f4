"""A folder of clips, with captions or without: pretraining with settings chosen from the clips.

COMMAND  mmvideo data build FOLDER corpora/mine --tokenizer-vocabulary 4000   (omit the flag without captions)
         mmvideo train configs/pretrain/folder.py --input.sources.0.path corpora/mine --workdir runs/mine
DATA     a folder of clips, or one with a manifest and "captions"; any length, size and rate, with video, audio
         or both.
CHOSEN   seconds of a view, frames, size, tubelets, spectrogram and its mean and deviation, length of captions,
         tokens in a row, the modalities to compare, and steps: the fields that `choose` names. The run prints each with
         its reason when it begins; `mmvideo data advise corpora/mine --recipe pretrain` prints them before. A flag
         overrides a choice, and the other choices adapt to it. With an accelerator: --model.size S
         --input.video.size 128.
COST     2 CPU cores; a whole run was not timed: 150 steps of about 48 clips for 80 clips of 3 s
EXPECTS  masked patches and, if clips have two modalities, retrieval between them; labels need no training here:
         --evaluation.probes label fits a probe to the features
"""

from mmvideo.evaluation.config import Evaluation
from mmvideo.experiment import Experiment
from mmvideo.input.config import Audio, Input, Masking, Packing, Source, Text, Video
from mmvideo.media.config import Spectrogram
from mmvideo.model.config import Fusion, Model
from mmvideo.objectives import Contrastive, MaskedPatches, MaskedText
from mmvideo.training.config import Optimizer, Training

experiment = Experiment(
    name="mine",
    input=Input(
        sources=(Source("corpora/mine"),),
        video=Video(crop_scale=0.6),
        audio=Audio(spectrogram=Spectrogram(kind="log_mel", bins=64)),
        text=Text(),
        masking=Masking(video=0.75, audio=0.6, text=0.15),
        packing=Packing(rows=16),
    ),
    model=Model(size="nano", fusion=Fusion("mid", layer=3, media_layer=2), compute="float32"),
    objectives={
        "contrastive": Contrastive(pairs=("video-text", "audio-text", "video-audio"), repeats="left_out"),
        "masked_patches": MaskedPatches(weight=0.5),
        "masked_text": MaskedText(weight=0.2),
    },
    training=Training(optimizer=Optimizer(learning_rate=1e-3)),
    evaluation=Evaluation(),
    choose=(
        "input.video",
        "input.audio",
        "input.text",
        "input.packing",
        "objectives",
        "training.steps",
        "training.optimizer.warmup",
    ),
)
