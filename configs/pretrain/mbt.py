"""MBT: two ViT-B, for video and audio, joined by four bottleneck tokens in the last four layers.

COMMAND  mmvideo train configs/pretrain/mbt.py --workdir runs/mbt
TINY     mmvideo train configs/pretrain/mbt.py:tiny
COST     3.0e+18 FLOPs with dense attention (mmvideo plan): 0.3 hours on 8 GPUs at 400 TFLOP/s each
DATA     AudioSet's balanced split, with weights of ViT-B/16 from ImageNet-21k
EXPECTS  43.9 mAP on AudioSet-mini from both modalities (audio alone 30.9, video alone 27.0), with those weights, mixup
         and multi-label losses

SOURCE   paper: Nagrani et al. 2021, arXiv 2107.00135. Code: scenic/projects/mbt, configs/audioset/
         balanced_audioset_base.py, and its README for the results.
  tokens        32 frames, every second frame at 25 per second, 224 pixels, 2 x 16 x 16; 8 s of 128 mel bins at 100 rows
                per second, 16 x 16, mean 1.102 and deviation 2.762.
  model         two encoders of 12 layers of width 768, 12 heads; fusion from layer 8 on through 4 bottlenecks; learned
                positions, one per token; tanh-approximated GELU, the default of scenic's `nn.gelu`; stochastic depth
                0.3, without rescaling kept layers; the mean of the tokens, without another norm.
  objective     label smoothing 0.3, SpecAugment 1 x 48 bins and 4 x 48 rows.
  optimiser     momentum 0.9, 0.5 after 2.5 epochs of warm-up, cosine, gradients clipped to 1; 50 epochs of 20,361 clips
                with batch 64.

PAPER AND CODE DISAGREE
  spectrogram   stored in one-second blocks of 100 x 128 in the code: the code's is used here.
  result        the first version of the paper has 49.6, the README 52.3 (AudioSet-500k, both modalities): the README is
                followed.

DIFFERS HERE A clip has one label of each kind, so the loss is the cross entropy over 527 classes; MBT's is binary over
  each class. No mixup of 0.5. Positions of a larger grid are learned from scratch, not tiled from an image's.
"""

from mmvideo.evaluation.config import Evaluation
from mmvideo.experiment import Experiment
from mmvideo.experiment.tiny import tiny_twin
from mmvideo.input.config import Audio, Input, Packing, Source, Video
from mmvideo.media.config import MBT
from mmvideo.model.config import Block, Fusion, Model, Sharing
from mmvideo.objectives import Classification
from mmvideo.training.config import Optimizer, Training

EPOCH = 20_361 // 64

experiment = Experiment(
    name="mbt",
    input=Input(
        sources=(Source("corpora/audioset_balanced"),),
        video=Video(fps=12.5, frames=32, size=224, tubelet=(2, 16, 16), crop_scale=0.57, flip=True, colour=0.4),
        audio=Audio(seconds=8.0, spectrogram=MBT, patch=(16, 16), time_masks=4, time_mask=48, mel_masks=1, mel_mask=48),
        text=None,
        # 3136 + 400 tokens: one clip per row.
        packing=Packing(rows=64, tokens=3536, clips=1),
    ),
    model=Model(
        size="B",
        fusion=Fusion("bottleneck", layer=8, bottlenecks=4),
        sharing=Sharing(apart="nothing", fused="nothing"),
        block=Block(norm="layer", epsilon=1e-6, activation="gelu_tanh", drop_path=0.3, drop_path_rescale=False),
        position="learned_1d",
    ),
    objectives={
        "classification": Classification(
            label="sound", classes=527, modalities=("video", "audio"), smoothing=0.3, head_norm=None
        )
    },
    training=Training(
        steps=50 * EPOCH,
        optimizer=Optimizer(name="sgd", learning_rate=0.5, warmup=int(2.5 * EPOCH), b1=0.9, weight_decay=0.0, clip=1.0),
        log_every=50,
        save_every=5 * EPOCH,
    ),
    evaluation=Evaluation(retrieval=False),
)

tiny = tiny_twin(experiment)
