"""AudioSet: AudioMAE's ViT-B fine-tuned to recognise 527 sound classes.

COMMAND  mmvideo train configs/finetune/audioset.py --workdir runs/audioset
         (after configs/pretrain/audiomae.py in runs/audiomae)
TINY     mmvideo train configs/finetune/audioset.py:tiny
COST     3.3e+18 FLOPs with dense attention (mmvideo plan): 17 minutes on 8 GPUs at 400 TFLOP/s each
DATA     clips of 10 s from YouTube, fewer of which remain each year: of the 20,383 for evaluation, AudioMAE has 19,148
         and Scenic 18,589. Manifest: "labels" kind `events`, a list of class names; classes.json names all 527. Splits
         train, test. Results state the number of clips.
PROTOCOL mAP, the mean over the classes; also AUC and d' = sqrt(2) times the normal quantile of the AUC. One view of
         10 s. A class without test clips is left out and reported.
PUBLISHED
  47.3          AudioMAE, ViT-B, 2 M clips: paper, table 1; with the decoder of configs/pretrain/audiomae.py 46.8
  45.9          AST with weight averaging, 44.8 without: its README
  46.6          CAV-MAE, audio alone; 51.2 with video: its README
  52.3          MBT, audio and video, 500 k clips: its README
  50.2          SSLAM, audio alone: a leaderboard's file, not its paper
EXPECTS  not trained here at this size

SOURCE   paper: Huang et al. 2022, arXiv 2207.06405. Code: facebookresearch/AudioMAE, submit_ft_mask_bal.sh and the
         defaults of main_finetune_as.py.
  tokens        as in pretraining; a fifth of the time steps and a fifth of the mel rows masked.
  augmentation  mixup of half of the clips, with a mixing weight from Beta(10, 10) as in AST's loader; audio rolled in
                time and its gain varied.
  head          the mean of the tokens, with a norm that replaces the backbone's final norm; one sigmoid per class.
  optimiser     AdamW (0.9, 0.999), weight decay 5e-4, 1e-3 per 256 clips, layer decay 0.75, stochastic depth 0.1, 10
                epochs of warm-up, cosine; 100 epochs of 200k clips with batch 256.

PAPER AND CODE DISAGREE
  masking       0.3 of time and of frequency in the paper, 0.2 in the scripts: the scripts' value is used here.

DIFFERS HERE AudioMAE samples clips of rare classes more often; here sampling is uniform. Mixup applies to the
  spectrogram; in AudioMAE it applies to the waveform. A clip of 10 s has 62 time steps here; AudioMAE pads it to 64.
"""

from mmvideo.evaluation.config import Evaluation
from mmvideo.experiment import Experiment
from mmvideo.experiment.tiny import tiny_twin
from mmvideo.input.config import Audio, Input, Masking, Mixing, Packing, Source
from mmvideo.media.config import AUDIO_MAE
from mmvideo.model.config import Block, Fusion, Model
from mmvideo.objectives import Classification
from mmvideo.training.config import Optimizer, Training

BATCH = 256
EPOCH = 200_000 // BATCH

experiment = Experiment(
    name="audioset",
    input=Input(
        sources=(Source("corpora/audioset"),),
        video=None,
        audio=Audio(seconds=10.26, spectrogram=AUDIO_MAE, patch=(16, 16), roll=True),
        text=None,
        # A fifth of both axes: 1 - 0.8 x 0.8 = 0.36 of the patches.
        masking=Masking(audio=0.36, audio_kind="time_frequency"),
        mixing=Mixing(mixup=10.0, share=0.5),
        # Two thirds of 64 x 8 tokens: one clip per row.
        packing=Packing(rows=BATCH, tokens=512, clips=1),
    ),
    model=Model(
        size="B",
        fusion=Fusion("early"),
        block=Block(norm="layer", epsilon=1e-6, activation="gelu", drop_path=0.1),
        class_tokens=1,
        position="sincos_2d_turned",
        final_norm=False,
    ),
    objectives={"events": Classification(label="events", classes=527, modalities=("audio",), form="sigmoid")},
    training=Training(
        steps=100 * EPOCH,
        optimizer=Optimizer(
            name="adamw",
            learning_rate=1e-3 * BATCH / 256,
            warmup=10 * EPOCH,
            final_share=1e-3,
            b1=0.9,
            b2=0.999,
            weight_decay=5e-4,
            clip=None,
            layer_decay=0.75,
        ),
        log_every=50,
        save_every=5 * EPOCH,
        init_from="runs/audiomae",
    ),
    evaluation=Evaluation(tasks=("classification",)),
)

tiny = tiny_twin(experiment)
