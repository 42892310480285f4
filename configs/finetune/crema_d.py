"""CREMA-D: six emotions of actors who say one of twelve sentences, from face and voice, by low-rank updates (LoRA).

COMMAND  mmvideo train configs/finetune/crema_d.py --workdir runs/crema_d
         (after configs/pretrain/trimodal.py in runs/trimodal)
TINY     mmvideo train configs/finetune/crema_d.py:tiny
COST     5.9e+16 FLOPs with dense attention (mmvideo plan): less than a minute on 8 GPUs at 400 TFLOP/s each
DATA     7,442 clips of two to three seconds of 91 actors. There is no official split: split by actor, not by clip, and
         state the split with the result. Papers often use the 6,698 for training and 744 for test of
         GeWu-Lab/OGM-GE_CVPR2022 (data/CREMAD), split by clip, with all 91 actors in both. Manifest: "label" kind
         `emotion`, one of anger, disgust, fear, happy, neutral, sad; "tags" may hold the actor; splits train, test. The
         spoken words carry no information about the emotion and are left out.
PROTOCOL top-1 of six, class-mean accuracy and macro F1; one view. For one modality alone: mmvideo eval --modalities
         audio.
PUBLISHED
  63.6          human raters, video and audio; 58.2 from video, 40.9 from audio: Cao et al. 2014, abstract
  61.9          two ResNet-18 from scratch with balanced gradients (OGM-GE): paper, as quoted in issue 2 of
                fanyunfeng-bit/Modal-Imbalance-PMR; 64.4 with the released weights (issue 34 of its own repository)
EXPECTS  not trained here at this size

SOURCE   ours. The low-rank updates are those of Hu et al. 2021, arXiv 2106.09685, section 4.1, on queries and values.
  tokens        8 frames at 4 per second, 224 pixels, 2 x 16 x 16; up to 3 s of AST's filter banks; SpecAugment.
  head          the normalised mean of the tokens; label smoothing 0.1.
  optimiser     AdamW, 1e-3 after 2 epochs of warm-up, cosine; 20 epochs with batch 64; trains the head and updates of
                rank 8.

DIFFERS from nothing: it follows no published recipe.
"""

from mmvideo.evaluation.config import Evaluation
from mmvideo.experiment import Experiment
from mmvideo.experiment.tiny import tiny_twin
from mmvideo.input.config import Audio, Input, ModalityDropout, Packing, Source, Video
from mmvideo.media.config import AST
from mmvideo.model.config import Block, Fusion, Model, Sharing
from mmvideo.objectives import Classification
from mmvideo.training.config import Lora, Optimizer, Training, Tuning

BATCH = 64
EPOCH = 6_698 // BATCH

experiment = Experiment(
    name="crema_d",
    input=Input(
        sources=(Source("corpora/crema_d"),),
        video=Video(fps=4.0, frames=8, size=224, tubelet=(2, 16, 16), crop_scale=0.5, flip=True, colour=0.2),
        audio=Audio(
            seconds=3.06, spectrogram=AST, patch=(16, 16), time_masks=1, time_mask=48, mel_masks=1, mel_mask=24
        ),
        text=None,
        modality_dropout=ModalityDropout(drop={"audio": 0.1, "video": 0.1}),
        # 784 + 152 tokens: one clip per row.
        packing=Packing(rows=BATCH, tokens=936, clips=1),
    ),
    model=Model(
        size="B",
        feed_forward=2048,
        fusion=Fusion("mid", layer=10, media_layer=8, text="causal"),
        sharing=Sharing(apart="feed_forward", fused="feed_forward"),
        block=Block(norm="rms", qk_norm=True, activation="swiglu", biases="none", drop_path=0.1),
        registers=4,
        position="rotary",
    ),
    objectives={
        "emotion": Classification(
            label="emotion", classes=6, modalities=("video", "audio"), smoothing=0.1, require="any"
        )
    },
    training=Training(
        steps=20 * EPOCH,
        optimizer=Optimizer(name="adamw", learning_rate=1e-3, warmup=2 * EPOCH, b2=0.999, weight_decay=0.05),
        tune=Tuning(mode="lora", lora=Lora(rank=8, alpha=16.0)),
        log_every=20,
        save_every=5 * EPOCH,
        init_from="runs/trimodal",
    ),
    evaluation=Evaluation(tasks=("classification",)),
)

tiny = tiny_twin(experiment)
