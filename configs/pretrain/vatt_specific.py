"""VATT, modality-specific: one transformer each for video, waveforms and text, compared in pairs.

COMMAND  mmvideo train configs/pretrain/vatt_specific.py --workdir runs/vatt_specific
TINY     mmvideo train configs/pretrain/vatt_specific.py:tiny
COST     8.6e+20 FLOPs with dense attention (mmvideo plan): 3 days on 8 GPUs at 400 TFLOP/s each
DATA     HowTo100M and AudioSet; AudioSet has no text, so its clips take no part in the video-text pair
EXPECTS  fine-tuned: Kinetics-400 79.6 top-1 (video Base), AudioSet 39.4 mAP; zero-shot MSR-VTT text to video 29.7
         R@10

SOURCE   paper: Akbari et al. 2021, arXiv 2104.11178, tables 1, 2 and 4. Code: google-research/vatt, configs/ {video,
         audio, text, multimodal, dataset, head, loss, experiment}.py.
  model         Base-Base-Small of the released checkpoints: video and audio 12 layers of width 768, text 6 layers.
                the rest      as vatt_agnostic.py, where the source of each number stands.

PAPER AND CODE DISAGREE
  warm-up       10k steps in the paper, 5k in the code: the code's is used here.
  schedule      a quarter of a cosine in the paper; half of one from 1e-4 to 5e-5 in the code: the code's is used here.

DIFFERS HERE As in vatt_agnostic.py. In addition, all modalities have the width of the one backbone: the text
  transformer is 768 wide with 12 heads; VATT's Small is 512 wide with 8 heads and has T5's relative positions. VATT's
  Medium-Base-Small, whose GFLOPs are in its table 5, has three widths; tests/cost_model counts it as three models.
"""

from mmvideo.experiment import Experiment
from mmvideo.experiment.tiny import tiny_twin
from mmvideo.input.config import Audio, DropToken, Input, Packing, Source, Text, Video
from mmvideo.model.config import Block, Fusion, Model, Sharing
from mmvideo.objectives import Contrastive
from mmvideo.training.config import Optimizer, Training

experiment = Experiment(
    name="vatt_specific",
    input=Input(
        sources=(Source("corpora/howto100m"), Source("corpora/audioset")),
        video=Video(fps=10.0, frames=32, size=224, tubelet=(4, 16, 16), crop_scale=0.5, flip=True, colour=0.4),
        audio=Audio(seconds=3.2, waveform=128, sample_rate=48000),
        text=Text(length=16, captions=4, vocabulary=2**16),
        drop_token=DropToken(video=0.5, audio=0.5),
        # 784 + 600 + 4 x 16 tokens: one clip per row.
        packing=Packing(rows=2048, tokens=1448, clips=1),
    ),
    model=Model(
        size="B",
        fusion=Fusion("late"),
        sharing=Sharing(apart="nothing"),
        depths={"text": 6},
        block=Block(norm="layer", epsilon=1e-6, activation="gelu"),
        class_tokens=1,
        position="learned",
    ),
    objectives={
        "video_audio": Contrastive(
            pairs=("video-audio",), form="mil_nce", width=512, temperature=0.07, learned=False, pooling="class"
        ),
        "video_text": Contrastive(
            pairs=("video-text",), form="mil_nce", width=256, temperature=0.07, learned=False, pooling="mean"
        ),
    },
    training=Training(
        steps=500_000,
        optimizer=Optimizer(
            name="adamw",
            learning_rate=1e-4,
            schedule="cosine",
            warmup=5_000,
            final_share=0.5,
            b1=0.9,
            b2=0.999,
            eps=1e-7,
            weight_decay=0.0,
            clip=None,
        ),
        log_every=100,
        save_every=10_000,
    ),
)

tiny = tiny_twin(experiment)
