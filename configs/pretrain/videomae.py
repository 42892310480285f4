"""VideoMAE: ViT-B sees a tenth of a clip's tubes, and a light decoder predicts the pixels of the rest.

COMMAND  mmvideo train configs/pretrain/videomae.py --workdir runs/videomae
TINY     mmvideo train configs/pretrain/videomae.py:tiny
COST     3.9e+19 FLOPs with dense attention (mmvideo plan): 3.4 hours on 8 GPUs at 400 TFLOP/s each
DATA     Kinetics-400, no labels
EXPECTS  fine-tuned on Kinetics-400 after 800 epochs: 80.0 top-1 (16 frames, 5 x 3 views)

SOURCE   paper: Tong et al. 2022, arXiv 2203.12602. Code: MCG-NJU/VideoMAE, scripts/kinetics/
         videomae_vit_base_patch16_224_tubemasking_ratio_0.9_epoch_800/pretrain.sh, run_mae_pretraining.py,
         engine_for_pretraining.py.
  tokens        16 frames, every fourth frame at 30 per second, 224 pixels, 2 x 16 x 16; nine tenths of the tubes
                masked.
  model         12 layers of width 768, biases on queries and values only, no class token, fixed sinusoidal positions
                over the flat sequence; the decoder has 4 layers of half the width and 6 heads.
  objective     squared error of the masked cubes. Pixels are in [0, 1]; each colour channel of a cube is normalised by
                its own mean and standard deviation (from the unbiased variance, with 1e-6 added to the root).
  optimiser     AdamW (0.9, 0.95), weight decay 0.05, 1.5e-4 per 256 clips, 40 epochs of warm-up, cosine to 1e-5 per
                256, no gradient clipping; 800 epochs of about 240k clips with batch 2048 (64 GPUs with 32 each).

PAPER AND CODE DISAGREE
  normalisation the paper normalises over a cube's pixels; the code normalises each colour channel separately, with the
                unbiased variance: the code's is used here.

DIFFERS HERE The encoder's input is in [-1, 1], not normalised by ImageNet's mean and deviation. Crops keep at least
  half of the area; the original uses multi-scale crops.
"""

from mmvideo.evaluation.config import Evaluation
from mmvideo.experiment import Experiment
from mmvideo.experiment.tiny import tiny_twin
from mmvideo.input.config import Input, Masking, Packing, Source, Video
from mmvideo.model.config import Block, Decoder, Fusion, Model
from mmvideo.objectives import MaskedPatches
from mmvideo.training.config import Optimizer, Training

BATCH = 2048
EPOCH = 240_000 // BATCH

experiment = Experiment(
    name="videomae",
    input=Input(
        sources=(Source("corpora/kinetics400"),),
        video=Video(fps=7.5, frames=16, size=224, tubelet=(2, 16, 16), rounding="down", crop_scale=0.5, flip=True),
        audio=None,
        text=None,
        masking=Masking(video=0.9, video_kind="tube"),
        # 8 x 20 of 1568 tokens are encoded: one clip per row.
        packing=Packing(rows=BATCH, tokens=160, clips=1),
    ),
    model=Model(
        size="B",
        fusion=Fusion("early"),
        block=Block(norm="layer", epsilon=1e-6, activation="gelu", biases="qv"),
        position="sincos_1d",
        decoder=Decoder(depth=4, width=384, heads=6),
    ),
    objectives={"masked_patches": MaskedPatches(audio=0.0, target="channel", epsilon="deviation")},
    training=Training(
        steps=800 * EPOCH,
        optimizer=Optimizer(
            name="adamw",
            learning_rate=1.5e-4 * BATCH / 256,
            warmup=40 * EPOCH,
            final_share=1e-5 / 1.5e-4,
            b1=0.9,
            b2=0.95,
            weight_decay=0.05,
            clip=None,
        ),
        log_every=100,
        save_every=20 * EPOCH,
    ),
    evaluation=Evaluation(retrieval=False),
)

tiny = tiny_twin(experiment)
