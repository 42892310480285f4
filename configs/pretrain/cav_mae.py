"""CAV-MAE: masked and contrastive pretraining of a frame and its audio, in separate layers and one shared layer.

COMMAND  mmvideo train configs/pretrain/cav_mae.py --workdir runs/cav_mae
TINY     mmvideo train configs/pretrain/cav_mae.py:tiny
COST     1.1e+19 FLOPs with dense attention (mmvideo plan): 1 hour on 8 GPUs at 400 TFLOP/s each
DATA     AudioSet, no labels, with weights of an image MAE
EXPECTS  of Scale+ (batch 108; this recipe is Scale++, batch 256), fine-tuned: 51.2 mAP on AudioSet, 42.0 on its
         balanced split, 65.5 top-1 on VGGSound; audio alone 46.6, 37.7 and, pretrained on AudioSet and VGGSound, 59.8

SOURCE   paper: Gong et al. 2023, arXiv 2210.07839. Code: YuanGongND/cav-mae, egs/audioset/
         run_cavmae_pretrain_scale++.sh, src/models/cav_mae.py, src/traintest_cavmae.py; README for the results.
  tokens        one random frame of 10 s, 224 pixels, 16 x 16; AST's filter banks, 1024 rows, 16 x 16, with noise; 0.75
                of both masked at random.
  model         11 layers for each modality and one for both together. For the contrastive loss each modality also
                passes that layer alone, with its own norms. Width 768, fixed sin-cos positions in two dimensions (time
                first for audio), one learned vector per modality; a decoder of 8 layers, width 512, 16 heads, which
                sees both; epsilon 1e-5.
  objectives    squared error of the masked patches, each normalised by itself, of both modalities; 0.01 times InfoNCE
                of the token means, without a projection, at temperature 0.05, in one direction only, from a frame to
                its audio.
  optimiser     Adam (0.95, 0.999) 2e-4, decay 5e-7; 25 epochs with batch 256.

PAPER AND CODE DISAGREE
  normalisation (x - mean) / deviation with CAV-MAE's own statistics, without AST's factor of two: the code's is used
                here.

DIFFERS HERE The rate decays linearly to an eighth; CAV-MAE's is halved after epochs 10, 15 and 20. CAV-MAE also rolls
  the spectrogram in time when it adds noise.
"""

from mmvideo.experiment import Experiment
from mmvideo.experiment.tiny import tiny_twin
from mmvideo.input.config import Audio, Input, Masking, Packing, Source, Video
from mmvideo.media.config import CAV_MAE
from mmvideo.model.config import Block, Decoder, Fusion, Model, Sharing
from mmvideo.objectives import Contrastive, MaskedPatches
from mmvideo.training.config import Optimizer, Training

BATCH = 256
EPOCH = 1_800_000 // BATCH  # AudioSet loses clips each year: set this to your own count

experiment = Experiment(
    name="cav_mae",
    input=Input(
        sources=(Source("corpora/audioset"),),
        video=Video(fps=1.0, frames=1, size=224, tubelet=(1, 16, 16), rounding="down", crop_scale=0.5),
        audio=Audio(seconds=10.26, spectrogram=CAV_MAE, patch=(16, 16), noise=0.1),
        text=None,
        masking=Masking(video=0.75, video_kind="random", audio=0.75, audio_kind="unstructured"),
        # 49 of 196 and 128 of 512 tokens are encoded: one clip per row.
        packing=Packing(rows=BATCH, tokens=184, clips=1),
    ),
    model=Model(
        size="B",
        fusion=Fusion("mid", layer=11, alone=True),
        sharing=Sharing(apart="nothing", fused="everything"),
        block=Block(norm="layer", epsilon=1e-5, activation="gelu"),
        position="sincos_2d_time_first",
        decoder=Decoder(depth=8, width=512, heads=16, sees="clip"),
    ),
    objectives={
        "masked_patches": MaskedPatches(target="patch", pixels="imagenet"),
        "contrastive": Contrastive(
            pairs=("video-audio",), weight=0.01, direction="forward", width=None, temperature=0.05, learned=False
        ),
    },
    training=Training(
        steps=25 * EPOCH,
        optimizer=Optimizer(
            name="adamw",
            learning_rate=2e-4,
            schedule="linear",
            warmup=1000,
            final_share=0.125,
            b1=0.95,
            b2=0.999,
            weight_decay=5e-7,
            clip=None,
        ),
        log_every=100,
        save_every=EPOCH,
    ),
)

tiny = tiny_twin(experiment)
