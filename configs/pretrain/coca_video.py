"""CoCa on video: frames are encoded one by one; a causal text transformer is compared with them, then captions them.

COMMAND  mmvideo train configs/pretrain/coca_video.py --workdir runs/coca_video
TINY     mmvideo train configs/pretrain/coca_video.py:tiny
COST     7.5e+22 FLOPs, attention dense (mmvideo plan): 270 days of 8 GPUs that do 400 TFLOPs each
DATA     clips with captions
EXPECTS  on images, with both losses: 71.6 zero-shot on ImageNet, VQA 69.0 (table 8); on video 88.9 on Kinetics-400, of
         2.1 B parameters

SOURCE   paper: Yu et al. 2022, arXiv 2205.01917, section 3.2 and table 8.
  tokens        288 pixels in patches of 18: 256 a frame; 16 frames.
  model         Base: an encoder of 12 layers, and a decoder of 12 of which the first half sees text alone and the
                second the frames too; width 768.
  objectives    contrastive with weight 1 and a learned temperature from 0.07, captioning with weight 2.
  optimiser     Adafactor (0.9, 0.999) 8e-4, decoupled weight decay 0.01, 500k steps of 65,536; 2 % of them are warm-up,
                then the rate falls in a straight line.

PAPER AND CODE DISAGREE
  There is no official code; the paper is followed.

DIFFERS HERE A frame comes to the decoder as one token, as in CoCa's mean over frames; CoCa lets 256 learned queries
  attend to a frame. Text attends to frames and words in one attention with the same weights, where CoCa has
  cross-attention of its own between its two, and frames pass the decoder's layers too. Text is pooled by attention,
  as frames are; CoCa's has a class token. CoCa is trained on images and used on video; this recipe trains on video.
  Gradients are clipped to 1, of which the paper says nothing.
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
        # 16 x 256 + 64 tokens: a clip a row.
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
