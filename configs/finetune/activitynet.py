"""ActivityNet Captions: retrieval of minutes-long videos by the paragraph that describes them.

COMMAND  mmvideo train configs/finetune/activitynet.py --workdir runs/activitynet
         (after configs/pretrain/valor_groups.py in runs/valor_groups, whose tokenizer it uses)
TINY     mmvideo train configs/finetune/activitynet.py:tiny
COST     1.2e+18 FLOPs with dense attention (mmvideo plan): 6 minutes on 8 GPUs at 400 TFLOP/s each
DATA     about 20,000 videos of 2 minutes on average, each with 3 to 4 sentences and their moments. The lists of
         albanie/collaborative-experts have 10,009 for training and 4,917 in the first validation set, on which results
         are reported. Manifest: "caption", the sentences of a video joined in order; splits train, val1 (rename it
         validation).
PROTOCOL paragraph to video: R@1, R@5, R@10 and median rank over the first validation set, all sentences as one text,
         truncated to 74 text tokens; the number of truncated texts is reported.
PUBLISHED
  70.5          VAST, 1.3 B parameters, text to video, R@1: paper
  63.2          InternVideo2, 6 B parameters, zero-shot: its repository
EXPECTS  not trained here at this size

SOURCE   paper: Chen et al. 2023, arXiv 2304.08345. Code: TXH-mercury/VALOR, config/fast-retrieval-activitynet.json,
         scripts/finetune_ret.sh.
  tokens        16 frames spread over the clip, 224 pixels, 16 x 16; 10 s of AST's filter banks with 64 bins; 74 text
                tokens.
  objective     contrastive between text and video, audio, and both.
  optimiser     AdamW (0.9, 0.98), 2e-5 with linear decay, a tenth of the steps warm-up, weight decay 0.01, gradients
                clipped to 5; 40 epochs with batch 64.

PAPER AND CODE DISAGREE
  frames        4 in the config; 8 for training and 32 for evaluation in the script; 16 for both here.

DIFFERS HERE The backbone is that of configs/pretrain/valor_groups.py, whose differences apply here too. Training and
  evaluation use the same number of frames; VALOR trains on fewer frames than it evaluates. Audio is one segment of
  10 s; VALOR uses two of 5 s. Text is also compared with audio alone. Text positions beyond the 40th are newly
  initialised.
"""

from mmvideo.evaluation.config import Evaluation
from mmvideo.experiment import Experiment
from mmvideo.experiment.tiny import tiny_twin
from mmvideo.input.config import Audio, Input, Packing, Source, Text, Video
from mmvideo.media.config import Spectrogram
from mmvideo.model.config import Block, Fusion, Model, Sharing
from mmvideo.objectives import Contrastive
from mmvideo.training.config import Optimizer, Training

BATCH = 64
EPOCH = 10_009 // BATCH

experiment = Experiment(
    name="activitynet",
    input=Input(
        sources=(Source("corpora/activitynet"),),
        video=Video(fps=1.0, frames=16, sampling="uniform", size=224, tubelet=(1, 16, 16), crop_scale=0.5, flip=True),
        audio=Audio(
            seconds=10.26, spectrogram=Spectrogram(bins=64, mean=-4.2677393, deviation=2 * 4.5689974), patch=(16, 16)
        ),
        text=Text(
            tokenizer="runs/valor_groups/checkpoints/500000/record/tokenizer.model",
            length=74,
            begin=True,
            vocabulary=30_522,
        ),
        # 3136 + 256 + 74 tokens: one clip per row.
        packing=Packing(rows=BATCH, tokens=3466, clips=1),
    ),
    model=Model(
        size="B",
        fusion=Fusion("mid", layer=10, media_layer=8, text="causal"),
        sharing=Sharing(apart="nothing"),
        block=Block(norm="layer", epsilon=1e-6, activation="gelu"),
        position="learned_1d",
        remat="dots",
    ),
    objectives={
        "contrastive": Contrastive(
            pairs=("video-text", "audio-text", "video+audio-text"), weight=1.5, width=512, temperature=0.07
        ),
    },
    training=Training(
        steps=40 * EPOCH,
        optimizer=Optimizer(
            name="adamw",
            learning_rate=2e-5,
            schedule="linear",
            warmup=4 * EPOCH,
            b1=0.9,
            b2=0.98,
            weight_decay=0.01,
            clip=5.0,
        ),
        log_every=50,
        save_every=5 * EPOCH,
        init_from="runs/valor_groups",
    ),
    evaluation=Evaluation(
        sources=(Source("corpora/activitynet", "validation"),), tasks=("retrieval",), captions="paragraph"
    ),
)

tiny = tiny_twin(experiment)
