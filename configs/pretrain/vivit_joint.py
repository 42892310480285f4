"""ViViT, joint space and time: ViT-B on all tubelets of a clip at once.

COMMAND  mmvideo train configs/pretrain/vivit_joint.py --workdir runs/vivit_joint
TINY     mmvideo train configs/pretrain/vivit_joint.py:tiny
COST     1.7e+19 FLOPs with dense attention (mmvideo plan): 1.5 hours on 8 GPUs at 400 TFLOP/s each
DATA     Kinetics-400, with weights of ViT-B/16 from ImageNet-21k (tubelets from them: the central frame)
EXPECTS  80.0 top-1 on Kinetics-400, 43.1 on Epic Kitchens (4 x 3 views)

SOURCE   paper: Arnab et al. 2021, arXiv 2103.15691. Code: scenic/projects/vivit, configs/kinetics400/
         vivit_base_k400.py.
  tokens        32 frames, every second frame at 25 per second, 224 pixels, 2 x 16 x 16.
  model         12 layers of width 768, a class token, learned positions, one per token; tanh-approximated GELU, the
                default of scenic's `nn.gelu`.
  optimiser     momentum 0.9, 0.1 after 2.5 epochs of warm-up, cosine, gradients clipped to 1; 30 epochs of 214,834
                clips with batch 64.

PAPER AND CODE DISAGREE
  data          about 267k clips in the paper, 214,834 for training in the code: the code's is used here.

DIFFERS HERE Crops scale by area; the code jitters the scale between 0.9 and 1.33.
"""

from mmvideo.evaluation.config import Evaluation
from mmvideo.experiment import Experiment
from mmvideo.experiment.tiny import tiny_twin
from mmvideo.input.config import Input, Packing, Source, Video
from mmvideo.model.config import Block, Fusion, Model
from mmvideo.objectives import Classification
from mmvideo.training.config import Optimizer, Training

EPOCH = 214_834 // 64

experiment = Experiment(
    name="vivit_joint",
    input=Input(
        sources=(Source("corpora/kinetics400"),),
        video=Video(fps=12.5, frames=32, size=224, tubelet=(2, 16, 16), crop_scale=0.57, flip=True, colour=0.4),
        audio=None,
        text=None,
        # 16 x 14 x 14 tokens: one clip per row.
        packing=Packing(rows=64, tokens=3136, clips=1),
    ),
    model=Model(
        size="B",
        fusion=Fusion("early"),
        block=Block(norm="layer", epsilon=1e-6, activation="gelu_tanh"),
        class_tokens=1,
        position="learned_1d",
    ),
    objectives={
        "classification": Classification(
            label="action", classes=400, modalities=("video",), pooling="class", head_norm=None
        )
    },
    training=Training(
        steps=30 * EPOCH,
        optimizer=Optimizer(name="sgd", learning_rate=0.1, warmup=int(2.5 * EPOCH), b1=0.9, weight_decay=0.0, clip=1.0),
        log_every=100,
        save_every=EPOCH,
    ),
    evaluation=Evaluation(retrieval=False),
)

tiny = tiny_twin(experiment)
