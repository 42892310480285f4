"""CoCa on video: an encoder for single frames, and a causal text transformer with a contrastive and a captioning loss.

COMMAND  mmvideo train configs/pretrain/coca_video.py --workdir runs/coca_video
TINY     mmvideo train configs/pretrain/coca_video.py:tiny
COST     7.5e+22 FLOPs with dense attention (mmvideo plan): 270 days on 8 GPUs at 400 TFLOP/s each
DATA     clips with captions
EXPECTS  on images, with both losses: 71.6 zero-shot on ImageNet, VQA 69.0 (table 8); on video 88.9 on Kinetics-400,
         with 2.1 B parameters

SOURCE   paper: Yu et al. 2022, arXiv 2205.01917, section 3.2 and table 8.
  tokens        288 pixels in patches of 18: 256 tokens per frame; 16 frames.
  model         Base: an encoder of 12 layers and a decoder of 12; the first half of the decoder sees text alone, the
                second half also sees the frames; width 768.
  objectives    contrastive with weight 1 and a learned temperature from 0.07, captioning with weight 2.
  optimiser     Adafactor (0.9, 0.999) 8e-4, decoupled weight decay 0.01, 500k steps with batch 65,536; 2 % of the steps
                are warm-up, then the rate decays linearly.

PAPER AND CODE DISAGREE
  There is no official code; the paper is followed.

DIFFERS HERE A frame enters the decoder as one token, as in CoCa's mean over frames; in CoCa 256 learned queries attend
  to a frame. Text attends to frames and text in one attention with the same weights, and frames pass through the
  decoder's layers too; CoCa has separate cross-attention. Text is pooled by attention, as frames are; CoCa uses a class
  token for text. CoCa is trained on images and used on video; this recipe trains on video. Gradients are clipped to 1,
  which the paper does not mention.
"""

from mmvideo.experiment import Experiment
from mmvideo.experiment.tiny import tiny_twin
from mmvideo.input.config import Input, Packing, Source, Text, Video
from mmvideo.model.config import Block, Fusion, Model, Sharing, VideoEncoder
from mmvideo.objectives import Captioning, Contrastive
from mmvideo.parallel.config import Mesh
from mmvideo.training.config import Optimizer, Training

experiment = Experiment(
    name="coca_video",
    input=Input(
        sources=(Source("corpora/webvid"),),
        video=Video(fps=2.0, frames=16, size=288, tubelet=(1, 18, 18), crop_scale=0.5),
        audio=None,
        text=Text(length=64, begin=True, vocabulary=64_000),
        # 16 x 256 + 64 tokens: one clip per row.
        packing=Packing(rows=65_536, tokens=4160, clips=1),
    ),
    model=Model(
        size="B",
        video_encoder=VideoEncoder(depth=12, pooling="mean"),
        fusion=Fusion("mid", layer=6, text="causal"),
        sharing=Sharing(apart="nothing", fused="nothing"),
        block=Block(norm="layer", epsilon=1e-6, activation="gelu"),
        position="learned_1d",
        remat="full",
    ),
    objectives={
        "contrastive": Contrastive(pairs=("video-text",), width=768, temperature=0.07, chunk=1024, pooling="map"),
        "captioning": Captioning(weight=2.0),
    },
    training=Training(
        steps=500_000,
        optimizer=Optimizer(
            name="adafactor",
            learning_rate=8e-4,
            schedule="linear",
            warmup=10_000,
            b1=0.9,
            b2=0.999,
            weight_decay=0.01,
            clip=1.0,
        ),
        log_every=100,
        save_every=5_000,
    ),
    mesh=Mesh(data=-1, fsdp=8),
)

tiny = tiny_twin(experiment)
