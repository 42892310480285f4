"""VALOR-style groups: captions are compared with, and generated from, video, audio, or both.

COMMAND  mmvideo train configs/pretrain/valor_groups.py --workdir runs/valor_groups
TINY     mmvideo train configs/pretrain/valor_groups.py:tiny
COST     1.5e+20 FLOPs with dense attention (mmvideo plan): 12.7 hours on 8 GPUs at 400 TFLOP/s each
DATA     VALOR-1M, WebVid and CC3M: a clip serves the groups whose modalities it has
EXPECTS  on VALOR-32K, R@1 from text, fine-tuned: 55.6 with video and audio, 41.8 with video alone; 55.4 and 40.1 if
         trained only on text with both (table 8, with CLIP's, AST's and BERT's weights)

SOURCE   paper: Chen et al. 2023, arXiv 2304.08345, tables 8 and 12. Code: TXH-mercury/VALOR, config/
         pretrain-VALOR-base.json, model/pretrain.py.
  tokens        224 pixels, 16 x 16; AST's filter banks with 64 bins, 512 rows, 16 x 16; 40 text tokens of BERT's
                30,522.
  model         Base: an encoder of 12 layers of width 768 for each modality, then a multimodal text transformer.
  objectives    contrastive between text and each of the groups, temperature from 0.07, times alpha = 1.5; captioning.
  optimiser     AdamW (0.9, 0.98), 1e-4 with linear decay, a tenth of the steps warm-up, weight decay 0.01, gradients
                clipped to 5, batch 512.

PAPER AND CODE DISAGREE
  frames        1 in the paper's pretraining, 4 in the code's config: the code's is used here.
  steps         500k at a batch of 1024 in the paper; epochs of three corpora at 512 in the code: the paper's steps
                and rate, the code's batch.

DIFFERS HERE There is one transformer: 8 layers separate for each modality, two in which video and audio fuse, two in
  which causal text attends to both; VALOR has 12 and 12. VALOR compares text tokens with patches one by one; here their
  means are compared. VALOR's captioning predicts masked tokens; here the model predicts the next token.
"""

from mmvideo.experiment import Experiment
from mmvideo.experiment.tiny import tiny_twin
from mmvideo.input.config import Audio, Input, ModalityDropout, Packing, Source, Text, Video
from mmvideo.media.config import Spectrogram
from mmvideo.model.config import Block, Fusion, Model, Sharing
from mmvideo.objectives import Captioning, Contrastive
from mmvideo.training.config import Optimizer, Training

experiment = Experiment(
    name="valor_groups",
    input=Input(
        sources=(Source("corpora/valor1m"), Source("corpora/webvid"), Source("corpora/cc3m")),
        video=Video(fps=1.0, frames=4, size=224, tubelet=(1, 16, 16), crop_scale=0.5),
        audio=Audio(
            seconds=5.14, spectrogram=Spectrogram(bins=64, mean=-4.2677393, deviation=2 * 4.5689974), patch=(16, 16)
        ),
        text=Text(length=40, begin=True, vocabulary=30_522),
        modality_dropout=ModalityDropout(groups=("text-video", "text-audio", "text-video+audio")),
        # 784 + 128 + 40 tokens: one clip per row.
        packing=Packing(rows=512, tokens=952, clips=1),
    ),
    model=Model(
        size="B",
        fusion=Fusion("mid", layer=10, media_layer=8, text="causal"),
        sharing=Sharing(apart="nothing"),
        block=Block(norm="layer", epsilon=1e-6, activation="gelu"),
        position="learned_1d",
    ),
    objectives={
        "contrastive": Contrastive(
            pairs=("video-text", "audio-text", "video+audio-text"), weight=1.5, width=512, temperature=0.07
        ),
        "captioning": Captioning(weight=1.0),
    },
    training=Training(
        steps=500_000,
        optimizer=Optimizer(
            name="adamw", learning_rate=1e-4, schedule="linear", warmup=50_000, b2=0.98, weight_decay=0.01, clip=5.0
        ),
        log_every=100,
        save_every=10_000,
    ),
)

tiny = tiny_twin(experiment)
