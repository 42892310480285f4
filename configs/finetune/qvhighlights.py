"""QVHighlights: where in a video of two and a half minutes is what a sentence asks for, and how well is it shown there.

COMMAND  mmvideo train configs/finetune/qvhighlights.py --workdir runs/qvhighlights
         (after configs/pretrain/merlot_reserve.py in runs/merlot_reserve, whose tokenizer it takes)
TINY     mmvideo data scenes corpora/quickstart/long --train 40 --test 16
         mmvideo data build corpora/quickstart/long corpora/quickstart/scenes --tokenizer-vocabulary 128
         mmvideo train configs/finetune/qvhighlights.py:tiny
COST     1.5e+18 FLOPs, attention dense (mmvideo plan): 8 minutes of 8 GPUs that do 400 TFLOPs each
DATA     10,310 queries over videos cut to 150 s; 7,218 to train on, 1,550 of validation, 1,542 of test, by the files of
         jayleicn/moment_detr. The answers of the test lie there since March 2026, when the server that kept them was
         shut down. The annotations are under CC BY-NC-SA 4.0. Manifest: a row a query, "media" its video, "caption" the
         query, "moments" its relevant_windows in seconds, "saliency" the mean of the three annotators' scores over 4
         for each 2 s, 0 outside of relevant_clip_ids; splits train, validation.
PROTOCOL that of QVHighlights: R1 at an intersection over union of 0.5 and 0.7, mAP at 0.5, 0.75 and their mean from 0.5
         to 0.95; mAP and HIT@1 of highlights rated Very Good. One view of the whole video; windows that share more than
         0.7 with a better one are left out.
PUBLISHED  R1@0.5 / R1@0.7 / mean mAP, test
  52.9 / 33.0 / 30.7
                Moment-DETR, without pretraining: as quoted in table II of VideoLights (arXiv 2412.01558)
  71.4 / 56.5 / 49.2
                features of InternVideo2, 6 B parameters, under the heads of CG-DETR: its paper (arXiv 2403.15377)
EXPECTS  nothing was trained here at this size

SOURCE   papers: Lei et al. 2021, arXiv 2107.09609 (corpus and metrics); Lin et al. 2023, arXiv 2307.16715, section 3
         (each step answers by itself). Code: showlab/UniVTG, scripts/qvhl_pretrain.sh, main/config.py;
         jayleicn/moment_detr, moment_detr/config.py.
  tokens        75 frames, one each 2 s, 256 pixels, 32 x 32; 32 pieces of the query.
  model         that of pretraining: 12 layers of pictures and 4 of words apart, 12 of both; stochastic depth 0.1.
  optimiser     AdamW, weight decay 1e-4, batch 32, as UniVTG's; 1e-4 for the heads, a tenth for the trunk, falling in a
                straight line; 20 epochs.

PAPER AND CODE DISAGREE
  weights       of UniVTG's losses stand in the script of this corpus; those here are the objective's own.

DIFFERS HERE Published systems read features of SlowFast and CLIP that were made before; here the frames themselves are
  learned from, one a step of 2 s. So 20 epochs, and a small rate for the trunk, where they have 200 of small heads.
  Sound is left out. MERLOT Reserve's frames are 5 s apart, these 2 s: rotary positions count seconds.
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
        # 75 x 8 x 8 + 32 tokens: a clip a row.
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
