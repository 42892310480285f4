"""Sounding shapes, pretrained on video, sound and text: what tools/quickstart.sh runs.

COMMAND  mmvideo train configs/quickstart/shapes.py --workdir runs/quickstart
DATA     mmvideo data shapes corpora/quickstart/clips --train 3000 --test 512
         mmvideo data build corpora/quickstart/clips corpora/quickstart/shapes --tokenizer-vocabulary 256
"""

from mmvideo.evaluation.config import Evaluation
from mmvideo.experiment import Experiment
from mmvideo.input.config import Audio, Input, Masking, Packing, Source, Text, Video
from mmvideo.media.config import Spectrogram
from mmvideo.model.config import Decoder, Fusion, Model
from mmvideo.objectives import Contrastive, MaskedPatches, MaskedText
from mmvideo.training.config import Optimizer, Training

corpus = "corpora/quickstart/shapes"

experiment = Experiment(
    name="quickstart",
    input=Input(
        sources=(Source(corpus),),
        # Two seconds of 64 × 64 pixels at 8 frames a second: 4 × 4 × 4 tubelets of half a second.
        video=Video(fps=8.0, frames=16, size=64, tubelet=(4, 16, 16)),
        # 64 mel bins every 20 ms: 5 × 4 patches of two fifths of a second.
        audio=Audio(
            seconds=2.0,
            spectrogram=Spectrogram(
                kind="log_mel", window_seconds=0.04, hop_seconds=0.02, bins=64, mean=-1.1, deviation=1.5
            ),
            patch=(20, 16),
        ),
        text=Text(length=32),
        masking=Masking(video=0.5, video_kind="random", audio=0.5, text=0.15),
        packing=Packing(rows=12, tokens=176, clips=4),
    ),
    model=Model(
        size="nano",
        depth=5,
        # Each modality by itself, then video with sound, then both with text.
        fusion=Fusion("mid", layer=4, media_layer=3),
        compute="float32",
        decoder=Decoder(1, 64, 4),
    ),
    objectives={
        "contrastive": Contrastive(pairs=("video-text", "audio-text", "video-audio", "video+audio-text")),
        "masked_patches": MaskedPatches(weight=0.5),
        "masked_text": MaskedText(weight=0.2),
    },
    training=Training(
        steps=900,
        optimizer=Optimizer(learning_rate=1.5e-3, warmup=60, weight_decay=0.05),
        log_every=20,
        save_every=300,
    ),
    evaluation=Evaluation(probes=("visual", "audio", "joint")),
)
