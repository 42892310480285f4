"""SigLIP on video and audio: one ViT-B each for video, audio and text, with the pairwise sigmoid loss.

COMMAND  mmvideo train configs/pretrain/siglip_video_audio.py --workdir runs/siglip_video_audio
TINY     mmvideo train configs/pretrain/siglip_video_audio.py:tiny
COST     2.7e+21 FLOPs with dense attention (mmvideo plan): 10 days on 8 GPUs at 400 TFLOP/s each
DATA     any clips with captions, such as WebVid and AudioCaps; each pair uses the clips that have both modalities
EXPECTS  nothing is published for video and audio; on images mSigLIP has 73.2 on ImageNet at batch 32k, 71.6 at 16k

SOURCE   paper: Zhai et al. 2023, arXiv 2303.15343. Code: google-research/big_vision,
         trainers/proj/image_text/siglip.py.
  model         ViT-B/16 and a text transformer of the same size. Video and audio are pooled by attention (MAP) and
                compared without a projection. Text is padded to 64 tokens with its end token, which all tokens attend
                to, and represented by its last token and a linear layer; tanh-approximated GELU everywhere, as in the
                code.
  objective     the sigmoid loss on every pair of the batch, with learned t' (from log 10) and b (from -10); batch 32k,
                in chunks.
  optimiser     Adafactor with a second-moment decay of at most 0.95; 1e-3, weight decay 1e-4, gradients clipped to 1.

PAPER AND CODE DISAGREE
  start         the small example in the code (siglip_lit_coco.py) starts from b = -2.71; the paper's -10 is used here.

DIFFERS HERE What SigLIP does not define is our choice: 16 frames at 4 per second in 2 x 16 x 16 tubelets, 10 s of AST's
  filter banks, three pairs instead of one, half of the video tokens dropped, 64 text tokens of a 32k vocabulary, and
  the optimiser's schedule.
"""

from mmvideo.experiment import Experiment
from mmvideo.experiment.tiny import tiny_twin
from mmvideo.input.config import Audio, DropToken, Input, Packing, Source, Text, Video
from mmvideo.media.config import AST
from mmvideo.model.config import AttentionPooling, Block, Fusion, Model, Sharing
from mmvideo.objectives import Contrastive
from mmvideo.parallel.config import Mesh
from mmvideo.training.config import Optimizer, Training

experiment = Experiment(
    name="siglip_video_audio",
    input=Input(
        sources=(Source("corpora/webvid"), Source("corpora/audiocaps")),
        video=Video(fps=4.0, frames=16, size=224, tubelet=(2, 16, 16), crop_scale=0.5),
        audio=Audio(seconds=10.26, spectrogram=AST, patch=(16, 16)),
        text=Text(length=64, fill=True, vocabulary=32_000),
        drop_token=DropToken(video=0.5),
        # 784 + 512 + 64 tokens: one clip per row.
        packing=Packing(rows=32_768, tokens=1360, clips=1),
    ),
    model=Model(
        size="B",
        fusion=Fusion("late"),
        sharing=Sharing(apart="nothing"),
        block=Block(norm="layer", epsilon=1e-6, activation="gelu_tanh"),
        attention_pooling=AttentionPooling(activation="gelu_tanh"),
        position="learned_1d",
        remat="full",
    ),
    objectives={
        "sigmoid": Contrastive(
            pairs=("video-text", "audio-text", "video-audio"),
            form="sigmoid",
            chunk=1024,
            width=768,
            temperature=0.1,
            bias=-10.0,
            pooling="map",
            poolings={"text": "last"},
            projection="none",
            projections={"text": "linear"},
        )
    },
    training=Training(
        steps=100_000,
        optimizer=Optimizer(
            name="adafactor", learning_rate=1e-3, warmup=5_000, b1=0.9, b2=0.95, weight_decay=1e-4, clip=1.0
        ),
        log_every=100,
        save_every=5_000,
    ),
    mesh=Mesh(data=-1, fsdp=8),
)

tiny = tiny_twin(experiment)
