"""MSR-VTT: clips captioned in one sentence.

COMMAND  mmvideo train configs/finetune/msrvtt_captioning.py --workdir runs/msrvtt_captioning
         (after configs/pretrain/valor_groups.py in runs/valor_groups, whose tokenizer it uses)
TINY     mmvideo train configs/finetune/msrvtt_captioning.py:tiny
COST     8.2e+17 FLOPs with dense attention (mmvideo plan): 4 minutes on 8 GPUs at 400 TFLOP/s each
DATA     10,000 clips with 20 captions each in the full split: 6,513 for training, 497 for validation, 2,990 for test.
         Manifest: "captions", all of them in every split; splits train, validation, test.
PROTOCOL BLEU-4, METEOR, ROUGE-L, CIDEr-D and SPICE over the 2,990 test clips against all 20 captions. METEOR and SPICE
         need Java and their jars. Captions are decoded from video and audio with three beams, without CIDEr
         optimisation.
PUBLISHED
  78.0          VAST, 1.3 B parameters, CIDEr: paper
EXPECTS  not trained here at this size

SOURCE   paper: Chen et al. 2023, arXiv 2304.08345. Code: TXH-mercury/VALOR, config/caption-msrvtt.json,
         scripts/finetune_cap.sh.
  tokens        8 frames spread over the clip, 224 pixels, 16 x 16; 10 s of AST's filter banks with 64 bins; 30 text
                tokens.
  objective     next-token prediction on a caption, given video and audio.
  optimiser     AdamW (0.9, 0.98), 9e-6 with linear decay, a twentieth of the steps warm-up, weight decay 0.01,
                gradients clipped to 5; 100 epochs with batch 64.

PAPER AND CODE DISAGREE
  rate          1e-4 in the config, 9e-6 in the script: the script's are used.

DIFFERS HERE The backbone is that of configs/pretrain/valor_groups.py, whose differences apply here too. Training and
  evaluation use the same number of frames (VALOR: 6 and 10). Audio is one segment of 10 s; VALOR uses two of 5 s. VALOR
  predicts masked tokens from both sides of the context in a decoder of its own; here the model predicts the next token.
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
