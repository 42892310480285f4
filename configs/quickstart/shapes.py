"""Sounding shapes, pretrained on video, audio and text; tools/quickstart.sh runs this recipe.

COMMAND  mmvideo train configs/quickstart/shapes.py --workdir runs/quickstart
DATA     mmvideo data shapes corpora/quickstart/clips --train 3000 --test 256 --difficulty 0.1
         mmvideo data build corpora/quickstart/clips corpora/quickstart/shapes --tokenizer-vocabulary 256
COST     2 CPU cores, 6 minutes
"""

from mmvideo.evaluation.config import Evaluation
from mmvideo.experiment import Experiment
from mmvideo.input.config import Audio, Input, Masking, Packing, Source, Text, Video
from mmvideo.media.config import Spectrogram
from mmvideo.model.config import Decoder, Fusion, Model
from mmvideo.objectives import Contrastive, MaskedPatches, MaskedText
from mmvideo.training.config import Optimizer, Training

experiment = Experiment(
    name="quickstart",
    input=Input(
        sources=(Source("corpora/quickstart/shapes"),),
        # Two seconds of 64 × 64 pixels at 4 frames per second: 4 × 4 × 4 tubelets of half a second each.
        video=Video(fps=4.0, frames=8, size=64, tubelet=(2, 16, 16)),
        # 64 mel bins every 20 ms: 5 × 2 patches of 0.4 s each.
        audio=Audio(
            seconds=2.0,
            spectrogram=Spectrogram(
                kind="log_mel", window_seconds=0.04, hop_seconds=0.02, bins=64, mean=-1.1, deviation=1.5
            ),
            patch=(20, 32),
        ),
        text=Text(length=32),
        # Light masks, because the contrastive objective sees the same tokens and a shape is only a few patches wide.
        masking=Masking(video=0.25, video_kind="random", audio=0.4, text=0.1),
        packing=Packing(rows=16, tokens=144, clips=3),
    ),
    # Three layers with separate modalities, which the contrastive objective compares; then all modalities together.
    model=Model(size="nano", fusion=Fusion("mid", layer=3), compute="float32", decoder=Decoder(1, 64, 4)),
    objectives={
        # Videos are the hardest to distinguish, so their pairs have the largest weight.
        "contrastive": Contrastive(pairs=("video-text", "audio-text", "video-audio"), pair_weights=(2.0, 1.0, 1.5)),
        "masked_patches": MaskedPatches(weight=0.2),
        "masked_text": MaskedText(weight=0.1),
    },
    training=Training(
        steps=600,
        # Muon needs about a third of the steps that AdamW needs here.
        optimizer=Optimizer(name="muon", learning_rate=3e-3, warmup=30, weight_decay=0.05),
        log_every=20,
        save_every=300,
    ),
    evaluation=Evaluation(probes=("visual", "audio", "joint")),
)
