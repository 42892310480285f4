"""A CNN on each frame and an LSTM over time, and the same for audio: the baseline that knows the order of events.

COMMAND  mmvideo train configs/baselines/frame_lstm.py --input.sources.0.path CORPUS --objectives.label.label KIND
DATA     mmvideo data build FOLDER CORPUS --tokenizer-vocabulary 10000; clips with captions and ten classes
COST     one GPU; 8.7 GFLOPs per clip in the forward pass (a multiply-add counts as two), nearly all for the 8 frames

The sizes are those of configs/baselines/cnn_lstm.py. One LSTM reads the vectors of the frames, a second those of 8
strips of 16 × 128 of the spectrogram, and a third the text tokens.
"""

from mmvideo.evaluation.config import Evaluation
from mmvideo.experiment import Experiment
from mmvideo.input.config import Audio, Input, Packing, Source, Text, Video
from mmvideo.media.config import Spectrogram
from mmvideo.model.kinds import FrameLstm
from mmvideo.objectives import Classification
from mmvideo.training.config import Optimizer, Training

experiment = Experiment(
    name="frame_lstm",
    input=Input(
        sources=(Source("corpora/clips"),),
        video=Video(fps=4.0, frames=8, size=224, tubelet=(2, 16, 16)),
        # 128 windows of 25 ms, one every 10 ms.
        audio=Audio(seconds=1.295, spectrogram=Spectrogram(kind="kaldi", bins=128), patch=(16, 16)),
        text=Text(length=100, vocabulary=10_000),
        packing=Packing(rows=32, tokens=960, clips=1),
    ),
    model=FrameLstm(channels=(32, 64, 128), width=128, word=128, dense=(128, 64, 32), dropout=0.5),
    objectives={"label": Classification("label", 10, ("video", "audio", "text"))},
    training=Training(
        steps=10_000,
        optimizer=Optimizer(name="adamw", learning_rate=1e-3, warmup=100, weight_decay=0.0),
        log_every=50,
        save_every=1000,
    ),
    evaluation=Evaluation(retrieval=False),
)
