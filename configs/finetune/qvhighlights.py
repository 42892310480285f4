"""QVHighlights: moments of a 150-second video that match a sentence, and their saliency.

COMMAND  mmvideo train configs/finetune/qvhighlights.py --workdir runs/qvhighlights
         (after configs/pretrain/merlot_reserve.py in runs/merlot_reserve, whose tokenizer it uses)
TINY     mmvideo data scenes corpora/quickstart/long --train 40 --test 16
         mmvideo data build corpora/quickstart/long corpora/quickstart/scenes --tokenizer-vocabulary 128
         mmvideo train configs/finetune/qvhighlights.py:tiny
COST     1.5e+18 FLOPs with dense attention (mmvideo plan): 8 minutes on 8 GPUs at 400 TFLOP/s each
DATA     10,310 queries over videos cut to 150 s; 7,218 for training, 1,550 for validation, 1,542 for test, by the files
         of jayleicn/moment_detr. The test answers have been there since March 2026, when the server that kept them was
         shut down. The annotations are under CC BY-NC-SA 4.0. Manifest: one row per query, "media" its video, "caption"
         the query, "moments" its relevant_windows in seconds, "saliency" the mean of the three annotators' scores over
         4 for each 2 s, 0 outside of relevant_clip_ids; splits train, validation.
PROTOCOL that of QVHighlights: R1 at an intersection over union of 0.5 and 0.7, mAP at 0.5, 0.75 and their mean from 0.5
         to 0.95; mAP and HIT@1 of highlights rated Very Good. One view of the whole video; windows that overlap a
         better one by more than 0.7 are removed.
PUBLISHED  R1@0.5 / R1@0.7 / mean mAP, test
  52.9 / 33.0 / 30.7
                Moment-DETR, without pretraining: as quoted in table II of VideoLights (arXiv 2412.01558)
  71.4 / 56.5 / 49.2
                features of InternVideo2, 6 B parameters, with the heads of CG-DETR: its paper (arXiv 2403.15377)
EXPECTS  not trained here at this size

SOURCE   papers: Lei et al. 2021, arXiv 2107.09609 (corpus and metrics); Lin et al. 2023, arXiv 2307.16715, section 3
         (each time step predicts by itself). Code: showlab/UniVTG, scripts/qvhl_pretrain.sh, main/config.py;
         jayleicn/moment_detr, moment_detr/config.py.
  tokens        75 frames, one every 2 s, 256 pixels, 32 x 32; 32 text tokens of the query.
  model         as in pretraining: 12 layers for video and 4 for text separately, 12 for both; stochastic depth 0.1.
  optimiser     AdamW, weight decay 1e-4, batch 32, as in UniVTG; 1e-4 for the heads, a tenth of it for the backbone,
                with linear decay; 20 epochs.

PAPER AND CODE DISAGREE
  weights       of UniVTG's losses are in the script for this corpus; here they are the defaults of the objective.

DIFFERS HERE Published systems read precomputed features of SlowFast and CLIP; here the model learns from the frames
  themselves, one per step of 2 s. Hence 20 epochs and a small rate for the backbone; published systems train small
  heads for 200 epochs. Audio is left out. MERLOT Reserve's frames are 5 s apart, these 2 s; rotary positions are in
  seconds.
"""

from mmvideo.evaluation.config import Evaluation
from mmvideo.experiment import Experiment
from mmvideo.experiment.tiny import tiny_twin
from mmvideo.input.config import Input, Packing, Source, Text, Video
from mmvideo.model.config import Block, Fusion, Model, Sharing
from mmvideo.objectives import Moments
from mmvideo.training.config import Optimizer, Training

BATCH = 32
EPOCH = 7_218 // BATCH

experiment = Experiment(
    name="qvhighlights",
    input=Input(
        sources=(Source("corpora/qvhighlights"),),
        video=Video(fps=0.5, frames=75, size=256, tubelet=(1, 32, 32), crop_scale=0.9),
        audio=None,
        text=Text(
            tokenizer="runs/merlot_reserve/checkpoints/750000/record/tokenizer.model", length=32, vocabulary=32_000
        ),
        # 75 x 8 x 8 + 32 tokens: one clip per row.
        packing=Packing(rows=BATCH, tokens=4832, clips=1),
    ),
    model=Model(
        size="B",
        depth=24,
        fusion=Fusion("mid", layer=12),
        sharing=Sharing(apart="nothing", fused="everything"),
        depths={"text": 4},
        block=Block(norm="layer", epsilon=1e-6, activation="gelu", drop_path=0.1),
        position="rotary",
        remat="dots",
    ),
    objectives={"moments": Moments(layers=2)},
    training=Training(
        steps=20 * EPOCH,
        optimizer=Optimizer(
            name="adamw",
            learning_rate=1e-5,
            schedule="linear",
            warmup=EPOCH,
            b1=0.9,
            b2=0.999,
            weight_decay=1e-4,
            head_rate=10.0,
        ),
        log_every=20,
        save_every=EPOCH,
        init_from="runs/merlot_reserve",
    ),
    evaluation=Evaluation(sources=(Source("corpora/qvhighlights", "validation"),), tasks=("moments",)),
)

tiny = tiny_twin(experiment)
