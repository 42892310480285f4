"""VALOR-style groups: captions are compared with, and written from, the picture, the sound, or both.

COMMAND  mmvideo train configs/pretrain/valor_groups.py --workdir runs/valor_groups
TINY     mmvideo train configs/pretrain/valor_groups.py:tiny
COST     1.5e+20 FLOPs, attention dense (mmvideo plan): 12.7 hours of 8 GPUs that do 400 TFLOPs each
DATA     VALOR-1M, WebVid and CC3M: a clip serves the groups that it has
EXPECTS  on VALOR-32K, R@1 from text, fine-tuned: 55.6 with picture and sound, 41.8 with the picture alone; trained on
         text and both alone 55.4 and 40.1 (table 8, with CLIP's, AST's and BERT's weights)

SOURCE   paper: Chen et al. 2023, arXiv 2304.08345, tables 8 and 12. Code: TXH-mercury/VALOR, config/
         pretrain-VALOR-base.json, model/pretrain.py.
  tokens        224 pixels, 16 x 16; AST's filter banks with 64 bins, 512 rows, 16 x 16; 40 pieces of BERT's 30,522.
  model         Base: encoders of 12 layers of width 768 for each modality, then a multimodal text transformer.
  objectives    contrastive between text and each of the groups, temperature from 0.07, times alpha = 1.5; captioning.
  optimiser     AdamW (0.9, 0.98), 1e-4 falling in a straight line, a tenth of it warm-up, weight decay 0.01, clip 5,
                batch 512.

PAPER AND CODE DISAGREE
  frames        1 of pretraining in the paper, 4 in the code's config: the code's.
  steps         500k at a batch of 1024 in the paper; epochs of three corpora at 512 in the code: the paper's steps
                and rate, the code's batch.

DIFFERS HERE One transformer: 8 layers of each modality's own, two in which picture and sound meet, two in which a
  causal text sees both; VALOR has 12 and 12. VALOR compares words with patches one by one, here their means are
  compared; its captioning predicts masked words, here the next one.
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
        # 784 + 128 + 40 tokens: a clip a row.
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
