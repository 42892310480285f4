"""MSR-VTT: a clip told in a sentence.

COMMAND  mmvideo train configs/finetune/msrvtt_captioning.py --workdir runs/msrvtt_captioning
         (after configs/pretrain/valor_groups.py in runs/valor_groups, whose tokenizer it takes)
TINY     mmvideo train configs/finetune/msrvtt_captioning.py:tiny
COST     8.2e+17 FLOPs, attention dense (mmvideo plan): 4 minutes of 8 GPUs that do 400 TFLOPs each
DATA     10,000 clips with 20 captions each in the full split: 6,513 to train on, 497 of validation, 2,990 of test.
         Manifest: "captions", all of them in every split; splits train, validation, test.
PROTOCOL BLEU-4, METEOR, ROUGE-L, CIDEr-D and SPICE over the 2,990 test clips against all 20 captions; METEOR and SPICE
         need Java and their jars. Written from picture and sound with three beams; no optimisation of CIDEr.
PUBLISHED
  78.0          VAST, 1.3 B parameters, CIDEr: paper
EXPECTS  nothing was trained here at this size

SOURCE   paper: Chen et al. 2023, arXiv 2304.08345. Code: TXH-mercury/VALOR, config/caption-msrvtt.json,
         scripts/finetune_cap.sh.
  tokens        8 frames spread over the clip, 224 pixels, 16 x 16; 10 s of AST's filter banks with 64 bins; 30 pieces.
  objective     the next piece of a caption, of its picture and sound.
  optimiser     AdamW (0.9, 0.98), 9e-6 falling in a straight line, a twentieth of it warm-up, weight decay 0.01, clip
                5; 100 epochs by 64.

PAPER AND CODE DISAGREE
  rate          1e-4 in the config, 9e-6 in the script: the script's.

DIFFERS HERE The trunk is that of configs/pretrain/valor_groups.py, whose differences hold here too. One number of
  frames is trained and evaluated (VALOR: 6 and 10); sound is one stretch of 10 s, VALOR's two of 5. VALOR predicts
  masked words from both sides of its own decoder's context, here the next one is predicted.
"""

from mmvideo.evaluation.config import Evaluation
from mmvideo.experiment import Experiment
from mmvideo.experiment.tiny import tiny_twin
from mmvideo.input.config import Audio, Input, Packing, Source, Text, Video
from mmvideo.media.config import Spectrogram
from mmvideo.model.config import Block, Fusion, Model, Sharing
from mmvideo.objectives import Captioning
from mmvideo.objectives.generation.config import Decoding
from mmvideo.training.config import Optimizer, Training

BATCH = 64
EPOCH = 6_513 // BATCH

experiment = Experiment(
    name="msrvtt_captioning",
    input=Input(
        sources=(Source("corpora/msrvtt_full"),),
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
        # 1568 + 256 + 30 tokens: a clip a row.
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
        "captioning": Captioning(),
    },
    training=Training(
        steps=100 * EPOCH,
        optimizer=Optimizer(
            name="adamw",
            learning_rate=9e-6,
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
    evaluation=Evaluation(tasks=("captioning",), decoding=Decoding(method="beam", beams=3)),
)

tiny = tiny_twin(experiment)
