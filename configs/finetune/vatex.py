"""VATEX: retrieval and captioning of clips by one model.

COMMAND  mmvideo train configs/finetune/vatex.py --workdir runs/vatex
         (after configs/pretrain/valor_groups.py in runs/valor_groups, whose tokenizer it uses)
TINY     mmvideo train configs/finetune/vatex.py:tiny
COST     1.6e+18 FLOPs with dense attention (mmvideo plan): 9 minutes on 8 GPUs at 400 TFLOP/s each
DATA     clips of 10 s with ten English captions each (and ten Chinese ones, which are not used): 25,991 for training.
         For retrieval, half of the 3,000 validation clips serve as test, 1,500 clips (danieljf24/hybrid_space,
         dataset/README.md). Published captioning results use a private test set. Manifest: "captions"; splits train,
         test.
PROTOCOL R@1, R@5, R@10 and median rank, with each caption as a separate query; BLEU-4, METEOR, ROUGE-L, CIDEr-D and
         SPICE of captions decoded from video and audio with three beams.
PUBLISHED
  83.0          VAST, 1.3 B parameters, text to video, R@1: paper
  71.5          InternVideo2, 6 B parameters, zero-shot: its repository
  99.5          VAST, CIDEr of captions, with CIDEr optimisation: paper
EXPECTS  not trained here at this size

SOURCE   paper: Chen et al. 2023, arXiv 2304.08345. Code: TXH-mercury/VALOR, config/{fast-retrieval,caption}-vatex.json,
         scripts/finetune_{ret,cap}.sh.
  tokens        8 frames spread over the clip, 224 pixels, 16 x 16; 10 s of AST's filter banks with 64 bins; 30 text
                tokens.
  objectives    contrastive between text and video, audio, and both, with weight 1.5; next-token prediction.
  optimiser     AdamW (0.9, 0.98), 2e-5 with linear decay, a tenth of the steps warm-up, weight decay 0.01, gradients
                clipped to 5; 50 epochs with batch 64.

PAPER AND CODE DISAGREE
  rate          1e-4 in the configs, 2e-5 in the scripts: the scripts' rate is used here.

DIFFERS HERE The backbone is that of configs/pretrain/valor_groups.py, whose differences apply here too. Training and
  evaluation use the same number of frames; VALOR trains on fewer frames than it evaluates. Audio is one segment of
  10 s; VALOR uses two of 5 s. Text is also compared with audio alone. VALOR fine-tunes separately for each of the two
  tasks.
"""

from mmvideo.evaluation.config import Evaluation
from mmvideo.experiment import Experiment
from mmvideo.experiment.tiny import tiny_twin
from mmvideo.input.config import Audio, Input, Packing, Source, Text, Video
from mmvideo.media.config import Spectrogram
from mmvideo.model.config import Block, Fusion, Model, Sharing
from mmvideo.objectives import Captioning, Contrastive
from mmvideo.objectives.generation.config import Decoding
from mmvideo.training.config import Optimizer, Training

BATCH = 64
EPOCH = 25_991 // BATCH

experiment = Experiment(
    name="vatex",
    input=Input(
        sources=(Source("corpora/vatex"),),
        video=Video(fps=1.0, frames=8, sampling="uniform", size=224, tubelet=(1, 16, 16), crop_scale=0.5, flip=True),
        audio=Audio(
            seconds=10.26, spectrogram=Spectrogram(bins=64, mean=-4.2677393, deviation=2 * 4.5689974), patch=(16, 16)
        ),
        text=Text(
            tokenizer="runs/valor_groups/checkpoints/500000/record/tokenizer.model",
            length=30,
            begin=True,
            vocabulary=30_522,
        ),
        # 1568 + 256 + 30 tokens: one clip per row.
        packing=Packing(rows=BATCH, tokens=1854, clips=1),
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
        "captioning": Captioning(),
    },
    training=Training(
        steps=50 * EPOCH,
        optimizer=Optimizer(
            name="adamw",
            learning_rate=2e-5,
            schedule="linear",
            warmup=5 * EPOCH,
            b1=0.9,
            b2=0.98,
            weight_decay=0.01,
            clip=5.0,
        ),
        log_every=50,
        save_every=5 * EPOCH,
        init_from="runs/valor_groups",
    ),
    evaluation=Evaluation(tasks=("retrieval", "captioning"), captions="all", decoding=Decoding(method="beam", beams=3)),
)

tiny = tiny_twin(experiment)
