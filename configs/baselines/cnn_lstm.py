"""Late fusion of two CNNs and an LSTM at the size of the field's introductions: a baseline for the transformer.

COMMAND  mmvideo train configs/baselines/cnn_lstm.py --input.sources.0.path CORPUS --objectives.label.label KIND
DATA     mmvideo data build FOLDER CORPUS --tokenizer-vocabulary 10000; clips with captions and ten classes
COST     one GPU; 8.7 GFLOPs per clip in the forward pass (a multiply-add counts as two), nearly all for the 8 frames

The model reads frames of 224 × 224 × 3, whose vectors it averages; 128 × 128 spectrograms (1.3 seconds); and 100
text tokens of a vocabulary of 10,000. It concatenates them; dense layers of 128, 64 and 32 follow, with dropout and ten
classes.
"""

from mmvideo.evaluation.config import Evaluation
from mmvideo.experiment import Experiment
from mmvideo.input.config import Audio, Input, Packing, Source, Text, Video
from mmvideo.media.config import Spectrogram
from mmvideo.model.kinds import CnnLstm
from mmvideo.objectives import Classification
from mmvideo.training.config import Optimizer, Training

experiment = Experiment(
    name="cnn_lstm",
    input=Input(
        sources=(Source("corpora/clips"),),
        video=Video(fps=4.0, frames=8, size=224, tubelet=(2, 16, 16)),
        # 128 windows of 25 ms, one every 10 ms.
        audio=Audio(seconds=1.295, spectrogram=Spectrogram(kind="kaldi", bins=128), patch=(16, 16)),
        text=Text(length=100, vocabulary=10_000),
        packing=Packing(rows=32, tokens=960, clips=1),
    ),
    model=CnnLstm(channels=(32, 64, 128), width=128, word=128, dense=(128, 64, 32), dropout=0.5),
    objectives={"label": Classification("label", 10, ("video", "audio", "text"))},
    training=Training(
        steps=10_000,
        optimizer=Optimizer(name="adamw", learning_rate=1e-3, warmup=100, weight_decay=0.0),
        log_every=50,
        save_every=1000,
    ),
    evaluation=Evaluation(retrieval=False),
)
