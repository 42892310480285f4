"""The embedded film, animations and sounds together: a corpus in which most clips lack a modality.

The film has video, audio and text; the animations have no audio; the sounds have no video. Each objective uses the
clips that have the modalities it needs.

COMMAND  mmvideo train configs/quickstart/samples.py --workdir runs/samples
"""

from mmvideo.evaluation.config import Evaluation
from mmvideo.experiment import Experiment
from mmvideo.input.config import Audio, Input, Masking, Packing, Source, Text, Video
from mmvideo.media.config import Spectrogram
from mmvideo.model.config import Fusion, Model
from mmvideo.objectives import Contrastive, MaskedPatches, MaskedText
from mmvideo.training.config import Optimizer, Training

experiment = Experiment(
    name="samples",
    input=Input(
        sources=(Source("samples:all"),),
        video=Video(fps=8.0, frames=24, size=96, tubelet=(4, 16, 16), crop_scale=0.6, flip=True, colour=0.2),
        audio=Audio(
            seconds=3.0,
            spectrogram=Spectrogram(kind="kaldi", bins=64),
            patch=(16, 16),
            time_masks=1,
            time_mask=24,
            mel_masks=1,
            mel_mask=8,
        ),
        text=Text(length=40),
        masking=Masking(video=0.75, video_kind="tube", audio=0.6, text=0.15),
        packing=Packing(rows=16, tokens=384, clips=12),
    ),
    model=Model(size="nano", fusion=Fusion("mid", layer=3, media_layer=2), compute="float32"),
    objectives={
        "contrastive": Contrastive(pairs=("video-text", "audio-text", "video-audio")),
        "masked_patches": MaskedPatches(weight=0.5),
        "masked_text": MaskedText(weight=0.2),
    },
    training=Training(steps=200, optimizer=Optimizer(learning_rate=1e-3, warmup=20), log_every=10, save_every=100),
    evaluation=Evaluation(probes=("set",)),
)
