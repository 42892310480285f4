"""AudioMAE: ViT-B sees a fifth of a spectrogram's patches and predicts the rest.

COMMAND  mmvideo train configs/pretrain/audiomae.py --workdir runs/audiomae
TINY     mmvideo train configs/pretrain/audiomae.py:tiny
COST     9.0e+18 FLOPs with dense attention (mmvideo plan): 0.8 hours on 8 GPUs at 400 TFLOP/s each
DATA     AudioSet, audio alone, no labels
EXPECTS  fine-tuned: 46.8 mAP on AudioSet, 36.6 on its balanced split, with this decoder (47.3 and 37.1 with
         AudioMAE's)

SOURCE   paper: Huang et al. 2022, arXiv 2207.06405, sections 3 and 4, table 1. Code: facebookresearch/AudioMAE,
         submit_pretrain_audioset2M.sh, main_pretrain.py, models_mae.py.
  tokens        AST's filter banks of 10 s, 128 bins, 1024 rows, 16 x 16, minus the mean, divided by twice the standard
                deviation; 0.8 of the patches masked at random; audio rolled in time and its gain varied.
  model         12 layers of width 768, a class token, fixed sin-cos positions in two dimensions; a decoder of width 512
                with 16 heads, which also sees the class token.
  objective     squared error of the masked patches, each normalised by itself.
  optimiser     AdamW (0.9, 0.95), weight decay 1e-4, 2e-4 per 256 clips, 3 epochs of warm-up, cosine, no clipping; 32
                epochs of about 1.95 M clips with batch 512.

PAPER AND CODE DISAGREE
  fine-tuning   masks 0.3 of time and of frequency in the paper, 0.2 in the scripts. Pretraining, which is this recipe,
                does not depend on it.
  epochs        32 in the paper, 33 in the script: the paper's is used here.
  positions     of time and frequency in the paper; the code computes the table for 8 by 64 cells and reads it with 64
                by 8 tokens, so that neighbours in time are 8 positions apart: the code's are used here
                (sincos_2d_turned).

DIFFERS HERE The decoder is the paper's global one with 8 layers (table 1: 0.5 mAP lower); AudioMAE's own has 16 layers
  of 4 x 4 windows, every second one shifted. A clip of 10 s has 62 time steps here; AudioMAE pads it to 64.
"""

from mmvideo.evaluation.config import Evaluation
from mmvideo.experiment import Experiment
from mmvideo.experiment.tiny import tiny_twin
from mmvideo.input.config import Audio, Input, Masking, Packing, Source
from mmvideo.media.config import AUDIO_MAE
from mmvideo.model.config import Block, Decoder, Fusion, Model
from mmvideo.objectives import MaskedPatches
from mmvideo.training.config import Optimizer, Training

BATCH = 512
EPOCH = 1_950_000 // BATCH  # AudioSet loses clips each year: set this to your own count

experiment = Experiment(
    name="audiomae",
    input=Input(
        sources=(Source("corpora/audioset"),),
        video=None,
        audio=Audio(seconds=10.26, spectrogram=AUDIO_MAE, patch=(16, 16), roll=True),
        text=None,
        masking=Masking(audio=0.8, audio_kind="unstructured"),
        # 102 of 64 x 8 tokens are encoded: one clip per row.
        packing=Packing(rows=BATCH, tokens=104, clips=1),
    ),
    model=Model(
        size="B",
        fusion=Fusion("early"),
        block=Block(norm="layer", epsilon=1e-6, activation="gelu"),
        class_tokens=1,
        position="sincos_2d_turned",
        decoder=Decoder(depth=8, width=512, heads=16, class_tokens=True),
    ),
    objectives={"masked_patches": MaskedPatches(video=0.0, target="patch")},
    training=Training(
        steps=32 * EPOCH,
        optimizer=Optimizer(
            name="adamw",
            learning_rate=2e-4 * BATCH / 256,
            warmup=3 * EPOCH,
            b1=0.9,
            b2=0.95,
            weight_decay=1e-4,
            clip=None,
        ),
        log_every=100,
        save_every=EPOCH,
    ),
    evaluation=Evaluation(retrieval=False),
)

tiny = tiny_twin(experiment)
