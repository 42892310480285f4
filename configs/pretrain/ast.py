"""AST: DeiT-B on overlapping patches of a spectrogram, trained to classify sounds.

COMMAND  mmvideo train configs/pretrain/ast.py --workdir runs/ast
TINY     mmvideo train configs/pretrain/ast.py:tiny
COST     7.6e+18 FLOPs with dense attention (mmvideo plan): 0.7 hours on 8 GPUs at 400 TFLOP/s each
DATA     AudioSet, with weights of DeiT-B at 384 pixels from ImageNet
EXPECTS  44.8 to 45.0 mAP on AudioSet at stride 10, 45.9 with weight averaging, 44.2 at stride 16; all with those
         weights, mixup and multi-label losses

SOURCE   paper: Gong et al. 2021, arXiv 2104.01778. Code: YuanGongND/ast, egs/audioset/run.sh,
         src/models/ast_models.py; README for the results.
  tokens        Kaldi filter banks, 25 ms every 10 ms, 128 bins, 1024 rows, minus the mean, divided by twice the
                standard deviation; 16 x 16 with stride 10: 101 x 12; SpecAugment of 192 rows and 48 bins.
  model         12 layers of width 768; a class token and a distillation token, whose mean is classified; learned
                positions.
  optimiser     Adam 1e-5, 5 epochs with batch 12.

PAPER AND CODE DISAGREE
  window        Hamming in the paper, Hann in the code: the code's is used here.

DIFFERS HERE A clip has one label of each kind, so the loss is the cross entropy over 527 classes; AST's is binary over
  each class. No mixup of 0.5 and no balanced sampling. The rate decays linearly; AST's is halved from epoch to epoch. A
  clip of 10 s has 99 time steps here; AST pads it to 101. There is no weight decay; AST has 5e-7.
"""

from mmvideo.evaluation.config import Evaluation
from mmvideo.experiment import Experiment
from mmvideo.experiment.tiny import tiny_twin
from mmvideo.input.config import Audio, Input, Packing, Source
from mmvideo.media.config import AST
from mmvideo.model.config import Block, Fusion, Model
from mmvideo.objectives import Classification
from mmvideo.training.config import Optimizer, Training

BATCH = 12
EPOCH = 1_950_000 // BATCH  # AudioSet loses clips each year: set this to your own count

experiment = Experiment(
    name="ast",
    input=Input(
        sources=(Source("corpora/audioset"),),
        video=None,
        audio=Audio(
            seconds=10.26,
            spectrogram=AST,
            patch=(16, 16),
            stride=(10, 10),
            time_masks=1,
            time_mask=192,
            mel_masks=1,
            mel_mask=48,
        ),
        text=None,
        # 101 x 12 tokens: one clip per row.
        packing=Packing(rows=BATCH, tokens=1212, clips=1),
    ),
    model=Model(
        size="B",
        fusion=Fusion("early"),
        block=Block(norm="layer", epsilon=1e-6, activation="gelu"),
        class_tokens=2,
        position="learned_1d",
    ),
    objectives={
        "classification": Classification(
            label="sound", classes=527, modalities=("audio",), pooling="class", head_norm=1e-5
        )
    },
    training=Training(
        steps=5 * EPOCH,
        optimizer=Optimizer(
            name="adamw", learning_rate=1e-5, schedule="linear", warmup=1000, b1=0.95, b2=0.999, weight_decay=0.0,
            clip=None,
        ),
        log_every=500,
        save_every=EPOCH // 10,
    ),
    evaluation=Evaluation(retrieval=False),
)  # fmt: skip

tiny = tiny_twin(experiment)
