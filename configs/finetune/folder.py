"""A folder of clips with labels: a classifier trained from scratch, with settings chosen from the clips.

COMMAND  mmvideo data build FOLDER corpora/mine
         mmvideo train configs/finetune/folder.py --input.sources.0.path corpora/mine --workdir runs/mine
DATA     FOLDER/train/CLASS/clip.mp4 and FOLDER/test/CLASS/clip.mp4, or a manifest with "label" and "split"; clips of
         any length, size and rate, with video, audio or both. With several kinds of label, choose one with
         --objectives.label.label KIND; a kind with several classes per clip also works.
CHOSEN   classes, seconds of a view, frames, size, tubelets, spectrogram and its mean and deviation, tokens in a row,
         steps and the views of evaluation: the fields that `choose` names. The run prints each with its reason when it
         begins; `mmvideo data advise corpora/mine` prints them before. A flag overrides a choice, and the other choices
         adapt to it: --input.video.size 112, --training.steps 1000. With an accelerator: --model.size S
         --input.video.size 128.
COST     2 CPU cores: 3 to 6 processor minutes for 100 to 180 clips of 1 to 3 s, half a minute of it to the first step
PROTOCOL top-1 on the test clips, with probabilities averaged over views and the moving average of the parameters.
EXPECTS  experiments/folder/README.md, which compares it with a logistic regression on mean frame and mean spectrogram
"""

from mmvideo.evaluation.config import Evaluation
from mmvideo.experiment import Experiment
from mmvideo.input.config import Audio, Input, Packing, Source, Video
from mmvideo.media.config import Spectrogram
from mmvideo.model.config import Block, Fusion, Model
from mmvideo.objectives import Classification
from mmvideo.training.config import Optimizer, Training

experiment = Experiment(
    name="folder",
    input=Input(
        sources=(Source("corpora/mine"),),
        video=Video(crop_scale=0.7, flip=True, colour=0.2),
        audio=Audio(
            spectrogram=Spectrogram(kind="log_mel", bins=64),
            time_masks=1,
            time_mask=16,
            mel_masks=1,
            mel_mask=12,
            roll=True,
        ),
        text=None,
        packing=Packing(rows=8),
    ),
    # With few clips, location in the frame and frequency separate the classes: hence absolute positions.
    model=Model(
        size="nano", fusion=Fusion("mid", layer=2), block=Block(drop_path=0.1), position="learned", compute="float32"
    ),
    # A clip without audio or without video is classified by the modality it has.
    objectives={"label": Classification("label", require="any", smoothing=0.1, dropout=0.3)},
    training=Training(
        optimizer=Optimizer(name="muon", learning_rate=2e-3, weight_decay=0.1), ema=0.98, log_every=20, save_every=500
    ),
    evaluation=Evaluation(tasks=("classification",)),
    choose=(
        "input.video",
        "input.audio",
        "input.packing",
        "objectives",
        "training.steps",
        "training.optimizer.warmup",
        "evaluation.views",
    ),
)
